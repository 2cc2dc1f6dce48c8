"""The learning rate schedule, and which optimizer updates which weights."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support import tiny
from tests.train.test_step import make_trainer
from tinylm.model.transformer import Transformer
from tinylm.tokens.store import TokenStore
from tinylm.train.optim.optimizers import build_optimizers, split_weights
from tinylm.train.optim.schedule import learning_rate_factor


@pytest.mark.parametrize(
    ("step", "factor"),
    [(0, 0.1), (4, 0.5), (9, 1.0), (59, 0.55), (109, 0.1), (34, 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)))],
)
def test_the_rate_rises_and_falls(step: int, factor: float) -> None:
    assert learning_rate_factor(step, steps=110, warmup_steps=10, final_fraction=0.1, decay="cosine") == pytest.approx(
        factor
    )


@pytest.mark.parametrize(("step", "factor"), [(4, 0.5), (9, 1.0), (34, 0.775), (59, 0.55), (109, 0.1)])
def test_the_rate_falls_linearly(step: int, factor: float) -> None:
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
def test_every_weight_has_one_optimizer_and_only_matrices_have_weight_decay(architecture: str, optimizer: str) -> None:
    model = tiny.make_model(architecture=architecture, qk_norm=architecture == "llama")
    optimizers = build_optimizers(model, tiny.train_params(optimizer=optimizer, weight_decay=0.3))
    updated = [weight for group in optimizers.groups() for weight in group["params"]]
    assert sorted(map(id, updated)) == sorted(map(id, model.parameters()))
    for group in optimizers.groups():
        matrices = {weight.ndim >= 2 for weight in group["params"]}
        assert len(matrices) == 1
        assert group["weight_decay"] == (0.3 if matrices == {True} else 0.0)
        assert group.get("fused", True)  # one kernel for all weights, on a CPU too


def test_muon_updates_the_hidden_matrices_and_adamw_the_rest() -> None:
    model = tiny.make_model()
    muon, adamw = build_optimizers(model, tiny.train_params(optimizer="muon", peak_lr=0.01, muon_lr=0.02)).all
    hidden, others, vectors = split_weights(model)
    assert {id(w) for group in muon.param_groups for w in group["params"]} == {id(w) for w in hidden}
    assert {id(w) for group in adamw.param_groups for w in group["params"]} == {id(w) for w in others + vectors}
    assert {tuple(w.shape) for w in others} == {(300, 32)}
    assert (muon.param_groups[0]["lr"], adamw.param_groups[0]["lr"]) == (0.02, 0.01)


def test_the_factor_scales_the_base_rate_of_every_group() -> None:
    optimizers = build_optimizers(tiny.make_model(), tiny.train_params(optimizer="muon", peak_lr=0.01, muon_lr=0.02))
    for _ in range(2):  # not compounding
        optimizers.set_factor(0.5)
    assert [group["lr"] for group in optimizers.groups()] == [0.01, 0.005, 0.005]
    assert optimizers.learning_rate == 0.005


def test_adamw_follows_the_paper() -> None:
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


def give_gradients(model: Transformer, seed: int, scale: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        weight.grad = scale * torch.randn(weight.shape, generator=generator)


def test_restored_optimizers_continue_as_the_original_ones() -> None:
    p = tiny.train_params(optimizer="muon", peak_lr=0.01, muon_lr=0.02, momentum=0.9, weight_decay=0.1)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    models = [tiny.make_model(), tiny.make_model()]
    first, second = (build_optimizers(model, p) for model in models)
    give_gradients(models[0], 1)
    first.step(scaler)
    assert {key.split(".")[0] for key in first.state()} == {"0", "1"}
    models[1].load_state_dict(models[0].state_dict())
    second.restore({key: value.clone() for key, value in first.state().items()})
    assert second.state().keys() == first.state().keys()
    for model, optimizers in zip(models, (first, second), strict=True):
        optimizers.set_factor(0.5)
        give_gradients(model, 2)
        optimizers.step(scaler)
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(a, b)
    assert [group["lr"] for group in second.groups()] == [0.01, 0.005, 0.005]


def test_gradients_are_unscaled_once_and_dropped_after_the_step() -> None:
    model = tiny.make_model()
    optimizers = build_optimizers(model, tiny.train_params(optimizer="muon"))
    give_gradients(model, 1, scale=1024.0)
    scaler = torch.amp.GradScaler("cpu", enabled=True, init_scale=1024.0)
    scaler.scale(torch.zeros(()))  # which initializes the scale
    optimizers.unscale(scaler)
    expected = tiny.make_model()
    give_gradients(expected, 1)
    for a, b in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)  # type: ignore[arg-type]
    optimizers.step(scaler)
    optimizers.zero_grad()
    assert all(weight.grad is None for weight in model.parameters())
    optimizers.unscale(torch.amp.GradScaler("cpu", enabled=False))  # nothing to undo, and no error


def test_an_overflow_skips_the_step_and_halves_the_scale() -> None:
    model = tiny.make_model()
    optimizers = build_optimizers(model, tiny.train_params(optimizer="adamw"))
    give_gradients(model, 1)
    model.embedding.weight.grad[0, 0] = math.inf  # type: ignore[index]
    scaler = torch.amp.GradScaler("cpu", enabled=True, init_scale=1024.0)
    scaler.scale(torch.zeros(()))
    optimizers.unscale(scaler)
    optimizers.step(scaler)
    for a, b in zip(model.parameters(), tiny.make_model().parameters(), strict=True):
        assert torch.equal(a, b)
    assert scaler.get_scale() == 512.0


def test_an_overflow_in_one_optimizer_stops_the_other(tiny_tokens: TokenStore) -> None:
    """Clipping spreads a value that is not finite to all gradients, after Muon's own were found to be finite."""
    trainer = make_trainer(tiny_tokens, optimizer="muon", grad_clip=1.0)
    trainer.scaler = torch.amp.GradScaler("cpu", enabled=True, init_scale=1024.0)
    before = [weight.detach().clone() for weight in trainer.model.parameters()]
    overflow = trainer.model.blocks[0].attention.query.weight.register_hook(lambda gradient: gradient * math.inf)
    trainer.train_step(0)
    overflow.remove()
    assert all(torch.equal(a, b) for a, b in zip(trainer.model.parameters(), before, strict=True))
    assert trainer.scaler.get_scale() == 512.0
    trainer.train_step(1)
    assert all(weight.isfinite().all() for weight in trainer.model.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(trainer.model.parameters(), before, strict=True))
