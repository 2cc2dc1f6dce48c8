"""The corpus to the files of a token store (see tokens.py), a row group at a time, in several processes.

Memory does not grow with the corpus, and no byte depends on the number of processes.
"""

import contextlib
import hashlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tinylm.base import atomic
from tinylm.base.errors import UserError, quote
from tinylm.corpus.storage import count_row_groups, read_row_group
from tinylm.pretokenize.encoding import Altered, Encoder, make_encoder
from tinylm.tokens.store import SplitInfo, id_type

ROW_GROUPS_PER_WORKER = 8  # a second or two of work; a process takes most of one to start
GROUPS_AHEAD = 2  # for each worker, so that none waits for the one whose turn it is
CONTEXT_SHOWN = 15  # characters on each side of a difference
MOST_WORKERS = 8  # more than the process that writes can keep up with; each holds its own memory of pieces


@dataclass(frozen=True)
class Usage:
    """What a token budget left out."""

    stories_left: int
    text_bytes_left: int


@dataclass(frozen=True)
class RowGroup:
    """Encoded stories, end to end."""

    ids: bytes
    tokens: NDArray[np.int64]  # of each story, end-of-text included
    text_bytes: NDArray[np.int64]  # of each story
    altered: Altered | None  # the first text, of these stories or of earlier ones, that did not come back


def write_split(
    folder: Path,
    name: str,
    corpus: Path,
    tokenizer: Tokenizer,
    workers: int = 1,
    max_tokens: int | None = None,
    lossy: bool = False,
) -> tuple[SplitInfo, Usage]:
    """Encode the corpus file `corpus` to `NAME.bin` and its two files of offsets, in up to `workers` processes.

    With `max_tokens`, the first stories that fit are kept, and none of them is cut. Raises UserError for a
    damaged corpus, a full disk, a worker that died, and, unless `lossy`, for a story that does not come back
    from its ids; then none of the files is there.
    """
    row_groups = count_row_groups(corpus)
    with contextlib.ExitStack() as stack:

        def create(file_name: str) -> _HashingFile:
            path = stack.enter_context(atomic.replacing(folder / file_name))
            return _HashingFile(stack.enter_context(open(path, "wb")))

        text_offsets, offsets = create(f"{name}_text_offsets.bin"), create(f"{name}_offsets.bin")
        ids = create(f"{name}.bin")
        writer = _SplitWriter(ids, offsets, text_offsets, id_type(tokenizer.get_vocab_size()), max_tokens)
        done = 0
        with contextlib.closing(_encode(corpus, row_groups, tokenizer, workers)) as encoded:
            for group in encoded:
                if group.altered and not lossy:
                    raise _lossy(group.altered)
                writer.write(group)
                done += 1
                if writer.stories_left:
                    break
        for index in range(done, row_groups):
            writer.leave(read_row_group(corpus, index))
        if not writer.stories:
            raise UserError(f"no story of the {name} split fits into pretokenize.max_tokens = {max_tokens}; raise it")
        return writer.finish()


def _lossy(altered: Altered) -> UserError:
    """What is lost, shown from a little before the first difference on."""
    text, decoded = altered.text, altered.decoded
    differing = (place for place, (a, b) in enumerate(zip(text, decoded, strict=False)) if a != b)
    same = next(differing, min(len(text), len(decoded)))
    shown = slice(max(0, same - CONTEXT_SHOWN), same + CONTEXT_SHOWN)
    return UserError(
        f"the tokenizer does not give the text back: {quote(text[shown])} came back as {quote(decoded[shown])}; "
        "take a byte-level tokenizer (train_tokenizer.kind: bpe or gpt2), "
        "or set pretokenize.lossy: true, and do without bits per byte"
    )


class _HashingFile:
    """A file that knows the sha256 of what was written to it."""

    def __init__(self, file: IO[bytes]):
        self._file, self._hash = file, hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


class _SplitWriter:
    """Writes stories as long as they fit into the budget, and counts those that do not."""

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

    def leave(self, stories: list[bytes]) -> None:
        self.stories_left += len(stories)
        self.text_bytes_left += sum(map(len, stories))

    def finish(self) -> tuple[SplitInfo, Usage]:
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
        return info, Usage(self.stories_left, self.text_bytes_left)


def _encode(corpus: Path, row_groups: int, tokenizer: Tokenizer, workers: int) -> Generator[RowGroup, None, None]:
    """All row groups in order; in this process where others do not pay."""
    workers = min(workers, MOST_WORKERS, row_groups // ROW_GROUPS_PER_WORKER)
    if workers > 1:
        yield from _encode_in_processes(corpus, row_groups, tokenizer, workers)
    else:
        encoder = make_encoder(tokenizer)
        for index in range(row_groups):
            yield _encode_row_group(encoder, corpus, index)


def _encode_row_group(encoder: Encoder, corpus: Path, index: int) -> RowGroup:
    stories = read_row_group(corpus, index)
    try:
        encoded = encoder.encode(stories)
    except UnicodeDecodeError as error:
        raise UserError(f"{corpus}: expected UTF-8, but {error}; run `dvc repro -f download`") from None
    tokens = np.fromiter(map(len, encoded), np.int64, len(encoded)) // encoder.itemsize
    text_bytes = np.fromiter(map(len, stories), np.int64, len(stories))
    return RowGroup(b"".join(encoded), tokens, text_bytes, encoder.altered)


def _encode_in_processes(
    corpus: Path, row_groups: int, tokenizer: Tokenizer, workers: int
) -> Generator[RowGroup, None, None]:
    """Processes are spawned, since the libraries' threads do not survive a fork.

    They end when `alive` closes: by hand here, by the system where this process is killed.
    """
    context = multiprocessing.get_context("spawn")
    lifeline, alive = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, _start_worker, (tokenizer.to_str(), lifeline))
    pending: deque[Future[RowGroup]] = deque()
    try:
        for index in range(row_groups):
            pending.append(pool.submit(_work, corpus, index))
            if len(pending) > GROUPS_AHEAD * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        alive.close()  # a pool that breaks while it starts a process waits for that one for ever
        raise UserError(
            "a worker process died (was it killed, or memory short?); nothing was written: "
            "run the same command again, with fewer runtime.workers if it comes back"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
        alive.close()
        lifeline.close()


_worker_encoder: Encoder  # of a worker process


def _start_worker(tokenizer: str, lifeline: Connection) -> None:
    global _worker_encoder  # noqa: PLW0603 - a pool's initializer has no other place
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the process that writes ends the others
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    _worker_encoder = make_encoder(Tokenizer.from_str(tokenizer))


def _end_with(lifeline: Connection) -> None:
    """Workers hold both ends of the pool's pipes and would wait for a killed parent for ever."""
    lifeline.poll(None)  # nothing is ever sent: this returns when the other end closes
    os._exit(1)


def _work(corpus: Path, index: int) -> RowGroup:
    return _encode_row_group(_worker_encoder, corpus, index)
