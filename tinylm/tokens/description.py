"""`tokens.json`, which describes a token store: its splits, their counts and the checksums of their files."""

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.base.reading import read_as
from tinylm.base.shards import shard_name

FILE = "tokens.json"
VERSION, VERSION_WITH_SHARDS = 2, 3  # a store without shards is as it was before there were shards
REMEDY = "run the pretokenize stage again: dvc repro -f pretokenize"
Count = Annotated[int, Field(gt=0)]
Bytes = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class ShardInfo:
    """The description of one file of ids and its two offset files, which count from its start."""

    tokens: Count  # end-of-text ids included
    stories: Count
    text_bytes: Bytes  # UTF-8 bytes of the stories, without end-of-text
    sha256: str  # of NAME.bin
    offsets_sha256: str  # of NAME_offsets.bin
    text_offsets_sha256: str  # of NAME_text_offsets.bin


@dataclass(frozen=True)
class SplitInfo:
    """The description of one split: of one file, with its checksums, or of shards, which have their own."""

    tokens: Count
    stories: Count
    text_bytes: Bytes
    sha256: str | None = None
    offsets_sha256: str | None = None
    text_offsets_sha256: str | None = None
    lossless: bool = field(kw_only=True)  # whether decoding restores every story
    shards: tuple[ShardInfo, ...] | None = None

    @property
    def digest(self) -> str | None:
        """The SHA-256 of the ids; of shards, that of their checksums, a line for each."""
        if self.shards is None:
            return self.sha256
        return hashlib.sha256("".join(f"{shard.sha256}\n" for shard in self.shards).encode()).hexdigest()

    def files(self, name: str) -> dict[str, ShardInfo]:
        """Return the description of each file of ids of the split `name`, by its name without .bin, in their order."""
        if self.shards is None:
            sums = (self.sha256 or "", self.offsets_sha256 or "", self.text_offsets_sha256 or "")
            return {name: ShardInfo(self.tokens, self.stories, self.text_bytes, *sums)}
        return {shard_name(name, index, len(self.shards)): shard for index, shard in enumerate(self.shards)}


@dataclass(frozen=True)
class Splits:
    train: SplitInfo
    val: SplitInfo


@dataclass(frozen=True)
class Description:
    """The contents of `tokens.json`."""

    version: Literal[2, 3]
    dtype: Literal["uint16", "uint32"]
    vocab_size: Count
    end_of_text: Annotated[int, Field(ge=0)]
    tokenizer_sha256: str
    splits: Splits

    @property
    def id_type(self) -> np.dtype:
        return np.dtype(self.dtype).newbyteorder("<")


def read_description(folder: Path) -> Description:
    """Return the description of the store in `folder`. Raises UserError if it is missing or contradicts itself."""
    description = read_as(Description, folder / FILE, REMEDY)
    for name, info in vars(description.splits).items():
        if info.shards is None and None in (info.sha256, info.offsets_sha256, info.text_offsets_sha256):
            raise UserError(f"{folder / FILE}: splits.{name}: expected three checksums, or shards; {REMEDY}")
        shards = info.files(name).values()
        for counted in ("tokens", "stories", "text_bytes"):
            total, expected = sum(getattr(shard, counted) for shard in shards), getattr(info, counted)
            if total != expected:
                raise UserError(
                    f"{folder / FILE}: splits.{name}.{counted}: expected the sum of its shards, {total}, "
                    f"got {expected}; {REMEDY}"
                )
    return description


def id_type(vocab_size: int) -> np.dtype:
    """Return the smallest dtype that holds every id: uint16 or uint32, little-endian."""
    return np.dtype("<u2" if vocab_size <= 65_536 else "<u4")


def write_description(
    folder: Path, tokenizer_file: Path, vocab_size: int, end_of_text: int, splits: dict[str, SplitInfo]
) -> None:
    """Write `tokens.json`. Call it last: a store without it counts as incomplete."""
    in_shards = any(info.shards for info in splits.values())
    description = {
        "version": VERSION_WITH_SHARDS if in_shards else VERSION,
        "dtype": id_type(vocab_size).name,
        "byte_order": "little",
        "vocab_size": vocab_size,
        "end_of_text": end_of_text,
        "tokenizer_sha256": atomic.sha256(tokenizer_file),
        "splits": {
            name: {key: value for key, value in asdict(info).items() if value is not None}
            for name, info in splits.items()
        },
    }
    atomic.write_json(folder / FILE, description)
