"""The lock of a run: only one process trains it, and the next one learns if that process was killed."""

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
    """Hold the lock of `folder`, which is created. The system releases it when the process ends, however it ends.

    Yields the note of the last process if it was killed, else None: a process that exits removes its note. Raises
    UserError if another process holds the lock, or if the folder cannot be created.
    """
    descriptor = _take(folder)
    try:
        last = os.pread(descriptor, LONGEST_NOTE, 0).decode(errors="replace").strip()
        _note(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n")
        yield last or None
    finally:  # reached after an exception too, but not if the process is killed
        _note(descriptor, "")
        os.close(descriptor)


@contextlib.contextmanager
def idle(folder: Path) -> Iterator[bool]:
    """Whether no process is training the run; if so, its lock is held within the block. Writes no file."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except FileNotFoundError:  # the run never started, or another process has just removed its folder
        yield True
        return
    except OSError:  # the file of another user
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = True
    except OSError:  # locked, or the file system has no locks: assume that it is in use
        held = False
    try:
        yield held
    finally:
        os.close(descriptor)


def _take(folder: Path) -> int:
    """Lock the folder and return the descriptor; try again if another process removes the folder in between."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{folder} cannot hold resume checkpoints ({error}); free space, or set TINYLM_RESUME to another folder"
            ) from None
        try:
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue
        if not _try_lock(descriptor, folder / LOCK):
            note = os.pread(descriptor, LONGEST_NOTE, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise UserError(
                f"another process is training this run ({note}), with its resume checkpoints in {folder}; "
                "wait for it, or stop it"
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
    except OSError as error:  # some network file systems have no locks
        log.warning("warning: %s cannot be locked (%s): do not start a second trainer on this run", path, error)
    return True


def _note(descriptor: int, text: str) -> None:
    """Write who holds the lock. A full disk is no error, because the lock holds without the note."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
