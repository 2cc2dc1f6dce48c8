"""Trials side by side, each with its own share of the machine.

Two torch programs with as many threads as there are cores take many times as long as one after the
other, because each thread that waits spins. So each trial may use some cores and no others (Linux),
which `runtime.threads: null` follows, and one GPU where there are several.
"""

import os
import shutil
import subprocess

from tinylm.base.cores import usable_cores


def share_cores(jobs: int) -> list[list[int]]:
    """Cores for each of `jobs` programs; where there are fewer cores than programs, several have the same one."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(usable_cores()))
    each = max(1, len(cores) // jobs)
    return [[cores[(job * each + place) % len(cores)] for place in range(each)] for job in range(jobs)]


def environment(job: int, jobs: int) -> dict[str, str]:
    """What a program is told of its share: threads, and which GPU is its own when several work."""
    told = {"OMP_NUM_THREADS": str(len(share_cores(jobs)[job]))}
    if jobs > 1 and (gpus := _gpus()):
        told["CUDA_VISIBLE_DEVICES"] = gpus[job % len(gpus)]
    return told


def _gpus() -> list[str]:
    """Those that CUDA would use, without starting CUDA."""
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return visible.split(",")
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True
    )
    return listed.stdout.split() if listed.returncode == 0 else []
