"""The notebook's cells, run as they are: the machine is lost during training, and a new one resumes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.clone import Clone
from tests.support.tiny import ROOT
from tests.train.test_dvc_resume import SETTINGS
from tests.train.test_torture import saved_step

# What `make` does, without the installation, which needs a network.
MAKE = """#!/bin/sh
case $1 in
env) ln -sfn {venv} .venv ;;
repro) exec .venv/bin/dvc repro ;;
esac
"""

pytestmark = pytest.mark.slow


def script(repository: Path, drive: Path) -> str:
    notebook = json.loads((ROOT / "notebooks/hosted_gpu.ipynb").read_text(encoding="utf-8"))
    code = "\n\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    for old, new in {
        'REPOSITORY = ""': f'REPOSITORY = "{repository}"',
        'DRIVE = "/content/drive/MyDrive/tinylm"': f'DRIVE = "{drive}"',
        'PRESET = "four_hour"': 'PRESET = ""',
    }.items():
        assert code.count(old) == 1
        code = code.replace(old, new)
    return code


@pytest.mark.torture
def test_a_new_machine_resumes_after_a_loss(tmp_path: Path) -> None:
    repository, drive, tools = tmp_path / "repository", tmp_path / "drive", tmp_path / "bin"
    for folder in (repository, drive, tools):
        folder.mkdir()
    clone = Clone(repository)
    clone.set_params(SETTINGS)
    clone.commit("small")
    (tools / "make").write_text(MAKE.format(venv=Path(sys.executable).parent.parent))
    (tools / "make").chmod(0o755)
    environment = clone.environ | {"PATH": f"{tools}{os.pathsep}{clone.environ['PATH']}", "TINYLM_FRESH": "0"}
    output = ""
    for machine in ("first", "second"):
        folder = tmp_path / machine
        folder.mkdir()
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", script(repository, drive)],
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        if machine == "first":
            deadline = time.monotonic() + 120
            while not any(saved_step(run) >= 60 for run in (drive / "states").glob("train-*")):
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < deadline
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            shutil.rmtree(folder)
        else:
            output = process.communicate(timeout=120)[0]
            assert process.returncode == 0, output
    assert "continuing after step" in output
    assert output.count("is cached - skipping run") == 3  # finished on the first machine
    assert "# Stories" in output
