"""Files appear under their final name whole or not at all."""

import contextlib
import csv
import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from tinylm.base.errors import FULL_DISK, REASONS, UserError

# What file systems answer that cannot sync a folder (FUSE, SMB); the rename is then as lasting as they make it.
CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY, errno.EBADF)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it over `path` when the block ends well, else remove it.

    The file and its folder are synced to the disk, so that a power cut leaves the old content or
    the new one, as far as the file system can sync folders. Raises UserError when the disk is full.
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
        if error.filename == os.fspath(temporary):  # a name of ours, which tells a user nothing
            error.filename, error.filename2 = os.fspath(final), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Sync a folder, that is the names in it, where the file system can."""
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON, keys in the order given. Raises ValueError for NaN or infinity."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256(path: str | os.PathLike[str]) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A table with the columns of its first row; numbers with seven digits, None as nothing."""
    rows = [{name: f"{x:.7g}" if isinstance(x, float) else x for name, x in row.items()} for row in rows]
    text = StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
