"""A driver that is too old for torch is an error with a remedy; a machine without a GPU uses the CPU."""

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.support import tiny
from tinylm.base.errors import UserError
from tinylm.compute import cuda_driver
from tinylm.compute.device import resolve_hardware


class Driver:
    """A fake libcuda."""

    def __init__(self, version: int, gpus: int = 1, started: int = 0):
        self.version, self.gpus, self.started = version, gpus, started

    def cuInit(self, _: int) -> int:  # noqa: N802 - libcuda's names
        return self.started

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.gpus
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = self.version
        return 0


def install(monkeypatch: pytest.MonkeyPatch, driver: Driver | None, build: str | None = "13.0") -> None:
    """Fake a machine with this driver, and a torch built for CUDA `build` that finds no GPU."""

    def load(name: str) -> Driver:
        assert name == "libcuda.so.1"
        if driver is None:
            raise OSError(f"{name}: cannot open shared object file: No such file or directory")
        return driver

    monkeypatch.setattr(torch.version, "cuda", build)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(cuda_driver, "ctypes", SimpleNamespace(CDLL=load, c_int=ctypes.c_int, byref=ctypes.byref))


@pytest.mark.parametrize("device", ["auto", "cuda"])
@pytest.mark.parametrize(
    ("version", "message"),
    [
        (12040, "its driver is for CUDA 12.4 and torch for CUDA 13.0: run TORCH=cu126 make env, or update the driver"),
        (11080, "its driver is for CUDA 11.8 and torch for CUDA 13.0: update the driver"),
        (13000, r"its driver does not work \(cuInit gives 0\)"),
    ],
)
def test_a_driver_that_keeps_torch_from_a_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, version: int, message: str
) -> None:
    install(monkeypatch, Driver(version))
    with pytest.raises(UserError, match=rf"torch cannot use .*: {message}.*; or set runtime.device to cpu") as caught:
        resolve_hardware(tiny.runtime_params(device=device))
    assert len(str(caught.value)) < 300
    assert resolve_hardware(tiny.runtime_params(device="cpu")).device.type == "cpu"


@pytest.mark.parametrize(
    ("driver", "build"),
    [
        (Driver(12040), None),  # torch for the CPU
        (None, "13.0"),  # no driver
        (Driver(12040, gpus=0), "13.0"),
        (Driver(0, started=cuda_driver.NO_DEVICE), "13.0"),
        (Driver(0, started=cuda_driver.STUB_LIBRARY), "13.0"),
        (Driver(13000, started=999), "13.0"),  # and the kernel driver lists no GPU
    ],
)
def test_a_machine_without_a_gpu_uses_the_cpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, driver: Driver | None, build: str | None
) -> None:
    monkeypatch.setattr(cuda_driver, "GPUS", tmp_path)
    install(monkeypatch, driver, build)
    assert resolve_hardware(tiny.runtime_params(device="auto")).device.type == "cpu"


def test_a_broken_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "0000:01:00.0").mkdir()
    monkeypatch.setattr(cuda_driver, "GPUS", tmp_path)
    install(monkeypatch, Driver(13000, started=803))
    with pytest.raises(UserError, match=r"its driver does not work \(cuInit gives 803\); see what nvidia-smi says"):
        resolve_hardware(tiny.runtime_params(device="auto"))
