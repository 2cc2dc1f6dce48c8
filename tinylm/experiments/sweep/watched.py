"""A trial as the sweep sees it, wherever it runs: whether it has ended, its validation losses, and its log."""

import csv
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Protocol

VALIDATION = Path("plots/val.csv")
BY_SIGNAL = re.compile(r"exited with (-\d+|130|137|143)\b")  # how DVC reports that a signal ended a stage


@dataclass(kw_only=True)
class Trial(ABC):
    """A running trial. `stale` is the content of an older validation file, which is not this trial's."""

    name: str
    log: Path
    before: int  # length of the log when the trial started [bytes]
    stale: str
    seen: set[int] = field(default_factory=set)  # steps whose losses were read
    pruned: bool = False  # interrupted because of its losses
    stopped: bool = False  # interrupted because the sweep ends
    lost: str = ""  # why it ended through no fault of its own, as a cluster says it

    @abstractmethod
    def poll(self) -> int | None:
        """Return the exit code, or None while the trial runs or waits to run."""

    @abstractmethod
    def wait(self) -> None:
        """Wait for the end of the trial, after `interrupt`."""

    @abstractmethod
    def interrupt(self) -> None:
        """Stop the trial as Ctrl-C does: the trainer saves a resume checkpoint after its step."""

    @abstractmethod
    def folders(self) -> Iterator[Path]:
        """Yield the folder in which the trial runs, if there is one here."""

    @property
    def prepared(self) -> bool:
        """Whether its folder has been created."""
        return any(True for _ in self.folders())

    @property
    def was_killed(self) -> bool:
        """Whether it was ended by a signal, or without an error: it resumes when it is started again."""
        return (self.poll() or 0) <= 0 or bool(BY_SIGNAL.search(self.error()))

    def new_losses(self) -> Iterator[dict[str, float]]:
        """Yield the validations since the last call, except the one before the first training step."""
        for folder in self.folders():
            for row in read_losses(folder / VALIDATION, self.stale):
                if (step := int(row["step"])) > 0 and step not in self.seen:
                    self.seen.add(step)
                    yield row

    def error(self) -> str:
        """Return the last error in its log, else the last line."""
        lines = self.log.read_bytes()[self.before :].decode(errors="replace").splitlines() if self.log.exists() else []
        errors = [line for line in lines if line.startswith("error: ")] or [line for line in lines if line.strip()]
        return errors[-1].removeprefix("error: ") if errors else "no output"


class Place(Protocol):
    """Where trials run."""

    one_at_a_time: bool  # whether a trial may start only when all others are prepared

    def start(self, name: str, settings: Mapping[str, str], targets: list[str], slot: int) -> Trial:
        """Start the trial `name` with these settings up to the stages `targets`; `slot` is free and below --jobs."""


def read_losses(file: Path, stale: str) -> list[dict[str, float]]:
    """Read the validation losses that a running trial has written so far; none if the file is missing or stale."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return []
    if text == stale:
        return []
    whole = text[: text.rfind("\n") + 1]  # the last row may be incomplete
    return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(StringIO(whole))]


def stale_losses() -> str:
    """Return the validation file of this workspace, which a trial's folder contains until its training starts."""
    return VALIDATION.read_text(encoding="utf-8") if VALIDATION.exists() else ""


def log_length(log: Path) -> int:
    """Return the length of a log [bytes], to which a trial that starts again appends."""
    return log.stat().st_size if log.exists() else 0
