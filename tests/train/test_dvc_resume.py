"""Training that is killed under DVC resumes at the same command, in the workspace and in a temporary copy."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.support.clone import Clone
from tests.train.test_torture import saved_step

# Long enough to be killed in between, with resume checkpoints often enough to see that it resumes.
SETTINGS = {"train.steps": 240, "train.log_every": 10, "train.val_every": 120, "train.checkpoint_every": 120}
SETTINGS |= {"train.resume_every": 10, "runtime.compile": "false", "runtime.progress": "false"}
MODEL = "artifacts/model/model.safetensors"

pytestmark = [pytest.mark.slow, pytest.mark.torture]  # sweeps and test_resuming.py test one interruption


@pytest.fixture(scope="module")
def prepared(ran: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Its processes are started as a user does, because tests look for them and kill them."""
    clone = ran.copy(tmp_path_factory.mktemp("resume") / "clone")
    clone.set_params(SETTINGS)
    clone.environ["TINYLM_FRESH"] = "0"
    clone.dvc("repro", "train")
    clone.commit("an uninterrupted run")
    return clone.real()


@pytest.fixture
def clone(prepared: Clone, tmp_path: Path) -> Clone:
    prepared.git("checkout", "--quiet", "--force", "main")
    prepared.dvc("checkout", "--quiet", "train")
    prepared.environ["TINYLM_RESUME"] = str(tmp_path / "resume")
    return prepared


def run_until_saved(clone: Clone, *command: str) -> tuple[subprocess.Popen[str], psutil.Process]:
    """Start a DVC command; return it and its trainer once that has saved new resume checkpoints."""
    resume = Path(clone.environ["TINYLM_RESUME"])

    def progress() -> int:
        return max((saved_step(run) for run in resume.glob("train-*")), default=0)

    before = progress()
    process = subprocess.Popen(
        [shutil.which("dvc", path=clone.environ["PATH"]) or "dvc", *command],
        cwd=clone.root,
        env=clone.environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # as in a terminal
    )
    deadline = time.monotonic() + 120
    while progress() < before + 30:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process, next(p for p in psutil.process_iter() if is_trainer(p, clone))


def is_trainer(process: psutil.Process, clone: Clone) -> bool:
    """DVC's temporary experiments are not children of the command that started them."""
    with contextlib.suppress(psutil.Error):
        same_folder = process.environ().get("TINYLM_RESUME") == clone.environ["TINYLM_RESUME"]
        return same_folder and process.cmdline()[1:] == ["-m", "stages.train"]
    return False


def end(process: subprocess.Popen[str]) -> str:
    output = process.communicate(timeout=60)[0]
    assert process.returncode != 0, output
    return output


def hashes(clone: Clone, experiment: str | None = None) -> dict[str, str]:
    """MD5 of each output of the stage that does not depend on the clock, in the workspace or for an experiment."""
    text = (clone.root / "dvc.lock").read_text(encoding="utf-8")
    if experiment:
        reference = clone.git("for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{experiment}").strip()
        text = clone.git("show", f"{reference}:dvc.lock")
    outs = yaml.safe_load(text)["stages"]["train"]["outs"]
    return {out["path"]: out["md5"] for out in outs if "speed" not in out["path"]}


def changed(clone: Clone, *mode: str) -> tuple[str, ...]:
    """A command for an experiment, forced so that DVC does not take it from its run cache."""
    return ("exp", "run", *mode, "--force", "--name", f"e{len(mode)}", "-S", "train.seed=7", "--single-item", "train")


@pytest.fixture(scope="module")
def uninterrupted(prepared: Clone) -> dict[str, str]:
    """Outputs of the changed experiment when nothing interrupts it."""
    prepared.dvc(*changed(prepared))
    found = hashes(prepared)
    prepared.dvc("exp", "remove", "e0")
    return found


def kill_trainer(process: subprocess.Popen[str], trainer: psutil.Process) -> str:
    trainer.kill()
    return end(process)


def interrupt(process: subprocess.Popen[str], trainer: psutil.Process) -> str:
    """Ctrl-C reaches every process of the terminal."""
    os.killpg(process.pid, signal.SIGINT)
    output = end(process)
    assert "of 240; the same command continues" in output
    return output


def kill_dvc(process: subprocess.Popen[str], trainer: psutil.Process) -> str:
    process.kill()
    process.communicate()
    assert not psutil.wait_procs([trainer], timeout=30)[1], "the trainer is still running"
    return ""


@pytest.mark.parametrize("end_it", [kill_trainer, interrupt, kill_dvc])
def test_an_interrupted_experiment_resumes(clone: Clone, uninterrupted: dict[str, str], end_it: Any) -> None:
    end_it(*run_until_saved(clone, *changed(clone)))
    (clone.root / ".dvc/tmp/rwlock").unlink(missing_ok=True)  # a killed DVC leaves it; DVC says how to remove it
    clone.git("checkout", "--quiet", "--force", "main")
    output = clone.dvc(*changed(clone))
    assert "continuing after step" in output
    assert hashes(clone) == uninterrupted


def test_a_killed_temporary_experiment_resumes(clone: Clone, uninterrupted: dict[str, str]) -> None:
    process, trainer = run_until_saved(clone, *changed(clone, "--temp"))
    kill_trainer(process, trainer)
    assert (clone.root / MODEL).exists()  # the workspace is as it was
    process, trainer = run_until_saved(clone, *changed(clone, "--temp"))
    kill_trainer(process, trainer)
    output = clone.dvc(*changed(clone, "--temp"))
    assert "continuing after step" in output
    assert hashes(clone, "e1") == uninterrupted


def test_other_code_never_resumes_from_there(clone: Clone) -> None:
    kill_trainer(*run_until_saved(clone, *changed(clone)))
    clone.git("checkout", "--quiet", "--force", "main")
    with (clone.root / "tinylm/train/optim/schedule.py").open("a") as code:
        code.write("# changed\n")
    output = clone.dvc(*changed(clone))
    assert "continuing after step" not in output
    assert len(list(Path(clone.environ["TINYLM_RESUME"]).glob("train-*"))) == 2
