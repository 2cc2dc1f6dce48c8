"""Overhead: `dvc repro` with nothing to do, next to DVC on a minimal pipeline, and the import time of each stage."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from benchmarks.measure import ROOT, interleaved, seconds
from benchmarks.report import Row, write

TITLE = "Glue: overhead of DVC and imports"
REPETITIONS = 5
STAGES = ("download", "train_tokenizer", "pretokenize", "train", "generate", "evaluate")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options."""


def bench(_: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write("glue", TITLE, [*nothing_to_do(Path(folder)), *imports()])


def nothing_to_do(folder: Path) -> Iterator[Row]:
    """Time `dvc repro` in this repository, which must be up to date, and on as many stages that copy one file each."""
    dvc = Path(sys.executable).with_name("dvc")
    if "up to date" not in run([dvc, "status"], ROOT):
        sys.exit("error: the pipeline is not up to date here; run make repro first")
    write_small_pipeline(folder, dvc)
    tasks = {
        "DVC alone, six stages of one file": lambda: run([dvc, "repro"], folder),
        "dvc repro here, up to date": lambda: run([dvc, "repro"], ROOT),
    }
    times = interleaved(tasks, REPETITIONS)
    base = next(iter(times.values()))
    for name, taken in times.items():
        yield Row(name, taken, "s", taken / base, "ratio of times: lower is better")


def write_small_pipeline(folder: Path, dvc: Path) -> None:
    """Create a repository with a DVC pipeline whose stages copy one file each, and run it."""
    stages, before = {}, "first"
    (folder / before).write_text("")
    for name in STAGES:
        stages[name] = {"cmd": f"cp {before} {name}", "deps": [before], "outs": [name]}
        before = name
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    run(["git", "init", "-q"], folder)
    run([dvc, "init", "-q"], folder)
    run([dvc, "repro"], folder)


def imports() -> Iterator[Row]:
    """Time importing each stage, which is the start of a run."""
    for stage in STAGES:
        code = f"import stages.{stage}, sys; print('torch' in sys.modules)"
        loads_torch = run([sys.executable, "-c", code], ROOT).strip() == "True"
        command = [sys.executable, "-c", f"import stages.{stage}"]
        taken = seconds(lambda command=command: run(command, ROOT), REPETITIONS)  # type: ignore[misc]
        yield Row(f"start of stage {stage}", taken, "s", None, "with torch" if loads_torch else "without torch")


def run(command: list[str | Path], folder: Path) -> str:
    """Run a command in `folder`; return its standard output, or exit if it fails."""
    result = subprocess.run(command, cwd=folder, env=dict(os.environ), capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"error: {' '.join(map(str, command))} failed in {folder}: {result.stderr or result.stdout}")
    return result.stdout
