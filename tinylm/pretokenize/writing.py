"""Encode the corpus into a token store (see tokens/store.py), one row group at a time, in several processes.

Memory use does not grow with the corpus, and the output does not depend on the number of processes.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tinylm.base.errors import UserError, quote
from tinylm.corpus.row_groups import map_row_groups
from tinylm.corpus.storage import count_row_groups, not_utf8, read_row_group
from tinylm.pretokenize.encoding import Altered, Encoder, make_encoder
from tinylm.pretokenize.shards import SplitFiles
from tinylm.tokens.description import SplitInfo, id_type

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
    shard_tokens: int | None = None,
) -> tuple[SplitInfo, Omitted]:
    """Encode the file `corpus` into `NAME.bin` and its two offset files, with up to `workers` processes.

    With `shard_tokens`, a split that is longer is cut into shards of about so many tokens, at the ends of stories. With
    `max_tokens`, only the first stories that fit are kept, all of them whole. Returns the description of the split
    and what was left out. Raises UserError for a damaged corpus, a full disk, a worker that died and, unless `lossy`,
    a story that decoding does not restore; none of the files is then written.
    """
    row_groups, dtype = count_row_groups(corpus), id_type(tokenizer.get_vocab_size())
    with SplitFiles(folder, name, dtype, shard_tokens) as files:
        writer = _SplitWriter(files, dtype, max_tokens)
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
        if not writer.tokens:
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


class _SplitWriter:
    """Writes stories while they fit into the token budget, and counts those left out."""

    def __init__(self, files: SplitFiles, dtype: np.dtype, max_tokens: int | None):
        self._files, self._itemsize, self._max_tokens = files, dtype.itemsize, max_tokens
        self.lossless = True
        self.tokens = self.stories_left = self.text_bytes_left = 0

    def write(self, group: RowGroup) -> None:
        ends = self.tokens + np.cumsum(group.tokens)
        count = len(ends) if self._max_tokens is None else int(np.searchsorted(ends, self._max_tokens, side="right"))
        added = int(group.tokens[:count].sum())
        self._files.write(group.ids[: added * self._itemsize], group.tokens[:count], group.text_bytes[:count])
        self.lossless &= group.altered is None
        self.tokens += added
        self.stories_left += len(ends) - count
        self.text_bytes_left += int(group.text_bytes[count:].sum())

    def omit(self, stories: list[bytes]) -> None:
        self.stories_left += len(stories)
        self.text_bytes_left += sum(map(len, stories))

    def finish(self) -> tuple[SplitInfo, Omitted]:
        return self._files.finish(self.lossless), Omitted(self.stories_left, self.text_bytes_left)


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
