"""Muon: momentum whose matrices are made orthogonal (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

What `torch.optim.Muon` computes matrix by matrix is done here for all matrices of a shape at once:
a small model has dozens of small ones, and a call for each costs more than the arithmetic.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

# Of the polynomial a x + b x^3 + c x^5, which moves singular values towards 1 fast, and near 1 not exactly.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
SMALLEST_NORM = 1e-7


class Muon(Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, for matrices.

    A matrix's step is lr x sqrt(max(1, rows / columns)) long in its spectral norm. `dtype` is that of the
    orthogonalisation: bfloat16 is exact enough for it, and the choice wherever it is in the hardware.
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
        for group in self.param_groups:
            for weights in same_shape(group["params"]):
                self._step(weights, group["lr"], group["momentum"], group["weight_decay"])

    def _step(self, weights: list[nn.Parameter], lr: float, momentum: float, weight_decay: float) -> None:
        gradients = torch.stack([lying(weight.grad) for weight in weights if weight.grad is not None])  # (N, m, n)
        state = self.state[weights[0]]  # of all N
        if not state:
            state["momentum"] = torch.zeros_like(gradients)
        state["momentum"].lerp_(gradients, 1 - momentum)
        updates = orthogonal(gradients.lerp_(state["momentum"], momentum), self.dtype).to(weights[0].dtype)
        for weight, update in zip(weights, updates, strict=True):
            weight.mul_(1 - lr * weight_decay)
            rows, columns = weight.shape
            lying(weight).add_(update, alpha=-lr * max(1.0, rows / columns) ** 0.5)


def lying(matrix: Tensor) -> Tensor:
    """The matrix, or its transpose where it is higher than wide."""
    return matrix.T if matrix.shape[0] > matrix.shape[1] else matrix


def same_shape(weights: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Weights that have a gradient, by their shape when lying."""
    batches: dict[torch.Size, list[nn.Parameter]] = {}
    for weight in weights:
        if weight.grad is not None:
            batches.setdefault(lying(weight).shape, []).append(weight)
    return list(batches.values())


def orthogonal(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The nearest (half-)orthogonal matrix to each of (N, m, n), m <= n, about: singular values of 0.7 to 1.2."""
    a, b, c = NEWTON_SCHULZ
    x = x.to(dtype)
    x = x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp(min=SMALLEST_NORM)
    for _ in range(ITERATIONS):
        gram = x @ x.mT  # (N, m, m)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x
