"""Detect an NVIDIA driver that keeps torch from using a GPU.

torch itself only warns, so a run of several hours would start on the CPU.
"""

import ctypes
import sys
from pathlib import Path

import torch

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
NO_DEVICE, STUB_LIBRARY = 100, 34  # what cuInit returns without a GPU, or without a driver
GPUS = Path("/proc/driver/nvidia/gpus")  # from the kernel driver; visible even in containers without a GPU
OLDER_TORCH = "TORCH=cu126 make env"  # works with every CUDA 12 driver


def why_unusable() -> str | None:
    """Return why torch cannot use a GPU that the driver sees, with the remedy; None if there is no such GPU.

    Call it when torch finds no GPU.
    """
    if torch.version.cuda is None:
        return None  # a build for the CPU or for non-NVIDIA GPUs
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
    if 0 < major < wanted:  # newer builds run on older drivers of the same major version
        remedy = f"run {OLDER_TORCH}, or update the driver" if major >= 12 else "update the driver"
        return f"its driver is for CUDA {major}.{minor} and torch for CUDA {torch.version.cuda}: {remedy}"
    return f"its driver does not work (cuInit gives {started}); see what nvidia-smi says, or reboot"
