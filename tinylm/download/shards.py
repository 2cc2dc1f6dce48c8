"""Turn files of any total size into a corpus in shards, in several processes or on a cluster.

Files are put together, in their order, into parts, and each part becomes a shard. The stories of each part are cleaned
and written by themselves; then duplicates are found over all parts, by the digests of the stories; then each shard is
written without what is dropped. Which stories are kept, and in which split, is as in a corpus of one file (split.py).
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinylm.base import atomic
from tinylm.base.stage import log
from tinylm.corpus.storage import place_split, read_row_group, row_groups, writing_stories
from tinylm.download import files
from tinylm.download.files import TextFile
from tinylm.download.params import DownloadParams
from tinylm.download.sources import Source, source_of_files
from tinylm.download.split import Side, Tally, Written, check_splits, select, summarize, threshold
from tinylm.workers.workers import Workers

DIGESTS_AT_ONCE = 1 << 23  # looked through for duplicates by one worker, in half a gigabyte of memory
MB = 1_000_000  # bytes
Rows = NDArray[np.int64]  # ascending numbers of stories in a part


@dataclass(frozen=True)
class Part:
    """Files of the source that become a shard."""

    side: Side  # split of the source
    index: int
    files: tuple[TextFile, ...]
    stories: int | None = None  # how many to read, before cleaning; None: all

    @property
    def name(self) -> str:
        return f"{self.side}-{self.index:05}"


@dataclass(frozen=True)
class Cleaned:
    """A part whose stories are cleaned and written, with duplicates and in one file for both splits."""

    part: Part
    tally: Tally
    stories: int
    lowest: int  # place of the lowest digest in [0, 2**64); the last one without stories
    described: list[dict[str, Any]]  # the files, for the metrics


class Dropped(NamedTuple):
    """Stories of a part that are left out."""

    duplicate: Rows
    in_validation: Rows


def write_shards(params: DownloadParams, root: Path, folder: Path, workers: Workers) -> tuple[Source, dict[str, Any]]:
    """Write the shards of both splits; return the source, and the counts as `write_corpus` does.

    Raises UserError, and writes no file, if a file cannot be read, workers died, or one of the splits would be empty.
    """
    val = make_parts("val", files.find(params.val_paths, root, "download.val_paths"), params)
    train = make_parts("train", files.find(params.paths, root, "download.paths"), params)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".parts-", dir=folder) as parts:
        temporary = Path(parts)
        cleaned = [*_clean_parts(temporary, val, params, workers), *_clean_parts(temporary, train, params, workers)]
        dropped = _find_dropped(temporary, cleaned, params, workers)
        highest = None if val else max(threshold(params.val_fraction) - 1, min(part.lowest for part in cleaned))
        items = list(zip((result.part for result in cleaned), dropped, strict=True))
        counts = list(workers.map(partial(_make_writing, temporary, highest), items))
        tallies, written = _tallies(cleaned, dropped), _totals(counts)
        source = source_of_files((), () if val else None, _provenance(cleaned))
        check_splits(source, params, tallies, written["train"].stories, written["val"].stories)
        for side in written:
            names = [result.part.name for result, sides in zip(cleaned, counts, strict=True) if sides[side].stories]
            place_split(folder / f"{side}.parquet", [_shard(temporary, name, side) for name in names])
    return source, summarize(tallies, written)


def make_parts(side: Side, found: Sequence[TextFile], params: DownloadParams) -> list[Part]:
    """Put files together, in their order, until a part has `download.shard_mb`; a file is never cut."""
    assert params.shard_mb
    parts, files_, size = list[Part](), list[TextFile](), 0
    for number, file in enumerate(found, start=1):
        files_.append(file)
        size += file.path.stat().st_size
        if size >= params.shard_mb * MB or number == len(found):
            parts.append(Part(side, len(parts), tuple(files_)))
            files_, size = [], 0
    return parts


def _tallies(cleaned: Sequence[Cleaned], dropped: Sequence[Dropped]) -> dict[Side, Tally]:
    """Return the counts of the splits of the source."""
    tallies: dict[Side, Tally] = {"train": Tally(), "val": Tally()}
    for result, left_out in zip(cleaned, dropped, strict=True):
        tally = tallies[result.part.side]
        tally.add(result.tally)
        tally.dropped.duplicate += len(left_out.duplicate)
        tally.dropped.in_validation += len(left_out.in_validation)
    return tallies


def _totals(counts: Sequence[dict[Side, Written]]) -> dict[Side, Written]:
    """Return the counts of the splits of the corpus."""
    totals: dict[Side, Written] = {"train": Written(), "val": Written()}
    for sides in counts:
        for side, count in sides.items():
            totals[side].stories += count.stories
            totals[side].bytes += count.bytes
    return totals


def _provenance(cleaned: Sequence[Cleaned]) -> dict[str, Any]:
    """Return what identifies the text: the files that were read."""
    sides: dict[Side, list[dict[str, Any]]] = {"train": [], "val": []}
    for result in cleaned:
        sides[result.part.side] += result.described
    return {"paths": sides["train"], "val_paths": sides["val"]}


def _clean_parts(folder: Path, parts: Sequence[Part], params: DownloadParams, workers: Workers) -> list[Cleaned]:
    """Clean parts until they have as many stories of the source as `params` ask for."""
    results, make_work = list[Cleaned](), partial(_make_cleaning, folder, params)
    room = params.max_stories if parts and parts[0].side == "train" else None
    with closing(workers.map(make_work, parts)) as cleaned:
        for result in cleaned:
            if room is not None and result.tally.read >= room:
                results.append(_clean(folder, params, replace(result.part, stories=room)))
                break
            room = room and room - result.tally.read
            results.append(result)
            log.info("%s: cleaned, %d of %d parts", result.part.files[0].name, len(results), len(parts))
    return results


def _make_cleaning(folder: Path, params: DownloadParams) -> Callable[[Part], Cleaned]:
    return partial(_clean, folder, params)


def _clean(folder: Path, params: DownloadParams, part: Part) -> Cleaned:
    """Write the cleaned stories of a part and their digests, with duplicates."""
    raw = islice(files.read(part.files, params.separator, params.text_field), part.stories)
    tally, lowest = Tally(), b"\xff" * 16
    with (
        writing_stories(_stories(folder, part)) as stories,
        atomic.replacing(_digests(folder, part)) as temporary,
        open(temporary, "wb") as digests,
    ):
        for text, digest in select(raw, params.model_copy(update={"drop_duplicates": False}), tally):
            stories.write(text)
            digests.write(digest)
            lowest = min(lowest, digest)
    return Cleaned(part, tally, stories.stories, int.from_bytes(lowest[:8], "big"), files.describe(part.files))


def _find_dropped(folder: Path, cleaned: Sequence[Cleaned], params: DownloadParams, workers: Workers) -> list[Dropped]:
    """Return which stories of each part are equal to earlier ones, or to validation stories of the source."""
    parts, total = [result.part for result in cleaned], sum(result.stories for result in cleaned)
    slices = range(-(-total // DIGESTS_AT_ONCE) if params.drop_duplicates or params.drop_validation_from_train else 0)
    found = list(workers.map(partial(_make_comparing, folder, parts, params, len(slices)), slices))
    none = np.empty(0, np.int64)
    return [
        Dropped(*(np.sort(np.concatenate([none, *rows])) for rows in zip(*of_part, strict=True)))
        for of_part in zip(*found, strict=True)
    ] or [Dropped(none, none)] * len(parts)


def _make_comparing(
    folder: Path, parts: Sequence[Part], params: DownloadParams, slices: int
) -> Callable[[int], list[Dropped]]:
    return partial(_compare, folder, parts, params, slices)


def _compare(folder: Path, parts: Sequence[Part], params: DownloadParams, slices: int, index: int) -> list[Dropped]:
    """Return the stories of each part that are dropped, of those whose digests fall into the slice `index`."""
    digests, rows = list[NDArray[np.uint64]](), list[Rows]()
    for part in parts:
        every = _read_digests(folder, part)
        chosen = np.flatnonzero(every[:, 0] % np.uint64(slices) == index)
        digests.append(every[chosen])
        rows.append(chosen)
    sizes = [len(chosen) for chosen in rows]
    digest, row = np.concatenate(digests), np.concatenate(rows)
    from_val = np.repeat([part.side == "val" for part in parts], sizes)
    order = np.lexsort((digest[:, 1], digest[:, 0]))  # stable: equal digests stay in the order of the corpus
    digest, is_val = digest[order], from_val[order]
    again = np.zeros(len(order), bool)  # equal to the one before
    again[1:] = (digest[1:] == digest[:-1]).all(axis=1)
    first = np.maximum.accumulate(np.where(again, 0, np.arange(len(order))))  # of those equal; validation comes first
    in_validation = ~is_val & is_val[first] & params.drop_validation_from_train
    duplicate = again & (is_val == np.roll(is_val, 1)) & ~in_validation & params.drop_duplicates
    part_of = np.repeat(np.arange(len(parts)), sizes)[order]
    return [
        Dropped(row[order[duplicate & (part_of == number)]], row[order[in_validation & (part_of == number)]])
        for number in range(len(parts))
    ]


def _make_writing(folder: Path, highest: int | None) -> Callable[[tuple[Part, Dropped]], dict[Side, Written]]:
    return partial(_write, folder, highest)


def _write(folder: Path, highest: int | None, item: tuple[Part, Dropped]) -> dict[Side, Written]:
    """Write the shards of a part, without what is dropped.

    Stories whose digests are at most at the place `highest` are held out; if None, the source has its own splits.
    """
    part, dropped = item
    places = _read_digests(folder, part)[:, 0]
    held_out = np.full(len(places), part.side == "val") if highest is None else places <= np.uint64(highest)
    kept = np.ones(len(places), bool)
    kept[dropped.duplicate] = kept[dropped.in_validation] = False
    with (
        writing_stories(_shard(folder, part.name, "train")) as train,
        writing_stories(_shard(folder, part.name, "val")) as val,
    ):
        groups = row_groups(_stories(folder, part)) if len(places) else []
        stories = (story for group in groups for story in read_row_group(group))
        for story, keep, to_val in zip(stories, kept.tolist(), held_out.tolist(), strict=True):
            if keep:
                (val if to_val else train).write(story)
    return {"train": Written(train.stories, train.bytes), "val": Written(val.stories, val.bytes)}


def _read_digests(folder: Path, part: Part) -> NDArray[np.uint64]:
    """Return the digests of a part's stories (N, 2)."""
    return np.fromfile(_digests(folder, part), ">u8").astype(np.uint64).reshape(-1, 2)


def _stories(folder: Path, part: Part) -> Path:
    return folder / f"{part.name}.parquet"


def _digests(folder: Path, part: Part) -> Path:
    return folder / f"{part.name}.digests"


def _shard(folder: Path, name: str, side: Side) -> Path:
    return folder / f"{name}-to-{side}.parquet"
