"""What the run computes on: `auto` resolved against the machine at hand, and said aloud."""

import importlib.util
import logging
import os
import platform
import resource
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import torch

from tinylm.base.cores import usable_cores
from tinylm.base.errors import UserError
from tinylm.base.runtime import RuntimeParams
from tinylm.compute.allocator import keep_freed_memory
from tinylm.compute.cuda_driver import why_unusable

OLDEST_FOR_TRITON = (7, 0)  # compute capability
log = logging.getLogger("tinylm")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class Hardware:
    device: torch.device
    precision: str  # bf16, fp16 or fp32
    threads: int  # CPU threads of torch

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES[self.precision]

    @property
    def name(self) -> str:
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return platform.processor() or platform.machine()

    def __str__(self) -> str:
        return f"{self.device.type} ({self.name}), {self.precision}, {self.threads} CPU threads"


def resolve_hardware(runtime: RuntimeParams, precision: str = "auto", rank: int = 0, processes: int = 1) -> Hardware:
    """Resolve `auto`, and set up torch's threads and a CPU's memory.

    `rank` is that of this process among the `processes` on this machine, which share GPUs and cores.
    Raises UserError for a device or precision that is not there.
    """
    device = torch.device(resolve_device(runtime.device))
    if device.type == "cuda":
        device = _own_gpu(rank, processes)
    threads = runtime.threads or _threads(processes)
    torch.set_num_threads(threads)
    if device.type == "cpu":
        keep_freed_memory()
    return Hardware(device, _resolve_precision(precision, device), threads)


def _threads(processes: int) -> int:
    """All cores, or fewer where OMP_NUM_THREADS asks for it, as several programs on one machine need.

    torchrun sets that variable too, for each of several processes: there the cores are divided.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if processes == 1 and asked.isdecimal() and int(asked):
        return min(int(asked), usable_cores())
    return max(1, usable_cores() // processes)


def make_deterministic(device: torch.device) -> None:
    """Have torch take the kernels that give the same bits each time, and refuse where it has none.

    Those of a CPU do so anyway: there it would only cost time (TorchInductor copies whole tensors for it).
    """
    if device.type == "cpu":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # A help for finding mistakes, at a price.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    if device.type == "cuda":
        from torch._inductor import config as inductor_config  # takes a second

        # Or it chooses among kernels that add in another order by their speed, which differs from run to run.
        if hasattr(inductor_config, "deterministic"):  # from torch 2.10 on
            inductor_config.deterministic = True


def resolve_device(asked: str) -> str:
    """The kind of device that `runtime.device` asks for. Raises UserError where it is not there, or cannot be used."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked in ("auto", "cuda") and not available["cuda"] and (why := why_unusable()):
        raise UserError(f"torch cannot use this machine's NVIDIA GPU: {why}; or set runtime.device to cpu")
    if asked == "auto":
        return next(name for name, there in available.items() if there)
    if not available[asked]:
        there = ", ".join(name for name, is_there in available.items() if is_there)
        raise UserError(f"runtime.device: {asked} is not on this machine; there is {there}; use auto to take the best")
    return asked


def _own_gpu(rank: int, processes: int) -> torch.device:
    """With its number, which several functions of torch want. A launcher may show each process its own GPU alone."""
    gpus = torch.cuda.device_count()
    if processes > 1 and rank >= gpus > 1:
        raise UserError(f"expected at most {gpus} processes on this machine, one for each GPU, got {processes}")
    return torch.device("cuda", 0 if gpus == 1 else rank)


def _resolve_precision(asked: str, device: torch.device) -> str:
    if asked == "auto":
        if has_bf16(device):
            return "bf16"
        return "fp16" if device.type == "cuda" else "fp32"
    if asked == "fp16" and device.type == "cpu":
        raise UserError("precision: fp16 is for GPUs; on a CPU use auto, bf16 or fp32")
    return asked


def has_bf16(device: torch.device) -> bool:
    """Whether bf16 arithmetic is in the hardware; where it is emulated it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return any(
            getattr(torch.cpu, check, lambda: False)()
            for check in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        )
    return False


def resolve_compile(asked: bool | str, hardware: Hardware, steps: int, flop: float) -> bool:
    """Whether to use torch.compile for a run of `steps` and of `flop` floating-point operations.

    `auto` compiles what takes longer than the compilation saves. It is decided by the size of the run
    and not by a clock, so that equal runs are compiled alike. Raises UserError where it is asked for
    and cannot work.
    """
    if asked != "auto":
        return _can_compile(bool(asked), hardware)
    if hardware.device.type == "mps":
        return False
    if hardware.device.type == "cuda":
        pays = steps >= COMPILE_PAYS_AFTER_STEPS
    else:
        pays = flop >= COMPILE_PAYS_AFTER_FLOP * hardware.threads
    return pays and _compiles(hardware.device)


def resolve_compile_writing(asked: bool | str, hardware: Hardware, flop: float) -> bool:
    """The same for writing stories that take `flop` operations. `auto` compiles on CPUs alone."""
    if asked != "auto":
        return _can_compile(bool(asked), hardware)
    pays = hardware.device.type == "cpu" and flop >= COMPILED_WRITING_PAYS_AFTER_FLOP
    return pays and _compiles(hardware.device)


def _can_compile(asked: bool, hardware: Hardware) -> bool:
    if asked and (missing := _missing_for_compile(hardware.device)):
        raise UserError(f"runtime.compile: true needs {missing}, which is not here; install it or use false")
    return asked


def _compiles(device: torch.device) -> bool:
    """Whether a compilation that pays is possible; says so where it is not."""
    missing = _missing_for_compile(device)
    if missing:
        log.info("not compiled, which would be faster: that needs %s, which is not here", missing)
    return missing is None


COMPILE_PAYS_AFTER_STEPS = 1000  # on a GPU
# On a CPU, for each thread: about a minute without compilation, which takes a quarter to half of that
# and then halves the time of a step (measured on a Zen 4 with bf16).
COMPILE_PAYS_AFTER_FLOP = 2.5e12
COMPILED_WRITING_PAYS_AFTER_FLOP = 1e12  # half a minute without compilation, which takes as long


def _missing_for_compile(device: torch.device) -> str | None:
    """What TorchInductor cannot do without, in words, if it is not there."""
    if device.type == "cuda":
        return _missing_for_triton(device)
    if device.type != "cpu":
        return None
    if not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        return "a C++ compiler"
    return _missing_headers()


def _missing_for_triton(device: torch.device) -> str | None:
    """What Triton, which makes TorchInductor's kernels for GPUs, cannot do without, if it is not there."""
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < OLDEST_FOR_TRITON:
        return "a GPU of compute capability 7.0 or newer"
    if importlib.util.find_spec("triton") is None:
        return "the package triton"
    own = os.environ.get("CC")  # Triton builds a small C extension with it
    if not (shutil.which(own.split()[0]) if own else any(map(shutil.which, ("gcc", "clang")))):
        return "a C compiler"
    return _missing_headers()


def _missing_headers() -> str | None:
    if Path(sysconfig.get_path("include"), "Python.h").is_file():
        return None
    return "Python.h (Debian: python3-dev)"


def peak_memory_mb(device: torch.device) -> float:
    """Most memory held so far [10^6 bytes]: of the GPU, or of the process where the GPU has none of its own."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
