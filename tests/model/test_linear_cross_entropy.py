"""The fused output projection and cross-entropy equal the separate operations."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tinylm.model.linear_cross_entropy import ROWS_AT_ONCE, linear_cross_entropies, linear_cross_entropy


def make(rows: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, 16, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(40, 16, generator=generator).requires_grad_()
    return x, weight, torch.randint(0, 40, (rows,), generator=generator)


@pytest.mark.parametrize("rows", [1, ROWS_AT_ONCE, 2 * ROWS_AT_ONCE + 3])
def test_loss_and_gradients_equal_the_unfused_ones(rows: int) -> None:
    x, weight, targets = make(rows)
    loss = linear_cross_entropy(x, weight, targets)
    (3 * loss).backward()
    expected = F.cross_entropy(x @ weight.T, targets)
    gradients = torch.autograd.grad(3 * expected, (x, weight))
    assert torch.allclose(loss, expected, rtol=1e-5)
    assert torch.allclose(x.grad, gradients[0], atol=1e-7)
    assert torch.allclose(weight.grad, gradients[1], atol=1e-6)


def test_with_bfloat16_the_weight_gradient_accumulates_in_float32() -> None:
    x, weight, targets = make(4 * ROWS_AT_ONCE, torch.bfloat16)
    linear_cross_entropy(x, weight, targets).backward()
    exact = torch.autograd.grad(F.cross_entropy(x.float() @ weight.bfloat16().float().T, targets), weight)[0]
    assert x.grad.dtype == torch.bfloat16
    assert weight.grad.dtype == torch.float32
    assert (weight.grad - exact).norm() < 5e-3 * exact.norm()


def test_losses_without_reduction() -> None:
    x, weight, targets = make(ROWS_AT_ONCE + 5)
    expected = F.cross_entropy(x @ weight.T, targets, reduction="none")
    assert torch.allclose(linear_cross_entropies(x, weight, targets), expected, atol=1e-5)
