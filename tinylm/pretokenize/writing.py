"""Encode the corpus into a token store (see tokens/store.py), one row group at a time, in several processes.

Memory use does not grow with the corpus, and the output does not depend on the number of processes.
"""

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tinylm.base import atomic
from tinylm.base.errors import UserError, quote
from tinylm.corpus.row_groups import map_row_groups
from tinylm.corpus.storage import count_row_groups, not_utf8, read_row_group
from tinylm.pretokenize.encoding import Altered, Encoder, make_encoder
from tinylm.tokens.store import SplitInfo, id_type

CONTEXT_SHOWN = 15  # characters on each side of a difference


@dataclass(frozen=True)
class Omitted:
    """What the token budget left out."""

    stories_left: int
    text_bytes_left: int


@dataclass(frozen=True)
class RowGroup:
    """The encoded stories of one row group, concatenated."""

    ids: bytes
    tokens: NDArray[np.int64]  # per story, end-of-text included
    text_bytes: NDArray[np.int64]  # per story
    altered: Altered | None  # the first text the encoder could not restore, in this or an earlier row group


def write_split(
    folder: Path,
    name: str,
    corpus: Path,
    tokenizer: Tokenizer,
    workers: int = 1,
    max_tokens: int | None = None,
    lossy: bool = False,
) -> tuple[SplitInfo, Omitted]:
    """Encode the file `corpus` into `NAME.bin` and its two offset files, with up to `workers` processes.

    With `max_tokens`, only the first stories that fit are kept, all of them whole. Returns the description of the split
    and what was left out. Raises UserError for a damaged corpus, a full disk, a worker that died and, unless `lossy`,
    a story that decoding does not restore; none of the files is then written.
    """
    row_groups = count_row_groups(corpus)
    with contextlib.ExitStack() as stack:

        def create(file_name: str) -> _HashingFile:
            path = stack.enter_context(atomic.replacing(folder / file_name))
            return _HashingFile(stack.enter_context(open(path, "wb")))

        text_offsets, offsets = create(f"{name}_text_offsets.bin"), create(f"{name}_offsets.bin")
        ids = create(f"{name}.bin")
        writer = _SplitWriter(ids, offsets, text_offsets, id_type(tokenizer.get_vocab_size()), max_tokens)
        done, make_work = 0, partial(_make_work, corpus, tokenizer.to_str())
        with contextlib.closing(map_row_groups(row_groups, make_work, workers)) as encoded:
            for group in encoded:
                if group.altered and not lossy:
                    raise _lossy(group.altered)
                writer.write(group)
                done += 1
                if writer.stories_left:
                    break
        for index in range(done, row_groups):
            writer.omit(read_row_group(corpus, index))
        if not writer.stories:
            raise UserError(f"no story of the {name} split fits into pretokenize.max_tokens = {max_tokens}; raise it")
        return writer.finish()


def _lossy(altered: Altered) -> UserError:
    """Return the error for a lossy tokenizer, showing the text around the first difference."""
    text, decoded = altered.text, altered.decoded
    differing = (position for position, (a, b) in enumerate(zip(text, decoded, strict=False)) if a != b)
    same = next(differing, min(len(text), len(decoded)))
    shown = slice(max(0, same - CONTEXT_SHOWN), same + CONTEXT_SHOWN)
    return UserError(
        f"the tokenizer is lossy: {quote(text[shown])} is decoded as {quote(decoded[shown])}; "
        "use a byte-level tokenizer (train_tokenizer.kind: bpe or gpt2), "
        "or set pretokenize.lossy: true to go without bits per byte"
    )


class _HashingFile:
    """A file that computes the SHA-256 of what is written to it."""

    def __init__(self, file: IO[bytes]):
        self._file, self._hash = file, hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


class _SplitWriter:
    """Writes stories while they fit into the token budget, and counts those left out."""

    def __init__(
        self,
        ids: _HashingFile,
        offsets: _HashingFile,
        text_offsets: _HashingFile,
        dtype: np.dtype,
        max_tokens: int | None,
    ):
        self._ids, self._offsets, self._text_offsets = ids, offsets, text_offsets
        self._itemsize, self._max_tokens = dtype.itemsize, max_tokens
        self.lossless = True
        self.tokens = self.stories = self.text_bytes = self.stories_left = self.text_bytes_left = 0

    def write(self, group: RowGroup) -> None:
        ends = self.tokens + np.cumsum(group.tokens)
        count = len(ends) if self._max_tokens is None else int(np.searchsorted(ends, self._max_tokens, side="right"))
        added = int(group.tokens[:count].sum())
        self._ids.write(group.ids[: added * self._itemsize])
        self._offsets.write((ends - group.tokens)[:count].astype("<u8").tobytes())
        text_starts = self.text_bytes + np.cumsum(group.text_bytes) - group.text_bytes
        self._text_offsets.write(text_starts[:count].astype("<u8").tobytes())
        self.lossless &= group.altered is None
        self.tokens += added
        self.stories += count
        self.text_bytes += int(group.text_bytes[:count].sum())
        self.stories_left += len(ends) - count
        self.text_bytes_left += int(group.text_bytes[count:].sum())

    def omit(self, stories: list[bytes]) -> None:
        self.stories_left += len(stories)
        self.text_bytes_left += sum(map(len, stories))

    def finish(self) -> tuple[SplitInfo, Omitted]:
        self._offsets.write(np.array([self.tokens], "<u8").tobytes())
        self._text_offsets.write(np.array([self.text_bytes], "<u8").tobytes())
        info = SplitInfo(
            self.tokens,
            self.stories,
            self.text_bytes,
            self._ids.hexdigest(),
            self._offsets.hexdigest(),
            self._text_offsets.hexdigest(),
            self.lossless,
        )
        return info, Omitted(self.stories_left, self.text_bytes_left)


def _make_work(corpus: Path, tokenizer: str) -> Callable[[int], RowGroup]:
    """Return the function that encodes a row group, with an encoder of this process."""
    return partial(_encode_row_group, make_encoder(Tokenizer.from_str(tokenizer)), corpus)


def _encode_row_group(encoder: Encoder, corpus: Path, index: int) -> RowGroup:
    """Encode one row group. Raises UserError if it is damaged or not UTF-8."""
    stories = read_row_group(corpus, index)
    try:
        encoded = encoder.encode(stories)
    except UnicodeDecodeError as error:
        raise not_utf8(corpus, error) from None
    tokens = np.fromiter(map(len, encoded), np.int64, len(encoded)) // encoder.itemsize
    text_bytes = np.fromiter(map(len, stories), np.int64, len(stories))
    return RowGroup(b"".join(encoded), tokens, text_bytes, encoder.altered)
