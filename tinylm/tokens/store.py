"""The token store: a plain stream of token ids per split, and `tokens.json`, which describes them.

`train.bin` and `val.bin` hold little-endian ids, each story followed by the end-of-text id: uint16 for vocabularies of
up to 65,536 entries, else uint32. nanoGPT and llm.c read this format. `*_offsets.bin` and `*_text_offsets.bin` hold
little-endian uint64: the start of each story, then the total; the former count ids, the latter bytes of text, the
denominator of bits per byte.

A split may be cut into shards instead, `train-00000-of-00123.bin` and so on, each with its own offsets, which count
from the start of the shard. They are read as one stream, and opened when they are needed.
"""

import logging
import mmap
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinylm.base import atomic, checksums
from tinylm.base.errors import UserError
from tinylm.base.reading import check_file
from tinylm.tokens.description import FILE, REMEDY, ShardInfo, SplitInfo, read_description
from tinylm.tokens.shards import Ids, Offsets, ShardedArray

IDS, STARTS, TEXT_STARTS = "", "_offsets", "_text_offsets"  # endings of the names of a split's files
OFFSET_TYPE = np.dtype("<u8")

log = logging.getLogger("tinylm")


@dataclass(frozen=True)
class TokenSplit:
    """A memory-mapped split."""

    name: str
    tokens: Ids  # (tokens,)
    offsets: Offsets  # (stories + 1,) start of each story, in ids
    text_offsets: Offsets  # (stories + 1,) start of each story, in bytes of text
    info: SplitInfo

    @property
    def story_tokens(self) -> NDArray[np.int64]:
        """Tokens per story, end-of-text included, (stories,)."""
        return _lengths(self.offsets)

    @property
    def story_bytes(self) -> NDArray[np.int64] | None:
        """UTF-8 bytes per story, (stories,); None if the tokens are lossy, since bits per byte would be meaningless."""
        return _lengths(self.text_offsets) if self.info.lossless else None

    @property
    def bytes_per_token(self) -> float | None:
        """UTF-8 bytes of text per token; end-of-text counts as a token of 0 bytes. None if the tokens are lossy."""
        return self.info.text_bytes / self.info.tokens if self.info.lossless else None


@dataclass(frozen=True)
class TokenStore:
    """Both splits, with the vocabulary size and end-of-text id of their tokenizer."""

    train: TokenSplit
    val: TokenSplit
    vocab_size: int
    end_of_text: int
    tokenizer_sha256: str


def vocabulary_size(folder: Path) -> int:
    """Return the vocabulary size of a store from `tokens.json`, without opening the store."""
    return read_description(folder).vocab_size


def check_tokens(folder: Path) -> None:
    """Check the files of a store against `tokens.json`: sizes, checksums, and ids within the vocabulary.

    A file that was checked before is not read again unless it was changed. Raises UserError on any mismatch.
    """
    description = read_description(folder)
    splits = vars(description.splits).items()
    shards = {stem: shard for name, info in splits for stem, shard in info.files(name).items()}
    for stem, highest in _check(folder, shards, description.id_type).items():
        if highest >= description.vocab_size:
            raise UserError(
                f"{folder / stem}.bin: expected ids below {description.vocab_size}, got {highest}; {REMEDY}"
            )


def open_tokens(folder: Path, tokenizer_file: Path) -> TokenStore:
    """Memory-map a store after checking it against `tokens.json` and the tokenizer.

    Raises UserError on any mismatch.
    """
    description = read_description(folder)
    check_file(tokenizer_file, "run the train_tokenizer stage again: dvc repro -f train_tokenizer")
    if description.tokenizer_sha256 != atomic.sha256(tokenizer_file):
        raise UserError(f"{folder}: made with a different tokenizer than {tokenizer_file}; {REMEDY}")
    check_tokens(folder)
    train, val = (
        _map_split(folder, name, description.id_type, info) for name, info in vars(description.splits).items()
    )
    return TokenStore(train, val, description.vocab_size, description.end_of_text, description.tokenizer_sha256)


def open_split(folder: Path, name: str, dtype: np.dtype, info: SplitInfo) -> TokenSplit:
    """Memory-map one split after checking it against its description. Raises UserError on any mismatch."""
    _check(folder, info.files(name), dtype)
    return _map_split(folder, name, dtype, info)


