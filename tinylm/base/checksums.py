"""Checksums of large files, computed once: a file is known again by its inode, size and time of modification.

The entries are lines of `.dvc/tmp/checksums` in the user's repository, which git ignores and which may be removed at
any time: without it, files are only read again. Several processes and hosts may add lines at once. A damaged line does
not match its CRC and is skipped. As in git's index, a file that has just been changed is not trusted until a second
change would give it another time of modification.

The number of the device is no part of an entry: it differs between the hosts of a network file system. Neither is the
path, so that links, renamed files and DVC's temporary copies of a repository are known again.
"""

import contextlib
import hashlib
import json
import logging
import os
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from tinylm.base import atomic
from tinylm.base.cores import usable_cores
from tinylm.base.errors import UserError
from tinylm.base.stage import original_root

FILE = Path(".dvc/tmp/checksums")  # below the root of the user's repository
SMALL = 1 << 20  # bytes; a smaller file is read faster than it is looked up
LARGEST_CACHE = 1 << 23  # bytes; a larger one keeps its newer half
CHUNK = 1 << 20  # bytes read at once
COARSE, FINE = 2.0, 0.02  # longest time between two changes with equal stamps [s]: on FAT; a tick of the kernel
PATIENCE, INTERVAL = 3.0, 30.0  # until the first line of progress, and between the others [s]

log = logging.getLogger("tinylm")


@dataclass(frozen=True)
class Content:
    """The content of a file: its SHA-256, and the highest of its numbers, if it was read as numbers."""

    sha256: str
    highest: int | None = None


@dataclass(frozen=True)
class Request:
    """A file whose content is asked for; with `dtype`, its highest number is too."""

    path: Path
    dtype: np.dtype | None = None


