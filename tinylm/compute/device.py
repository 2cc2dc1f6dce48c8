"""Choose device and precision: resolve `auto` for this machine."""

import logging
import os
import platform
import sys
from dataclasses import dataclass

import torch

from tinylm.base.cores import usable_cores
from tinylm.base.errors import UserError
from tinylm.base.runtime import RuntimeParams
from tinylm.compute.allocator import keep_freed_memory
from tinylm.compute.cuda_driver import why_unusable

log = logging.getLogger("tinylm")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class Hardware:
    """The resolved device, precision and number of CPU threads of a run."""

    device: torch.device
    precision: str  # bf16, fp16 or fp32
    threads: int  # CPU threads for torch

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
    """Resolve `auto`, set torch's number of threads and, on a CPU, tune malloc.

    `rank` is this process's rank among the `processes` on this machine, which share its GPUs and cores.
    Raises UserError for a device or precision that is not available.
    """
    device = torch.device(resolve_device(runtime.device))
    if device.type == "cuda":
        device = _own_gpu(rank, processes)
    threads = runtime.threads or _threads(processes)
    torch.set_num_threads(threads)
    if device.type == "cpu":
        keep_freed_memory()
    return Hardware(device, _resolve_precision(precision, device), threads)


def resolve_hardware_for_writing(runtime: RuntimeParams, precision: str) -> Hardware:
    """As `resolve_hardware`, for generating stories: `auto` is fp32 on a CPU, where bf16 writes no faster."""
    on_cpu = precision == "auto" and resolve_device(runtime.device) == "cpu"
    return resolve_hardware(runtime, "fp32" if on_cpu else precision)


def _threads(processes: int) -> int:
    """Return the number of usable cores, or OMP_NUM_THREADS if that is lower.

    With several processes the cores are divided evenly and OMP_NUM_THREADS is ignored: torchrun sets it to 1.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if processes == 1 and asked.isdecimal() and int(asked):
        return min(int(asked), usable_cores())
    return max(1, usable_cores() // processes)


def make_deterministic(device: torch.device) -> None:
    """Make torch use deterministic kernels, and fail if an operation has none.

    Does nothing on a CPU: its kernels are deterministic anyway, and the flag makes TorchInductor copy whole tensors.
    """
    if device.type == "cpu":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # A debugging aid that costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    if device.type == "cuda":
        from torch._inductor import config as inductor_config  # takes a second

        # Otherwise autotuning may pick kernels with another order of summation in each run.
        if hasattr(inductor_config, "deterministic"):  # torch 2.10 and later
            inductor_config.deterministic = True


def resolve_device(asked: str) -> str:
    """Return the device type for `runtime.device`. Raises UserError if it is missing or cannot be used."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked in ("auto", "cuda") and not available["cuda"] and (why := why_unusable()):
        raise UserError(f"torch cannot use this machine's NVIDIA GPU: {why}; or set runtime.device to cpu")
    if asked == "auto":
        return next(name for name, is_available in available.items() if is_available)
    if not available[asked]:
        found = ", ".join(name for name, is_available in available.items() if is_available)
        raise UserError(
            f"runtime.device: {asked} is not available on this machine, which has {found}; use auto for the best one"
        )
    return asked


def _own_gpu(rank: int, processes: int) -> torch.device:
    """Return the GPU of this process with its index, which some torch functions need.

    A launcher may make only one GPU visible to each process; its index is then 0.
    """
    gpus = torch.cuda.device_count()
    if processes > 1 and rank >= gpus > 1:
        raise UserError(f"expected at most {gpus} processes on this machine, one per GPU, got {processes}")
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
    """Return whether the hardware has bf16 arithmetic; emulated bf16 is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and bool(bf16_units())


def bf16_units() -> list[str]:
    """Return the names of the units that this machine's CPU has for bf16 products."""
    checks = {"AVX512-BF16": "_is_avx512_bf16_supported", "AMX": "_is_amx_tile_supported"}
    return [name for name, check in checks.items() if getattr(torch.cpu, check, lambda: False)()]


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory so far [10^6 bytes]: allocated on a CUDA GPU, else resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