def _check(folder: Path, shards: dict[str, ShardInfo], dtype: np.dtype) -> dict[str, int]:
    """Compare files with their descriptions; return the highest id of each. Raises UserError on any mismatch."""
    requests, expected = [], []
    for stem, shard in shards.items():
        offsets = shard.stories + 1
        for ending, type_, count, digest, last in (
            (IDS, dtype, shard.tokens, shard.sha256, None),
            (STARTS, OFFSET_TYPE, offsets, shard.offsets_sha256, shard.tokens),
            (TEXT_STARTS, OFFSET_TYPE, offsets, shard.text_offsets_sha256, shard.text_bytes),
        ):
            path = _path(folder, stem, ending)
            if (size := check_file(path, REMEDY)) != count * type_.itemsize:
                raise UserError(
                    f"{path}: expected {count * type_.itemsize} bytes ({count} x {type_}), got {size}; {REMEDY}"
                )
            requests.append(checksums.Request(path, type_))
            expected.append((digest, last))
    contents = checksums.read(requests)
    for request, content, (digest, last) in zip(requests, contents, expected, strict=True):
        if content.sha256 != digest:
            raise UserError(
                f"{request.path}: altered since it was written: expected sha256 {digest[:12]}..., "
                f"got {content.sha256[:12]}...; {REMEDY}"
            )
        if last is not None and content.highest != last:  # offsets ascend
            raise UserError(
                f"{request.path}: expected a last offset of {last}, as in {FILE}, got {content.highest}; {REMEDY}"
            )
    return {stem: content.highest or 0 for stem, content in zip(shards, contents[::3], strict=True)}


def _path(folder: Path, stem: str, ending: str) -> Path:
    return folder / f"{stem}{ending}.bin"


def _map_split(folder: Path, name: str, dtype: np.dtype, info: SplitInfo) -> TokenSplit:
    if info.shards is None:
        offsets, text_offsets = (_map(folder, name, ending, OFFSET_TYPE) for ending in (STARTS, TEXT_STARTS))
        return TokenSplit(name, _map(folder, name, IDS, dtype), offsets, text_offsets, info)
    stems, shards = list(info.files(name)), info.shards
    tokens, text_bytes = [shard.tokens for shard in shards], [shard.text_bytes for shard in shards]
    stories = [shard.stories for shard in shards]
    stories[-1] += 1  # the last offset of the last shard is the total

    def join(ending: str, type_: np.dtype, lengths: list[int], added: list[int] | None = None) -> ShardedArray:
        return ShardedArray(type_, lengths, lambda shard: _map(folder, stems[shard], ending, type_, ahead=False), added)

    return TokenSplit(
        name,
        join(IDS, dtype, tokens),
        join(STARTS, OFFSET_TYPE, stories, _starts(tokens)),
        join(TEXT_STARTS, OFFSET_TYPE, stories, _starts(text_bytes)),
        info,
    )


def _starts(counts: Sequence[int]) -> list[int]:
    return [0, *accumulate(counts[:-1])]


def _map(folder: Path, stem: str, ending: str, dtype: np.dtype, ahead: bool = True) -> np.ndarray:
    """Memory-map a file. Without `ahead`, the system does not read ahead: in files larger than memory, that is waste.

    With 8 MB of it, a batch of 512 sequences from anywhere in a terabyte took seconds.
    """
    path = _path(folder, stem, ending)
    try:
        numbers: np.ndarray = np.memmap(path, dtype, "r")
        if sys.platform != "win32" and not ahead:
            numbers.base.madvise(mmap.MADV_RANDOM)  # type: ignore[union-attr]
    except OSError as error:  # on some network file systems, or when address space is short
        size = path.stat().st_size >> 20
        log.warning("warning: %s: cannot be memory-mapped (%s): reading all %d MB into memory", path, error, size)
        numbers = np.fromfile(path, dtype)
    if ending != IDS and numbers[0] != 0:
        raise UserError(f"{path}: expected a first offset of 0, got {numbers[0]}; {REMEDY}")
    return numbers


def _lengths(offsets: Offsets) -> NDArray[np.int64]:
    starts = np.asarray(offsets).astype(np.int64)
    return starts[1:] - starts[:-1]
