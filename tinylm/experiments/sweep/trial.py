"""Run one trial on this machine: `dvc exp run --temp` in a process of its own, watched from outside.

DVC records the temporary folder of an experiment in `.dvc/tmp/exps/standalone/run/`. The validation
losses are read from there, from the file that the train stage writes row by row.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tinylm.compute.signals import stop_with_parent
from tinylm.experiments.sweep.slots import environment, share_cores
from tinylm.experiments.sweep.study import FOLDER
from tinylm.experiments.sweep.watched import Trial, log_length, stale_losses

DVC_EXPERIMENTS = Path(".dvc/tmp/exps")
PATIENCE = 60.0  # longest wait for a trainer to end [seconds]
DVC_RUNS = (DVC_EXPERIMENTS / "standalone/run", DVC_EXPERIMENTS / "run")


@dataclass(kw_only=True)
class TrialProcess(Trial):
    """A trial that runs on this machine."""

    process: subprocess.Popen[bytes]

    def poll(self) -> int | None:
        return self.process.poll()

    def wait(self) -> None:
        self.process.wait()

    def folders(self) -> Iterator[Path]:
        return (Path(info["root_dir"]) for info in _infos(self.name))

    def interrupt(self) -> None:
        """Send SIGINT, as Ctrl-C does: the trainer saves a resume checkpoint after its step, and DVC cleans up."""
        if sys.platform != "win32" and self.process.poll() is None:  # Windows starts no trials
            os.killpg(self.process.pid, signal.SIGINT)


@dataclass(frozen=True)
class ThisMachine:
    """Trials run on this machine, each on its share of the cores.

    DVC passes an experiment to its process through one location of the repository, so of two trials that start at the
    same moment one may take the other's experiment.
    """

    jobs: int
    one_at_a_time: bool = True

    def start(self, name: str, settings: Mapping[str, str], targets: list[str], slot: int) -> Trial:
        """Start a trial on its share of the machine; it ends when this process ends."""
        return start(name, settings, targets, FOLDER, slot, self.jobs)


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
    log = folder / f"{name}.log"
    stale, before = stale_losses(), log_length(log)
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
    return TrialProcess(name=name, log=log, before=before, stale=stale, process=process)


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
