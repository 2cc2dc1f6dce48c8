"""Time of work in this process, and time and memory of a stage with all its processes."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil

ROOT = Path(__file__).parent.parent
SAMPLE_EVERY = 0.02  # seconds


def seconds(work: Callable[[], object], repetitions: int) -> float:
    """Median time of several calls."""
    times = []
    for _ in range(repetitions):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times)


def interleaved(works: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Median time of each, taken in turns, so that whatever slows the machine for a while slows all."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repetitions):
        for name, work in works.items():
            times[name].append(seconds(work, 1))
    return {name: median(taken) for name, taken in times.items()}


class Used(NamedTuple):
    seconds: float
    peak_mb: float  # resident memory of the process and its children together; what they share counts for each


def run_stage(stage: str, folder: Path) -> Used:
    """Run a stage in `folder`, which has a params.yaml."""
    return run_python(["-m", f"stages.{stage}"], folder)


def run_python(arguments: list[str], folder: Path) -> Used:
    """Run this interpreter in `folder`, in which it finds the packages of this repository."""
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL
    ) as process:
        peak, parent = 0, psutil.Process(process.pid)
        while process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):  # a worker that has just ended
                peak = max(peak, sum(p.memory_info().rss for p in [parent, *parent.children(recursive=True)]))
            time.sleep(SAMPLE_EVERY)
    if process.returncode:
        sys.exit(f"error: {' '.join(arguments)} failed in {folder}; its message stands above")
    return Used(time.perf_counter() - started, peak / 2**20)
