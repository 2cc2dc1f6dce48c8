"""Measure the time of a function, and the time and memory of a stage with all its processes."""

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


def seconds(task: Callable[[], object], repetitions: int) -> float:
    """Return the median time of several calls [s]."""
    times = []
    for _ in range(repetitions):
        started = time.perf_counter()
        task()
        times.append(time.perf_counter() - started)
    return median(times)


def interleaved(tasks: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Return the median time of each task [s], run in turns, so that a temporary slowdown affects all of them."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repetitions):
        for name, task in tasks.items():
            times[name].append(seconds(task, 1))
    return {name: median(taken) for name, taken in times.items()}


class Used(NamedTuple):
    """Time and peak memory of a process."""

    seconds: float
    peak_mb: float  # resident memory of the process and its children [MiB]; shared memory counts for each of them


def run_stage(stage: str, folder: Path) -> Used:
    """Run a stage in `folder`, which has a params.yaml, and measure it."""
    return run_python(["-m", f"stages.{stage}"], folder)


def run_python(arguments: list[str], folder: Path) -> Used:
    """Run this Python in `folder` with this repository on its path, and measure it."""
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
        sys.exit(f"error: {' '.join(arguments)} failed in {folder}; see its message above")
    return Used(time.perf_counter() - started, peak / 2**20)
