"""States of a run on the disk, so that one that was killed goes on where it was, bit for bit.

They lie in `.resume/train-KEY/` and are no output of the stage: DVC deletes outputs before a stage
runs, and would keep one of other parameters. KEY names the run (run_key.py), so no run continues a
foreign one. A state is one safetensors file, whose name holds its step and its checksum; it appears
whole or not at all, and the two newest are kept.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import safetensors.torch
from torch import Tensor

from tinylm import atomic
from tinylm.errors import UserError

KEPT_STATES = 2  # of a run: the newest, and the one before in case the newest is torn
KEPT_RUNS = 8  # other runs whose states are kept, the newest ones
NAME = re.compile(r"step_(\d+)-([0-9a-f]{16})\.safetensors")
INFO = "tinylm"  # the one key of the file's metadata

log = logging.getLogger("tinylm")


@dataclass(frozen=True)
class State:
    """All that a run needs to go on; `tensors` on the CPU, and changed by nobody any more."""

    tensors: dict[str, Tensor]
    info: dict[str, Any]  # JSON; `step` is how many steps are done


@contextlib.contextmanager
def open_states(folder: Path) -> Iterator["States"]:
    """The states of one run, in `folder`, for this process alone; none yet with TINYLM_FRESH=1 in the environment.

    Removes the states of other runs beside it that nobody continued for long. Raises UserError where another
    process works on this run, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"states cannot be kept in {folder} ({error}); set TINYLM_RESUME to another folder") from None
    with _lock(folder):
        if os.environ.get("TINYLM_FRESH", "0") not in ("", "0"):
            _clear(folder)
        for torn in folder.glob(".*.tmp"):
            torn.unlink()
        _prune(folder)
        states = States(folder)
        try:
            yield states
        finally:
            states.wait()


class States:
    """The folder of one run's states."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._writing: threading.Thread | None = None

    @property
    def milestones(self) -> Path:
        """Where the run keeps its milestones, which DVC deletes from its outputs when the stage starts again."""
        return self.folder / "milestones"

    def newest(self) -> State | None:
        """The last state that is whole; torn ones are skipped with a warning."""
        for path in self._paths():
            try:
                return _read(path)
            except (OSError, ValueError, safetensors.SafetensorError) as error:
                log.warning("warning: %s is torn or altered and is skipped (%s)", path, error)
        return None

    def at(self, step: int) -> State:
        """The state of `step`, which another process of this run has read."""
        return _read(next(path for path in self._paths() if _step(path) == step))

    def save(self, state: State) -> None:
        """Write `state` in the background, after the one before is written."""
        self.wait()
        self._writing = threading.Thread(target=self._write, args=(state,))
        self._writing.start()

    def wait(self) -> None:
        """Return when everything is written."""
        if self._writing:
            self._writing.join()
            self._writing = None

    def _write(self, state: State) -> None:
        """Training can do without a state, so a disk that is full or gone for a while does not end it."""
        content = safetensors.torch.save(state.tensors, {INFO: json.dumps(state.info)})
        checksum = hashlib.sha256(content).hexdigest()[:16]
        step = state.info["step"]
        try:
            with atomic.replacing(self.folder / f"step_{step:08d}-{checksum}.safetensors") as temporary:
                temporary.write_bytes(content)
            for old in self._paths()[KEPT_STATES:]:
                old.unlink()
        except (UserError, OSError) as error:
            log.warning("warning: the state at step %d is not saved, training goes on: %s", step, error)

    def _paths(self) -> list[Path]:
        """States, the newest first; of one step, the one written last."""
        paths = [path for path in self.folder.iterdir() if NAME.fullmatch(path.name)]
        return sorted(paths, key=lambda path: (_step(path), path.stat().st_mtime_ns), reverse=True)


def _step(path: Path) -> int:
    name = NAME.fullmatch(path.name)
    assert name
    return int(name[1])


def _read(path: Path) -> State:
    content = path.read_bytes()
    expected = NAME.fullmatch(path.name)
    assert expected
    if hashlib.sha256(content).hexdigest()[:16] != expected[2]:
        raise ValueError(f"its checksum is not that of its name, {len(content)} bytes")
    tensors = safetensors.torch.load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return State(tensors, json.loads(header["__metadata__"][INFO]))


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system gives back when the process ends, however it ends."""
    with open(folder / "lock", "a+", encoding="utf-8") as file:
        if not _try_lock(file):
            file.seek(0)
            raise UserError(
                f"another trainer works on this run ({file.read().strip()}), with its states in {folder}; "
                "wait for it, or stop it"
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # some network drives have no locks
        log.warning("warning: %s cannot be locked (%s): start no second trainer on this run", file.name, error)
    return True


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()


def _prune(current: Path) -> None:
    """Remove what the oldest other runs left, but for those that are at work."""
    others = [folder for folder in current.parent.glob("train-*") if folder != current and folder.is_dir()]
    others.sort(key=lambda folder: max(path.stat().st_mtime for path in [folder, *folder.iterdir()]), reverse=True)
    for folder in others[KEPT_RUNS:]:
        with open(folder / "lock", "a+", encoding="utf-8") as file:
            if _try_lock(file):
                shutil.rmtree(folder, ignore_errors=True)
