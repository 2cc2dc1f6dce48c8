"""The lock of a sweep: one process at a time runs it. The OS releases the lock however that process ends."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from tinylm.base.errors import UserError
from tinylm.experiments.sweep.study import FOLDER

PATIENCE = 0.2  # seconds: `is_running` of another process takes the lock for a moment


@contextlib.contextmanager
def only_one(name: str) -> Iterator[None]:
    """Hold the lock of the sweep `name`. Raises UserError while another process holds it."""
    FOLDER.mkdir(exist_ok=True)
    lock = FileLock(_path(name))
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise UserError(f"another process runs the sweep {name}; wait for it, or use another --name") from None
    try:
        yield
    finally:
        lock.release()


def is_running(name: str) -> bool:
    """Return whether a process runs the sweep `name`."""
    if not _path(name).is_file():
        return False
    try:
        with FileLock(_path(name), timeout=0):
            return False
    except Timeout:
        return True


def _path(name: str) -> Path:
    return FOLDER / f"{name}.lock"
