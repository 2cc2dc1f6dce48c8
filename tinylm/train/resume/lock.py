"""The lock of a run: only one process trains it, and the next one learns if that process was killed."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from tinylm.base.errors import UserError

LOCK = "lock"
HOLDER = "holder"  # a note of who holds the lock: Windows lets nobody else read a locked file

log = logging.getLogger("tinylm")


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[str | None]:
    """Hold the lock of `folder`, which is created. The system releases it when the process ends, however it ends.

    Yields the note of the last process if it was killed, else None: a process that exits removes its note. Raises
    UserError if another process holds the lock, or if the folder cannot be created.
    """
    lock = _take(folder)
    try:
        last = _note(folder)
        with contextlib.suppress(OSError):  # a full disk is no error, because the lock holds without the note
            note = f"process {os.getpid()} on {socket.gethostname()}\n"
            (folder / HOLDER).write_text(note, encoding="utf-8", newline="\n")
        yield last or None
    finally:  # reached after an exception too, but not if the process is killed
        with contextlib.suppress(OSError):
            (folder / HOLDER).unlink()
        lock.release()


@contextlib.contextmanager
def idle(folder: Path) -> Iterator[bool]:
    """Whether no process is training the run; if so, its lock is held within the block. Writes no file."""
    lock = _lock(folder)
    try:
        (folder / LOCK).stat()
        lock.acquire()
        free = True
    except FileNotFoundError:  # the run never started, or another process has just removed its folder
        free = True
    except OSError:  # locked, the file of another user, or a file system without locks: assume that it is in use
        free = False
    try:
        yield free
    finally:
        lock.release()


def _lock(folder: Path) -> BaseFileLock:
    """Return the lock of `folder`, not yet held. Where the file system has no locks, taking it raises OSError."""
    return FileLock(folder / LOCK, timeout=0, thread_local=False, fallback_to_soft=False)


def _take(folder: Path) -> BaseFileLock:
    """Lock the folder and return the lock; try again if another process removes the folder in between."""
    lock = _lock(folder)
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{folder} cannot hold resume checkpoints ({error}); free space, or set TINYLM_RESUME to another folder"
            ) from None
        try:
            lock.acquire()
        except FileNotFoundError:
            continue
        except Timeout:
            if not (folder / LOCK).exists():
                continue
            raise UserError(
                f"another process is training this run ({_note(folder)}), with its resume checkpoints in {folder}; "
                "wait for it, or stop it"
            ) from None
        except OSError as error:
            if error.filename is not None:  # it cannot be opened
                raise
            log.warning(  # some network file systems have no locks
                "warning: %s cannot be locked (%s): do not start a second trainer on this run", folder / LOCK, error
            )
        return lock


def _note(folder: Path) -> str:
    """Return who holds the lock, or held it when it was killed; empty if nobody does, or the note cannot be read."""
    try:
        return (folder / HOLDER).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