Key = tuple[int, int, int, str | None]  # inode, size, time of modification [ns], dtype


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits, from the cache if it is there."""
    return read([Request(path)])[0].sha256


def read(requests: Sequence[Request]) -> list[Content]:
    """Return the contents of files. A file that is not in the cache is read, by one process if several ask at once.

    Says how much there is to read if that takes longer than some seconds. Raises OSError for a file that cannot be
    read.
    """
    large = [request for request in requests if os.stat(request.path).st_size >= SMALL]
    found = _find(large)
    if len(found) < len(large):
        with _one_process():
            found = _find(large)
            found |= _read_all([request for request in large if request not in found])
    return [found.get(request) or _Reading().read(request) for request in requests]


def record(request: Request, content: Content) -> None:
    """Add the content of a file to the cache, as the process knows it that has just written the file."""
    status = os.stat(request.path)
    if status.st_size >= SMALL and _settled(status):
        _append(status, request, content)


def _cache() -> Path | None:
    """Return the path of the cache; None outside of a repository of DVC."""
    root = original_root()
    return root / FILE if (root / FILE.parts[0]).is_dir() else None


def _find(requests: Sequence[Request]) -> dict[Request, Content]:
    """Return the contents of those files that are in the cache."""
    known = _read_cache() if requests else {}
    contents = {request: known.get(_key(os.stat(request.path), request.dtype)) for request in requests}
    return {request: content for request, content in contents.items() if content}


def _key(status: os.stat_result, dtype: np.dtype | None) -> Key:
    return status.st_ino, status.st_size, status.st_mtime_ns, dtype and dtype.str


def _read_cache() -> dict[Key, Content]:
    """Return the entries of the cache, without damaged lines; empty if it cannot be read."""
    entries: dict[Key, Content] = {}
    cache = _cache()
    try:
        lines = cache.read_bytes().splitlines() if cache else []
    except OSError:
        return entries
    for line in lines:
        text, _, crc = line.rpartition(b" ")
        if crc == _crc(text):
            *key, dtype, digest, highest = json.loads(text)
            entries[*key, dtype] = entries[*key, None] = Content(digest, highest)
    return entries


def _crc(text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text)


def _append(status: os.stat_result, request: Request, content: Content) -> None:
    """Add an entry. A disk that is full or read-only is no reason to fail."""
    if not (cache := _cache()):
        return
    text = json.dumps([*_key(status, request.dtype), content.sha256, content.highest]).encode()
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        with open(cache, "ab", buffering=0) as file:  # one write: other processes append too
            file.write(b"%s %s\n" % (text, _crc(text)))


def _settled(status: os.stat_result) -> bool:
    """Return True as soon as a change of the file would give it another time of modification.

    Returns False if that time lies in the future, by another clock.
    """
    coarse = status.st_mtime_ns % 1_000_000 == 0
    age = time.time() - status.st_mtime_ns / 1e9
    if age > -COARSE:
        time.sleep(max(0.0, (COARSE if coarse else FINE) - age))
    return age > -COARSE


@contextlib.contextmanager
def _one_process() -> Iterator[None]:
    """Hold the lock of the cache: the others wait, and then find what was read. Without locks, each reads by itself."""
    if not (cache := _cache()):
        yield
        return
    lock = FileLock(cache.with_suffix(".lock"), fallback_to_soft=False)
    with contextlib.suppress(OSError):  # a file system without locks, or one that is read-only
        cache.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            if os.environ.get("RANK", "0") == "0":  # say it once, not in every process of the run
                log.info("waiting for another process, which computes checksums of large files")
            lock.acquire()
    try:
        _shorten(cache)
        yield
    finally:
        lock.release()


def _shorten(cache: Path) -> None:
    """Remove the older half of a cache that has become too large."""
    with contextlib.suppress(OSError, UserError):
        if cache.stat().st_size > LARGEST_CACHE:
            content = cache.read_bytes()
            with atomic.replacing(cache) as temporary:
                temporary.write_bytes(content[content.index(b"\n", len(content) // 2) + 1 :])


def _read_all(requests: Sequence[Request]) -> dict[Request, Content]:
    """Read files, with a thread for each core, and log the progress every now and then."""
    if not requests:
        return {}
    total = sum(os.stat(request.path).st_size for request in requests)
    reading, timeout = _Reading(), PATIENCE
    with ThreadPoolExecutor(usable_cores()) as pool:
        tasks = [pool.submit(reading.read_and_record, request) for request in requests]
        try:
            while (waited := wait(tasks, timeout, FIRST_EXCEPTION)).not_done:
                for task in waited.done:
                    task.result()  # raises what was raised there
                log.info(
                    "computing checksums of files that are new here or were changed: %.1f of %.1f GB",
                    reading.bytes_read / 1e9,
                    total / 1e9,
                )
                timeout = INTERVAL
        except BaseException:  # Ctrl-C, too: do not wait until terabytes have been read
            reading.stopped = True
            pool.shutdown(cancel_futures=True)
            raise
    return {request: task.result() for request, task in zip(requests, tasks, strict=True)}


class _Reading:
    """Reads files in several threads, and counts the bytes."""

    def __init__(self) -> None:
        self.bytes_read, self.stopped, self._lock = 0, False, threading.Lock()

    def read_and_record(self, request: Request) -> Content:
        before = os.stat(request.path)
        settled = _settled(before)
        content = self.read(request)
        after = os.stat(request.path)
        if settled and not self.stopped and _key(after, None) == _key(before, None):
            _append(before, request, content)
        return content

    def read(self, request: Request) -> Content:
        """Read a file once, for both its checksum and its highest number."""
        digest, highest, dtype = hashlib.sha256(), None, request.dtype
        buffer = bytearray(CHUNK)
        with open(request.path, "rb") as file:
            while (count := file.readinto(buffer)) and not self.stopped:
                digest.update(memoryview(buffer)[:count])
                if dtype and count >= dtype.itemsize:
                    numbers = np.frombuffer(buffer, dtype, count // dtype.itemsize)
                    highest = max(highest or 0, int(numbers.max()))
                with self._lock:
                    self.bytes_read += count
        return Content(digest.hexdigest(), highest)
