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
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tinylm import atomic
from tinylm.corpus.storage import count_row_groups, read_row_group
from tinylm.encoding import Encoder, id_type, make_encoder
from tinylm.errors import UserError
from tinylm.tokenizer import end_of_text_id
from tinylm.tokens import FORMAT_VERSION, SplitInfo

ROW_GROUPS_PER_WORKER = 8  # a second or two of work; a process takes most of one to start
GROUPS_AHEAD = 2  # for each worker, so that none waits for the one whose turn it is
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


def write_split(
    folder: Path, name: str, corpus: Path, tokenizer: Tokenizer, workers: int = 1, max_tokens: int | None = None
) -> tuple[SplitInfo, Usage]:
    """Encode the corpus file `corpus` to `NAME.bin` and `NAME_offsets.bin`, in up to `workers` processes.

    With `max_tokens`, the first stories that fit are kept, and none of them is cut. Raises UserError
    for a damaged corpus, a full disk or a worker that died; then neither file is there.
    """
    row_groups = count_row_groups(corpus)
    with (
        atomic.replacing(folder / f"{name}_offsets.bin") as offsets_path,
        atomic.replacing(folder / f"{name}.bin") as bin_path,
        open(offsets_path, "wb") as offsets_file,
        open(bin_path, "wb") as bin_file,
    ):
        writer = _SplitWriter(_HashingFile(bin_file), _HashingFile(offsets_file), id_type(tokenizer), max_tokens)
        done = 0
        with contextlib.closing(_encode(corpus, row_groups, tokenizer, workers)) as encoded:
            for group in encoded:
                writer.write(group)
                done += 1
                if writer.stories_left:
                    break
        for index in range(done, row_groups):
            writer.leave(read_row_group(corpus, index))
        if not writer.stories:
            raise UserError(f"no story of the {name} split fits into pretokenize.max_tokens = {max_tokens}; raise it")
        return writer.finish()


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

    def __init__(self, ids: _HashingFile, offsets: _HashingFile, dtype: np.dtype, max_tokens: int | None):
        self._ids, self._offsets, self._itemsize, self._max_tokens = ids, offsets, dtype.itemsize, max_tokens
        self.tokens = self.stories = self.text_bytes = self.stories_left = self.text_bytes_left = 0

    def write(self, group: RowGroup) -> None:
        ends = self.tokens + np.cumsum(group.tokens)
        count = len(ends) if self._max_tokens is None else int(np.searchsorted(ends, self._max_tokens, side="right"))
        added = int(group.tokens[:count].sum())
        self._ids.write(group.ids[: added * self._itemsize])
        self._offsets.write((ends - group.tokens)[:count].astype("<u8").tobytes())
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
        info = SplitInfo(self.tokens, self.stories, self.text_bytes, self._ids.hexdigest(), self._offsets.hexdigest())
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
    return RowGroup(b"".join(encoded), tokens, np.fromiter(map(len, stories), np.int64, len(stories)))


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


def write_description(folder: Path, tokenizer_file: Path, tokenizer: Tokenizer, splits: dict[str, SplitInfo]) -> None:
    """Write `tokens.json`, last: a store without it is not complete."""
    vocab_size = tokenizer.get_vocab_size()
    description = {
        "version": FORMAT_VERSION,
        "dtype": id_type(tokenizer).name,
        "byte_order": "little",
        "vocab_size": vocab_size,
        "end_of_text": end_of_text_id(tokenizer),
        "tokenizer_sha256": atomic.sha256(tokenizer_file),
        "splits": {name: asdict(info) for name, info in splits.items()},
    }
    atomic.write_json(folder / "tokens.json", description)
