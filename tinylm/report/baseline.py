"""Find the previous run in git, with which the metrics of this run are compared."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Baseline:
    """The metrics of an earlier commit."""

    commit: str  # full hash
    subject: str  # first line of the commit message
    metrics: dict[str, Any]


def find_baseline(path: Path, metrics: dict[str, Any]) -> Baseline | None:
    """Return the newest commit in which the JSON file at `path` differs from `metrics`; None if there is none.

    A run that is committed and then repeated is thus still compared with the run before it. In DVC's temporary copy
    (`dvc exp run --temp`) git sees the history of the original.
    """
    # Separated by NUL: a subject may contain any other character.
    log = _git(path.parent, "log", "--first-parent", "--format=%H%x00%s", "--", path.name)
    for line in (log or "").split("\n"):
        commit, _, subject = line.partition("\0")
        found = _parse(_git(path.parent, "cat-file", "blob", f"{commit}:./{path.name}"))
        if found is not None and found != metrics:
            return Baseline(commit, subject, found)
    return None


def _parse(text: str | None) -> dict[str, Any] | None:
    """Return the JSON object in `text`, or None: a commit may have deleted the file or left merge conflicts in it."""
    try:
        found = json.loads(text or "")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _git(folder: Path, *arguments: str) -> str | None:
    """Return the output of git in `folder`, or None if it fails: no git, no repository, no commit, no such file."""
    command = ["git", "-c", "log.showSignature=false", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", errors="replace")
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
