"""Benchmarks measure what users run."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import training
from tests.support import tiny
from tinylm.train.params import TrainParams


def test_training_is_timed_with_the_kernels_that_users_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """`train.deterministic: true` selects other kernels on a GPU."""
    assert tiny.PARAMS[TrainParams].deterministic
    events: list[Any] = []

    def train_step(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        events.append(step)
        return torch.zeros(()), torch.zeros(())

    monkeypatch.setattr(training, "make_deterministic", events.append)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", events.append)
    trainer: Any = SimpleNamespace(hardware=tiny.FP32_ON_CPU, train_step=train_step)
    training.ours(trainer)
    assert events == [torch.device("cpu"), *range(training.STEPS), False]
