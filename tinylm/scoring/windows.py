"""Sliding windows over a stream of ids; they overlap, so that tokens are scored with context."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def default_stride(context: int) -> int:
    """Return the stride at which all tokens, except those of the first window, have at least half the context."""
    return max(1, context // 2)


def plan_windows(tokens: int, length: int, stride: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (start of each window, first position in each window that no earlier window scores), both (windows,).

    Moves the last window back to end with the stream, so that all windows have `length` tokens.
    """
    count = 1 + math.ceil((tokens - length) / stride)
    starts = np.minimum(np.arange(count) * stride, tokens - length)
    scored_before = np.concatenate([[0], starts[:-1] + length])
    return starts, scored_before - starts


def read_windows(
    tokens: NDArray[np.unsignedinteger], starts: NDArray[np.int64], length: int, end_of_text: int
) -> tuple[Tensor, Tensor]:
    """Return inputs and targets, (windows, length) in int64. The input of each target is the token before it.

    The first token of the stream has `end_of_text` as its input.
    """
    positions = starts[:, None] + np.arange(-1, length)
    ids = np.where(positions < 0, end_of_text, tokens[np.maximum(positions, 0)]).astype(np.int64)
    return torch.from_numpy(ids[:, :-1]), torch.from_numpy(ids[:, 1:])
