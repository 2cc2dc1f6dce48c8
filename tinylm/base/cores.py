"""The number of usable CPU cores."""

import functools
import os
import subprocess
import sys


def usable_cores() -> int:
    """Return the number of cores this process may use; containers and `taskset` allow fewer than the machine has.

    On Apple silicon only the performance cores count, as in torch: threads on slow cores would keep the others waiting.
    """
    if sys.platform == "darwin":
        return _performance_cores() or os.cpu_count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _performance_cores() -> int:
    """Return the number of performance cores of Apple silicon; 0 for an Intel processor, which has no such kinds."""
    command = ["/usr/sbin/sysctl", "-n", "hw.perflevel0.physicalcpu"]
    shown = subprocess.run(command, capture_output=True, encoding="ascii").stdout.strip()
    return int(shown) if shown.isdecimal() else 0
