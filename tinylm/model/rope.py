"""Rotary position embedding (Su et al. 2021, arXiv:2104.09864).

Shapes: B stories, T tokens, H heads, K head size.
"""

import torch
from torch import Tensor

from tinylm.model.params import ModelParams


def rope_table(params: ModelParams) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of the rotary angles: (context, K / 2) each, float32."""
    head_size = params.width // params.heads
    if torch.get_default_device().type == "meta":  # only shapes matter, and arithmetic takes a second to start
        return torch.empty(params.context, head_size // 2), torch.empty(params.context, head_size // 2)
    frequency = params.rope_base ** (-torch.arange(0, head_size, 2).float() / head_size)
    angle = torch.outer(torch.arange(params.context).float(), frequency)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate queries or keys by their positions, pairing the halves of each head as Llama's code does.

    x: (B, H, T, K); cos, sin: (T, K / 2). Returns (B, H, T, K).
    """
    first, second = x.chunk(2, dim=-1)  # (B, H, T, K / 2)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
