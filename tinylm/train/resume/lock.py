"""The lock of a run's folder of states: one process works on a run, and the next one learns how that one ended."""

import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from tinylm.base.errors import UserError

LOCK = "lock"
LONGEST_NOTE = 300  # bytes

log = logging.getLogger("tinylm")


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[str | None]:
    """Hold the lock of `folder`, which is made; the system gives it back when the process ends, however it ends.

    Gives what the last process wrote of itself if it was killed: a process that ends by itself removes that note.
    Raises UserError where another process holds the lock, or the folder cannot be made.
    """
    descriptor = _take(folder)
    try:
        last = os.pread(descriptor, LONGEST_NOTE, 0).decode(errors="replace").strip()
        _note(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n")
        yield last or None
    finally:  # an exception is an end by itself too; only a process that is killed does not come here
        _note(descriptor, "")
        os.close(descriptor)


@contextlib.contextmanager
def idle(folder: Path) -> Iterator[bool]:
    """Whether no process works on the run, with its lock held within the block. Makes and changes no file."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except FileNotFoundError:  # of a run that never began, or whose folder another process has just removed
        yield True
        return
    except OSError:  # another user's
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = True
    except OSError:  # held, or a drive without locks: better kept
        held = False
    try:
        yield held
    finally:
        os.close(descriptor)


def _take(folder: Path) -> int:
    """The descriptor of the folder's lock, held; anew where another process removes the folder in between."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"states cannot be kept in {folder} ({error}); make room, or set TINYLM_RESUME to another folder"
            ) from None
        try:
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue
        if not _try_lock(descriptor, folder / LOCK):
            note = os.pread(descriptor, LONGEST_NOTE, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise UserError(
                f"another trainer works on this run ({note}), with its states in {folder}; wait for it, or stop it"
            )
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(folder / LOCK)):
                return descriptor
        os.close(descriptor)


def _try_lock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # some network drives have no locks
        log.warning("warning: %s cannot be locked (%s): start no second trainer on this run", path, error)
    return True


def _note(descriptor: int, text: str) -> None:
    """Who holds the lock is told to others where there is room for it: the lock holds without."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
