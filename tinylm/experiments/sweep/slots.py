"""Divide the machine among parallel trials.

Two torch processes with one thread per core each take many times as long in parallel as one after the
other, because waiting threads spin. So each trial is pinned to its own cores (Linux), whose number
`runtime.threads: null` follows, and to one GPU if there are several.
"""

import os
import shutil
import subprocess

from tinylm.base.cores import usable_cores


def share_cores(jobs: int) -> list[list[int]]:
    """Return the cores of each of `jobs` processes; with fewer cores than processes, some share a core."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(usable_cores()))
    each = max(1, len(cores) // jobs)
    return [[cores[(job * each + index) % len(cores)] for index in range(each)] for job in range(jobs)]


def environment(job: int, jobs: int) -> dict[str, str]:
    """Return the environment variables of a process: its number of threads, and its GPU if several processes run."""
    variables = {"OMP_NUM_THREADS": str(len(share_cores(jobs)[job]))}
    if jobs > 1 and (gpus := _gpus()):
        variables["CUDA_VISIBLE_DEVICES"] = gpus[job % len(gpus)]
    return variables


def _gpus() -> list[str]:
    """Return the GPUs that CUDA would use, without initializing CUDA."""
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return visible.split(",")
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, encoding="ascii"
    )
    return listed.stdout.split() if listed.returncode == 0 else []
