"""The best weights are kept, and a run stops when validation has not improved for a while."""

import math

import pytest
import torch
from torch import nn

from tests.support import tiny
from tinylm.train.early_stopping import Best


def test_the_weights_of_the_lowest_loss_are_kept_and_equal_ones_are_no_improvement() -> None:
    model, best = nn.Linear(2, 1, bias=False), Best()
    assert best.loss == math.inf
    for step, loss in enumerate([3.0, 2.0, 2.5, 2.0]):
        with torch.no_grad():
            model.weight.fill_(step)
        best.update(step, tiny.validation(loss), model)
    assert (best.step, best.loss, best.evals_since) == (1, 2.0, 2)
    assert best.weights["weight"].tolist() == [[1.0, 1.0]]  # a copy: the model's are 3 by now


@pytest.mark.parametrize(("patience", "stops_after"), [(1, 1), (3, 3), (None, None)])
def test_patience_counts_validations_since_the_best(patience: int | None, stops_after: int | None) -> None:
    model, best = nn.Linear(2, 1), Best()
    best.update(0, tiny.validation(1.0), model)
    assert not best.should_stop(patience)
    stopped = []
    for number in range(1, 6):
        best.update(number, tiny.validation(2.0), model)
        if best.should_stop(patience):
            stopped.append(number)
    assert min(stopped, default=None) == stops_after
    best.update(9, tiny.validation(0.5), model)
    assert not best.should_stop(patience)
