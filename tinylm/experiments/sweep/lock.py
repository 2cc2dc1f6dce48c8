"""The lock of a sweep: one process at a time runs it. The OS releases the lock however that process ends."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from tinylm.base.errors import UserError
from tinylm.experiments.sweep.study import FOLDER


@contextlib.contextmanager
def only_one(name: str) -> Iterator[None]:
    """Hold the lock of the sweep `name`. Raises UserError while another process holds it."""
    FOLDER.mkdir(exist_ok=True)
    with open(_path(name), "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another process runs the sweep {name}; wait for it, or use another --name") from None
        yield


def is_running(name: str) -> bool:
    """Return whether a process runs the sweep `name`."""
    if not _path(name).is_file():
        return False
    with open(_path(name), encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _path(name: str) -> Path:
    return FOLDER / f"{name}.lock"
