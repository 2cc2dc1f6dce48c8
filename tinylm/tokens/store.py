"""The token store: a plain stream of ids for each split, and a `tokens.json` that says what it is.

`train.bin` and `val.bin` are little-endian ids, uint16 up to 65,536 entries, else uint32, each story
followed by the end-of-text id: what nanoGPT and llm.c read. `*_offsets.bin` and `*_text_offsets.bin`
are little-endian uint64: where each story starts, and the total at the end; the former in ids, the
latter in the bytes of the stories' text, which every figure in bits per byte divides by.
"""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.base.reading import check_file, read_as

log = logging.getLogger("tinylm")
FORMAT_VERSION = 2
REMEDY = "run the pretokenize stage again: dvc repro -f pretokenize"
Count = Annotated[int, Field(gt=0)]


@dataclass(frozen=True)
class SplitInfo:
    """What `tokens.json` says of one split."""

    tokens: Count  # end-of-text ids included
    stories: Count
    text_bytes: Annotated[int, Field(ge=0)]  # of the stories in UTF-8, without the end-of-text marks
    sha256: str  # of NAME.bin
    offsets_sha256: str  # of NAME_offsets.bin
    text_offsets_sha256: str  # of NAME_text_offsets.bin
    lossless: bool  # whether every story comes back from its ids


@dataclass(frozen=True)
class Splits:
    train: SplitInfo
    val: SplitInfo


@dataclass(frozen=True)
class Description:
    """What `tokens.json` says."""

    version: Literal[2]
    dtype: Literal["uint16", "uint32"]
    vocab_size: Count
    end_of_text: Annotated[int, Field(ge=0)]
    tokenizer_sha256: str
    splits: Splits


@dataclass(frozen=True)
class TokenSplit:
    """A split, memory-mapped."""

    name: str
    tokens: NDArray[np.unsignedinteger]  # (tokens,)
    offsets: NDArray[np.uint64]  # (stories + 1,) where each story starts, in ids
    text_offsets: NDArray[np.uint64]  # (stories + 1,) where each story starts, in bytes of text
    info: SplitInfo

    @property
    def story_tokens(self) -> NDArray[np.int64]:
        """Tokens of each story, (stories,), end-of-text included."""
        return _lengths(self.offsets)

    @property
    def story_bytes(self) -> NDArray[np.int64] | None:
        """Bytes of text of each story, (stories,); None for lossy ids, which no bytes may be put against."""
        return _lengths(self.text_offsets) if self.info.lossless else None

    @property
    def bytes_per_token(self) -> float | None:
        """UTF-8 bytes of text per token, end-of-text ids counted as tokens of no bytes; None for lossy ids."""
        return self.info.text_bytes / self.info.tokens if self.info.lossless else None


@dataclass(frozen=True)
class TokenStore:
    train: TokenSplit
    val: TokenSplit
    vocab_size: int
    end_of_text: int
    tokenizer_sha256: str


def vocabulary_size(folder: Path) -> int:
    """Entries of the vocabulary of a store, which is not opened for it."""
    return read_as(Description, folder / "tokens.json", REMEDY).vocab_size


def open_tokens(folder: Path, tokenizer_file: Path) -> TokenStore:
    """Memory-map a store, checked against its description and the tokenizer. Raises UserError on any mismatch."""
    description = read_as(Description, folder / "tokens.json", REMEDY)
    check_file(tokenizer_file, "run the train_tokenizer stage again: dvc repro -f train_tokenizer")
    if description.tokenizer_sha256 != atomic.sha256(tokenizer_file):
        raise UserError(f"{folder}: made with another tokenizer than {tokenizer_file}; {REMEDY}")
    dtype = np.dtype(description.dtype).newbyteorder("<")
    train = _open_split(folder, "train", dtype, description.splits.train)
    val = _open_split(folder, "val", dtype, description.splits.val)
    for split in (train, val):
        highest = int(split.tokens.max())
        if highest >= description.vocab_size:
            raise UserError(
                f"{folder / split.name}.bin: expected ids below {description.vocab_size}, got {highest}; {REMEDY}"
            )
    return TokenStore(train, val, description.vocab_size, description.end_of_text, description.tokenizer_sha256)


def _lengths(offsets: NDArray[np.uint64]) -> NDArray[np.int64]:
    starts = offsets.astype(np.int64)
    return starts[1:] - starts[:-1]


def _open_split(folder: Path, name: str, dtype: np.dtype, info: SplitInfo) -> TokenSplit:
    tokens = _map(folder / f"{name}.bin", dtype, info.tokens, info.sha256)
    offsets = _map(folder / f"{name}_offsets.bin", np.dtype("<u8"), info.stories + 1, info.offsets_sha256)
    text_offsets = _map(
        folder / f"{name}_text_offsets.bin", np.dtype("<u8"), info.stories + 1, info.text_offsets_sha256
    )
    if not offsets[0] == text_offsets[0] == 0 or (offsets[-1], text_offsets[-1]) != (info.tokens, info.text_bytes):
        raise UserError(f"{folder / name}_offsets.bin: expected an end where tokens.json says; {REMEDY}")
    return TokenSplit(name, tokens, offsets, text_offsets, info)


def _map(path: Path, dtype: np.dtype, count: int, sha256: str) -> np.ndarray:
    size = check_file(path, REMEDY)
    if size != count * dtype.itemsize:
        raise UserError(f"{path}: expected {count * dtype.itemsize} bytes ({count} x {dtype}), got {size}; {REMEDY}")
    if (got := atomic.sha256(path)) != sha256:
        raise UserError(
            f"{path}: altered since it was written: expected sha256 {sha256[:12]}..., got {got[:12]}...; {REMEDY}"
        )
    try:
        return np.memmap(path, dtype, "r")
    except OSError as error:  # some network file systems, and machines short of address space, refuse
        log.warning("warning: %s: cannot be memory-mapped (%s): read into memory, all %d MB", path, error, size >> 20)
        return np.fromfile(path, dtype)


def id_type(vocab_size: int) -> np.dtype:
    return np.dtype("<u2" if vocab_size <= 65_536 else "<u4")


def write_description(
    folder: Path, tokenizer_file: Path, vocab_size: int, end_of_text: int, splits: dict[str, SplitInfo]
) -> None:
    """Write `tokens.json`, last: a store without it is not complete."""
    description = {
        "version": FORMAT_VERSION,
        "dtype": id_type(vocab_size).name,
        "byte_order": "little",
        "vocab_size": vocab_size,
        "end_of_text": end_of_text,
        "tokenizer_sha256": atomic.sha256(tokenizer_file),
        "splits": {name: asdict(info) for name, info in splits.items()},
    }
    atomic.write_json(folder / "tokens.json", description)
