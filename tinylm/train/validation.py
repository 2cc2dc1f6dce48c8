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
from tinylm.scoring.windows import default_stride, plan_windows, read_windows
from tinylm.tokens.store import TokenSplit

RUN = 8  # neighbouring stories in a run: they share windows, of which isolated stories would need more


class StorySample:
    """At most `most` stories of a split, spread evenly over it; None: all of them."""

    def __init__(self, split: TokenSplit, end_of_text: int, context: int, most: int | None):
        self._ids, self._end_of_text = split.tokens, end_of_text
        tokens, text_bytes = split.story_tokens, split.story_bytes
        self.stories = choose_stories(len(tokens), most)
        self.tokens = tokens[self.stories]
        self.text_bytes = None if text_bytes is None else text_bytes[self.stories]
        index = np.full(len(tokens), -1)
        index[self.stories] = np.arange(len(self.stories))
        self._story = np.repeat(index, tokens)  # (tokens,) index in the sample of each token's story, or -1
        self._length = min(context, len(split.tokens))
        starts, fresh = plan_windows(len(split.tokens), self._length, default_stride(self._length))
        needed = np.maximum.reduceat(self._story, starts + fresh) >= 0
        self._starts, self._fresh = starts[needed], fresh[needed]

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
        story = self._story[starts[:, None] + positions]
        wanted = np.flatnonzero((positions >= fresh[:, None]) & (story >= 0))
        device = model.embedding.weight.device
        nats = model.token_losses(ids.to(device), targets.to(device), torch.from_numpy(wanted).to(device))
        return story.ravel()[wanted], nats.float().cpu().numpy()

    def losses(self, nats: NDArray[np.float64]) -> StoryLosses:
        """The losses of the sample from the total of each story, (stories,) [nats]."""
        return StoryLosses(nats, self.tokens, self.text_bytes)


def choose_stories(stories: int, most: int | None) -> NDArray[np.int64]:
    """Indices of at most `most` of `stories`, ascending: runs of neighbours, spread evenly. None: all."""
    most = min(most or stories, stories)
    runs, blocks = -(-most // RUN), -(-stories // RUN)
    first = np.arange(runs) * blocks // runs * RUN
    chosen = (first[:, None] + np.arange(RUN)).ravel()
    return chosen[chosen < stories][:most]
