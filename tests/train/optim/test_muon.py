"""Muon on batched matrices equals torch's Muon, which takes one matrix at a time."""

import pytest
import torch
from torch import nn

from tinylm.train.optim.muon import Muon, orthogonalize, wide

SHAPES = [(16, 16), (48, 16), (16, 48), (16, 16), (16, 48), (8, 24)]


def weights() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(5)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


@pytest.mark.parametrize("momentum", [0.0, 0.95])
def test_the_steps_equal_those_of_torch(momentum: float) -> None:
    own, theirs = weights(), weights()
    ours = Muon(own, lr=0.02, momentum=momentum, weight_decay=0.1)
    reference = torch.optim.Muon(theirs, lr=0.02, momentum=momentum, weight_decay=0.1)
    for step in range(4):
        for optimizer in (ours, reference):
            for group in optimizer.param_groups:
                group["lr"] = 0.02 / (step + 1)
        generator = torch.Generator().manual_seed(step)
        for a, b in zip(own, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        ours.step()
        reference.step()
    for a, b in zip(own, theirs, strict=True):
        assert (a - b).abs().max() < 1e-3  # of steps of about 0.02 / 4: bfloat16 in another order


def test_decay_comes_before_the_step() -> None:
    """As in torch: the update is not shrunk by the decay of its own step, which halves the weights here."""
    own, theirs = weights(), weights()
    for a, b in zip(own, theirs, strict=True):
        a.grad = b.grad = torch.randn(a.shape, generator=torch.Generator().manual_seed(3))
    Muon(own, lr=0.5, momentum=0.0, weight_decay=1.0).step()
    torch.optim.Muon(theirs, lr=0.5, momentum=0.0, weight_decay=1.0).step()
    for a, b in zip(own, theirs, strict=True):
        assert (a - b).abs().max() < 0.02  # of steps of about 0.5 x 0.25; in the other order it is above 0.1


def test_in_float32_the_step_is_exact() -> None:
    """Jordan's iteration in float64 as the reference; in bfloat16 the step is off by a hundred times as much."""
    own = weights()
    before = [weight.detach().clone() for weight in own]
    for weight in own:
        weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(3))
    Muon(own, lr=0.1, momentum=0.0, weight_decay=0.0, dtype=torch.float32).step()
    for weight, start in zip(own, before, strict=True):
        assert weight.grad is not None
        x = weight.grad.double()
        x = x / x.norm()
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        rows, columns = weight.shape
        assert (weight - (start - 0.1 * max(1, rows / columns) ** 0.5 * x)).abs().max() < 1e-5


def test_tall_matrices_are_transposed() -> None:
    """Of a tall matrix, x @ x.T would be the larger Gram matrix."""
    tall, broad, square = (torch.zeros(shape) for shape in ((48, 16), (16, 48), (16, 16)))
    assert wide(tall).shape == (16, 48)
    assert wide(broad) is broad
    assert wide(square) is square


def test_weights_without_a_gradient_do_not_change() -> None:
    own = weights()
    before = own[0].detach().clone()
    for weight in own[1:]:
        weight.grad = torch.ones_like(weight)
    Muon(own, lr=0.02, momentum=0.95, weight_decay=0.1).step()
    assert torch.equal(own[0], before)
    assert not torch.equal(own[3], weights()[3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_singular_values_become_about_one(dtype: torch.dtype) -> None:
    x = torch.randn(3, 20, 50, generator=torch.Generator().manual_seed(1))
    x *= torch.tensor([1e-3, 1.0, 1e3])[:, None, None]
    values = torch.linalg.svdvals(orthogonalize(x, dtype).float())
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_a_gradient_of_zero_gives_no_update() -> None:
    assert torch.equal(orthogonalize(torch.zeros(1, 4, 8), torch.float32), torch.zeros(1, 4, 8))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_orthogonalization_runs_in_the_given_dtype(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    [weight, *_] = weights()
    weight.grad = torch.ones_like(weight)
    seen: list[torch.dtype] = []
    baddbmm = torch.baddbmm
    monkeypatch.setattr(
        torch, "baddbmm", lambda x, *rest, **scales: seen.append(x.dtype) or baddbmm(x, *rest, **scales)
    )
    Muon([weight], lr=0.1, momentum=0.0, weight_decay=0.0, dtype=dtype).step()
    assert set(seen) == {dtype}
    assert weight.dtype == torch.float32
