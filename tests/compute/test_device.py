"""`auto` is resolved for the machine; what is not available is refused."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from tests.support import tiny
from tinylm.base.errors import UserError
from tinylm.compute.device import (
    Hardware,
    has_bf16,
    make_deterministic,
    peak_memory_mb,
    resolve_compile,
    resolve_hardware,
    resolve_hardware_for_writing,
)

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def restore_threads() -> object:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def fake_cuda(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)


def test_auto_falls_back_to_the_cpu_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    hardware = resolve_hardware(tiny.runtime_params(device="auto"))
    assert hardware.device == CPU
    assert str(hardware).startswith("cpu (")


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_available(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(
        UserError, match=f"runtime.device: {device} is not available on this machine, which has cpu; use auto"
    ):
        resolve_hardware(tiny.runtime_params(device=device))


@pytest.mark.parametrize(("capability", "precision"), [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp16")])
def test_auto_precision_on_a_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], precision: str) -> None:
    fake_cuda(monkeypatch, capability)
    hardware = resolve_hardware(tiny.runtime_params(device="auto"))
    assert (hardware.device.type, hardware.precision) == ("cuda", precision)


@pytest.mark.parametrize(("there", "precision"), [(True, "bf16"), (False, "fp32")])
def test_auto_precision_on_a_cpu(monkeypatch: pytest.MonkeyPatch, there: bool, precision: str) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: there, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    assert resolve_hardware(tiny.runtime_params()).precision == precision
    assert has_bf16(CPU) is there


def test_writing_is_float32_on_a_cpu_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    on_cpu = tiny.runtime_params(device="cpu")
    assert resolve_hardware_for_writing(on_cpu, "auto").precision == "fp32"
    assert resolve_hardware_for_writing(on_cpu, "bf16").precision == "bf16"
    fake_cuda(monkeypatch, (8, 0))
    assert resolve_hardware_for_writing(tiny.runtime_params(device="auto"), "auto").precision == "bf16"
    assert resolve_hardware_for_writing(tiny.runtime_params(device="auto"), "fp32").precision == "fp32"


def test_fp16_is_refused_on_a_cpu() -> None:
    with pytest.raises(UserError, match="fp16 is for GPUs"):
        resolve_hardware(tiny.runtime_params(), "fp16")


def test_threads_are_set() -> None:
    assert resolve_hardware(tiny.runtime_params(threads=1)).threads == 1
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("asked", "processes", "threads"), [("2", 1, 2), ("99", 1, 4), ("", 1, 4), ("x", 1, 4), ("1", 2, 2)]
)
def test_threads_are_as_many_as_the_environment_asks_for(
    monkeypatch: pytest.MonkeyPatch, asked: str, processes: int, threads: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr("tinylm.compute.device.usable_cores", lambda: 4)
    assert resolve_hardware(tiny.runtime_params(threads=None), processes=processes).threads == threads


@pytest.fixture
def compilers(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The programs and modules found on a machine with a GPU of capability 7.5; tests remove some."""
    there = {"g++", "gcc", "triton", "Python.h"}
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: name if name in there else None)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: (there & {name} or None) if name == "triton" else find_spec(name)
    )
    monkeypatch.setattr("tinylm.compute.device._missing_headers", lambda: None if "Python.h" in there else "Python.h")
    fake_cuda(monkeypatch, (7, 5))
    return there


def test_compile_is_for_long_runs(compilers: set[str]) -> None:
    gpu = Hardware(torch.device("cuda"), "bf16", 1)
    cpu = Hardware(CPU, "bf16", 1)
    assert resolve_compile("auto", gpu, steps=12_000, flop=1e12)
    assert not resolve_compile("auto", gpu, steps=50, flop=1e18)
    assert resolve_compile("auto", cpu, steps=50, flop=1e14)
    assert not resolve_compile("auto", cpu, steps=12_000, flop=1e12)
    assert not resolve_compile(False, gpu, steps=12_000, flop=1e18)


