"""`auto` is resolved for the machine; what is not available is refused."""

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest
import torch

from tests.support import tiny
from tinylm.base.errors import UserError
from tinylm.compute.device import (
    has_bf16,
    make_deterministic,
    peak_memory_mb,
    resolve_hardware,
    resolve_hardware_for_writing,
)

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def restore_threads() -> object:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


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
    tiny.fake_cuda(monkeypatch, capability)
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
    tiny.fake_cuda(monkeypatch, (8, 0))
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


@pytest.mark.parametrize(
    ("gpus", "rank", "processes", "index"), [(1, 0, 1, 0), (4, 0, 1, 0), (4, 3, 4, 3), (1, 3, 4, 0), (1, 0, 2, 0)]
)
def test_a_gpu_has_its_index(monkeypatch: pytest.MonkeyPatch, gpus: int, rank: int, processes: int, index: int) -> None:
    """Including hosts with one GPU, and launchers that make one GPU visible to each process."""
    tiny.fake_cuda(monkeypatch, (8, 0))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    hardware = resolve_hardware(tiny.runtime_params(device="auto"), rank=rank, processes=processes)
    assert hardware.device == torch.device("cuda", index)


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.fake_cuda(monkeypatch, (8, 0))
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
