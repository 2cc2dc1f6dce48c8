"""States of other runs: which of them go when a run starts, and what is said of it.

A finished run's state only saves the training of it again; an unfinished one's holds hours of work that exist nowhere
else. So finished ones go first, and an unfinished one goes only where the user has set a limit that is exceeded.
"""

import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tinylm.train.resume.lock import idle

KEPT_RUNS = 8  # other finished runs whose states are kept, the newest ones
FINISHED = "finished"  # marks the folder of a run whose last step is done
STEP = re.compile(r"step_(\d+)-[0-9a-f]{16}\.safetensors")
GB = 1e9  # bytes

log = logging.getLogger("tinylm")


@dataclass(frozen=True)
class OldRun:
    """The folder of a run's states as it was found; what vanished meanwhile counts as nothing."""

    folder: Path
    step: int | None  # of the newest state; None: there is none
    finished: bool
    changed: float  # time of the last change
    size: int  # bytes

    @property
    def lost(self) -> bool:
        """Whether to remove it loses work."""
        return self.step is not None and not self.finished


def find(states: Path) -> list[OldRun]:
    """All runs with a folder in `states`, the one that was changed last first."""
    runs = [_look(folder) for folder in states.glob("train-*")]
    return sorted((run for run in runs if run), key=lambda run: run.changed, reverse=True)


def _look(folder: Path) -> OldRun | None:
    steps, changed, size = [], 0.0, 0
    try:
        changed = folder.stat().st_mtime
        paths = list(folder.rglob("*")) if folder.is_dir() else None
    except OSError:  # removed by another process, or another user's
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
    """Remove what the oldest other runs left, but for those that are at work.

    Finished runs go beyond the newest `KEPT_RUNS`. If all states take more than `limit_gb` [10^9 bytes], the other
    finished ones go, and then unfinished ones, the oldest first, each with a line that names it.
    """
    runs = find(current.parent)
    others = [run for run in runs if run.folder != current]
    worthless = [run for run in others if not run.lost]
    for run in worthless[KEPT_RUNS:]:
        remove(run)
    if limit_gb is None:
        return
    total = sum(run.size for run in find(current.parent))
    for run in [*reversed(worthless[:KEPT_RUNS]), *reversed([run for run in others if run.lost])]:
        if total <= limit_gb * GB:
            return
        if remove(run):
            total -= run.size
            if run.lost:
                log.warning(
                    "warning: removed %s, the state of a run that was broken off at step %s (%.2f GB): "
                    "all states took more than runtime.resume_gb, %g",
                    run.folder,
                    run.step,
                    run.size / GB,
                    limit_gb,
                )
    if total > limit_gb * GB:
        log.warning(
            "warning: states in %s take %.2f GB, more than runtime.resume_gb, %g: those left are of runs at work "
            "or cannot be removed",
            current.parent,
            total / GB,
            limit_gb,
        )


def remove(run: OldRun) -> bool:
    """Remove a run's folder; False where a process works on it, or this user may not."""
    with idle(run.folder) as free:
        if free:
            shutil.rmtree(run.folder, ignore_errors=True)
    return free and not run.folder.exists()
