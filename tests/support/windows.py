"""Windows, as far as Linux can pretend to be it, for processes that run this repository's code.

`pretend` takes away from our code what only POSIX has. Files follow the rules of Windows: one that is open or
memory-mapped can be neither removed nor replaced, and text is written in the code page and with CRLF unless the code
says otherwise. Libraries behave as on Linux if they were imported before.
"""

import asyncio
import builtins
import errno
import io
import multiprocessing.connection
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "termios"}
NAMES: dict[Any, tuple[str, ...]] = {
    os: ("fork", "forkpty", "geteuid", "getpgid", "getuid", "killpg", "sched_getaffinity", "setsid", "statvfs"),
    signal: ("SIGALRM", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1", "alarm", "pthread_sigmask", "sigwait"),
}
OURS = ("tinylm", "stages")
PEAK = 123_456_789  # memory of a process [bytes]
IN_USE = 32  # ERROR_SHARING_VIOLATION
CODE_PAGE = "cp1252"


def pretend(root: Path) -> None:
    """Make this process as on Windows, and all files below `root`; import the libraries before."""
    sys.platform = "win32"
    signal.SIGBREAK = signal.SIGUSR1  # type: ignore[attr-defined]
    multiprocessing.connection.PipeConnection = multiprocessing.connection.Connection  # type: ignore[misc]
    psutil.Process = lambda: SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=PEAK))
    builtins.__import__ = _refusing(builtins.__import__)
    for module, names in NAMES.items():
        for name in names:
            delattr(module, name)
    asyncio.unix_events._UnixSelectorEventLoop.add_signal_handler = _not_implemented  # type: ignore[attr-defined]
    builtins.open = io.open = _as_text_of_windows(io.open)  # type: ignore[assignment]
    keep_files_in_use(root, lambda name, function: setattr(os, name, function))


def _refusing(import_: Callable[..., Any]) -> Callable[..., Any]:
    def refuse(name: str, names: Any = None, *arguments: Any, **options: Any) -> Any:
        importer = str((names or {}).get("__name__", "")).split(".")[0]
        if importer in OURS and name.split(".")[0] in MODULES:
            raise ImportError(f"{name} is not on Windows")
        return import_(name, names, *arguments, **options)

    return refuse


def _not_implemented(*_: Any) -> None:
    raise NotImplementedError


def _as_text_of_windows(open_: Callable[..., Any]) -> Callable[..., Any]:
    def opened(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *others: Any,
    ) -> Any:
        if "b" not in mode:
            encoding = CODE_PAGE if encoding in (None, "locale") else encoding
            newline = "\r\n" if newline is None and "r" not in mode else newline
        return open_(file, mode, buffering, encoding, errors, newline, *others)

    return opened


def keep_files_in_use(root: Path, replace: Callable[[str, Callable[..., Any]], None]) -> None:
    """Make os refuse to remove and to replace files below `root` that this process has open or mapped.

    `replace(name, function)` sets a function of os.
    """
    for name in ("remove", "rename", "replace", "unlink"):
        replace(name, _checking(getattr(os, name), root.resolve()))


def _checking(function: Callable[..., Any], root: Path) -> Callable[..., Any]:
    def check(*paths: Any, dir_fd: int | None = None, **options: Any) -> Any:
        folder = "" if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
        for path in paths:
            full = os.path.realpath(os.path.join(folder, os.fsdecode(path)))
            if full.startswith(f"{root}/") and _in_use(full):
                error = PermissionError(errno.EACCES, "the file is used by another process", os.fspath(path))
                error.winerror = IN_USE  # type: ignore[attr-defined] # only Windows has it
                raise error
        return function(*paths, **options if dir_fd is None else options | {"dir_fd": dir_fd})

    return check


def _in_use(path: str) -> bool:
    with open("/proc/self/maps", encoding="utf-8") as maps:
        if any(line.rstrip("\n").endswith(f" {path}") for line in maps):
            return True
    return any(_target(entry) == path for entry in Path("/proc/self/fd").iterdir())


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:  # closed meanwhile
        return ""
