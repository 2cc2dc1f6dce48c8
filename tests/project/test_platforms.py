"""The code runs where POSIX's modules, signals and rules for open files do not exist, and writes the same bytes."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support import windows
from tests.support.clone import Clone, environment
from tests.support.tiny import ROOT
from tinylm.base.errors import UserError
from tinylm.base.runtime import RuntimeParams
from tinylm.compute import compiling, cuda_driver
from tinylm.compute.device import Hardware

CODE = ("tinylm", "stages", "tools")
# Libraries are imported as they are. The processes of a pool would be started without the pretence.
START = """
import sys
from pathlib import Path
import datasets, dvc, filelock, huggingface_hub, matplotlib.pyplot, optuna, pandas, psutil, pyarrow.parquet, torch
import aiohttp.web, asyncio, tokenizers, torch._inductor.config, torch.distributed.checkpoint, torch.distributed.run
from tests.support import windows
"""
IMPORT_ALL = """
import importlib, pkgutil, stages, tinylm
for package in (stages, tinylm):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            print(module.name)
"""
RUN_STAGES = """
import runpy
for _ in range(2):  # the second time over the files of the first
    for stage in sys.argv[1:]:
        print("stage", stage, flush=True)
        try:
            runpy.run_module(f"stages.{stage}", run_name="__main__")
        except SystemExit as end:
            assert end.code == 0, end.code
