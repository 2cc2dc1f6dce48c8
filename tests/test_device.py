"""`auto` is resolved against the machine, and what is not there is refused."""

from pathlib import Path

import pytest
import torch

from tests import tiny
from tinylm.device import Hardware, has_bf16, resolve_compile, resolve_compile_writing, resolve_hardware
from tinylm.errors import UserError

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
def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match=f"runtime.device: {device} is not on this machine; there is cpu; use auto"):
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
    monkeypatch.setattr("tinylm.device.usable_cores", lambda: 4)
    assert resolve_hardware(tiny.runtime_params(threads=None), processes=processes).threads == threads


def test_compile_is_for_long_runs() -> None:
    gpu = Hardware(torch.device("cuda"), "bf16", 1)
    cpu = Hardware(CPU, "bf16", 1)
    assert resolve_compile("auto", gpu, steps=12_000, flop=1e12)
    assert not resolve_compile("auto", gpu, steps=50, flop=1e18)
    assert resolve_compile("auto", cpu, steps=50, flop=1e14)
    assert not resolve_compile("auto", cpu, steps=12_000, flop=1e12)
    assert not resolve_compile(False, gpu, steps=12_000, flop=1e18)


def test_writing_is_compiled_where_there_is_much_to_write() -> None:
    cpu, gpu = Hardware(CPU, "bf16", 1), Hardware(torch.device("cuda"), "bf16", 1)
    assert resolve_compile_writing("auto", cpu, flop=1e13)
    assert not resolve_compile_writing("auto", cpu, flop=1e11)
    assert not resolve_compile_writing("auto", gpu, flop=1e13)
    assert resolve_compile_writing(True, gpu, flop=0)
    assert not resolve_compile_writing(False, cpu, flop=1e13)


def test_compile_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = Hardware(CPU, "bf16", 1)
    monkeypatch.setenv("PATH", "")
    assert not resolve_compile("auto", cpu, steps=10, flop=1e18)
    assert not resolve_compile_writing("auto", cpu, flop=1e18)
    with pytest.raises(UserError, match=r"runtime.compile: true needs a C\+\+ compiler, which is not here"):
        resolve_compile(True, cpu, steps=10, flop=0)


def test_compile_without_the_headers_of_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(UserError, match=r"needs Python.h \(Debian: python3-dev\)"):
        resolve_compile(True, Hardware(CPU, "bf16", 1), steps=10, flop=0)
