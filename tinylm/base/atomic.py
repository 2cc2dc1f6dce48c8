"""Atomic file writes: a file appears under its final name complete or not at all."""

import contextlib
import csv
import errno
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from tinylm.base.errors import FULL_DISK, REASONS, UserError

# Errors from file systems that cannot fsync a directory (FUSE, SMB); how durable the rename is depends on them.
CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY, errno.EBADF)
# Windows refuses to replace a file that is open (ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION). Virus scanners and
# indexers open every new file, for a moment.
IN_USE = (5, 32)
PATIENCE = 5.0  # longest wait for a file in use [seconds]


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path next to `path`; rename it to `path` if the block succeeds, remove it otherwise.

    Both the file and its folder are fsynced, so that after a power cut either the old or the new content is there
    (if the file system can fsync folders). Raises UserError when the disk is full.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _sync(temporary)
        _rename(temporary, final)
        sync_folder(final.parent)
    except OSError as error:
        if error.errno in FULL_DISK:
            raise UserError(f"{final}: {REASONS[errno.ENOSPC]}") from error
        if error.filename == os.fspath(temporary):  # a temporary name means nothing to the user
            error.filename, error.filename2 = os.fspath(final), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _rename(temporary: Path, final: Path) -> None:
    """Rename a file over another one. Raises UserError if another program keeps that open."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            os.replace(temporary, final)
            return
        except PermissionError as error:
            if getattr(error, "winerror", None) not in IN_USE:  # on other systems it is about permissions
                raise
            if time.monotonic() > deadline:
                raise UserError(
                    f"{final}: expected a file that can be replaced, but another program has it open, or this user "
                    "may not write it; close that program and run the same command again"
                ) from error
        time.sleep(0.05)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)  # Windows needs write access
    try:
        _flush(descriptor)
    finally:
        os.close(descriptor)


def _flush(descriptor: int) -> None:
    if sys.platform == "darwin":  # where fsync leaves data in the cache of the drive
        import fcntl

        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError:  # a file system without it, such as a network share
            os.fsync(descriptor)
    else:
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Fsync a folder, which makes the names in it durable, if the system supports it."""
    if sys.platform == "win32":  # cannot open folders
        return
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` atomically, as UTF-8 with LF line ends."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON, keeping the order of keys. Raises ValueError for NaN or infinity."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV whose columns are the keys of the first row; floats have 7 significant digits, None is empty."""
    rows = [{name: f"{x:.7g}" if isinstance(x, float) else x for name, x in row.items()} for row in rows]
    text = StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
