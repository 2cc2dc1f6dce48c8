"""Turn raw stories into the two splits of the corpus: repair, clean, drop and split by story.

If the source has its own validation stories, they are kept, and equal training stories are dropped. Otherwise whether
a story is held out depends only on (seed, text): equal stories land in the same split, and adding text does not move
existing stories.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tinylm.base.errors import UserError
from tinylm.corpus.storage import StoryWriter, remove_others, writing_stories
from tinylm.download.cleaning import clean, remove_control_characters
from tinylm.download.digests import DigestSet
from tinylm.download.mojibake import repair
from tinylm.download.params import DownloadParams
from tinylm.download.sources import Source


@dataclass
class Dropped:
    """Number of dropped stories, by reason."""

    empty: int = 0  # only white space
    too_short: int = 0  # fewer characters than `download.min_chars`
    duplicate: int = 0  # equal to an earlier story
    in_validation: int = 0  # equal to a validation story


@dataclass
class Repaired:
    """Number of repaired stories of the source, by reason."""

    mojibake: int = 0  # UTF-8 that had been decoded as Windows-1252
    control_characters: int = 0  # control characters removed


@dataclass
class Tally:
    """Counts for one split of the source: read + added_by_cutting = kept + dropped."""

    read: int = 0  # stories of the source
    added_by_cutting: int = 0  # extra stories from splitting at an end-of-text inside a story
    dropped: Dropped = field(default_factory=Dropped)
    repaired: Repaired = field(default_factory=Repaired)

    def add(self, other: "Tally") -> None:
        """Add the counts of another part of the split."""
        for ours, theirs in ((self.dropped, other.dropped), (self.repaired, other.repaired)):
            for reason, count in asdict(theirs).items():
                setattr(ours, reason, getattr(ours, reason) + count)
        self.read += other.read
        self.added_by_cutting += other.added_by_cutting


@dataclass
class Written:
    """Counts for one split of the corpus."""

    stories: int = 0
    bytes: int = 0  # of UTF-8


Side = Literal["train", "val"]


class Story(NamedTuple):
    """A story of the corpus, with its split."""

    side: Side
    text: bytes  # UTF-8


class Candidate(NamedTuple):
    """A cleaned story that was not dropped."""

    text: bytes  # UTF-8
    digest: bytes  # depends on the text and the seed


def write_corpus(source: Source, params: DownloadParams, folder: Path) -> dict[str, Any]:
    """Write `train.parquet` and `val.parquet`; return the numbers of stories written, dropped and repaired.

    Raises UserError, and writes neither file, if reading the source fails or one of the splits would be empty.
    """
    tallies: dict[Side, Tally] = {"train": Tally(), "val": Tally()}
    with writing_stories(folder / "train.parquet") as train, writing_stories(folder / "val.parquet") as val:
        for story in split(source, params, tallies["train"], tallies["val"]):
            (train if story.side == "train" else val).write(story.text)
        check_splits(source, params, tallies, train.stories, val.stories)
    for corpus in (folder / "train.parquet", folder / "val.parquet"):
        remove_others(corpus, kept=[corpus])
    sides: dict[Side, StoryWriter] = {"train": train, "val": val}
    return summarize(tallies, {side: Written(writer.stories, writer.bytes) for side, writer in sides.items()})


def summarize(tallies: Mapping[Side, Tally], written: Mapping[Side, Written]) -> dict[str, Any]:
    """Return the counts of the splits of the source and of the corpus, for the metrics."""
    return {
        **{side: asdict(counts) for side, counts in written.items()},
        "read": {side: tally.read for side, tally in tallies.items()},
        "added_by_cutting": {side: tally.added_by_cutting for side, tally in tallies.items()},
        "dropped": {side: asdict(tally.dropped) for side, tally in tallies.items()},
        "repaired": {side: asdict(tally.repaired) for side, tally in tallies.items()},
    }


def split(source: Source, params: DownloadParams, train: Tally, val: Tally) -> Iterator[Story]:
    """Yield the stories of the corpus; `train` and `val` collect the counts of those splits of the source.

    If the source has no validation split, all counts are in `train`.
    """
    if source.val is None:
        return _hold_out(select(source.train, params, train), params.val_fraction)
    return _keep_official(source.train, source.val, params, train, val)


def _keep_official(
    train: Iterable[str], val: Iterable[str], params: DownloadParams, train_tally: Tally, val_tally: Tally
) -> Iterator[Story]:
    """Yield the official validation stories, then the training stories that are not among them."""
    held_out = DigestSet()
    for text, digest in select(val, params, val_tally):
        held_out.add(digest)
        yield Story("val", text)
    for text, _ in select(train, params, train_tally, held_out if params.drop_validation_from_train else None):
        yield Story("train", text)


def threshold(val_fraction: float) -> int:
    """Return the place in [0, 2**64) below which the digests of stories are held out."""
    return int(val_fraction * 2**64)


def _hold_out(candidates: Iterable[Candidate], val_fraction: float) -> Iterator[Story]:
    """Hold out the stories whose hash is below `val_fraction`; if there are none, the story with the lowest hash.

    Until a story is held out, the one with the lowest hash so far is kept back (with its duplicates), so a few training
    stories are yielded later than they were read.
    """
    below = threshold(val_fraction)
    lowest, waiting = 2**64, list[Story]()
    none_held_out = True
    for text, digest in candidates:
        share = int.from_bytes(digest[:8], "big")  # the story's place in [0, 2**64)
        story = Story("train", text)
        if share < below:
            yield from waiting
            waiting, none_held_out = [], False
            yield story._replace(side="val")
        elif none_held_out and share <= lowest:
            if share < lowest:
                yield from waiting
                waiting = []
            lowest = share
            waiting.append(story)
        else:
            yield story
    for story in waiting:
        yield story._replace(side="val")


def select(
    raw: Iterable[str], params: DownloadParams, tally: Tally, held_out: DigestSet | None = None
) -> Iterator[Candidate]:
    """Repair and clean `raw`; drop stories as `params` specify, and those in `held_out`."""
    key = hashlib.blake2b(str(params.seed).encode()).digest()
    seen = DigestSet()
    for text in raw:
        tally.read += 1
        stories = clean(_repair(text, params, tally.repaired))
        if not stories:
            if params.drop_empty:
                tally.dropped.empty += 1
                continue
            stories = [""]
        tally.added_by_cutting += len(stories) - 1
        for story in stories:
            encoded = story.encode()
            digest = hashlib.blake2b(encoded, digest_size=16, key=key).digest()
            if story and len(story) < params.min_chars:
                tally.dropped.too_short += 1
            elif held_out is not None and digest in held_out:
                tally.dropped.in_validation += 1
            elif params.drop_duplicates and not seen.add(digest):
                tally.dropped.duplicate += 1
            else:
                yield Candidate(encoded, digest)


def _repair(text: str, params: DownloadParams, repaired: Repaired) -> str:
    """Repair mojibake and remove control characters if `params` say so; count the changed stories."""
    if params.repair_mojibake:
        before, text = text, repair(text)
        repaired.mojibake += text != before
    if params.remove_control_characters:
        before, text = text, remove_control_characters(text)
        repaired.control_characters += text != before
    return text


def check_splits(source: Source, params: DownloadParams, tallies: Mapping[Side, Tally], train: int, val: int) -> None:
    """Raise UserError if a split of the corpus is empty."""
    if train and val:
        return
    if not train + val < 2 and source.val is None:
        raise UserError(
            f"download.val_fraction: expected a fraction that leaves training stories, "
            f"got {params.val_fraction}, which holds out all {val}; lower it"
        )
    expected = "training stories" if val else "validation stories"
    if train + val < 2:
        expected = "at least 2 different stories, one for training and one for validation"
    tally = tallies["train"] if not train or source.val is None else tallies["val"]
    dropped = tally.dropped
    reasons = [f"{count} {reason.replace('_', ' ')}" for reason, count in asdict(dropped).items() if count]
    remedy = source.remedy
    if dropped.too_short and dropped.too_short >= max(asdict(dropped).values()):
        remedy = f"lower download.min_chars, which is {params.min_chars}"
    raise UserError(
        f"{source.name}: expected {expected}, got {train + val if train + val < 2 else 'none'}: of {tally.read} read, "
        f"{', '.join(reasons) or 'none'} were dropped; {remedy}"
    )
