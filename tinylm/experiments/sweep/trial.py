"""Run one trial: `dvc exp run --temp` in a process of its own, watched from outside.

DVC records the temporary folder of an experiment in `.dvc/tmp/exps/standalone/run/`. The validation
losses are read from there, from the file that the train stage writes row by row.
"""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import psutil

from tinylm.compute.signals import stop_with_parent
from tinylm.experiments.sweep.slots import environment, share_cores

VALIDATION = Path("plots/val.csv")
DVC_EXPERIMENTS = Path(".dvc/tmp/exps")
BY_SIGNAL = re.compile(r"exited with (-\d+|130|137|143)\b")  # how DVC reports that a signal ended a stage
PATIENCE = 60.0  # longest wait for a trainer to end [seconds]
DVC_RUNS = (DVC_EXPERIMENTS / "standalone/run", DVC_EXPERIMENTS / "run")


@dataclass
class TrialProcess:
    """A running trial. `stale` is the content of an older validation file, which is not this trial's."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    before: int  # length of the log when the trial started [bytes]
    stale: str
    seen: set[int] = field(default_factory=set)  # steps whose losses were read
    pruned: bool = False  # interrupted because of its losses
    stopped: bool = False  # interrupted because the sweep ends

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        return self.process.poll()

    @property
    def prepared(self) -> bool:
        """Whether DVC has created its folder, after which another trial can start."""
        return any(True for _ in _infos(self.name))

    def new_losses(self) -> Iterator[dict[str, float]]:
        """Yield the validations since the last call, except the one before the first training step."""
        for row in read_losses(self.name, self.stale):
            if (step := int(row["step"])) > 0 and step not in self.seen:
                self.seen.add(step)
                yield row

    def interrupt(self) -> None:
        """Send SIGINT, as Ctrl-C does: the trainer saves a resume checkpoint after its step, and DVC cleans up."""
        if sys.platform != "win32" and self.process.poll() is None:  # Windows starts no trials
            os.killpg(self.process.pid, signal.SIGINT)

    @property
    def was_killed(self) -> bool:
        """Whether it was ended by a signal, or without an error: it resumes when it is started again."""
        code = self.process.poll() or 0
        return code <= 0 or bool(BY_SIGNAL.search(self.error()))

    def error(self) -> str:
        """Return the last error in its log, else the last line."""
        lines = self.log.read_bytes()[self.before :].decode(errors="replace").splitlines()
        errors = [line for line in lines if line.startswith("error: ")] or [line for line in lines if line.strip()]
        return errors[-1].removeprefix("error: ") if errors else "no output"


def start(
    name: str, settings: Mapping[str, str], targets: list[str], folder: Path, slot: int, jobs: int
) -> TrialProcess:
    """Start a trial on its share of the machine; it ends when this process ends."""
    remove_traces(name)
    words = [word for key, value in settings.items() for word in ("-S", f"{key}={value}")]
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name", name, *words, *targets]
    cores = share_cores(jobs)[slot]

    def prepare() -> None:
        """Run in the child before DVC; DVC's own children inherit the cores."""
        stop_with_parent()
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)

    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # so that DVC finds `python`
    stale = VALIDATION.read_text(encoding="utf-8") if VALIDATION.exists() else ""
    log = folder / f"{name}.log"
    before = log.stat().st_size if log.exists() else 0
    with open(log, "ab") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | environment(slot, jobs) | {"PATH": path, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # so that Ctrl-C at the terminal reaches it only once, through `interrupt`
            preexec_fn=prepare,  # noqa: PLW1509 - this process has one thread
        )
    return TrialProcess(name, process, log, before, stale)


def read_losses(name: str, stale: str) -> list[dict[str, float]]:
    """Read the validation losses of the experiment `name` while it runs; empty if it does not run, or has none yet."""
    for info in _infos(name):
        try:
            text = Path(info["root_dir"], VALIDATION).read_text(encoding="utf-8")
        except OSError:
            continue
        if text != stale:
            whole = text[: text.rfind("\n") + 1]  # the last row may be incomplete
            return [
                {key: float(value) for key, value in row.items() if value} for row in csv.DictReader(StringIO(whole))
            ]
    return []


def _infos(name: str) -> Iterator[dict[str, Any]]:
    """Yield DVC's records of experiments of this name whose folder exists."""
    for runs in DVC_RUNS:
        for file in runs.glob("*/*.run"):
            try:
                info = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError):  # the record is being written or removed
                continue
            if info.get("name") == name and Path(info["root_dir"]).is_dir():
                yield info | {"file": file}


def _wait_until_left(folder: Path) -> None:
    """Wait for a trainer whose sweep was just killed: it is still saving its resume checkpoint."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        inside = (process.info["cwd"] for process in psutil.process_iter(["cwd"]))  # None: of another user
        if not any(path and Path(path).is_relative_to(folder) for path in inside):
            return
        time.sleep(0.2)


def remove_traces(name: str) -> None:
    """Remove the folders that a killed DVC left of this experiment; its resume checkpoints are elsewhere."""
    for info in list(_infos(name)):
        folder = Path(info["root_dir"]).resolve()
        _wait_until_left(folder)
        if folder.is_relative_to(DVC_EXPERIMENTS.resolve()):  # never remove the workspace
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(info["file"].parent, ignore_errors=True)
