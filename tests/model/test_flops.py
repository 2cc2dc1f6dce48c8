"""The FLOP formula, compared with torch's count of a real training step."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.support import tiny
from tinylm.model.transformer import training_flop_per_token


def test_the_formula_matches_a_real_step() -> None:
    model = tiny.make_model(tie_embeddings=True).train()
    ids = torch.zeros(2, model.params.context, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model.loss(ids, ids).backward()
    counted = counter.get_total_flops() / ids.numel()
    assert abs(training_flop_per_token(model.params, model.size().parameters) / counted - 1) < 0.05
