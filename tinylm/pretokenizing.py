"""Stories to the files of a token store (see tokens.py), streaming: memory does not grow with the corpus."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np
from tokenizers import Tokenizer

from tinylm import atomic
from tinylm.errors import UserError
from tinylm.tokenizer import end_of_text_id
from tinylm.tokens import FORMAT_VERSION, SplitInfo

STORIES_PER_BATCH = 2048  # encoded at once: enough for all cores, a few megabytes of text


@dataclass(frozen=True)
class Usage:
    """What a token budget left out."""

    stories_left: int
    text_bytes_left: int


class _HashingFile:
    """A file that knows the sha256 of what was written to it."""

    def __init__(self, file: IO[bytes]):
        self._file, self._hash = file, hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def write_split(
    folder: Path, name: str, stories: Iterable[str], tokenizer: Tokenizer, max_tokens: int | None = None
) -> tuple[SplitInfo, Usage]:
    """Encode `stories` to `NAME.bin` and `NAME_offsets.bin`; a few thousand stories are in memory at once.

    With `max_tokens`, the first stories that fit are kept, and none of them is cut.
    """
    dtype = np.dtype("<u2" if tokenizer.get_vocab_size() <= 65_536 else "<u4")
    end = end_of_text_id(tokenizer)
    tokens = count = text_bytes = stories_left = bytes_left = 0
    with (
        atomic.replacing(folder / f"{name}.bin") as bin_path,
        atomic.replacing(folder / f"{name}_offsets.bin") as offsets_path,
        open(bin_path, "wb") as bin_file,
        open(offsets_path, "wb") as offsets_file,
    ):
        ids_out, offsets_out = _HashingFile(bin_file), _HashingFile(offsets_file)
        full = False
        for batch in batched(stories, STORIES_PER_BATCH):
            encodings = [] if full else tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            fitting, starts = [], []
            for story, encoding in zip(batch, encodings, strict=False):
                ids = [*encoding.ids, end]
                full = full or (max_tokens is not None and tokens + len(ids) > max_tokens)
                if full:
                    break
                starts.append(tokens)
                fitting += ids
                tokens += len(ids)
                text_bytes += len(story.encode())
            count += len(starts)
            stories_left += len(batch) - len(starts)
            bytes_left += sum(len(story.encode()) for story in batch[len(starts) :])
            ids_out.write(np.array(fitting, dtype).tobytes())
            offsets_out.write(np.array(starts, "<u8").tobytes())
        offsets_out.write(np.array([tokens], "<u8").tobytes())
        if not count:
            raise UserError(f"no story of the {name} split fits into pretokenize.max_tokens = {max_tokens}; raise it")
    info = SplitInfo(tokens, count, text_bytes, ids_out.hexdigest(), offsets_out.hexdigest())
    return info, Usage(stories_left, bytes_left)


def batched(items: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def write_description(folder: Path, tokenizer_file: Path, tokenizer: Tokenizer, splits: dict[str, SplitInfo]) -> None:
    """Write `tokens.json`, last: a store without it is not complete."""
    vocab_size = tokenizer.get_vocab_size()
    description = {
        "version": FORMAT_VERSION,
        "dtype": "uint16" if vocab_size <= 65_536 else "uint32",
        "byte_order": "little",
        "vocab_size": vocab_size,
        "end_of_text": end_of_text_id(tokenizer),
        "tokenizer_sha256": atomic.sha256(tokenizer_file),
        "splits": {name: asdict(info) for name, info in splits.items()},
    }
    atomic.write_json(folder / "tokens.json", description)
