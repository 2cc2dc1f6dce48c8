"""Muon: momentum updates that are orthogonalized (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

`torch.optim.Muon` processes one matrix at a time. This version batches all matrices of the same shape: a small model
has dozens of small matrices, and a kernel launch for each costs more than the arithmetic.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

# Coefficients of a x + b x^3 + c x^5, which moves singular values quickly towards 1 but not exactly to 1.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
SMALLEST_NORM = 1e-7


class Muon(Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for matrices.

    The update of a matrix has a spectral norm of about lr x sqrt(max(1, rows / columns)). The orthogonalization runs
    in `dtype`; bfloat16 is precise enough, and the fastest choice where the hardware supports it.
    """

    def __init__(
        self,
        weights: Iterable[nn.Parameter],
        lr: float,
        momentum: float,
        weight_decay: float,
        dtype: torch.dtype = torch.bfloat16,
    ):
        super().__init__(weights, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update all weights that have a gradient; `closure` is ignored."""
        for group in self.param_groups:
            for weights in batch_by_shape(group["params"]):
                self._step(weights, group["lr"], group["momentum"], group["weight_decay"])

    def _step(self, weights: list[nn.Parameter], lr: float, momentum: float, weight_decay: float) -> None:
        gradients = torch.stack([wide(weight.grad) for weight in weights if weight.grad is not None])  # (N, m, n)
        state = self.state[weights[0]]  # shared by all N
        if not state:
            state["momentum"] = torch.zeros_like(gradients)
        state["momentum"].lerp_(gradients, 1 - momentum)
        updates = orthogonalize(gradients.lerp_(state["momentum"], momentum), self.dtype).to(weights[0].dtype)
        for weight, update in zip(weights, updates, strict=True):
            weight.mul_(1 - lr * weight_decay)
            rows, columns = weight.shape
            wide(weight).add_(update, alpha=-lr * max(1.0, rows / columns) ** 0.5)


def wide(matrix: Tensor) -> Tensor:
    """A view of the matrix with at least as many columns as rows: itself or its transpose."""
    return matrix.T if matrix.shape[0] > matrix.shape[1] else matrix


def batch_by_shape(weights: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Weights that have a gradient, grouped by their shape as `wide` returns them."""
    moving = [weight for weight in weights if weight.grad is not None]
    return [[moving[index] for index in batch] for batch in same_shape(weight.shape for weight in moving)]


def same_shape(shapes: Iterable[torch.Size]) -> list[list[int]]:
    """Indices of matrices that are equal in shape but for transposition, in the order of their first ones."""
    batches: dict[tuple[int, ...], list[int]] = {}
    for index, shape in enumerate(shapes):
        batches.setdefault(tuple(sorted(shape)), []).append(index)
    return list(batches.values())


def orthogonalize(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Approximate the nearest semi-orthogonal matrix to each of (N, m, n), m <= n, with Newton-Schulz iterations.

    Returns (N, m, n) in `dtype`, with singular values of about 0.7 to 1.2.
    """
    a, b, c = NEWTON_SCHULZ
    x = x.to(dtype)
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=SMALLEST_NORM)
    for _ in range(ITERATIONS):
        gram = x @ x.mT  # (N, m, m)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x
