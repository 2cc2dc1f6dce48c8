"""Pick random stories of a corpus without reading all of it."""

from bisect import bisect_right
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tinylm.compute.counter_rng import hash_counters
from tinylm.corpus.storage import count_row_groups, read_row_group


def pick_stories(path: Path, count: int, seed: int) -> list[str]:
    """Return `count` random stories in the order of the file, or all if there are fewer.

    Raises UserError if the file is missing or damaged.
    """
    groups = count_row_groups(path)
    metadata = pq.read_metadata(path)
    ends = list(accumulate(metadata.row_group(group).num_rows for group in range(groups)))
    order = np.argsort(hash_counters(seed, np.arange(ends[-1], dtype=np.uint64)), kind="stable")
    stories: list[str] = []
    read, group = -1, []
    for row in sorted(order[:count].tolist()):
        index = bisect_right(ends, row)
        if index != read:
            read, group = index, read_row_group(path, index)
        stories.append(group[row - ends[index]].decode())
    return stories
