"""The memory of a training step: what it will take, what there is, and what to say where it does not suffice.

The forecast counts what the way forward keeps, and adds from there by two constants. They were fitted to the peaks of
six models on a CPU (1 to 11 million parameters, both architectures, bf16 and fp32, contexts of 128 to 1024), whose
forecasts were 0.54 to 0.71 of the peak before. Compiled code keeps fewer tensors; on a GPU nothing was measured.
"""

import contextlib
import re
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from tinylm.errors import UserError
from tinylm.model import Transformer

PROCESS = 80_000_000  # bytes: kernels' own memory, and states on their way to the disk
ON_THE_WAY = 1.45  # times what is held, at the peak: gradients of activations, and what the allocator has between them
HELD = 5  # times the weights: they themselves, gradients, two moments, and the best weights so far
UNITS = {"bytes": 1} | {f"{letter}iB": 1024**power for power, letter in enumerate("KMGTPE", start=1)}
# "you tried to allocate 8192 bytes", "Tried to allocate 2.00 GiB", "Unable to allocate 7.45 GiB for an array ..."
WANTED = re.compile(r"(?:tried|unable) to allocate ([\d.]+) ?(bytes|[KMGTPE]iB)", re.IGNORECASE)
REFUSED = re.compile(r"can't allocate memory|not enough memory: you tried|out of memory", re.IGNORECASE)
CGROUPS = (  # limit and use of a container: version 2, version 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def step_bytes(model: Transformer, windows: int) -> int:
    """What training takes with so many windows in memory at once, beside the process itself [bytes].

    One window and two are sent forward, and what is kept for the way back is counted; the rest is that of more.
    """
    weights = sum(weight.numel() for weight in model.parameters())
    kept = _kept_bytes(model, 1)
    if windows > 1:
        kept += (_kept_bytes(model, 2) - kept) * (windows - 1)
    held = HELD * 4 * weights + kept
    return PROCESS + round(ON_THE_WAY * held)


def _kept_bytes(model: Transformer, windows: int) -> int:
    """Of the tensors that the way forward keeps for the way back, each storage once, weights left out."""
    own = {weight.untyped_storage()._cdata for weight in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    ids = torch.zeros((windows, model.params.context), dtype=torch.long, device=model.embedding.weight.device)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = model.loss(ids, ids)  # noqa: F841 - it holds what was kept, or storages would be counted that came after
    return sum(kept.values())


def free_bytes(device: torch.device) -> int | None:
    """What may still be taken, of the GPU or of this machine or container; None where nothing says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    limits = [_available(), *(_left(Path(limit), Path(used)) for limit, used in CGROUPS), _address_space()]
    known = [limit for limit in limits if limit is not None]
    return max(0, min(known)) if known else None


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:  # macOS
        return None
    found = re.search(r"MemAvailable:\s+(\d+) kB", lines)
    return int(found[1]) * 1024 if found else None


def _left(limit: Path, used: Path) -> int | None:
    try:
        return int(limit.read_text()) - int(used.read_text())
    except (OSError, ValueError):  # no such cgroup, or "max"
        return None


def _address_space() -> int | None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return None
    return None if limit == resource.RLIM_INFINITY else limit - pages * resource.getpagesize()


@contextlib.contextmanager
def explaining_out_of_memory(device: torch.device, remedy: str, saved: Callable[[], str] = str) -> Iterator[None]:
    """Turn an allocation that was refused in this block into a UserError: what was wanted, what there is, `remedy`.

    `saved` says from where the same command goes on.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_refusal(error):
            raise
        wanted, free = wanted_bytes(error), free_bytes(device)
        asked = "" if wanted is None else f": {gigabytes(wanted)} more were wanted"
        left = "" if free is None else f"{' and' if asked else ':'} {gigabytes(free)} are free"
        where = " on the GPU" if device.type in ("cuda", "mps") else ""
        raise UserError(f"out of memory{where}{asked}{left}; {remedy}{saved()}") from error


def is_refusal(error: BaseException) -> bool:
    """Whether an allocation was refused, by Python, NumPy, the CPU's allocator, CUDA or MPS."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or bool(REFUSED.search(str(error)))


def wanted_bytes(error: BaseException) -> int | None:
    found = WANTED.search(str(error))
    return round(float(found[1]) * UNITS[found[2]]) if found else None


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
