"""Which sequences of the token stream make the batch of a step.

Every choice is a pure function of (seed, step, row): it does not depend on what was drawn before,
on the number of processes, or on micro-batches, so that a run can start at any step.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinylm.base.errors import UserError
from tinylm.compute.counter_rng import Ints, hash_counters

SHORTEST_CONTEXT = 32


@dataclass(frozen=True, eq=False)
class RandomSequences:
    """Sequences that start anywhere, or where any story starts, drawn with replacement."""

    tokens: int  # in the stream
    context: int  # a sequence is one token longer: its targets are shifted by one
    seed: int
    story_starts: NDArray[np.unsignedinteger] | None = None  # None: anywhere

    @property
    def per_epoch(self) -> float:
        """Sequences that together are as long as the stream: what an epoch is where nothing comes in turn."""
        return self.tokens / self.context

    def starts(self, step: int, rows: Ints, batch_size: int) -> NDArray[np.int64]:
        """First token of the sequences at `rows` (positions in the global batch) of `step`."""
        draws = hash_counters(self.seed, step, rows)
        if self.story_starts is None:
            return (draws % np.uint64(self.tokens - self.context)).astype(np.int64)
        return self.story_starts[draws % np.uint64(len(self.story_starts))].astype(np.int64)


@dataclass(frozen=True, eq=False)
class StridedSequences:
    """Sequences every `stride` tokens, or one for each story; each epoch is a new order of all of them.

    The last of the former is moved back to end with the stream, so that an epoch leaves no token out.
    The order is computed and not stored.
    """

    tokens: int
    context: int
    seed: int
    stride: int
    story_starts: NDArray[np.unsignedinteger] | None = None  # None: every `stride` tokens

    @property
    def per_epoch(self) -> int:
        if self.story_starts is None:
            return 1 + math.ceil(self._last_start / self.stride)
        return len(self.story_starts)

    def starts(self, step: int, rows: Ints, batch_size: int) -> NDArray[np.int64]:
        epoch, place = np.divmod(np.uint64(step * batch_size) + rows, np.uint64(self.per_epoch))
        index = permute(place, epoch, self.per_epoch, self.seed)
        if self.story_starts is None:
            return np.minimum(index * np.uint64(self.stride), np.uint64(self._last_start)).astype(np.int64)
        return self.story_starts[index].astype(np.int64)

    @property
    def _last_start(self) -> int:
        """Start of the sequence whose last target is the last token."""
        return self.tokens - self.context - 1


def permute(index: Ints, epoch: Ints, size: int, seed: int) -> Ints:
    """Where `index` stands in the order of `epoch`: a permutation of range(size) for each epoch.

    A Feistel network permutes the next even power of two; what falls outside walks on along its
    cycle until it is inside (Black & Rogaway 2002, "Ciphers with arbitrary finite domains").
    """
    half = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    result = index.copy()
    walking = np.ones(index.shape, bool)
    while walking.any():
        left, right = result[walking] >> half, result[walking] & mask
        for turn in range(4):
            left, right = right, left ^ (hash_counters(seed, epoch[walking], turn, right) & mask)
        result[walking] = (left << half) | right
        walking = result >= np.uint64(size)
    return result


Sequences = RandomSequences | StridedSequences


def starts_with_room(offsets: NDArray[np.uint64], tokens: int, context: int) -> NDArray[np.uint64]:
    """The `offsets` of stories (ascending, from 0) at which a sequence and its last target fit into the stream."""
    return offsets[: np.searchsorted(offsets, tokens - context)]


def fit_context(context: int, tokens: int) -> int:
    """`context`, or the longest that a stream of `tokens` can fill. Raises UserError below 32."""
    fitting = min(context, tokens - 1)
    if fitting < SHORTEST_CONTEXT:
        raise UserError(f"expected at least {SHORTEST_CONTEXT + 1} training tokens, got {tokens}; bring more text")
    return fitting


class ResidentTokens:
    """A token stream in a GPU's memory, where batches are gathered without a copy from the host."""

    def __init__(self, tokens: NDArray[np.unsignedinteger], device: torch.device):
        signed = tokens.view(f"i{tokens.itemsize}")  # torch indexes signed integers alone
        self.tokens, self.mask = torch.from_numpy(np.array(signed)).to(device), (1 << 8 * tokens.itemsize) - 1

    def gather(self, starts: NDArray[np.int64], context: int) -> tuple[Tensor, Tensor]:
        """What `gather` gives, on the device."""
        device = self.tokens.device
        places = torch.from_numpy(starts).to(device, non_blocking=True)[:, None] + torch.arange(
            context + 1, device=device
        )
        sequences = self.tokens[places].long() & self.mask
        return sequences[:, :-1], sequences[:, 1:]


def gather(tokens: NDArray[np.unsignedinteger], starts: NDArray[np.int64], context: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets (rows, context), int64: the targets are the inputs moved by one token."""
    sequences = tokens[starts[:, None] + np.arange(context + 1)]
    sequences = torch.from_numpy(sequences.astype(np.int64))
    return sequences[:, :-1], sequences[:, 1:]
