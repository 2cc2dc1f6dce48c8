"""The learning rate's shape, and which optimizer moves what."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import tiny
from tinylm.optim import build_optimizers, split_weights
from tinylm.schedule import learning_rate_factor


@pytest.mark.parametrize(
    ("step", "factor"),
    [(0, 0.1), (4, 0.5), (9, 1.0), (59, 0.55), (109, 0.1), (34, 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))],
)
def test_the_rate_rises_and_falls(step: int, factor: float) -> None:
    assert learning_rate_factor(step, steps=110, warmup_steps=10, final_fraction=0.1) == pytest.approx(factor)


@pytest.mark.parametrize(("step", "factor"), [(4, 0.5), (9, 1.0), (34, 0.775), (59, 0.55), (109, 0.1)])
def test_the_rate_falls_in_a_line(step: int, factor: float) -> None:
    assert learning_rate_factor(step, 110, 10, 0.1, "linear") == pytest.approx(factor)


DECAYS = st.sampled_from(["cosine", "linear"])


@given(st.integers(1, 500), st.integers(0, 500), st.sampled_from([0.0, 0.1, 1.0]), DECAYS)
def test_the_rate_stays_between_zero_and_the_peak(steps: int, warmup: int, final: float, decay: str) -> None:
    factors = [learning_rate_factor(step, steps, min(warmup, steps), final, decay) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    falling = factors[min(warmup, steps) :]
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_every_weight_has_one_optimizer_and_only_matrices_decay(architecture: str, optimizer: str) -> None:
    model = tiny.make_model(architecture=architecture, qk_norm=architecture == "llama")
    optimizers = build_optimizers(model, tiny.train_params(optimizer=optimizer, weight_decay=0.3))
    moved = [weight for group in optimizers.groups() for weight in group["params"]]
    assert sorted(map(id, moved)) == sorted(map(id, model.parameters()))
    for group in optimizers.groups():
        assert {weight.ndim >= 2 for weight in group["params"]} == {group["weight_decay"] == 0.3}


def test_muon_moves_the_hidden_matrices_and_adamw_the_rest() -> None:
    model = tiny.make_model()
    muon, adamw = build_optimizers(model, tiny.train_params(optimizer="muon", peak_lr=0.01, muon_lr=0.02)).all
    hidden, others, vectors = split_weights(model)
    assert {id(w) for group in muon.param_groups for w in group["params"]} == {id(w) for w in hidden}
    assert {id(w) for group in adamw.param_groups for w in group["params"]} == {id(w) for w in others + vectors}
    assert {tuple(w.shape) for w in others} == {(300, 32)}
    assert (muon.param_groups[0]["lr"], adamw.param_groups[0]["lr"]) == (0.02, 0.01)


def test_the_factor_scales_every_groups_own_peak() -> None:
    optimizers = build_optimizers(tiny.make_model(), tiny.train_params(optimizer="muon", peak_lr=0.01, muon_lr=0.02))
    for _ in range(2):  # not compounding
        optimizers.set_factor(0.5)
    assert [group["lr"] for group in optimizers.groups()] == [0.01, 0.005, 0.005]


def test_adamw_is_the_papers() -> None:
    """Two steps on one matrix, written out from Loshchilov & Hutter 2019, algorithm 2."""
    model = tiny.make_model()
    p = tiny.train_params(optimizer="adamw", peak_lr=0.1, weight_decay=0.2, beta1=0.8, beta2=0.9)
    optimizers = build_optimizers(model, p)
    weight = model.blocks[0].attention.query.weight
    expected, mean, square = weight.detach().double().clone(), 0.0, 0.0
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    for step in (1, 2):
        gradient = torch.full_like(weight, 0.3 * step)
        weight.grad = gradient.clone()
        optimizers.step(scaler)
        mean = 0.8 * mean + 0.2 * gradient.double()
        square = 0.9 * square + 0.1 * gradient.double() ** 2
        update = (mean / (1 - 0.8**step)) / ((square / (1 - 0.9**step)).sqrt() + 1e-8)
        expected = expected - 0.1 * 0.2 * expected - 0.1 * update
    assert torch.allclose(weight.double(), expected, atol=1e-6)
