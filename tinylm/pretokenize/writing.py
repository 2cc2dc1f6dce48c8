"""Encode the corpus into a token store (see tokens/store.py), in several processes or on a cluster.

A corpus of one file becomes one file of ids, and its row groups are the work; the process that writes takes the encoded
stories in order. A shard of a corpus becomes a shard of ids, and is the work of one process, which writes it too.
Memory use does not grow with the corpus, and the output does not depend on the number of processes.
"""

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tinylm.base.errors import UserError, quote
from tinylm.base.stage import log
from tinylm.corpus import storage
from tinylm.corpus.row_groups import map_row_groups
from tinylm.corpus.storage import RowGroup, not_utf8, read_row_group, row_groups
from tinylm.pretokenize.encoding import Altered, Encoder, make_encoder
from tinylm.pretokenize.shards import Shard, ShardFiles, place_split
from tinylm.tokens.description import SplitInfo, id_type
from tinylm.workers.processes import LocalWorkers
from tinylm.workers.workers import Workers

CONTEXT_SHOWN = 15  # characters on each side of a difference


@dataclass(frozen=True)
class Omitted:
    """What the token budget left out."""

    stories_left: int = 0
    text_bytes_left: int = 0

    def __add__(self, other: "Omitted") -> "Omitted":
        return Omitted(self.stories_left + other.stories_left, self.text_bytes_left + other.text_bytes_left)


@dataclass(frozen=True)
class Encoded:
    """A file of the corpus, encoded and written."""

    shard: Shard
    lossless: bool
    omitted: Omitted


@dataclass(frozen=True)
class EncodedStories:
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
    workers: Workers | None = None,
    max_tokens: int | None = None,
    lossy: bool = False,
) -> tuple[SplitInfo, Omitted]:
    """Encode a split of the corpus into `NAME.bin` and its two offset files, or into shards, one for each of its own.

    With `max_tokens`, only the first stories that fit are kept, all of them whole. Without `workers`, this process
    encodes. Returns the description of the split and what was left out. Raises UserError for a damaged corpus, a full
    disk, workers that died and, unless `lossy`, a story that decoding does not restore; no file is then written.
    """
    workers, shards = workers or LocalWorkers(), storage.shards(corpus)
    encoding = _Encoding(tokenizer.to_str(), id_type(tokenizer.get_vocab_size()), lossy)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as temporary:
        if len(shards) == 1:
            parts, omitted = [encoding.encode(Path(temporary), shards[0], workers, max_tokens)], Omitted()
        else:
            parts, omitted = _encode_shards(Path(temporary), shards, encoding, workers, max_tokens)
        kept = [part for part in parts if part.shard.tokens]
        if not kept:
            raise UserError(f"no story of the {name} split fits into pretokenize.max_tokens = {max_tokens}; raise it")
        lossless = all(part.lossless for part in kept)
        info = place_split(folder, name, [part.shard for part in kept], encoding.dtype, lossless)
    return info, sum((part.omitted for part in parts), omitted)


@dataclass(frozen=True)
class _Encoding:
    """How stories are encoded."""

    tokenizer: str  # JSON
    dtype: np.dtype
    lossy: bool  # whether a story that decoding does not restore is accepted

    def make_work(self) -> Callable[[RowGroup], EncodedStories]:
        """Return the function that encodes a row group, with an encoder of this process."""
        return partial(_encode_row_group, make_encoder(Tokenizer.from_str(self.tokenizer)))

    def encode(
        self,
        folder: Path,
        corpus: Path,
        workers: Workers,
        max_tokens: int | None,
        make_work: Callable[[], Callable[[RowGroup], EncodedStories]] | None = None,
    ) -> Encoded:
        """Encode a file of the corpus into files of the same name."""
        with ShardFiles(folder / corpus.stem, self.dtype) as files:
            writer, done = _ShardWriter(files, max_tokens), 0
            with contextlib.closing(map_row_groups(corpus, make_work or self.make_work, workers)) as encoded:
                for stories in encoded:
                    if stories.altered and not self.lossy:
                        raise _lossy(stories.altered)
                    writer.write(stories)
                    done += 1
                    if writer.omitted.stories_left:
                        break
            omitted = sum((_measure(read_row_group(group)) for group in row_groups(corpus)[done:]), writer.omitted)
            return Encoded(files.finish(), writer.lossless, omitted)


def _encode_shards(
    folder: Path, shards: Sequence[Path], encoding: _Encoding, workers: Workers, max_tokens: int | None
) -> tuple[list[Encoded], Omitted]:
    """Encode the shards that the token budget has room for; return them, and what the others hold."""
    parts, tokens = list[Encoded](), 0
    with contextlib.closing(workers.map(partial(_make_shard_work, folder, encoding), shards)) as encoded:
        for part in encoded:
            if max_tokens is not None and tokens + part.shard.tokens > max_tokens:
                parts.append(encoding.encode(folder, shards[len(parts)], LocalWorkers(), max_tokens - tokens))
                break
            tokens += part.shard.tokens
            parts.append(part)
            log.info("%s: encoded, %d of %d shards", shards[len(parts) - 1].name, len(parts), len(shards))
    return parts, sum(workers.map(_make_measuring, shards[len(parts) :]), Omitted())


def _make_shard_work(folder: Path, encoding: _Encoding) -> Callable[[Path], Encoded]:
    """Return the function that encodes a shard of the corpus.

    Its shards share an encoder, but an encoder that has altered one text says so ever after; where that is no error,
    each shard has its own.
    """
    work = encoding.make_work()
    make_work = encoding.make_work if encoding.lossy else lambda: work
    return lambda path: encoding.encode(folder, path, LocalWorkers(), None, make_work)


def _make_measuring() -> Callable[[Path], Omitted]:
    return lambda path: sum((_measure(read_row_group(group)) for group in row_groups(path)), Omitted())


def _measure(stories: Sequence[bytes]) -> Omitted:
    return Omitted(len(stories), sum(map(len, stories)))


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


class _ShardWriter:
    """Writes stories while they fit into the token budget, and counts those left out."""

    def __init__(self, files: ShardFiles, max_tokens: int | None):
        self._files, self._max_tokens = files, max_tokens
        self.lossless, self.omitted = True, Omitted()

    def write(self, stories: EncodedStories) -> None:
        ends = self._files.tokens + np.cumsum(stories.tokens)
        count = len(ends) if self._max_tokens is None else int(np.searchsorted(ends, self._max_tokens, side="right"))
        self._files.write(stories.ids, stories.tokens[:count], stories.text_bytes[:count])
        self.lossless &= stories.altered is None
        self.omitted += Omitted(len(ends) - count, int(stories.text_bytes[count:].sum()))


def _encode_row_group(encoder: Encoder, group: RowGroup) -> EncodedStories:
    """Encode one row group. Raises UserError if it is damaged or not UTF-8."""
    stories = read_row_group(group)
    try:
        encoded = encoder.encode(stories)
    except UnicodeDecodeError as error:
        raise not_utf8(group.path, error) from None
    tokens = np.fromiter(map(len, encoded), np.int64, len(encoded)) // encoder.itemsize
    text_bytes = np.fromiter(map(len, stories), np.int64, len(stories))
    return EncodedStories(b"".join(encoded), tokens, text_bytes, encoder.altered)
