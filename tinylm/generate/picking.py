"""Pick random stories of a corpus without reading all of it."""

from bisect import bisect_right
from itertools import accumulate
from pathlib import Path

import numpy as np

from tinylm.compute.counter_rng import hash_counters
from tinylm.corpus.storage import read_row_group, row_groups


def pick_stories(corpus: Path, count: int, seed: int) -> list[str]:
    """Return `count` random stories of a split in their order, or all if there are fewer.

    Raises UserError if a file is missing or damaged.
    """
    groups = row_groups(corpus)
    ends = list(accumulate(group.stories for group in groups))
    order = np.argsort(hash_counters(seed, np.arange(ends[-1], dtype=np.uint64)), kind="stable")
    stories: list[str] = []
    read, group = -1, []
    for row in sorted(order[:count].tolist()):
        index = bisect_right(ends, row)
        if index != read:
            read, group = index, read_row_group(groups[index])
        stories.append(group[row - ends[index]].decode())
    return stories
