"""Sizes and memory that are extrapolated over layers are those of the whole model."""

from typing import Any

import pytest
import torch

from tests.support import tiny
from tinylm.model.transformer import Transformer
from tinylm.planning.sizes import _without_memory, count_parameters, gpu_memory
from tinylm.train.setup.memory import step_memory

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


@pytest.mark.parametrize("changes", [{}, {"tie_embeddings": True}, GPT2])
def test_the_memory_on_a_gpu(changes: dict[str, Any]) -> None:
    p = tiny.model_params(**{"layers": 4, **changes})
    whole = step_memory(_without_memory(p, 300, torch.bfloat16).train(), 7)
    assert gpu_memory(p, 300, torch.bfloat16, 7) == whole
    assert whole.logits == 7 * p.context * 300 * 4  # cross-entropy saves logarithms of probabilities, in float32


def test_a_gpu_keeps_no_attention_weights() -> None:
    """Otherwise the memory of a sequence would grow with the square of its length."""
    short, long = (gpu_memory(tiny.model_params(context=context), 300, torch.bfloat16, 9) for context in (512, 1024))
    assert long.activations < 2.1 * short.activations


def test_the_parts_add_up() -> None:
    memory = gpu_memory(tiny.model_params(), 300, torch.float16, 2)
    parts = vars(memory)
    assert set(parts) == {"weights", "gradients", "optimizer", "best", "activations", "logits", "gathered"}
    assert memory.total == sum(parts.values()) + memory.workspace
    assert memory.weights == memory.gradients == memory.best == memory.optimizer / 2
