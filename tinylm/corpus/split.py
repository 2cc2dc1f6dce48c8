"""Raw stories to the two sides of the corpus: cleaned, without duplicates, split by story.

Where the source has validation stories of its own, those are kept, and equal training stories are
dropped. Where it has none, a story is held out as a function of (seed, text) alone: equal stories
fall on one side, and more text moves none of those that were there.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tinylm.corpus.cleaning import clean
from tinylm.corpus.digests import DigestSet
from tinylm.corpus.sources import Source
from tinylm.corpus.storage import writing_stories
from tinylm.errors import UserError


@dataclass
class Dropped:
    """Stories that were left out, by reason."""

    empty: int = 0  # nothing but white space
    duplicate: int = 0  # equal to an earlier story
    in_validation: int = 0  # equal to a validation story


@dataclass
class Tally:
    """What became of one side of the source: read + added_by_cutting = kept + dropped."""

    read: int = 0  # stories as the source gave them
    added_by_cutting: int = 0  # more stories than were read, since end-of-text stood inside of one
    dropped: Dropped = field(default_factory=Dropped)


class Story(NamedTuple):
    side: Literal["train", "val"]
    text: bytes  # UTF-8


class Candidate(NamedTuple):
    text: bytes  # UTF-8
    digest: bytes  # depends on the text and the seed


def write_corpus(source: Source, val_fraction: float, seed: int, folder: Path) -> dict[str, Any]:
    """Write `train.parquet` and `val.parquet`; return their counts and what was dropped.

    Neither appears where the source breaks off or leaves one of them empty: that raises UserError.
    """
    tallies = {"train": Tally(), "val": Tally()}
    with writing_stories(folder / "train.parquet") as train, writing_stories(folder / "val.parquet") as val:
        for story in split(source, val_fraction, seed, tallies["train"], tallies["val"]):
            (train if story.side == "train" else val).write(story.text)
        _check(source, val_fraction, tallies["train"], train.stories, val.stories)
    return {
        "train": {"stories": train.stories, "bytes": train.bytes},
        "val": {"stories": val.stories, "bytes": val.bytes},
        "read": {side: tally.read for side, tally in tallies.items()},
        "added_by_cutting": {side: tally.added_by_cutting for side, tally in tallies.items()},
        "dropped": {side: asdict(tally.dropped) for side, tally in tallies.items()},
    }


def split(source: Source, val_fraction: float, seed: int, train: Tally, val: Tally) -> Iterator[Story]:
    """Yield the stories of the corpus, counting in `train` and `val` what comes from those sides of the source."""
    key = hashlib.blake2b(str(seed).encode()).digest()
    if source.val is None:
        return _hold_out(_distinct(source.train, key, train, DigestSet()), val_fraction)
    return _keep_official(source.train, source.val, key, train, val)


def _keep_official(
    train: Iterable[str], val: Iterable[str], key: bytes, train_tally: Tally, val_tally: Tally
) -> Iterator[Story]:
    held_out = DigestSet()
    for text, _ in _distinct(val, key, val_tally, held_out):
        yield Story("val", text)
    for text, _ in _distinct(train, key, train_tally, DigestSet(), held_out):
        yield Story("train", text)


def _hold_out(candidates: Iterable[Candidate], val_fraction: float) -> Iterator[Story]:
    """Hold out what lies below the fraction; the lowest story, where that is none.

    As long as none is held out, the lowest so far waits, so a few training stories may come later
    than they were read.
    """
    threshold = int(val_fraction * 2**64)
    lowest: tuple[int, Story] | None = None
    none_held_out = True
    for text, digest in candidates:
        share = int.from_bytes(digest[:8], "big")  # the story's place in [0, 2**64)
        story = Story("train", text)
        if share < threshold:
            if lowest:
                yield lowest[1]
            lowest, none_held_out = None, False
            yield story._replace(side="val")
        elif none_held_out and (lowest is None or share < lowest[0]):
            if lowest:
                yield lowest[1]
            lowest = (share, story)
        else:
            yield story
    if lowest:
        yield lowest[1]._replace(side="val")


def _distinct(
    raw: Iterable[str], key: bytes, tally: Tally, seen: DigestSet, held_out: DigestSet | None = None
) -> Iterator[Candidate]:
    """Clean `raw`, drop what is empty, in `held_out` or in `seen`, and add the others to `seen`."""
    for text in raw:
        tally.read += 1
        stories = clean(text)
        if not stories:
            tally.dropped.empty += 1
            continue
        tally.added_by_cutting += len(stories) - 1
        for story in stories:
            encoded = story.encode()
            digest = hashlib.blake2b(encoded, digest_size=16, key=key).digest()
            if held_out is not None and digest in held_out:
                tally.dropped.in_validation += 1
            elif not seen.add(digest):
                tally.dropped.duplicate += 1
            else:
                yield Candidate(encoded, digest)


def _check(source: Source, val_fraction: float, tally: Tally, train: int, val: int) -> None:
    """Raise UserError for a corpus with nothing to train on or nothing to validate on."""
    if train and val:
        return
    if train + val < 2:
        raise UserError(
            f"{source.name}: expected at least 2 different stories, one to train on and one to validate on, "
            f"got {train + val}; {source.remedy}"
        )
    if source.val is None:
        raise UserError(
            f"download.val_fraction: expected a share that leaves stories to train on, "
            f"got {val_fraction}, which holds out all {val}; lower it"
        )
    if not val:
        raise UserError(f"{source.name}: expected validation stories, all were empty; {source.remedy}")
    raise UserError(
        f"{source.name}: expected stories to train on, but of {tally.read} read {tally.dropped.in_validation} stand in "
        f"validation too and {tally.dropped.empty} are empty; {source.remedy}"
    )
