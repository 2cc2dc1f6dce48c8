"""Out of memory: a one-line error with the requested and the free memory."""

import resource
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from tinylm.base.errors import UserError
from tinylm.compute import memory
from tinylm.compute.memory import explaining_out_of_memory, free_bytes, is_out_of_memory, requested_bytes

CPU = torch.device("cpu")
CUDA = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 14.74 GiB of which 1.06 GiB is free."
)
MPS = RuntimeError("MPS backend out of memory (MPS allocated: 8.1 GB, max allowed: 9.07 GB). Tried to allocate 512 MiB on private pool.")  # fmt: skip # noqa: E501
WINDOWS = RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: not enough memory: you tried to allocate 4096 bytes.")  # fmt: skip # noqa: E501


def error_of_torch() -> BaseException:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**50, dtype=torch.uint8)
    return raised.value


def error_of_numpy() -> BaseException:
    with pytest.raises(MemoryError) as raised:
        np.empty(2**60, np.uint8)
    return raised.value


@pytest.mark.parametrize(
    ("error", "requested"),
    [
        (error_of_torch(), 2**50),
        (error_of_numpy(), 2**60),
        (CUDA, 5 * 2**29),
        (MPS, 2**29),
        (WINDOWS, 4096),
        (MemoryError(), None),
    ],
)
def test_out_of_memory_errors_and_the_requested_bytes(error: BaseException, requested: int | None) -> None:
    assert is_out_of_memory(error)
    assert requested_bytes(error) == requested


def test_other_errors_pass() -> None:
    with (
        pytest.raises(RuntimeError, match="^mat1 and mat2 shapes cannot be multiplied$"),
        explaining_out_of_memory(CPU, "lower it"),
    ):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@pytest.mark.parametrize(
    ("error", "free", "line"),
    [
        (CUDA, 10**9, "out of memory on the GPU: 2.7 GB more were wanted and 1.0 GB are free; lower it; continues"),
        (MemoryError(), 10**9, "out of memory on the GPU: 1.0 GB are free; lower it; continues"),
        (MemoryError(), None, "out of memory on the GPU; lower it; continues"),
    ],
)
def test_out_of_memory_is_a_one_line_error(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, free: int | None, line: str
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    with (
        pytest.raises(UserError) as raised,
        explaining_out_of_memory(torch.device("cuda"), "lower it", lambda: "; continues"),
    ):
        raise error
    assert str(raised.value) == line


def test_free_memory_is_the_minimum_of_all_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CGROUPS", ())
    machine = free_bytes(CPU)
    assert machine
    assert machine > 0
    (tmp_path / "max").write_text("5000\n")
    (tmp_path / "used").write_text("3800\n")
    monkeypatch.setattr(memory, "CGROUPS", ((str(tmp_path / "max"), str(tmp_path / "used")),))
    assert free_bytes(CPU) == 1200
    (tmp_path / "max").write_text("max\n")
    assert free_bytes(CPU) == pytest.approx(machine, rel=0.5)
    (tmp_path / "max").write_text("3000\n")
    assert free_bytes(CPU) == 0
    monkeypatch.setattr(memory, "CGROUPS", ())
    monkeypatch.setattr(resource, "getrlimit", lambda which: (10**15, 10**15) if which == resource.RLIMIT_AS else None)
    assert memory._address_space() == pytest.approx(10**15, rel=1e-2)
    assert free_bytes(CPU) == pytest.approx(machine, rel=0.5)


def test_windows_has_no_limit_of_the_address_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "resource", None)  # importing it fails
    assert memory._address_space() is None


def test_without_proc_the_free_memory_is_asked_of_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS and Windows; unknown if it is not installed."""
    known = psutil.virtual_memory().available
    monkeypatch.setattr(memory, "CGROUPS", ())
    monkeypatch.setattr(memory, "_address_space", lambda: None)
    read_text = Path.read_text

    def read(path: Path, **options: str) -> str:
        if str(path) == "/proc/meminfo":
            raise FileNotFoundError(path)
        return read_text(path, **options)

    monkeypatch.setattr(Path, "read_text", read)
    assert free_bytes(CPU) == pytest.approx(known, rel=0.5)
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert free_bytes(CPU) is None
