"""States of a run on the disk, so that one that was killed goes on where it was, bit for bit.

They lie in `.resume/train-KEY/` and are no output of the stage: DVC deletes outputs before a stage
runs, and would keep one of other parameters. KEY names the run (run_key.py), so no run continues a
foreign one. A state is one safetensors file, whose name holds its step and its checksum; it appears
whole or not at all, and the two newest are kept.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.train.resume.lock import LOCK, run_lock
from tinylm.train.resume.pruning import FINISHED, prune

KEPT_STATES = 2  # of a run: the newest, and the one before in case the newest is torn
NAME = re.compile(r"step_(\d+)-([0-9a-f]{16})\.safetensors")
INFO = "tinylm"  # the one key of the file's metadata

log = logging.getLogger("tinylm")


@dataclass(frozen=True)
class ResumeCheckpoint:
    """All that a run needs to go on; `tensors` on the CPU, and changed by nobody any more."""

    tensors: dict[str, Tensor]
    info: dict[str, Any]  # JSON; `step` is how many steps are done


@contextlib.contextmanager
def open_resume_checkpoints(folder: Path, limit_gb: float | None = None) -> Iterator["ResumeCheckpoints"]:
    """The states of one run, in `folder`, for this process alone; none yet with TINYLM_FRESH=1 in the environment.

    Removes old states of other runs beside it (pruning.py); `limit_gb`: the most that all may take. Raises
    UserError where another process works on this run, or the folder cannot be made.
    """
    with run_lock(folder) as killed:
        if os.environ.get("TINYLM_FRESH", "0") not in ("", "0"):
            _clear(folder)
        for torn in folder.glob(".*.tmp"):
            torn.unlink()
        prune(folder, limit_gb)
        states = ResumeCheckpoints(folder)
        if killed:
            _tell_of_kill(killed, states)
        try:
            yield states
        finally:
            states.wait()


class ResumeCheckpoints:
    """The folder of one run's states."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._writing: threading.Thread | None = None

    @property
    def checkpoints(self) -> Path:
        """Where the run keeps its checkpoints, which DVC deletes from its outputs when the stage starts again."""
        return self.folder / "checkpoints"

    def newest(self) -> ResumeCheckpoint | None:
        """The last state that is whole; torn ones are skipped with a warning."""
        for path in self._paths():
            try:
                return _read(path)
            except (OSError, ValueError, safetensors.SafetensorError) as error:
                log.warning("warning: %s is torn or altered and is skipped (%s)", path, error)
        return None

    def last_step(self) -> int | None:
        """Step of the newest state, whole or not."""
        return max(map(_step, self._paths()), default=None)

    def at(self, step: int) -> ResumeCheckpoint:
        """The state of `step`, which another process of this run has read."""
        return _read(next(path for path in self._paths() if _step(path) == step))

    def save(self, state: ResumeCheckpoint) -> None:
        """Write `state` in the background, after the one before is written."""
        self.wait()
        self._writing = threading.Thread(target=self._write, args=(state,))
        self._writing.start()

    def wait(self) -> None:
        """Return when everything is written."""
        if self._writing:
            self._writing.join()
            self._writing = None

    def _write(self, state: ResumeCheckpoint) -> None:
        """Training can do without a state, so a disk that is full or gone for a while does not end it."""
        content = safetensors.torch.save(state.tensors, {INFO: json.dumps(state.info)})
        checksum = hashlib.sha256(content).hexdigest()[:16]
        step = state.info["step"]
        try:
            with atomic.replacing(self.folder / f"step_{step:08d}-{checksum}.safetensors") as temporary:
                temporary.write_bytes(content)
            _mark(self.folder / FINISHED, bool(state.info.get("finished")))
            for old in self._paths()[KEPT_STATES:]:
                old.unlink()
        except (UserError, OSError) as error:
            log.warning("warning: the state at step %d is not saved, training goes on: %s", step, error)

    def _paths(self) -> list[Path]:
        """ResumeCheckpoints, the newest first; of one step, the one written last."""
        paths = [path for path in self.folder.iterdir() if NAME.fullmatch(path.name)]
        return sorted(paths, key=lambda path: (_step(path), path.stat().st_mtime_ns), reverse=True)


def _tell_of_kill(process: str, states: ResumeCheckpoints) -> None:
    """A process that the kernel kills for want of memory can say nothing itself; the next one does."""
    step = states.last_step()
    log.warning(
        "warning: the last attempt (%s) was killed %s. If that was not you, the system may have run out of memory "
        "(see dmesg): lower train.micro_batch_size, train.batch_size, model.context or model.width",
        process,
        "before its first state was saved" if step is None else f"at step {step} or later",
    )


def _mark(marker: Path, wanted: bool) -> None:
    if wanted:
        marker.touch()
    else:
        marker.unlink(missing_ok=True)


def _step(path: Path) -> int:
    name = NAME.fullmatch(path.name)
    assert name
    return int(name[1])


def _read(path: Path) -> ResumeCheckpoint:
    content = path.read_bytes()
    expected = NAME.fullmatch(path.name)
    assert expected
    if hashlib.sha256(content).hexdigest()[:16] != expected[2]:
        raise ValueError(f"its checksum is not that of its name, {len(content)} bytes")
    tensors = safetensors.torch.load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return ResumeCheckpoint(tensors, json.loads(header["__metadata__"][INFO]))


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
