"""The token store: a plain stream of token ids per split, and `tokens.json`, which describes them.

`train.bin` and `val.bin` hold little-endian ids, each story followed by the end-of-text id: uint16 for vocabularies of
up to 65,536 entries, else uint32. nanoGPT and llm.c read this format. `*_offsets.bin` and `*_text_offsets.bin` hold
little-endian uint64: the start of each story, then the total; the former count ids, the latter bytes of text, the
denominator of bits per byte.
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
    """The description of one split in `tokens.json`."""

    tokens: Count  # end-of-text ids included
    stories: Count
    text_bytes: Annotated[int, Field(ge=0)]  # UTF-8 bytes of the stories, without end-of-text
    sha256: str  # of NAME.bin
    offsets_sha256: str  # of NAME_offsets.bin
    text_offsets_sha256: str  # of NAME_text_offsets.bin
    lossless: bool  # whether decoding restores every story


@dataclass(frozen=True)
class Splits:
    train: SplitInfo
    val: SplitInfo


@dataclass(frozen=True)
class Description:
    """The contents of `tokens.json`."""

    version: Literal[2]
    dtype: Literal["uint16", "uint32"]
    vocab_size: Count
    end_of_text: Annotated[int, Field(ge=0)]
    tokenizer_sha256: str
    splits: Splits


@dataclass(frozen=True)
class TokenSplit:
    """A memory-mapped split."""

    name: str
    tokens: NDArray[np.unsignedinteger]  # (tokens,)
    offsets: NDArray[np.uint64]  # (stories + 1,) start of each story, in ids
    text_offsets: NDArray[np.uint64]  # (stories + 1,) start of each story, in bytes of text
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
    return read_as(Description, folder / "tokens.json", REMEDY).vocab_size


def open_tokens(folder: Path, tokenizer_file: Path) -> TokenStore:
    """Memory-map a store after checking it against `tokens.json` and the tokenizer.

    Raises UserError on any mismatch.
    """
    description = read_as(Description, folder / "tokens.json", REMEDY)
    check_file(tokenizer_file, "run the train_tokenizer stage again: dvc repro -f train_tokenizer")
    if description.tokenizer_sha256 != atomic.sha256(tokenizer_file):
        raise UserError(f"{folder}: made with a different tokenizer than {tokenizer_file}; {REMEDY}")
    dtype = np.dtype(description.dtype).newbyteorder("<")
    train = open_split(folder, "train", dtype, description.splits.train)
    val = open_split(folder, "val", dtype, description.splits.val)
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


def open_split(folder: Path, name: str, dtype: np.dtype, info: SplitInfo) -> TokenSplit:
    """Memory-map one split after checking it against its description. Raises UserError on any mismatch."""
    tokens = _map(folder / f"{name}.bin", dtype, info.tokens, info.sha256)
    offsets = _map(folder / f"{name}_offsets.bin", np.dtype("<u8"), info.stories + 1, info.offsets_sha256)
    text_offsets = _map(
        folder / f"{name}_text_offsets.bin", np.dtype("<u8"), info.stories + 1, info.text_offsets_sha256
    )
    if not offsets[0] == text_offsets[0] == 0 or (offsets[-1], text_offsets[-1]) != (info.tokens, info.text_bytes):
        raise UserError(
            f"{folder / name}_offsets.bin: expected first and last offsets that match tokens.json; {REMEDY}"
        )
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
    except OSError as error:  # on some network file systems, or when address space is short
        log.warning("warning: %s: cannot be memory-mapped (%s): reading all %d MB into memory", path, error, size >> 20)
        return np.fromfile(path, dtype)


def id_type(vocab_size: int) -> np.dtype:
    """Return the smallest dtype that holds every id: uint16 or uint32, little-endian."""
    return np.dtype("<u2" if vocab_size <= 65_536 else "<u4")


def write_description(
    folder: Path, tokenizer_file: Path, vocab_size: int, end_of_text: int, splits: dict[str, SplitInfo]
) -> None:
    """Write `tokens.json`. Call it last: a store without it counts as incomplete."""
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
