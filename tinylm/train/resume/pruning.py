"""Pruning: when a run starts, remove resume checkpoints of older runs, and log it where work is lost.

Those of a finished run only save time if the same run is started again. Those of an unfinished run may hold hours of
work that exist nowhere else. So finished runs are removed first, and unfinished ones only if all exceed the limit that
the user has set.
"""

import contextlib
import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tinylm.train.resume.lock import idle

KEPT_RUNS = 8  # other finished runs that are kept, the newest ones
FINISHED = "finished"  # file that marks the folder of a finished run
STEP = re.compile(r"step_(\d+)-[0-9a-f]{16}\.(?:safetensors|sharded)")
GB = 1e9  # bytes

log = logging.getLogger("tinylm")


@dataclass(frozen=True)
class OldRun:
    """The folder of a run as it was found; files that vanish meanwhile are not counted."""

    folder: Path
    step: int | None  # of the newest resume checkpoint; None: there is none
    finished: bool
    changed: float  # time of the last change [s since 1970]
    size: int  # bytes

    @property
    def lost(self) -> bool:
        """Whether removing it loses work."""
        return self.step is not None and not self.finished


def find(root: Path) -> list[OldRun]:
    """All runs with a folder in `root`, the most recently changed one first."""
    runs = [_look(folder) for folder in root.glob("train-*")]
    return sorted((run for run in runs if run), key=lambda run: run.changed, reverse=True)


def _look(folder: Path) -> OldRun | None:
    steps, changed, size = [], 0.0, 0
    try:
        changed = folder.stat().st_mtime
        paths = list(folder.rglob("*")) if folder.is_dir() else None
    except OSError:  # removed by another process, or owned by another user
        return None
    if paths is None:
        return None
    for path in paths:
        try:
            status = path.stat(follow_symlinks=False)
        except OSError:
            continue
        if not path.is_dir():
            size += status.st_size
        if path.parent == folder:
            changed = max(changed, status.st_mtime)
            if name := STEP.fullmatch(path.name):
                steps.append(int(name[1]))
    finished = any(path.name == FINISHED and path.parent == folder for path in paths)
    return OldRun(folder, max(steps, default=None), finished, changed, size)


def prune(current: Path, limit_gb: float | None) -> None:
    """Remove the folders of old runs other than `current`, except those that a process is training.

    Of finished runs the newest `KEPT_RUNS` are kept. If all folders take more than `limit_gb` [10^9 bytes], the
    remaining finished runs are removed and then unfinished ones, the oldest first, with a warning for each.
    """
    runs = find(current.parent)
    others = [run for run in runs if run.folder != current]
    expendable = [run for run in others if not run.lost]
    for run in expendable[KEPT_RUNS:]:
        remove(run)
    if limit_gb is None:
        return
    total = sum(run.size for run in find(current.parent))
    for run in [*reversed(expendable[:KEPT_RUNS]), *reversed([run for run in others if run.lost])]:
        if total <= limit_gb * GB:
            return
        if remove(run):
            total -= run.size
            if run.lost:
                log.warning(
                    "warning: removed %s, the resume checkpoints of a run interrupted at step %s (%.2f GB): "
                    "those of all runs exceeded runtime.resume_gb = %g",
                    run.folder,
                    run.step,
                    run.size / GB,
                    limit_gb,
                )
    if total > limit_gb * GB:
        log.warning(
            "warning: resume checkpoints in %s take %.2f GB, more than runtime.resume_gb = %g: those left are in use "
            "or cannot be removed",
            current.parent,
            total / GB,
            limit_gb,
        )


def remove(run: OldRun) -> bool:
    """Remove the folder of a run. Returns False if a process is training it or this user may not remove it."""
    with idle(run.folder) as free:
        if free:
            shutil.rmtree(run.folder, ignore_errors=True)
    if free:
        with contextlib.suppress(OSError):
            run.folder.rmdir()  # Windows keeps a file that is open, as the lock was; releasing it has removed it
    return free and not run.folder.exists()
