"""Training sequences: which slices of the token stream make up the batch of a step.

Every choice is a pure function of (seed, step, row). It does not depend on earlier draws, on the number of
processes or on the micro-batch size, so a run can resume at any step.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinylm.base.errors import UserError
from tinylm.compute.counter_rng import Ints, hash_counters
from tinylm.tokens.shards import Ids, Offsets

SHORTEST_CONTEXT = 32
FEISTEL_ROUNDS = 4


@dataclass(frozen=True, eq=False)
class RandomSequences:
    """Sequences drawn with replacement, starting at any token or at any story."""

    tokens: int  # in the stream
    context: int  # a sequence is one token longer, because targets are shifted by one
    seed: int
    story_starts: Offsets | None = None  # None: start at any token

    @property
    def per_epoch(self) -> float:
        """How many sequences are as long as the whole stream; random draws have no other notion of an epoch."""
        return self.tokens / self.context

    def starts(self, step: int, rows: Ints, batch_size: int) -> NDArray[np.int64]:
        """First token of each sequence at `rows` (positions in the global batch) of `step`, (rows,)."""
        draws = hash_counters(self.seed, step, rows)
        if self.story_starts is None:
            return (draws % np.uint64(self.tokens - self.context)).astype(np.int64)
        return self.story_starts[draws % np.uint64(len(self.story_starts))].astype(np.int64)


@dataclass(frozen=True, eq=False)
class StridedSequences:
    """Sequences every `stride` tokens, or one per story; each epoch visits all of them in a new order.

    With a stride, the last sequence is moved back to end with the stream, so that an epoch covers every token.
    The order is computed on the fly rather than stored.
    """

    tokens: int  # in the stream
    context: int
    seed: int
    stride: int
    story_starts: Offsets | None = None  # None: every `stride` tokens

    @property
    def per_epoch(self) -> int:
        """Sequences in an epoch."""
        if self.story_starts is None:
            return 1 + math.ceil(self._last_start / self.stride)
        return len(self.story_starts)

    def starts(self, step: int, rows: Ints, batch_size: int) -> NDArray[np.int64]:
        """First token of each sequence at `rows` (positions in the global batch) of `step`, (rows,)."""
        epoch, position = np.divmod(np.uint64(step * batch_size) + rows, np.uint64(self.per_epoch))
        index = permute(position, epoch, self.per_epoch, self.seed)
        if self.story_starts is None:
            return np.minimum(index * np.uint64(self.stride), np.uint64(self._last_start)).astype(np.int64)
        return self.story_starts[index].astype(np.int64)

    @property
    def _last_start(self) -> int:
        """Start of the sequence whose last target is the last token of the stream."""
        return self.tokens - self.context - 1


def permute(position: Ints, epoch: Ints, size: int, seed: int) -> Ints:
    """Which index is at `position` in the order of `epoch`; each epoch is another permutation of range(size).

    A Feistel network permutes the smallest range of 2^(2k) numbers that contains range(size). An output beyond
    `size` is permuted again until it is below (cycle walking; Black & Rogaway 2002, "Ciphers with arbitrary finite
    domains").
    """
    half = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))  # k bits
    mask = (np.uint64(1) << half) - np.uint64(1)
    index = position.copy()
    walking = np.ones(position.shape, bool)
    while walking.any():
        left, right = index[walking] >> half, index[walking] & mask
        for number in range(FEISTEL_ROUNDS):
            left, right = right, left ^ (hash_counters(seed, epoch[walking], number, right) & mask)
        index[walking] = (left << half) | right
        walking = index >= np.uint64(size)
    return index


Sequences = RandomSequences | StridedSequences


def starts_with_room(offsets: Offsets, tokens: int, context: int) -> Offsets:
    """Those story `offsets` (ascending, from 0) at which a sequence and its last target fit into the stream."""
    return offsets[: bisect_left(offsets, tokens - context)]  # reads a few, where there may be billions


def fit_context(context: int, tokens: int) -> int:
    """`context`, or less if the stream has fewer than `context` + 1 tokens. Raises UserError below 32."""
    fitting = min(context, tokens - 1)
    if fitting < SHORTEST_CONTEXT:
        raise UserError(f"expected at least {SHORTEST_CONTEXT + 1} training tokens, got {tokens}; provide more text")
    return fitting


class ResidentTokens:
    """A token stream in GPU memory, where batches are gathered without a copy from the host."""

    def __init__(self, tokens: Ids, device: torch.device):
        signed = np.array(tokens).view(f"i{tokens.itemsize}")  # torch indexes only signed integers
        self.tokens, self.mask = torch.from_numpy(signed).to(device), (1 << 8 * tokens.itemsize) - 1

    def gather(self, starts: NDArray[np.int64], context: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets as the function `gather` returns them, on the device."""
        device = self.tokens.device
        positions = torch.from_numpy(starts).to(device, non_blocking=True)[:, None] + torch.arange(
            context + 1, device=device
        )
        sequences = self.tokens[positions].long() & self.mask
        return sequences[:, :-1], sequences[:, 1:]


def gather(tokens: Ids, starts: NDArray[np.int64], context: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets, each (rows, context) int64; the targets are the inputs shifted by one token."""
    sequences = tokens[starts[:, None] + np.arange(context + 1)]
    sequences = torch.from_numpy(sequences.astype(np.int64))
    return sequences[:, :-1], sequences[:, 1:]
