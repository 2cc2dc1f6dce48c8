"""Sizes that are extrapolated over layers are those of the whole model."""

from typing import Any

import pytest

from tests.support import tiny
from tinylm.model.transformer import Transformer
from tinylm.planning.sizes import count_in_blocks, count_parameters
from tinylm.train.optim.optimizers import build_optimizers

GPT2 = {"architecture": "gpt2", "qk_norm": False, "dropout": 0.1, "qkv_bias": True}


@pytest.mark.parametrize("changes", [{}, {"tie_embeddings": True}, GPT2, GPT2 | {"tie_embeddings": True, "layers": 1}])
def test_the_parts_of_a_model(changes: dict[str, Any]) -> None:
    p = tiny.model_params(**{"layers": 5, **changes})
    model, size = Transformer(p, 300), count_parameters(p, 300)
    assert size.total == model.size().parameters
    assert size.blocks == sum(w.numel() for part in (model.blocks, model.norm) for w in part.parameters())
    assert size.head == (0 if p.tie_embeddings else 300 * p.width)
    positions = p.context * p.width if p.architecture == "gpt2" else 0
    assert size.embedding == 300 * p.width + positions


@pytest.mark.parametrize("changes", [{}, GPT2])
def test_what_is_in_blocks(changes: dict[str, Any]) -> None:
    p = tiny.model_params(**{"layers": 5, **changes})
    model = Transformer(p, 300)
    muon, _ = build_optimizers(model, tiny.train_params(optimizer="muon")).all
    updated = sum(weight.numel() for group in muon.param_groups for weight in group["params"])
    assert count_in_blocks(p, 300) == (sum(weight.numel() for weight in model.blocks.parameters()), updated)
