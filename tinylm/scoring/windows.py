"""Sliding windows over a stream of ids; they overlap, so that tokens are scored with context."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinylm.tokens.shards import Ids


def default_stride(context: int) -> int:
    """Return the stride at which all tokens, except those of the first window, have at least half the context."""
    return max(1, context // 2)


def plan_windows(tokens: int, length: int, stride: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (start of each window, first position in each window that no earlier window scores), both (windows,).

    Moves the last window back to end with the stream, so that all windows have `length` tokens.
    """
    return place_windows(np.arange(1 + math.ceil((tokens - length) / stride)), tokens, length, stride)


def place_windows(
    windows: NDArray[np.int64], tokens: int, length: int, stride: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what `plan_windows` does of the windows of these numbers only."""
    starts = np.minimum(windows * stride, tokens - length)
    return starts, np.where(windows == 0, 0, (windows - 1) * stride + length - starts)


def windows_that_score(
    firsts: NDArray[np.int64], ends: NDArray[np.int64], length: int, stride: int
) -> NDArray[np.int64]:
    """Return the numbers of the windows that score any token of the stretches from `firsts` to before `ends`.

    The stretches ascend and do not overlap. Each window is named once; the numbers ascend.
    """

    def scoring(positions: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(positions < length, 0, (positions - length) // stride + 1)

    first, last = scoring(firsts), scoring(ends - 1)
    counts = last - first + 1
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.unique(np.repeat(first, counts) + within)


def read_windows(tokens: Ids, starts: NDArray[np.int64], length: int, end_of_text: int) -> tuple[Tensor, Tensor]:
    """Return inputs and targets, (windows, length) in int64. The input of each target is the token before it.

    The first token of the stream has `end_of_text` as its input.
    """
    positions = starts[:, None] + np.arange(-1, length)
    ids = np.where(positions < 0, end_of_text, tokens[np.maximum(positions, 0)]).astype(np.int64)
    return torch.from_numpy(ids[:, :-1]), torch.from_numpy(ids[:, 1:])
