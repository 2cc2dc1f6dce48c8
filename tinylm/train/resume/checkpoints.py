"""Resume checkpoints: what a killed run continues from, bit for bit.

They are in `.resume/train-KEY/` and not among the outputs of the stage: DVC deletes outputs before a stage runs, or
keeps those of other parameters. KEY identifies the run (run_key.py), so a run never resumes another one. A resume
checkpoint is one safetensors file, whose name contains its step and its checksum. It appears whole or not at all, and
the two newest are kept. That of a sharded run is a folder of such files (sharding/shard_files.py).
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
from tinylm.compute.distributed import AGAIN
from tinylm.train.resume.lock import HOLDER, LOCK, run_lock
from tinylm.train.resume.pruning import FINISHED, find, prune

KEPT = 2  # per run: the newest, and the one before in case the newest is damaged
NAME = re.compile(r"step_(\d+)-([0-9a-f]{16})\.(?:safetensors|sharded)")
INFO = "tinylm"  # the only key of the file's metadata

log = logging.getLogger("tinylm")


@dataclass(frozen=True)
class ResumeCheckpoint:
    """Everything a run needs to continue. `tensors` are on the CPU, and nothing changes them any more."""

    tensors: dict[str, Tensor]
    info: dict[str, Any]  # JSON; `step` is the number of steps done


@contextlib.contextmanager
def open_resume_checkpoints(folder: Path, limit_gb: float | None = None) -> Iterator["ResumeCheckpoints"]:
    """Open the resume checkpoints of one run, in `folder`, for this process only. TINYLM_FRESH=1 deletes them first.

    Also prunes the folders of other runs next to it (pruning.py); all together may take `limit_gb` [10^9 bytes].
    Raises UserError if another process is training this run, or if the folder cannot be created.
    """
    with run_lock(folder) as killed:
        fresh = os.environ.get("TINYLM_FRESH", "0") not in ("", "0")
        if fresh:
            _clear(folder)
        for torn in folder.glob(".*.tmp"):
            _remove(torn)
        prune(folder, limit_gb)
        resume = ResumeCheckpoints(folder, fresh)
        if killed and os.environ.get(AGAIN) != "1":
            _report_kill(killed, resume)
        if resume.last_step() is None:
            _report_interrupted(folder)
        try:
            yield resume
        finally:
            resume.wait()


class ResumeCheckpoints:
    """The resume checkpoints of one run, in a folder, which may be missing; `fresh`: they were deleted at the start."""

    shared = False  # whether all processes use the same folder, and read and write it together

    def __init__(self, folder: Path, fresh: bool = False):
        self.folder, self.fresh = folder, fresh
        self._writing: threading.Thread | None = None

    @property
    def checkpoints(self) -> Path:
        """Folder for copies of the run's checkpoints, since DVC deletes the outputs when the stage starts again."""
        return self.folder / "checkpoints"

    def newest(self) -> ResumeCheckpoint | None:
        """The newest resume checkpoint that is intact; damaged ones are skipped with a warning."""
        for path in self._paths():
            try:
                return self._read(path)
            except (OSError, ValueError, safetensors.SafetensorError) as error:
                log.warning("warning: %s is truncated or corrupted and is skipped (%s)", path, error)
        return None

    def last_step(self) -> int | None:
        """Step of the newest resume checkpoint, intact or not."""
        return max(map(_step, self._paths()), default=None)

    def path(self, step: int) -> Path:
        """The file of the resume checkpoint of `step`, which `newest` has returned."""
        return next(path for path in self._paths() if _step(path) == step)

    def receive(self, name: str, content: bytes) -> None:
        """Keep a resume checkpoint from the folder of another machine, which had this name there."""
        with atomic.replacing(self.folder / name) as temporary:
            temporary.write_bytes(content)

    def at(self, step: int) -> ResumeCheckpoint:
        """The resume checkpoint of `step`, which the main process of this run has already read."""
        return self._read(self.path(step))

    def save(self, checkpoint: ResumeCheckpoint) -> None:
        """Write `checkpoint` in the background, once the one before is written."""
        self.wait()
        self._writing = threading.Thread(target=self._write, args=(checkpoint,))
        self._writing.start()

    def wait(self) -> None:
        """Wait until everything is written."""
        if self._writing:
            self._writing.join()
            self._writing = None

    def _write(self, checkpoint: ResumeCheckpoint) -> None:
        """Write `checkpoint` and delete old ones. A full or missing disk is only warned of, and training continues."""
        content = safetensors.torch.save(checkpoint.tensors, {INFO: json.dumps(checkpoint.info)})
        checksum = hashlib.sha256(content).hexdigest()[:16]
        step = checkpoint.info["step"]
        try:
            with atomic.replacing(self.folder / f"step_{step:08d}-{checksum}.safetensors") as temporary:
                temporary.write_bytes(content)
            self._tidy(checkpoint.info)
        except (UserError, OSError) as error:
            log.warning("warning: the resume checkpoint of step %d is not saved, training continues: %s", step, error)

    def _tidy(self, info: dict[str, Any]) -> None:
        """Mark the run as finished or not, and delete all but the newest resume checkpoints."""
        _mark(self.folder / FINISHED, bool(info.get("finished")))
        for old in self._paths()[KEPT:]:
            _remove(old)

    def _read(self, path: Path) -> ResumeCheckpoint:
        """Read a resume checkpoint. Raises ValueError, OSError or SafetensorError if it is damaged."""
        return _read_folder(path) if path.is_dir() else parse(path.name, path.read_bytes())

    def _paths(self) -> list[Path]:
        """All of them, the newest first; if two have the same step, the one written last comes first."""
        paths = [path for path in self.folder.glob("step_*") if NAME.fullmatch(path.name)]
        return sorted(paths, key=lambda path: (_step(path), path.stat().st_mtime_ns), reverse=True)


