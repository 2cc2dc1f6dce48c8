"""The windows in which a stream of ids is scored: they overlap, so that tokens have others before them."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def default_stride(context: int) -> int:
    """At which every token but the first ones has at least half of the context before it."""
    return max(1, context // 2)


def plan_windows(tokens: int, length: int, stride: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(starts of the windows, first place in each that no window before it scored).

    The last window is moved back to end with the text, so that all are whole.
    """
    count = 1 + math.ceil((tokens - length) / stride)
    starts = np.minimum(np.arange(count) * stride, tokens - length)
    scored_before = np.concatenate([[0], starts[:-1] + length])
    return starts, scored_before - starts


def read_windows(
    tokens: NDArray[np.unsignedinteger], starts: NDArray[np.int64], length: int, end_of_text: int
) -> tuple[Tensor, Tensor]:
    """Inputs and targets (windows, length): the targets are the tokens, the inputs those before them."""
    places = starts[:, None] + np.arange(-1, length)
    ids = np.where(places < 0, end_of_text, tokens[np.maximum(places, 0)]).astype(np.int64)
    return torch.from_numpy(ids[:, :-1]), torch.from_numpy(ids[:, 1:])