"""
STAGES = ("download", "train_tokenizer", "pretokenize", "train", "generate", "evaluate", "report")


def run_pretending(root: Path, code: str, *arguments: str) -> str:
    """Run Python code on a pretended Windows, in the folder `root`; return its output."""
    environ = environment(Path(sys.executable).parent) | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", f"{START}\nwindows.pretend(Path({str(root)!r}))\n{code}", *arguments]
    done = subprocess.run(command, cwd=root, env=environ, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_module_imports_without_what_only_posix_has(tmp_path: Path) -> None:
    imported = run_pretending(tmp_path, IMPORT_ALL).split()
    assert {"stages.train", "tinylm.cli.sweep", "tinylm.experiments.sweep.trial", "tinylm.serve.server"} <= set(
        imported
    )


@pytest.mark.torture
def test_the_pipeline_runs_and_writes_the_same_bytes(tmp_path: Path) -> None:
    """Also over its own files: none is replaced or removed while it is open or mapped."""
    clone = Clone(tmp_path / "clone")
    clone.set_params({"runtime.workers": 1})
    run_pretending(clone.root, RUN_STAGES, *STAGES)
    written = list(written_files(clone.root))
    assert {"tokenizer.json", "train.csv", "evaluate.json", "report.html"} <= {path.name for path in written}
    endings = (".csv", ".html", ".json", ".jsonl", ".md", ".txt")
    texts = [path for path in written if path.suffix in endings and path.name != "ratings.csv"]  # for spreadsheets
    assert [path for path in texts if b"\r" in path.read_bytes()] == []
    assert [path for path in texts if not path.read_text(encoding="utf-8")] == []
    speed = (clone.root / "plots/speed.csv").read_text(encoding="utf-8").splitlines()
    assert {row.rsplit(",")[-1] for row in speed[1:]} == {f"{windows.PEAK / 1e6:.7g}"}


def written_files(root: Path) -> Iterator[Path]:
    for folder in ("artifacts", "metrics", "plots"):
        yield from (path for path in (root / folder).rglob("*") if path.is_file())


def test_the_rules_of_windows_for_open_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    windows.keep_files_in_use(tmp_path, lambda name, function: monkeypatch.setattr(os, name, function))
    path = tmp_path / "file"
    path.write_bytes(b"text")
    with open(path, "rb"), pytest.raises(PermissionError):
        path.unlink()
    path.replace(tmp_path / "other")
    (tmp_path / "other").unlink()


# ---- what the code says about files and programs


def calls(name: str) -> Iterator[tuple[str, set[str], ast.Call]]:
    """Yield the place of each call of a function or method, the names of its keyword arguments, and the call."""
    for folder in CODE:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and name == getattr(node.func, "attr", getattr(node.func, "id", "")):
                    place = f"{file.relative_to(ROOT)}:{node.lineno}"
                    yield place, {keyword.arg or "" for keyword in node.keywords}, node


def test_every_text_that_is_written_names_its_line_ends() -> None:
    """Or Windows would write CRLF, and every hash would be another one. (Ruff's PLW1514 asks for the encoding.)"""
    own = [place for place, given, call in calls("write_text") if "newline" not in given and len(call.args) == 1]
    modes = [
        (place, [argument.value for argument in call.args[1:2] if isinstance(argument, ast.Constant)], given)
        for place, given, call in calls("open")
    ]
    opened = [
        place
        for place, mode, given in modes
        if mode and re.match("[wax]", str(mode[0])) and "b" not in str(mode[0]) and "newline" not in given
    ]
    assert (own, opened) == ([], [])


def test_no_descriptor_is_written_to_directly() -> None:
    """os.open opens files as text on Windows, and writes CRLF."""
    assert [place for place, _, call in calls("write") if ast.unparse(call.func) == "os.write"] == []


def test_the_output_of_every_program_is_decoded_on_purpose() -> None:
    """`text=True` decodes it in the code page of Windows: git's output is UTF-8."""
    programs = [*calls("run"), *calls("Popen")]
    assert [
        place for place, given, _ in programs if given & {"text", "universal_newlines"} and "encoding" not in given
    ] == []


# ---- branches for other systems


@pytest.fixture
def on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")


@pytest.mark.usefixtures("on_windows")
def test_on_windows_code_is_compiled_only_with_its_own_compiler(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """TorchInductor looks for cl there, also where a g++ is on PATH."""
    caplog.set_level("INFO")
    monkeypatch.delenv("CXX", raising=False)
    there = {"g++", "c++"}
    monkeypatch.setattr("shutil.which", lambda name: name if name in there else None)
    cpu = Hardware(torch.device("cpu"), "fp32", 1)
    assert not compiling.resolve_compile("auto", cpu, steps=50, flop=1e18)
    missing = "Visual Studio's C++ compiler (cl) on PATH"
    assert caplog.messages == [f"torch.compile would be faster but is off: it needs {missing}, which is missing"]
    with pytest.raises(UserError, match="needs Visual Studio's C"):
        compiling.resolve_compile(True, cpu, steps=50, flop=1e18)
    there.add("cl")
    assert compiling.resolve_compile("auto", cpu, steps=50, flop=1e18)


def test_on_apple_code_is_compiled_only_with_openmp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Apple's compiler has none, and would fail in the first step."""
    caplog.set_level("INFO")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr(compiling, "_missing_headers", lambda: None)
    monkeypatch.setattr(compiling, "HOMEBREW_OPENMP", ())
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    monkeypatch.setenv("OMP_PREFIX", str(tmp_path))
    cpu = Hardware(torch.device("cpu"), "fp32", 1)
    assert not compiling.resolve_compile("auto", cpu, steps=50, flop=1e18)
    assert ["it needs OpenMP (brew install libomp), which is missing" in line for line in caplog.messages] == [True]
    (tmp_path / "include").mkdir()
    (tmp_path / "include/omp.h").touch()
    assert compiling.resolve_compile("auto", cpu, steps=50, flop=1e18)


def test_the_library_of_the_driver_has_another_name_on_windows() -> None:
    code = "import sys; sys.platform = 'win32'; from tinylm.compute import cuda_driver; print(cuda_driver.LIBRARY)"
    script = f"import ctypes, torch\n{code}"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert (done.stdout, cuda_driver.LIBRARY) == ("nvcuda.dll\n", "libcuda.so.1"), done.stderr


@pytest.mark.usefixtures("on_windows")
def test_on_windows_one_process_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support import tiny
    from tinylm.train.setup.processes import resolve_processes

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)

    def resolve(processes: int | None) -> int:
        runtime = RuntimeParams(**tiny.runtime_params().model_dump() | {"device": "auto", "processes": processes})
        return resolve_processes(tiny.model_params(), tiny.train_params(), runtime, 300)

    assert (resolve(None), resolve(1)) == (1, 1)
    with pytest.raises(UserError, match="expected 1 on Windows, got 2"):
        resolve(2)
