"""Find and read TinyStories in the local Hugging Face Hub cache, whichever program filled it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import huggingface_hub
import pyarrow.parquet as pq

from tinylm.base.errors import UserError
from tinylm.corpus.storage import BROKEN, COLUMN, read_column
from tinylm.download.plain_text import read_txt


def cached_splits(
    repository: str, revision: str, limit: int | None, txt_files: tuple[str, str] | None
) -> tuple[str, list[Path], list[Path]] | None:
    """Return (commit, training files, validation files) from the cache, or None if it is incomplete.

    It must hold the whole validation split and `limit` training stories (None: all of them). The files are the Parquet
    shards of the splits, or `txt_files`.
    """
    try:
        folder = huggingface_hub.snapshot_download(
            repository, repo_type="dataset", revision=revision, allow_patterns=[], local_files_only=True
        )
    except OSError:  # not in the cache
        return None
    if txt_files:
        paths = [Path(folder, name) for name in txt_files]
        return (Path(folder).name, paths[:1], paths[1:]) if all(path.exists() for path in paths) else None
    data = Path(folder) / "data"
    train, val = _enough_shards(data, "train", limit), _enough_shards(data, "validation", None)
    return (Path(folder).name, train, val) if train and val else None


def _enough_shards(data: Path, split: str, limit: int | None) -> list[Path]:
    """Return the leading shards of a split, up to the first gap; none unless they are complete or hold `limit` stories.

    Their names, such as `train-00000-of-00004-2d5a1467fff1081b.parquet`, contain the number of shards.
    """
    found = [path for path in sorted(data.glob(f"{split}-*-of-*.parquet")) if path.exists()]
    first = [path for index, path in enumerate(found) if path.name.startswith(f"{split}-{index:05d}-of-")]
    if not first:
        return []
    complete = len(first) == int(first[0].stem.split("-")[3])
    return first if complete or (limit is not None and sum(map(_count_stories, first)) >= limit) else []


def _count_stories(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except BROKEN as error:
        raise _damaged(path) from error


def read_cached(paths: Sequence[Path]) -> Iterator[str]:
    """Yield the stories of files in the cache. Raises UserError for a damaged file."""
    for path in paths:
        try:
            if path.suffix == ".txt":
                yield from read_txt(path, str(path), "endoftext")
                continue
            for story in read_column(path, COLUMN, str(path), "try another download.revision"):
                yield story or ""
        except BROKEN as error:
            raise _damaged(path) from error


def _damaged(path: Path) -> UserError:
    return UserError(f"{path.name}: damaged in the cache; try again after: rm '{path.resolve()}'")
