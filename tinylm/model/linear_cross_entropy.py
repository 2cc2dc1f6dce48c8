"""The output projection and its cross-entropy together, without holding all logits at once.

With a vocabulary of thousands the logits are the largest tensor of a step by far. Some rows at a time
stay in a CPU's cache: they are scored, turned into their gradient, and forgotten.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS_AT_ONCE = 512


class _LinearCrossEntropy(torch.autograd.Function):
    """The gradients are made on the way forward, as long as the logits are there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        rows = x.shape[0]
        low = weight.to(x.dtype)
        x_gradients, weight_gradient = [], torch.zeros_like(weight)  # the latter sums up in float32
        total = torch.zeros((), device=x.device)
        for part, places in zip(x.split(ROWS_AT_ONCE), targets[:, None].split(ROWS_AT_ONCE), strict=True):
            product = part @ low.T  # (R, V)
            logits = product.float()
            normalizer = logits.logsumexp(-1, keepdim=True)
            hits = logits.gather(1, places)  # (R, 1)
            total = total + (normalizer - hits).sum()
            gradient = ((logits - normalizer).exp() / rows).to(x.dtype)
            gradient = gradient.scatter(1, places, (((hits - normalizer).exp() - 1) / rows).to(x.dtype))
            x_gradients.append(gradient @ low)
            weight_gradient += gradient.T @ part
        ctx.save_for_backward(torch.cat(x_gradients), weight_gradient)
        return total / rows

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, Tensor, None]:
        x_gradient, weight_gradient = ctx.saved_tensors
        return x_gradient * upstream[0].to(x_gradient.dtype), weight_gradient * upstream[0], None


def linear_cross_entropy(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy [nats], float32, of `targets` (N,) under logits x @ weight.T: x (N, D), weight (V, D)."""
    loss: Tensor = _LinearCrossEntropy.apply(x, weight, targets)  # type: ignore[no-untyped-call]
    return loss


def linear_cross_entropies(x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The same for each of `targets`, (N,), where no gradient is needed."""
    parts = zip(x.split(ROWS_AT_ONCE), targets.split(ROWS_AT_ONCE), strict=True)
    return torch.cat([F.cross_entropy((part @ weight.T).float(), own, reduction="none") for part, own in parts])
