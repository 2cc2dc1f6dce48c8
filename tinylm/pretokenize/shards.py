"""Write the files of a split, in one or more shards, and compute their checksums while writing."""

import contextlib
import hashlib
import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinylm.base import atomic, checksums
from tinylm.base.checksums import Content, Request
from tinylm.tokens.description import ShardInfo, SplitInfo, shard_name
from tinylm.tokens.store import IDS, OFFSET_TYPE, STARTS, TEXT_STARTS


class SplitFiles:
    """The files of a split; a context, at the end of which they appear, or none of them after an error.

    With `shard_tokens`, a shard ends with the story that reaches so many tokens. A split that fits into one shard is
    one file, as without.
    """

    def __init__(self, folder: Path, name: str, dtype: np.dtype, shard_tokens: int | None = None):
        self._folder, self._name, self._dtype, self._shard_tokens = folder, name, dtype, shard_tokens
        self._stack, self._shards = contextlib.ExitStack(), list[_Shard]()

    def __enter__(self) -> "SplitFiles":
        self._stack.__enter__()
        self._start_shard()  # a full disk is noticed before the first story is encoded
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def write(self, ids: bytes, tokens: NDArray[np.int64], text_bytes: NDArray[np.int64]) -> None:
        """Write stories: their ids, concatenated, and the tokens and bytes of text of each."""
        first, place = 0, 0
        while first < len(tokens):
            if self._is_full():
                self._shards[-1].finish()
                self._start_shard()
            shard, stop = self._shards[-1], len(tokens)
            if self._shard_tokens:
                ends = shard.tokens + np.cumsum(tokens[first:])
                stop = min(stop, first + 1 + int(np.searchsorted(ends, self._shard_tokens)))
            end = place + int(tokens[first:stop].sum()) * self._dtype.itemsize
            shard.write(ids[place:end], tokens[first:stop], text_bytes[first:stop])
            first, place = stop, end

    def finish(self, lossless: bool) -> SplitInfo:
        """Put the files in place, remove those of an earlier run, and return the description of the split."""
        self._shards[-1].finish()
        self._stack.close()
        stems = [self._name]
        if len(self._shards) > 1:
            stems = [shard_name(self._name, index, len(self._shards)) for index in range(len(self._shards))]
        requests = [request for shard, stem in zip(self._shards, stems, strict=True) for request in shard.rename(stem)]
        self._remove_others({request.path for request in requests})
        contents = [file.content for shard in self._shards for file in shard.files]
        for request, content in zip(requests, contents, strict=True):
            checksums.record(request, content)
        return self._describe(lossless)

    def _is_full(self) -> bool:
        return self._shard_tokens is not None and self._shards[-1].tokens >= self._shard_tokens

    def _start_shard(self) -> None:
        stem = f"{self._name}-{len(self._shards):05}" if self._shard_tokens else self._name
        self._shards.append(_Shard(self._stack, self._folder, stem, self._dtype))

    def _remove_others(self, kept: set[Path]) -> None:
        """Remove the files of a split that was in other shards."""
        ours = re.compile(rf"{self._name}(-\d+-of-\d+)?({STARTS}|{TEXT_STARTS})?\.bin")
        for path in self._folder.iterdir():
            if ours.fullmatch(path.name) and path not in kept:
                path.unlink()

    def _describe(self, lossless: bool) -> SplitInfo:
        infos = tuple(shard.info for shard in self._shards)
        if len(infos) == 1:
            return SplitInfo(**vars(infos[0]), lossless=lossless)
        totals = {count: sum(getattr(info, count) for info in infos) for count in ("tokens", "stories", "text_bytes")}
        return SplitInfo(**totals, lossless=lossless, shards=infos)


class _Shard:
    """A file of ids and its two offset files."""

    def __init__(self, stack: contextlib.ExitStack, folder: Path, stem: str, dtype: np.dtype):
        def create(ending: str, type_: np.dtype) -> _File:
            return _File(stack, folder / f"{stem}{ending}.bin", type_)

        self._text_offsets, self._offsets = create(TEXT_STARTS, OFFSET_TYPE), create(STARTS, OFFSET_TYPE)
        self._ids = create(IDS, dtype)
        self.files = (self._ids, self._offsets, self._text_offsets)
        self.tokens = self._stories = self._text_bytes = 0

    def write(self, ids: bytes, tokens: NDArray[np.int64], text_bytes: NDArray[np.int64]) -> None:
        self._ids.write(np.frombuffer(ids, self._ids.dtype))
        self._offsets.write(self.tokens + np.cumsum(tokens) - tokens)
        self._text_offsets.write(self._text_bytes + np.cumsum(text_bytes) - text_bytes)
        self.tokens += int(tokens.sum())
        self._stories += len(tokens)
        self._text_bytes += int(text_bytes.sum())

    def finish(self) -> None:
        """Write the totals after the offsets, and close the files."""
        self._offsets.write(np.array([self.tokens]))
        self._text_offsets.write(np.array([self._text_bytes]))
        for file in self.files:
            file.close()

    def rename(self, stem: str) -> list[Request]:
        """Give the files their names, which contain the number of shards."""
        requests = []
        for file, ending in zip(self.files, (IDS, STARTS, TEXT_STARTS), strict=True):
            path = file.path.with_name(f"{stem}{ending}.bin")
            os.replace(file.path, path)
            requests.append(Request(path, file.dtype))
        return requests

    @property
    def info(self) -> ShardInfo:
        return ShardInfo(self.tokens, self._stories, self._text_bytes, *(file.content.sha256 for file in self.files))


class _File:
    """A file of numbers that knows the SHA-256 and the highest of what is written to it."""

    def __init__(self, stack: contextlib.ExitStack, path: Path, dtype: np.dtype):
        self.path, self.dtype = path, dtype
        temporary = stack.enter_context(atomic.replacing(path))
        self._file = stack.enter_context(temporary.open("wb"))
        self._hash, self._highest = hashlib.sha256(), 0

    def write(self, numbers: NDArray[np.integer]) -> None:
        if len(numbers):
            data = numbers.astype(self.dtype, copy=False).tobytes()
            self._file.write(data)
            self._hash.update(data)
            self._highest = max(self._highest, int(numbers.max()))

    def close(self) -> None:
        self._file.close()

    @property
    def content(self) -> Content:
        return Content(self._hash.hexdigest(), self._highest)
