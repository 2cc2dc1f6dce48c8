"""Whether the NVIDIA driver is what keeps torch from a GPU that is there.

torch itself falls silent then, but for a warning: a run of hours would begin on the CPU.
"""

import ctypes
from pathlib import Path

import torch

LIBRARY = "libcuda.so.1"
NO_DEVICE, STUB_LIBRARY = 100, 34  # CUresult of cuInit where there is no GPU, or no driver
GPUS = Path("/proc/driver/nvidia/gpus")  # of the kernel's driver; containers without a GPU may see it too
MEND = "TORCH=cu126 make env"  # which any driver of CUDA 12 can run


def why_unusable() -> str | None:
    """Why torch, which finds no GPU, cannot use one that the driver sees, and what mends it; None: there is none."""
    if torch.version.cuda is None:
        return None  # a build for the CPU, or for other GPUs
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    version, count = ctypes.c_int(0), ctypes.c_int(0)
    started = driver.cuInit(0)
    if started in (NO_DEVICE, STUB_LIBRARY) or (started != 0 and not any(GPUS.glob("*"))):
        return None
    if started == 0 and (driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or not count.value):
        return None
    driver.cuDriverGetVersion(ctypes.byref(version))
    major, minor = version.value // 1000, version.value % 1000 // 10
    wanted = int(torch.version.cuda.split(".")[0])
    if 0 < major < wanted:  # within a major version newer builds run on older drivers
        mend = f"run {MEND}, or update the driver" if major >= 12 else "update the driver"
        return f"its driver is for CUDA {major}.{minor} and torch for CUDA {torch.version.cuda}: {mend}"
    return f"its driver does not work (cuInit gives {started}); see what nvidia-smi says, or start the machine anew"
