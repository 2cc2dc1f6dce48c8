"""Causal attention for training on a CPU: torch's flash kernel forward, and a backward pass written out.

torch's own backward kernel takes more than twice as long. Shapes: B stories, H heads, T tokens, K head size.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

MOST_BLOCKS = 4  # of queries; each adds to the time of compilation
SMALLEST_BLOCK = 128  # queries

Gradients = tuple[Tensor, Tensor, Tensor]


class _FlashAttention(torch.autograd.Function):
    """FlashAttention (Dao et al. 2022, arXiv:2205.14135): keeps a normalizer per query, and not the weights."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        y, normalizer = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, True)
        ctx.save_for_backward(q, k, v, y, normalizer)  # the latter (B, H, T): the logarithm of the sum of exponentials
        return y

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Gradients:
        q, k, v, y, normalizer = ctx.saved_tensors
        dy, T = upstream[0], q.shape[2]
        size = max(SMALLEST_BLOCK, -(-T // MOST_BLOCKS))
        mask = torch.full((size, size), float("-inf"), device=q.device).triu(1)
        products = (dy.float() * y.float()).sum(-1, keepdim=True)
        dq: list[Tensor] = []
        dk: list[list[Tensor]] = [[] for _ in range(0, T, size)]  # for each block of keys, the parts to add up
        dv: list[list[Tensor]] = [[] for _ in dk]
        for start in range(0, T, size):
            end = min(start + size, T)
            rows = slice(start, end)
            block = partial(
                _gradients, q[:, :, rows], dy[:, :, rows], normalizer[:, :, rows, None], products[:, :, rows]
            )
            diagonal = block(k[:, :, rows], v[:, :, rows], mask[: end - start, : end - start])
            dk[start // size].append(diagonal[1])
            dv[start // size].append(diagonal[2])
            if start == 0:
                dq.append(diagonal[0])
                continue
            below = block(k[:, :, :start], v[:, :, :start], None)  # no score is masked
            dq.append(diagonal[0] + below[0])
            for parts, gradient in ((dk, below[1]), (dv, below[2])):
                for part, of_block in zip(parts, gradient.split(size, 2), strict=False):
                    part.append(of_block)
        return torch.cat(dq, 2), _join(dk), _join(dv)


def _gradients(
    q: Tensor, dy: Tensor, normalizer: Tensor, products: Tensor, k: Tensor, v: Tensor, mask: Tensor | None
) -> Gradients:
    """Return the contribution of a block of scores, some queries to some keys, to the gradients of q, k and v.

    normalizer and products, (B, H, t, 1), belong to the queries; the latter is the sum of dy * y over the head.
    """
    scale = q.shape[-1] ** -0.5
    scores = (q @ k.mT).float() * scale - normalizer
    weights = (scores if mask is None else scores + mask).exp()
    dscores = (weights * ((dy @ v.mT).float() - products) * scale).to(q.dtype)
    return dscores @ k, dscores.mT @ q, weights.to(q.dtype).mT @ dy


def _join(parts: list[list[Tensor]]) -> Tensor:
    """Add up the parts of each block, in float32, and return the blocks in a row."""
    return torch.cat([sum(part.float() for part in block).to(block[0].dtype) for block in parts], 2)  # type: ignore[union-attr]


def flash_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention, all (B, H, T, K), differentiable; without dropout."""
    y: Tensor = _FlashAttention.apply(q, k, v)  # type: ignore[no-untyped-call]
    return y
