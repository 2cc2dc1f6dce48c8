"""torch.compile is used where it pays and works, and what it compiles is right."""

import importlib.util
import platform
import sys
from pathlib import Path

import pytest
import torch

from tests.support import tiny
from tinylm.base.errors import UserError
from tinylm.compute.compiling import MARCH, compile_function, resolve_compile
from tinylm.compute.device import Hardware

CPU = torch.device("cpu")


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
    monkeypatch.setattr(
        "tinylm.compute.compiling._missing_headers", lambda: None if "Python.h" in there else "Python.h"
    )
    tiny.fake_cuda(monkeypatch, (7, 5))
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
        tiny.fake_cuda(monkeypatch, (6, 1))
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


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="the settings are for Linux on x86"
)
@pytest.mark.parametrize("own", [None, False])
def test_settings_of_the_user_come_before_ours(own: bool | None) -> None:
    from torch._inductor import config

    with config.patch({"cpp.march": None if own is None else "", "cpp.vec_isa_ok": own}):
        compile_function(torch.relu)
        assert config.cpp.march == (MARCH if own is None else "")
        assert config.cpp.vec_isa_ok is (True if own is None else own)
