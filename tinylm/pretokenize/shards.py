"""Write the files of a shard, of which a split has one or more, and compute their checksums while writing."""

import contextlib
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinylm.base import atomic, checksums
from tinylm.base.checksums import Content, Request
from tinylm.base.shards import shard_name
from tinylm.tokens.description import ShardInfo, SplitInfo
from tinylm.tokens.store import IDS, OFFSET_TYPE, STARTS, TEXT_STARTS

ENDINGS = (IDS, STARTS, TEXT_STARTS)


@dataclass(frozen=True)
class Shard:
    """A file of ids and its two offset files, as written."""

    stem: Path  # of the three files: their path without what distinguishes them
    tokens: int
    stories: int
    text_bytes: int
    contents: tuple[Content, Content, Content]  # in the order of ENDINGS

    @property
    def info(self) -> ShardInfo:
        sums = (content.sha256 for content in self.contents)
        return ShardInfo(self.tokens, self.stories, self.text_bytes, *sums)


class ShardFiles:
    """The files of a shard; a context, at the end of which they appear, or none of them after an error."""

    def __init__(self, stem: Path, dtype: np.dtype):
        self._stem, self._dtype, self._stack = stem, dtype, contextlib.ExitStack()
        self.tokens = self.stories = self.text_bytes = 0

    def __enter__(self) -> "ShardFiles":
        self._stack.__enter__()
        self._text_offsets, self._offsets = self._create(TEXT_STARTS, OFFSET_TYPE), self._create(STARTS, OFFSET_TYPE)
        self._ids = self._create(IDS, self._dtype)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def _create(self, ending: str, dtype: np.dtype) -> "_File":
        return _File(self._stack, _path(self._stem, ending), dtype)

    def write(self, ids: bytes, tokens: NDArray[np.int64], text_bytes: NDArray[np.int64]) -> None:
        """Write stories: the tokens and bytes of text of each, and their ids, concatenated; later ids are left out."""
        if not len(tokens):
            return
        self._ids.write(np.frombuffer(ids, self._ids.dtype, count=int(tokens.sum())))
        self._offsets.write(self.tokens + np.cumsum(tokens) - tokens)
        self._text_offsets.write(self.text_bytes + np.cumsum(text_bytes) - text_bytes)
        self.tokens += int(tokens.sum())
        self.stories += len(tokens)
        self.text_bytes += int(text_bytes.sum())

    def finish(self) -> Shard:
        """Write the totals after the offsets, put the files in place, and return what is in them."""
        self._offsets.write(np.array([self.tokens]))
        self._text_offsets.write(np.array([self.text_bytes]))
        ids, offsets, text_offsets = (file.finish() for file in (self._ids, self._offsets, self._text_offsets))
        self._stack.close()
        return Shard(self._stem, self.tokens, self.stories, self.text_bytes, (ids, offsets, text_offsets))


def _path(stem: Path, ending: str) -> Path:
    return stem.with_name(f"{stem.name}{ending}.bin")


def place_split(folder: Path, name: str, shards: Sequence[Shard], dtype: np.dtype, lossless: bool) -> SplitInfo:
    """Give the files of a split their names in `folder`, remove those of an earlier run, and return its description.

    The names contain the number of shards; a single shard has the name of the split.
    """
    names = [shard_name(name, index, len(shards)) for index in range(len(shards))] if len(shards) > 1 else [name]
    placed = set()
    for shard, new in zip(shards, names, strict=True):
        for ending, dtype_, content in zip(ENDINGS, (dtype, OFFSET_TYPE, OFFSET_TYPE), shard.contents, strict=True):
            path = _path(folder / new, ending)
            os.replace(_path(shard.stem, ending), path)
            checksums.record(Request(path, dtype_), content)
            placed.add(path)
    ours = re.compile(rf"{name}(-\d+-of-\d+)?({STARTS}|{TEXT_STARTS})?\.bin")
    for path in folder.iterdir():
        if ours.fullmatch(path.name) and path not in placed:
            path.unlink()
    infos = tuple(shard.info for shard in shards)
    if len(infos) == 1:
        return SplitInfo(**vars(infos[0]), lossless=lossless)
    totals = {count: sum(getattr(info, count) for info in infos) for count in ("tokens", "stories", "text_bytes")}
    return SplitInfo(**totals, lossless=lossless, shards=infos)


class _File:
    """A file of numbers that knows the SHA-256 and the highest of what is written to it."""

    def __init__(self, stack: contextlib.ExitStack, path: Path, dtype: np.dtype):
        self.path, self.dtype = path, dtype
        temporary = stack.enter_context(atomic.replacing(path))
        self._file = stack.enter_context(temporary.open("wb"))
        self._hash, self._highest = hashlib.sha256(), 0

    def write(self, numbers: NDArray[np.integer]) -> None:
        data = numbers.astype(self.dtype, copy=False).tobytes()
        self._file.write(data)
        self._hash.update(data)
        self._highest = max(self._highest, int(numbers.max()))

    def finish(self) -> Content:
        self._file.close()
        return Content(self._hash.hexdigest(), self._highest)
