"""Where the pipeline is, and about how long the rest takes: as long as in the last run on this machine.

DVC starts each stage as a process of its own and names it in DVC_STAGE. The durations are in `.dvc/tmp`, which git
ignores and which may be removed at any time; no result depends on them.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from typing_extensions import TypedDict

from tinylm.base import atomic, yaml12
from tinylm.base.errors import UserError
from tinylm.base.reading import read_as

FILE = Path(".dvc/tmp/durations.json")  # below the root of the user's repository
SPEED = Path("metrics/speed.json")
MINUTE, HOUR = 60, 3600


class Duration(TypedDict):
    """How long a stage took [s], and the digest of the parameters that it ran with."""

    seconds: float
    params: str


class Speed(TypedDict):
    """The part of metrics/speed.json that is used here."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    seconds: float  # of the whole run, interrupted processes included


def digest(params: Mapping[str, Any]) -> str:
    """Return a short digest of the values of params.yaml."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:16]


def read_durations(root: Path) -> dict[str, Duration]:
    """Return the durations of the stages that have run; empty if there are none."""
    try:
        return read_as(dict[str, Duration], root / FILE, "")
    except (UserError, OSError):
        return {}


def record(root: Path, stage: str, duration: Duration, speed: Path | None = None) -> None:
    """Remember how long a stage took; for a resumed run that is what the file `speed` says, if it has that.

    A disk that is full or read-only is no reason to fail.
    """
    with contextlib.suppress(UserError, OSError):
        if speed:
            whole = read_as(Speed, speed, "")["seconds"]
            duration["seconds"] = max(duration["seconds"], whole)
        atomic.write_json(root / FILE, read_durations(root) | {stage: duration})


def describe(stage: str, durations: Mapping[str, Duration], params: str) -> str:
    """Return the line that a stage begins with, such as "stage 4 of 7: train, about 2 min left"."""
    try:
        stages = list(yaml12.read("dvc.yaml", "")["stages"])
        at = stages.index(stage)
    except (UserError, OSError, LookupError, TypeError, ValueError):  # a dvc.yaml that is not ours
        return f"stage {stage}"
    return f"stage {at + 1} of {len(stages)}: {stage}{_left(stages[at:], durations, params)}"


def _left(stages: Sequence[str], durations: Mapping[str, Duration], params: str) -> str:
    """Return what is known about the time that the remaining stages take; empty if some have not run here yet."""
    known = [durations[stage] for stage in stages if stage in durations]
    if len(known) < len(stages):
        return _recorded(stages)
    seconds = show(sum(duration["seconds"] for duration in known))
    if all(duration["params"] == params for duration in known):
        return f", about {seconds} left"
    return f" (with other parameters, the last run took {seconds} from here)"


def _recorded(stages: Sequence[str]) -> str:
    """Return how long training took in the run that dvc.lock records, if its parameters were these; else nothing."""
    try:
        speed = read_as(Speed, SPEED, "")
        ran = yaml12.read("dvc.lock", "")["stages"]["train"]["params"]["params.yaml"]
        now = yaml12.read("params.yaml", "")
        if "train" in stages and all(now[section] == values for section, values in ran.items()):
            return f" (in the recorded run, training took {show(speed['seconds'])})"
    except (UserError, OSError, LookupError, TypeError, ValueError):
        pass  # a fresh start, or a file that somebody has edited
    return ""


def show(seconds: float) -> str:
    """Format a duration, of at least a second: "45 s", "3 min", "2.5 h"."""
    if seconds < 1.5 * MINUTE:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < 1.5 * HOUR else f"{seconds / HOUR:.1f} h"
