"""Output projection and cross-entropy fused, so that the full logits are never materialized.

With a vocabulary of thousands, the logits are by far the largest tensor of a training step. A block of rows fits into
a CPU's cache: compute its loss and gradient, then discard its logits.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS_AT_ONCE = 512


class _LinearCrossEntropy(torch.autograd.Function):
    """Computes the gradients in the forward pass, while the logits exist."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        rows = x.shape[0]
        low = weight.to(x.dtype)
        x_gradients, weight_gradient = [], torch.zeros_like(weight)  # the latter accumulates in float32
        total = torch.zeros((), device=x.device)
        for part, indices in zip(x.split(ROWS_AT_ONCE), targets[:, None].split(ROWS_AT_ONCE), strict=True):
            product = part @ low.T  # (R, V)
            logits = product.float()
            largest = logits.amax(-1, keepdim=True)
            exponentials = (logits - largest).exp()  # once for both the loss and the gradient
            sums = exponentials.sum(-1, keepdim=True)
            hits = logits.gather(1, indices)  # (R, 1)
            total = total + (sums.log() + largest - hits).sum()
            gradient = (exponentials * (1 / (sums * rows))).to(x.dtype)
            hit_gradient = ((hits - largest).exp() / sums - 1) / rows
            gradient = gradient.scatter(1, indices, hit_gradient.to(x.dtype))
            x_gradients.append(gradient @ low)
            weight_gradient += gradient.T @ part
        ctx.save_for_backward(torch.cat(x_gradients), weight_gradient)
        return total / rows

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None]:
        x_gradient, weight_gradient = ctx.saved_tensors
        return x_gradient * upstream[0].to(x_gradient.dtype), weight_gradient * upstream[0], None


def linear_cross_entropy(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of `targets` (N,) under the logits x @ weight.T, in nats, a float32 scalar.

    x: (N, D); weight: (V, D). Differentiable with respect to both.
    """
    loss: Tensor = _LinearCrossEntropy.apply(x, weight, targets)  # type: ignore[no-untyped-call]
    return loss


def linear_cross_entropies(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of each of `targets`, (N,), in nats and float32; for use without gradients."""
    parts = zip(x.split(ROWS_AT_ONCE), targets.split(ROWS_AT_ONCE), strict=True)
    return torch.cat([F.cross_entropy((part @ weight.T).float(), own, reduction="none") for part, own in parts])
