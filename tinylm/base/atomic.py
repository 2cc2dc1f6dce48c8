"""Atomic file writes: a file appears under its final name complete or not at all."""

import contextlib
import csv
import errno
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from tinylm.base.errors import FULL_DISK, REASONS, UserError

# Errors from file systems that cannot fsync a directory (FUSE, SMB); how durable the rename is depends on them.
CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY, errno.EBADF)


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
        os.replace(temporary, final)
        _sync_folder(final.parent)
    except OSError as error:
        if error.errno in FULL_DISK:
            raise UserError(f"{final}: {REASONS[errno.ENOSPC]}") from error
        if error.filename == os.fspath(temporary):  # a temporary name means nothing to the user
            error.filename, error.filename2 = os.fspath(final), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)  # Windows needs write access
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
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
