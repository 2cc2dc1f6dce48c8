"""torch.compile: whether it pays and works here, and the compiler flags that it needs."""

import importlib.util
import logging
import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from tinylm.base.errors import UserError
from tinylm.compute.device import Hardware

OLDEST_FOR_TRITON = (7, 0)  # compute capability
# GCC 12 vectorizes straight-line code of TorchInductor's kernels wrongly for processors with AVX512-BF16 and AMX: the
# gradients of a bf16 model were NaN. TorchInductor writes its vector code out and turns the vectorizer of loops off
# itself; this turns off the other one. `cpp.march` is the one setting through which a flag reaches the compiler.
MARCH = "native -fno-tree-slp-vectorize"
# `cpp.vec_isa_ok` saves the first compilation on a machine 12 of 75 seconds (two cores with AMX): TorchInductor else
# builds its vector library once for each of AVX2, AVX-512, VNNI and AMX to see whether the compiler can. Every compiler
# that knows C++20, which the kernels are written in, can. Instructions for bf16, VNNI and AMX are tried out anyway.
HOMEBREW_OPENMP = ("/opt/homebrew/opt/libomp", "/usr/local/opt/libomp")  # on Apple silicon, on Intel
F = TypeVar("F", bound=Callable[..., Any])
log = logging.getLogger("tinylm")


def compile_function(function: F, **options: Any) -> F:
    """Return `torch.compile(function, **options)`, with flags under which GCC's code is correct."""
    from torch._inductor import config  # takes a second

    # Unless the user has set TORCHINDUCTOR_CPP_MARCH or TORCHINDUCTOR_VEC_ISA_OK.
    if sys.platform == "linux" and platform.machine() == "x86_64":
        if config.cpp.march is None:
            config.cpp.march = MARCH
        if config.cpp.vec_isa_ok is None:
            config.cpp.vec_isa_ok = True
    compiled: F = torch.compile(function, **options)  # type: ignore[assignment]
    return compiled


def resolve_compile(asked: bool | str, hardware: Hardware, steps: int, flop: float) -> bool:
    """Return whether to use torch.compile for a run of `steps` steps and `flop` floating-point operations.

    `auto` compiles if that saves more time than the compilation takes. The decision depends on the size of the run,
    not on timings, so that equal runs decide alike. Raises UserError if compilation is requested but impossible.
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


def _can_compile(asked: bool, hardware: Hardware) -> bool:
    if asked and (missing := missing_for_compile(hardware.device)):
        raise UserError(f"runtime.compile: true needs {missing}, which is missing; install it or use false")
    return asked


def _compiles(device: torch.device) -> bool:
    """Return whether torch.compile works on `device`; log what is missing if not."""
    missing = missing_for_compile(device)
    if missing:
        log.info("torch.compile would be faster but is off: it needs %s, which is missing", missing)
    return missing is None


COMPILE_PAYS_AFTER_STEPS = 1000  # on a GPU
# On a CPU, per thread: about one minute of uncompiled training. Compilation takes a quarter to half of that
# and then halves the step time (measured on a Zen 4 CPU with bf16).
COMPILE_PAYS_AFTER_FLOP = 2.5e12


def missing_for_compile(device: torch.device) -> str | None:
    """Return the missing prerequisite of TorchInductor, in words; None if there is none."""
    if device.type == "cuda":
        return _missing_for_triton(device)
    if device.type != "cpu":
        return None
    if sys.platform == "win32":  # where TorchInductor takes no other compiler by itself
        return None if shutil.which(os.environ.get("CXX", "cl")) else "Visual Studio's C++ compiler (cl) on PATH"
    if not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        return "a C++ compiler"
    if sys.platform == "darwin" and not _has_openmp():
        return "OpenMP (brew install libomp)"
    return _missing_headers()


def _has_openmp() -> bool:
    """Return whether OpenMP is where TorchInductor looks for it on macOS, whose own compiler has none."""
    prefixes = (os.environ.get("OMP_PREFIX"), os.environ.get("CONDA_PREFIX"), *HOMEBREW_OPENMP)
    return any(prefix and Path(prefix, "include/omp.h").is_file() for prefix in prefixes)


def _missing_for_triton(device: torch.device) -> str | None:
    """Return the missing prerequisite of Triton, TorchInductor's GPU backend, in words; None if there is none."""
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < OLDEST_FOR_TRITON:
        return "a GPU of compute capability 7.0 or newer"
    if importlib.util.find_spec("triton") is None:
        return "the package triton"
    compiler = os.environ.get("CC")  # Triton builds a small C extension with it
    if not (shutil.which(compiler.split()[0]) if compiler else any(map(shutil.which, ("gcc", "clang")))):
        return "a C compiler"
    return _missing_headers()


def _missing_headers() -> str | None:
    if Path(sysconfig.get_path("include"), "Python.h").is_file():
        return None
    return "Python.h (Debian: python3-dev)"
