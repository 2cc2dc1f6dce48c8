"""The number of usable CPU cores."""

import os


def usable_cores() -> int:
    """Return the number of cores this process may use; containers and `taskset` allow fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
