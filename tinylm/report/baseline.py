"""The run before this one, as git knows it: what the metrics of today are compared with."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Baseline:
    commit: str  # its full hash
    subject: str  # the first line of its message
    metrics: dict[str, Any]


def find_baseline(path: Path, metrics: dict[str, Any]) -> Baseline | None:
    """The newest commit in which the JSON file at `path` says something else than `metrics`; None where there is none.

    So a run is compared with the one before it, also when it is committed and made again. In DVC's temporary
    copy (`dvc exp run --temp`) git sees the history of the original.
    """
    # %x00 and not a tab: a subject may hold anything else.
    log = _git(path.parent, "log", "--first-parent", "--format=%H%x00%s", "--", path.name)
    for line in (log or "").split("\n"):
        commit, _, subject = line.partition("\0")
        found = _parse(_git(path.parent, "cat-file", "blob", f"{commit}:./{path.name}"))
        if found is not None and found != metrics:
            return Baseline(commit, subject, found)
    return None


def _parse(text: str | None) -> dict[str, Any] | None:
    """The object in `text`, or None: the file may be deleted in a commit, or half merged."""
    try:
        found = json.loads(text or "")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints in `folder`, or None: no git, no repository, no commit, no such file."""
    command = ["git", "-c", "log.showSignature=false", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", errors="replace")
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
