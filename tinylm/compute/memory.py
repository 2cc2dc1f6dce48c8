"""Free memory, and clear errors when an allocation fails."""

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from tinylm.base.errors import UserError

UNITS = {"bytes": 1} | {f"{letter}iB": 1024**power for power, letter in enumerate("KMGTPE", start=1)}
# "you tried to allocate 8192 bytes", "Tried to allocate 2.00 GiB", "Unable to allocate 7.45 GiB for an array ..."
REQUESTED = re.compile(r"(?:tried|unable) to allocate ([\d.]+) ?(bytes|[KMGTPE]iB)", re.IGNORECASE)
OUT_OF_MEMORY = re.compile(r"can't allocate memory|not enough memory: you tried|out of memory", re.IGNORECASE)
CGROUPS = (  # memory limit and usage of a container: cgroup v2, cgroup v1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def free_bytes(device: torch.device) -> int | None:
    """Return the free memory [bytes] of the GPU, or of this machine or container; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    limits = [_available(), *(_left(Path(limit), Path(used)) for limit, used in CGROUPS), _address_space()]
    known = [limit for limit in limits if limit is not None]
    return max(0, min(known)) if known else None


def _available() -> int | None:
    """Return the memory available on this machine [bytes]; None outside Linux if psutil is not installed."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:  # not Linux
        with contextlib.suppress(ImportError):
            import psutil

            return int(psutil.virtual_memory().available)
        return None
    found = re.search(r"MemAvailable:\s+(\d+) kB", lines)
    return int(found[1]) * 1024 if found else None


def _left(limit: Path, used: Path) -> int | None:
    """Return what a cgroup has left [bytes]; None if it has no limit."""
    try:
        return int(limit.read_text(encoding="ascii")) - int(used.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such cgroup, or "max"
        return None


def _address_space() -> int | None:
    """Return the address space left under `ulimit -v` [bytes]; None if unlimited."""
    if sys.platform == "win32":  # has no such limit
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return None
    return None if limit == resource.RLIM_INFINITY else limit - pages * resource.getpagesize()


@contextlib.contextmanager
def explaining_out_of_memory(device: torch.device, remedy: str, saved: Callable[[], str] = str) -> Iterator[None]:
    """Turn an out-of-memory error in this block into a UserError with the requested and free memory and `remedy`.

    The text `saved()` is appended: it says where the same command resumes.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        requested, free = requested_bytes(error), free_bytes(device)
        asked = "" if requested is None else f": {gigabytes(requested)} more were wanted"
        left = "" if free is None else f"{' and' if asked else ':'} {gigabytes(free)} are free"
        where = " on the GPU" if device.type in ("cuda", "mps") else ""
        raise UserError(f"out of memory{where}{asked}{left}; {remedy}{saved()}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` is a failed allocation of Python, NumPy, torch on the CPU, CUDA or MPS."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or bool(OUT_OF_MEMORY.search(str(error)))


def requested_bytes(error: BaseException) -> int | None:
    """Return the size [bytes] of the failed allocation that `error` reports; None if it names none."""
    found = REQUESTED.search(str(error))
    return round(float(found[1]) * UNITS[found[2]]) if found else None


def gigabytes(count: int) -> str:
    """Format a number of bytes as GB, or as MB below 0.1 GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
