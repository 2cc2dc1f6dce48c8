"""A resume checkpoint holds everything of the trainer that later steps depend on."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from tests.train.test_step import make_trainer
from tinylm.tokens.store import TokenStore
from tinylm.train.loop import TrainingLoop
from tinylm.train.resume.snapshot import restore, take
from tinylm.train.step import Trainer


class Scaler:
    """A loss scaler that is enabled, as with fp16 on a GPU."""

    def __init__(self, scale: float):
        self.scale = scale

    def state_dict(self) -> dict[str, float]:
        return {"scale": self.scale}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.scale = state["scale"]


def loop_of(trainer: Trainer) -> TrainingLoop:
    """As much of a training loop as a snapshot looks at."""
    log = SimpleNamespace(rows={}, restore=lambda _: None)
    meter = SimpleNamespace(checked=[], saved_step=0)
    loop: Any = SimpleNamespace(trainer=trainer, runlog=log, meter=meter, seconds=1.0, finished=False)
    return cast(TrainingLoop, loop)


@pytest.mark.parametrize("validated", [True, False])
def test_the_best_weights_and_the_loss_scale_are_restored(tiny_tokens: TokenStore, validated: bool) -> None:
    trainer, other = make_trainer(tiny_tokens), make_trainer(tiny_tokens, seed=1)
    trainer.scaler, other.scaler = cast(Any, Scaler(8.0)), cast(Any, Scaler(1.0))
    if validated:
        trainer.best.update(3, trainer.validate(), trainer.model)
        trainer.best.evals_since = 2
    restore(loop_of(other), take(loop_of(trainer)))
    assert cast(Any, other.scaler).scale == 8.0
    assert (other.best.step, other.best.evals_since) == (trainer.best.step, trainer.best.evals_since)
    assert other.best.loss == trainer.best.loss
    assert other.best.weights.keys() == trainer.best.weights.keys()
    assert all(torch.equal(other.best.weights[name], weight) for name, weight in trainer.best.weights.items())


def test_the_optimizers_continue_where_they_were(tiny_tokens: TokenStore) -> None:
    trainer, other = make_trainer(tiny_tokens), make_trainer(tiny_tokens, seed=1)
    trainer.train_step(0)
    restore(loop_of(other), take(loop_of(trainer)))
    for step in (1, 2):
        losses = [float(run.train_step(step)[0]) for run in (trainer, other)]
        assert losses[0] == losses[1]


def test_a_resume_checkpoint_does_not_change_as_the_training_goes_on(tiny_tokens: TokenStore) -> None:
    trainer = make_trainer(tiny_tokens)
    trainer.train_step(0)
    taken = take(loop_of(trainer)).tensors
    before = {name: tensor.clone() for name, tensor in taken.items()}
    trainer.train_step(1)
    assert all(torch.equal(taken[name], tensor) for name, tensor in before.items())
