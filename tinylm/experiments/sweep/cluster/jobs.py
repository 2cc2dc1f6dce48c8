"""What a sweep wants of a cluster: to take a job, to say how jobs are, and to cancel one."""

import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from tinylm.base.errors import UserError


class State(Enum):
    """What a job does, or how it ended."""

    ACTIVE = "active"  # it runs, or waits to run
    DONE = "done"  # it ended without an error
    FAILED = "failed"  # it ended with an error of its own
    LOST = "lost"  # the cluster ended it, or its node did


@dataclass(frozen=True)
class Status:
    """The state of a job, and the cluster's own word for it."""

    state: State
    word: str


@dataclass(frozen=True)
class Resources:
    """What each job gets. `extra` are options in the cluster's own language."""

    cpus: int
    gpus: int
    extra: list[str]


@dataclass(frozen=True)
class Job:
    """A script of Bash that needs one node; what it prints belongs at the end of `log`."""

    name: str  # of no other job of this sweep
    script: str
    log: Path
    resources: Resources


class UnreachableError(UserError):
    """The cluster did not answer, which may pass."""


class Cluster(Protocol):
    """A cluster. Its methods raise UnreachableError, and `submit` UserError if the cluster refuses the job."""

    name: str  # the word for `--on`
    poll_every: float  # shortest time between two questions about states [seconds]

    def submit(self, job: Job) -> str:
        """Hand a job to the cluster; return the name by which the cluster knows it."""

    def statuses(self, jobs: Collection[str]) -> dict[str, Status]:
        """Return how jobs are, without those that the cluster does not know any more."""

    def cancel(self, job: str, force: bool) -> None:
        """Stop a job: with SIGINT, so that its trainer saves a resume checkpoint, or, with `force`, at once."""

    def printed(self, job: str) -> str:
        """Return what an ended job printed; nothing if the cluster has written it into the log of the job."""


def ask(*command: str, stdin: str = "") -> str:
    """Run a command of the cluster; return its standard output. Raises UnreachableError if it fails."""
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise UserError(f"{command[0]}: not found; run the sweep where this command is installed") from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        raise UnreachableError(f"{command[0]}: {lines[-1]}")
    return done.stdout