def _report_interrupted(folder: Path) -> None:
    """Say that this run starts at its first step although others were interrupted, which a user may have meant."""
    others = [run for run in find(folder.parent) if run.folder != folder and run.lost]
    if others:
        log.info(
            "starting at step 0: %d interrupted runs in %s have other parameters, code or inputs, the last one at "
            "step %s; make disk shows their size",
            len(others),
            folder.parent,
            others[0].step,
        )


def _report_kill(process: str, resume: ResumeCheckpoints) -> None:
    """Warn that the last process was killed: one that ran out of memory could not report it itself."""
    step = resume.last_step()
    log.warning(
        "warning: the last attempt (%s) was killed %s. If that was not you, the system may have run out of memory "
        "(see dmesg): lower train.micro_batch_size, train.batch_size, model.context or model.width",
        process,
        "before it saved a resume checkpoint" if step is None else f"at step {step} or later",
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


def parse(name: str, content: bytes) -> ResumeCheckpoint:
    """A resume checkpoint from the name and the content of its file. Raises ValueError if it is damaged."""
    expected = NAME.fullmatch(name)
    assert expected
    if hashlib.sha256(content).hexdigest()[:16] != expected[2]:
        raise ValueError(f"its checksum is not the one in its name, {len(content)} bytes")
    tensors = safetensors.torch.load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return ResumeCheckpoint(tensors, json.loads(header["__metadata__"][INFO]))


def _read_folder(folder: Path) -> ResumeCheckpoint:
    """Read the resume checkpoint of a sharded run as a run that is not sharded holds it."""
    from tinylm.train.sharding.shard_files import read_info, read_whole, verify  # takes a second

    name = NAME.fullmatch(folder.name)
    assert name
    verify(folder, name[2])
    return ResumeCheckpoint(read_whole(folder), read_info(folder))


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name not in (LOCK, HOLDER):
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a file, or a folder, which a process that is killed meanwhile must not leave half."""
    if not path.is_dir():
        path.unlink()
        return
    hidden = path if path.name.startswith(".") else path.rename(path.with_name(f".{path.name}.tmp"))
    shutil.rmtree(hidden)
