"""What a model scores on held-out stories while it trains: some whole stories, the same ones each time.

Their tokens are scored as `evaluate` scores all, in the same windows and so with the same context
before them; of equal weights both say the same of these stories.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from tinylm.compute.distributed import World
from tinylm.model.linear_cross_entropy import linear_cross_entropies
from tinylm.model.transformer import Transformer
from tinylm.scoring.story_losses import StoryLosses
from tinylm.scoring.windows import default_stride, plan_windows, read_windows
from tinylm.tokens.store import TokenSplit

RUN = 8  # neighbouring stories: they share windows, which single stories would need for themselves


class StorySample:
    """Some stories of a split, spread evenly over it, or all of them."""

    def __init__(self, split: TokenSplit, end_of_text: int, context: int, most: int | None):
        self._ids, self._end_of_text = split.tokens, end_of_text
        tokens, text_bytes = split.story_tokens, split.story_bytes
        self.stories = choose_stories(len(tokens), most)
        self.tokens = tokens[self.stories]
        self.text_bytes = None if text_bytes is None else text_bytes[self.stories]
        place = np.full(len(tokens), -1)
        place[self.stories] = np.arange(len(self.stories))
        self._story = np.repeat(place, tokens)  # (tokens,) place in the sample of each token's story, or -1
        self._length = min(context, len(split.tokens))
        starts, fresh = plan_windows(len(split.tokens), self._length, default_stride(self._length))
        needed = np.maximum.reduceat(self._story, starts + fresh) >= 0
        self._starts, self._fresh = starts[needed], fresh[needed]

    @torch.no_grad()
    def score(self, model: Transformer, batch: int, world: World) -> StoryLosses:
        """Score the stories, `batch` windows at once; each process scores its share and all get the sum."""
        nats = np.zeros(len(self.stories))
        for first in range(world.rank * batch, len(self._starts), world.size * batch):
            window = slice(first, first + batch)
            story, values = self._score_windows(model, self._starts[window], self._fresh[window])
            nats += np.bincount(story, values, len(self.stories))
        return self.losses(world.sum(torch.from_numpy(nats)).numpy())

    def _score_windows(
        self, model: Transformer, starts: NDArray[np.int64], fresh: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Of the tokens that these windows score: places of their stories, and nats. Others have no logits."""
        ids, targets = read_windows(self._ids, starts, self._length, self._end_of_text)
        places = np.arange(self._length)
        story = self._story[starts[:, None] + places]
        wanted = np.flatnonzero((places >= fresh[:, None]) & (story >= 0))
        device, rows = model.embedding.weight.device, torch.from_numpy(wanted)
        hidden = model.hidden(model.embed(ids.to(device))).flatten(0, 1)[rows.to(device)]
        nats = linear_cross_entropies(hidden, model.head.weight.to(hidden.dtype), targets.flatten()[rows].to(device))
        return story.ravel()[wanted], nats.float().cpu().numpy()

    def losses(self, nats: NDArray[np.float64]) -> StoryLosses:
        """The losses of the sample's stories, (stories,)."""
        return StoryLosses(nats, self.tokens, self.text_bytes)


def choose_stories(stories: int, most: int | None) -> NDArray[np.int64]:
    """`most` of so many stories, in runs of neighbours that are spread evenly; all where there are not as many."""
    most = min(most or stories, stories)
    runs, blocks = -(-most // RUN), -(-stories // RUN)
    first = np.arange(runs) * blocks // runs * RUN
    chosen = (first[:, None] + np.arange(RUN)).ravel()
    return chosen[chosen < stories][:most]
