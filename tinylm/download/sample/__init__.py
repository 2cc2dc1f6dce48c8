"""The built-in source of stories: a seeded grammar, so that the pipeline runs without a network."""

import hashlib
from collections.abc import Iterator

from tinylm.download.sample.notation import Teller
from tinylm.download.sample.phrases import PHRASES
from tinylm.download.sample.plots import PLOTS

REDRAWS = 16  # attempts to generate a story that is new


def stories(count: int, seed: int) -> Iterator[str]:
    """Yield `count` distinct stories; a seed gives the same stories on every machine and Python version.

    Story i depends only on (seed, i), unless it equals an earlier story and is drawn again, so the first n stories are
    the same for every count. Raises ValueError if the grammar has too few distinct stories.
    """
    if count < 0 or seed < 0:
        raise ValueError(f"stories: expected count and seed of at least 0, got count {count} and seed {seed}")
    seen: set[bytes] = set()
    for index in range(count):
        for attempt in range(REDRAWS):
            text = story(seed, index, attempt)
            digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
            if digest not in seen:
                break
        else:
            raise ValueError(f"stories: expected {count} different stories, the grammar gave {index}; ask for fewer")
        seen.add(digest)
        yield text


def story(seed: int, index: int, attempt: int = 0) -> str:
    """Return one story; the generator's key is the three numbers side by side, so no two stories share a key."""
    teller = Teller((seed << 64) | (index << 16) | attempt, PHRASES)
    return teller.tell(teller.pick(PLOTS)(teller))
