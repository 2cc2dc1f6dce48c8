"""Validation during training: the losses of a sample of held-out stories, always the same whole ones.

Their tokens are scored as stage evaluate scores the whole split: in the same windows, so with the same context. For
equal weights both report the same losses of these stories.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from tinylm.compute.distributed import World
from tinylm.model.transformer import Transformer
from tinylm.scoring.story_losses import StoryLosses
from tinylm.scoring.windows import default_stride, place_windows, read_windows, windows_that_score
from tinylm.tokens.shards import Offsets
from tinylm.tokens.store import TokenSplit

RUN = 8  # neighbouring stories in a run: they share windows, of which isolated stories would need more


class StorySample:
    """At most `most` stories of a split, spread evenly over it; None: all of them."""

    def __init__(self, split: TokenSplit, end_of_text: int, context: int, most: int | None):
        self._ids, self._end_of_text = split.tokens, end_of_text
        self.stories = choose_stories(len(split.offsets) - 1, most)
        self._firsts, self._ends = ends_of(split.offsets, self.stories)
        self.tokens = self._ends - self._firsts
        starts, ends = ends_of(split.text_offsets, self.stories)
        self.text_bytes = ends - starts if split.info.lossless else None
        tokens = len(split.tokens)
        self._length = min(context, tokens)
        stride = default_stride(self._length)
        windows = windows_that_score(self._firsts, self._ends, self._length, stride)
        self._starts, self._fresh = place_windows(windows, tokens, self._length, stride)

    @torch.no_grad()
    def score(self, model: Transformer, batch: int, world: World) -> StoryLosses:
        """Score the stories, `batch` windows at a time. Each process scores its share; all return the total.

        A process that has no windows left in the last round scores some that are not counted: the processes gather
        sharded weights together, or wait for each other forever.
        """
        nats = np.zeros(len(self.stories))
        for round_ in range(0, len(self._starts), world.size * batch):
            first = round_ + world.rank * batch
            counted = first < len(self._starts)
            windows = slice(first, first + batch) if counted else slice(1)
            story, values = self._score_windows(model, self._starts[windows], self._fresh[windows])
            if counted:
                nats += np.bincount(story, values, len(self.stories))
        return self.losses(world.sum(torch.from_numpy(nats)).numpy())

    def _score_windows(
        self, model: Transformer, starts: NDArray[np.int64], fresh: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """For each token of the sample that these windows score: its story's index in the sample, and its loss [nats].

        Logits are computed for these tokens only.
        """
        ids, targets = read_windows(self._ids, starts, self._length, self._end_of_text)
        positions = np.arange(self._length)
        story = self._stories_at(starts[:, None] + positions)
        wanted = np.flatnonzero((positions >= fresh[:, None]) & (story >= 0))
        device = model.embedding.weight.device
        nats = model.token_losses(ids.to(device), targets.to(device), torch.from_numpy(wanted).to(device))
        return story.ravel()[wanted], nats.float().cpu().numpy()

    def _stories_at(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The index in the sample of the story at each position of the stream, or -1."""
        story = np.searchsorted(self._firsts, positions, side="right") - 1
        return np.where(positions < self._ends[story], story, -1)

    def losses(self, nats: NDArray[np.float64]) -> StoryLosses:
        """The losses of the sample from the total of each story, (stories,) [nats]."""
        return StoryLosses(nats, self.tokens, self.text_bytes)


def ends_of(offsets: Offsets, stories: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where these stories start and end, both (stories,)."""
    return offsets[stories].astype(np.int64), offsets[stories + 1].astype(np.int64)


def choose_stories(stories: int, most: int | None) -> NDArray[np.int64]:
    """Indices of at most `most` of `stories`, ascending: runs of neighbours, spread evenly. None: all."""
    most = min(most or stories, stories)
    runs, blocks = -(-most // RUN), -(-stories // RUN)
    first = np.arange(runs) * blocks // runs * RUN
    chosen = (first[:, None] + np.arange(RUN)).ravel()
    return chosen[chosen < stories][:most]
