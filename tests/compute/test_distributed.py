"""Several processes train as one: same losses, one that dies ends all, and a different number can resume."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import fork_server, tiny
from tests.support.clone import Clone
from tests.train.test_torture import saved_step
from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.compute.distributed import World
from tinylm.train.step import Trainer

STEPS = 60
SETTINGS: dict[str, Any] = {
    "train.steps": STEPS,
    "train.batch_size": 8,
    "train.log_every": 1,
    "train.val_every": 20,
    "train.checkpoint_every": 20,
    "train.resume_every": 5,
    "train.precision": "fp32",
    "runtime.compile": "false",
    "runtime.progress": "false",
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prepared(ran: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with tokens, in which tests run the training stage directly."""
    return ran.copy(tmp_path_factory.mktemp("distributed") / "clone")


@pytest.fixture(scope="module")
def alone(prepared: Clone) -> dict[str, list[float]]:
    """Losses of the run in one process."""
    prepared.set_params(SETTINGS)
    train(prepared)
    return {name: losses(prepared, name) for name in ("train", "val")}


@pytest.fixture
def clone(prepared: Clone, tmp_path: Path) -> Iterator[Clone]:
    """The prepared clone, with parameters and resume checkpoints of this test only."""
    prepared.git("checkout", "--quiet", "params.yaml")
    prepared.set_params(SETTINGS)
    before = dict(prepared.environ)
    prepared.environ |= {"TINYLM_FRESH": "0", "TINYLM_RESUME": str(tmp_path / "states")}
    prepared.environ |= {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    yield prepared
    prepared.environ = before


def start(clone: Clone, *command: str, python: str | None = None, **params: Any) -> subprocess.Popen[str]:
    """Start the training stage; `python` is `sys.executable` in tests that inspect its processes."""
    clone.set_params({f"runtime.{name}": value for name, value in params.items()})
    return subprocess.Popen(
        [python or fork_server.python(), *(command or ("-m", "stages.train"))],
        cwd=clone.root,
        env=clone.environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def train(clone: Clone, *command: str, python: str | None = None, **params: Any) -> str:
    with start(clone, *command, python=python, **params) as process:
        try:
            output = process.communicate(timeout=180)[0]
        except subprocess.TimeoutExpired:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.send_signal(signal.SIGABRT)  # prints the stack
            process.kill()
            output = process.communicate()[0]
    assert process.returncode == 0, output
    return output


def losses(clone: Clone, name: str = "train") -> list[float]:
    with open(clone.root / f"plots/{name}.csv", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def fresh(clone: Clone, name: str) -> None:
    clone.environ["TINYLM_RESUME"] = str(Path(clone.environ["TINYLM_RESUME"]).parent / name)


def wait_for_resume_checkpoint(clone: Clone, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not any(saved_step(run) >= 10 for run in Path(clone.environ["TINYLM_RESUME"]).glob("train-*")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_two_processes_give_the_losses_of_one(clone: Clone, alone: dict[str, list[float]]) -> None:
    output = train(clone, processes=2)
    assert losses(clone)[:20] == pytest.approx(alone["train"][:20], rel=1e-3)
    assert losses(clone, "val") == pytest.approx(alone["val"], rel=1e-2)
    assert output.count("best validation loss") == 1  # only one of them logs


@pytest.mark.torture
def test_torchrun_gives_the_losses_of_one(clone: Clone, alone: dict[str, list[float]]) -> None:
    clone.set_params({"train.micro_batch_size": 2})
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "stages.train")
    train(clone, *launcher, python=sys.executable, processes="null")
    assert losses(clone)[:20] == pytest.approx(alone["train"][:20], rel=1e-3)


def test_two_runs_with_two_processes_give_the_same_bytes(clone: Clone) -> None:
    digests = []
    for name in ("first", "second"):
        fresh(clone, name)
        train(clone, processes=2)
        digests.append(
            [atomic.sha256(clone.root / path) for path in ("artifacts/model/model.safetensors", "plots/train.csv")]
        )
    assert digests[0] == digests[1]


@pytest.mark.torture
def test_a_process_that_dies_ends_the_run_and_another_number_resumes(
    clone: Clone, alone: dict[str, list[float]]
) -> None:
    with start(clone, python=sys.executable, processes=2) as process:
        wait_for_resume_checkpoint(clone, process)
        children = psutil.Process(process.pid).children()
        next(child for child in children if child.environ()["RANK"] == "1").kill()
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    assert "error: process 2 of 2 was killed by SIGKILL; the others were stopped; run the same command again" in output
    assert "Traceback" not in output.split("error: process 2")[-1]
    assert not psutil.wait_procs(children, timeout=10)[1]
    output = train(clone, processes=1)
    assert "warning: processes was 2 and is now 1" in output
    assert "continuing after step" in output
    assert losses(clone) == pytest.approx(alone["train"], rel=0.1)
    assert len(losses(clone)) == STEPS


@pytest.mark.torture
def test_one_process_stopped_and_two_that_resume(clone: Clone, alone: dict[str, list[float]]) -> None:
    with start(clone, processes=1) as process:
        wait_for_resume_checkpoint(clone, process)
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 128 + signal.SIGTERM
    assert f"of {STEPS}; the same command continues" in output
    output = train(clone, processes=2)
    assert "warning: processes was 1 and is now 2" in output
    assert losses(clone) == pytest.approx(alone["train"], rel=0.1)


def test_a_signal_stops_all_processes_gracefully(clone: Clone) -> None:
    with start(clone, processes=2) as process:
        wait_for_resume_checkpoint(clone, process)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 128 + signal.SIGINT
    assert f"of {STEPS}; the same command continues" in output
    assert "Traceback" not in output
    assert "continuing after step" in train(clone, processes=2)


@pytest.mark.torture
def test_a_killed_launcher_leaves_no_process(clone: Clone) -> None:
    with start(clone, python=sys.executable, processes=2) as process:
        wait_for_resume_checkpoint(clone, process)
        children = psutil.Process(process.pid).children()
        process.kill()
    assert len(children) == 2
    assert not psutil.wait_procs(children, timeout=20)[1]


def test_a_mistake_is_reported_once(clone: Clone) -> None:
    clone.set_params({"train.batch_size": 7})
    with start(clone, processes=2) as process:
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    assert output.count("error: train.batch_size: expected a multiple of the 2 processes") == 1
    assert "Traceback" not in output


def test_the_share_of_each_process() -> None:
    assert World(1, 4).share(8) == 2
    with pytest.raises(UserError, match=r"expected a multiple of the 4 processes \(runtime.processes\), got 6"):
        World(1, 4).share(6)


def test_micro_batches_divide_the_share(tiny_tokens: Any) -> None:
    p = tiny.train_params(batch_size=8, micro_batch_size=8)
    with pytest.raises(UserError, match="expected a divisor of the 4 sequences that each of 2 processes has, got 8"):
        Trainer(tiny.make_model(), p, tiny_tokens, tiny.FP32_ON_CPU, False, World(0, 2))


JOINS_AND_EXITS = """
import os
from torch import distributed as dist
dist.init_process_group("gloo")
os._exit(0)
"""
JOINS = """
import torch
from tinylm.compute.distributed import process_group
from tinylm.base.errors import UserError
try:
    with process_group(torch.device("cpu")):
        print("process_group")
except UserError as error:
    print(error)
"""


def test_a_process_lost_while_joining_is_reported() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env=os.environ
            | {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, script in enumerate((JOINS_AND_EXITS, JOINS))
    ]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert outputs[1].splitlines()[-1].startswith("another process of this run has ended"), outputs