@pytest.mark.parametrize(
    ("gone", "missing"),
    [
        ("gcc", "a C compiler"),
        ("triton", "the package triton"),
        ("Python.h", "Python.h"),
        ("7.0", "a GPU of compute capability 7.0 or newer"),
    ],
)
def test_a_gpu_without_a_prerequisite_of_compile_trains_eagerly_and_says_so(
    compilers: set[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, gone: str, missing: str
) -> None:
    caplog.set_level("INFO")
    gpu = Hardware(torch.device("cuda", 0), "fp16", 1)
    compilers.discard(gone)
    if gone == "7.0":
        fake_cuda(monkeypatch, (6, 1))
    assert not resolve_compile("auto", gpu, steps=12_000, flop=1e18)
    assert caplog.messages == [f"torch.compile would be faster but is off: it needs {missing}, which is missing"]
    assert not resolve_compile("auto", gpu, steps=50, flop=1e18)
    assert len(caplog.messages) == 1  # a short run would not be compiled anyway
    with pytest.raises(UserError, match=f"runtime.compile: true needs {missing}, which is missing"):
        resolve_compile(True, gpu, steps=50, flop=1e18)


def test_the_c_compiler_of_the_environment(compilers: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Hardware(torch.device("cuda", 0), "fp16", 1)
    compilers.discard("gcc")
    compilers.add("tcc")
    monkeypatch.setenv("CC", "tcc -O2")
    assert resolve_compile(True, gpu, steps=50, flop=1e18)
    monkeypatch.setenv("CC", "none")
    with pytest.raises(UserError, match="needs a C compiler"):
        resolve_compile(True, gpu, steps=50, flop=1e18)


def test_compile_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = Hardware(CPU, "bf16", 1)
    monkeypatch.setenv("PATH", "")
    assert not resolve_compile("auto", cpu, steps=10, flop=1e18)
    with pytest.raises(UserError, match=r"runtime.compile: true needs a C\+\+ compiler, which is missing"):
        resolve_compile(True, cpu, steps=10, flop=0)


def test_compile_without_python_headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(UserError, match=r"needs Python.h \(Debian: python3-dev\)"):
        resolve_compile(True, Hardware(CPU, "bf16", 1), steps=10, flop=0)


@pytest.mark.parametrize(
    ("gpus", "rank", "processes", "index"), [(1, 0, 1, 0), (4, 0, 1, 0), (4, 3, 4, 3), (1, 3, 4, 0), (1, 0, 2, 0)]
)
def test_a_gpu_has_its_index(monkeypatch: pytest.MonkeyPatch, gpus: int, rank: int, processes: int, index: int) -> None:
    """Including hosts with one GPU, and launchers that make one GPU visible to each process."""
    fake_cuda(monkeypatch, (8, 0))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    hardware = resolve_hardware(tiny.runtime_params(device="auto"), rank=rank, processes=processes)
    assert hardware.device == torch.device("cuda", index)


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cuda(monkeypatch, (8, 0))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="expected at most 2 processes on this machine, one per GPU, got 3"):
        resolve_hardware(tiny.runtime_params(device="auto"), rank=2, processes=3)


@pytest.fixture
def determinism(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restores what `make_deterministic` sets."""
    from torch._inductor import config

    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    fill, benchmark = torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    with config.patch(deterministic=False):
        yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = fill
    torch.backends.cudnn.benchmark = benchmark


def test_determinism_costs_a_cpu_nothing_and_reaches_a_gpus_compiler(
    determinism: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import config

    # In some releases of torch this function sets Inductor's option too; do not rely on it.
    monkeypatch.setattr(torch, "use_deterministic_algorithms", torch._C._set_deterministic_algorithms)
    make_deterministic(CPU)
    assert not torch.are_deterministic_algorithms_enabled()
    assert not config.deterministic
    make_deterministic(torch.device("cuda", 0))
    assert torch.are_deterministic_algorithms_enabled()
    assert config.deterministic


def test_the_peak_memory_is_that_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    resident = psutil.Process().memory_info().rss / 1e6
    assert resident * 0.9 < peak_memory_mb(CPU) < 1000 * resident
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "resource", None)  # Windows has no such module
    monkeypatch.setattr(psutil, "Process", FakeProcess)
    assert peak_memory_mb(CPU) == 1234.5


class FakeProcess:
    """A process as psutil shows it on Windows."""

    def memory_info(self) -> SimpleNamespace:
        return SimpleNamespace(peak_wset=1_234_500_000)
