"""The embedded source of stories: a seeded grammar, so that the pipeline runs without a network."""

import hashlib
from collections.abc import Iterator

from tinylm.download.sample.notation import Teller
from tinylm.download.sample.phrases import PHRASES
from tinylm.download.sample.plots import PLOTS

REDRAWS = 16  # attempts at a story that has not been told before


def stories(count: int, seed: int) -> Iterator[str]:
    """Yield `count` stories, all different; the same ones for a seed on every machine and Python version.

    Story i comes from (seed, i) alone unless an earlier story was equal, so the first n stories are
    the same for every count. Raises ValueError when the grammar has no more to tell.
    """
    if count < 0 or seed < 0:
        raise ValueError(f"stories: expected count and seed of at least 0, got count {count} and seed {seed}")
    told: set[bytes] = set()
    for index in range(count):
        for attempt in range(REDRAWS):
            text = story(seed, index, attempt)
            digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
            if digest not in told:
                break
        else:
            raise ValueError(f"stories: expected {count} different stories, the grammar gave {index}; ask for fewer")
        told.add(digest)
        yield text


def story(seed: int, index: int, attempt: int = 0) -> str:
    """One story; the three numbers side by side make the teller's key, so no two stories share one."""
    teller = Teller((seed << 64) | (index << 16) | attempt, PHRASES)
    return teller.tell(teller.pick(PLOTS)(teller))
