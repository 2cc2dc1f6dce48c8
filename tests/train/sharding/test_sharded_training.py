"""Two processes that share a model train as one process does, and each holds half of it."""

import csv
import json
import logging
import multiprocessing
import os
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file

from tests.support import tiny
from tests.train.test_step import beside
from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.compute.distributed import World
from tinylm.train.outputs import Folders
from tinylm.train.resume.checkpoints import NAME, open_resume_checkpoints
from tinylm.train.run import run_training
from tinylm.train.step import Trainer

STEPS = 20
GPT2 = {"architecture": "gpt2", "qk_norm": False, "qkv_bias": True, "tie_embeddings": True}
PATIENCE = 120.0  # seconds
LOST = 9  # exit code of a process that ends as if it were killed

# Forked from a server that has already imported the trainer: separate processes that start at once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.support.tiny", "tinylm.train.sharding.sharded_checkpoints"])

pytestmark = pytest.mark.slow


def train(rank: int, processes: int, port: int, folders: Folders, lost_at: int | None, changes: dict[str, Any]) -> None:
    if processes > 1:
        ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        os.environ |= {name: str(value) for name, value in ranks.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    logging.basicConfig(level=logging.INFO, format="%(message)s", filename=folders.model.parent / f"log{rank}.txt")
    if lost_at:
        lose_at(lost_at, folders)
    p = {"steps": STEPS, "log_every": 1, "val_every": 5, "checkpoint_every": 10, "resume_every": 5}
    settings = tiny.train_params(**p | changes["train"])
    trainer = run_training(
        tiny.model_params(**changes["model"]), settings, tiny.runtime_params(**changes["runtime"]), folders
    )
    (folders.model.parent / f"held{rank}.json").write_text(json.dumps(held_bytes(trainer)))
    logging.shutdown()
    os._exit(0)


def lose_at(step: int, folders: Folders) -> None:
    """End this process at a step, once the resume checkpoint before it is on the disk."""
    train_step = Trainer.train_step

    def losing(self: Trainer, at: int) -> Any:
        if at == step:
            wait_for(lambda: saved_step(folders) >= step // 5 * 5)
            os._exit(LOST)
        return train_step(self, at)

    cast(Any, Trainer).train_step = losing


def held_bytes(trainer: Trainer) -> dict[str, int]:
    """Bytes in the memory of this process: of the weights, the best weights and the optimizer state."""

    def count(tensors: Any) -> int:
        return sum((t.to_local() if hasattr(t, "to_local") else t).nbytes for t in tensors)

    return {
        "weights": count(trainer.model.parameters()),
        "best": count(trainer.best.weights.values()),
        "optimizer": count(trainer.optimizers.state().values()),
    }


def start(folders: Folders, processes: int, lost_at: int | None = None, **changes: Any) -> list[BaseProcess]:
    folders.model.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    changes = {"train": {}, "model": {}, "runtime": {}} | changes
    started = [
        PROCESSES.Process(target=train, args=(rank, processes, port, folders, lost_at, changes))
        for rank in range(processes)
    ]
    for process in started:
        process.start()
    return started


def run(folders: Folders, processes: int, lost_at: int | None = None, **changes: Any) -> Folders:
    started = start(folders, processes, lost_at, **changes)
    for process in started:
        process.join(PATIENCE)
    expected = [LOST if lost_at else 0] * processes
    assert [process.exitcode for process in started] == expected, logged(folders)
    return folders


def place(folders: Folders, name: str) -> Folders:
    other = beside(folders, name)
    return replace(other, resume=other.model.parent / "resume" / "train-0")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def saved_step(folders: Folders) -> int:
    names = map(NAME.fullmatch, os.listdir(folders.resume) if folders.resume and folders.resume.is_dir() else [])
    return max((int(name[1]) for name in names if name), default=0)


def logged(folders: Folders, rank: int = 0) -> str:
    path = folders.model.parent / f"log{rank}.txt"
    return path.read_text() if path.exists() else ""


def column(folders: Folders, name: str, key: str = "loss") -> list[float]:
    with open(folders.plots / f"{name}.csv", newline="") as file:
        return [float(row[key]) for row in csv.DictReader(file)]


def digests(folders: Folders) -> list[str]:
    files = [folders.model / "model.safetensors", folders.plots / "train.csv", folders.plots / "val.csv"]
    files += sorted(folders.checkpoints.glob("*/model.safetensors"))
    return [atomic.sha256(path) for path in files]


def held(folders: Folders, rank: int) -> dict[str, int]:
    return json.loads((folders.model.parent / f"held{rank}.json").read_text())


@pytest.mark.parametrize(
    ("optimizer", "precision", "model"),
    [
        ("muon", "fp32", {}),
        pytest.param("adamw", "fp32", GPT2, marks=pytest.mark.torture),
        pytest.param("adamw", "fp32", {}, marks=pytest.mark.torture),
        pytest.param("muon", "bf16", {}, marks=pytest.mark.torture),
        pytest.param("muon", "fp32", {"width": 30, "heads": 3, "mlp_width": 50}, marks=pytest.mark.torture),
    ],
)
def test_a_sharded_run_is_that_of_one_process_in_half_of_the_memory(
    folders: Folders, optimizer: str, precision: str, model: dict[str, Any]
) -> None:
    changes = {"train": {"optimizer": optimizer, "precision": precision}, "model": model}
    alone = run(place(folders, "alone"), 1, **changes)
    sharded, runtime = place(folders, "sharded"), {"parallel": "fsdp", "sample_every": 10}
    run(sharded, 2, lost_at=7, runtime=runtime, **changes)
    run(sharded, 2, runtime=runtime, **changes)
    assert "continuing after step 5 of 20" in logged(sharded)
    assert "weights, gradients and optimizer states are sharded over 2 processes" in logged(sharded)
    assert "--- a story at step 10:" in logged(sharded)
    assert logged(sharded, 1) == ""
    assert column(sharded, "train") == pytest.approx(column(alone, "train"), rel=1e-3)
    assert column(sharded, "val") == pytest.approx(column(alone, "val"), rel=1e-3)
    assert column(sharded, "train", "grad_norm") == pytest.approx(column(alone, "train", "grad_norm"), rel=1e-2)
    first = [load_file(place.checkpoints / "step_000000/model.safetensors") for place in (alone, sharded)]
    assert first[0].keys() == first[1].keys()
    assert all(torch.equal(weight, first[1][name]) for name, weight in first[0].items())
    assert sorted(os.listdir(sharded.model)) == sorted(os.listdir(alone.model))
    assert (sharded.model / "config.json").read_bytes() == (alone.model / "config.json").read_bytes()
    for part, size in held(alone, 0).items():
        each = [held(sharded, rank)[part] for rank in (0, 1)]
        assert max(each) < 0.53 * size
        assert sum(each) < 1.01 * size + 1000  # each counts the steps of AdamW
    assert json.loads((sharded.metrics / "train.json").read_text())["parallel"] == "fsdp"


@pytest.mark.torture
def test_a_sharded_run_that_is_killed_ends_with_the_same_bytes(folders: Folders) -> None:
    runtime = {"parallel": "fsdp"}
    whole, killed = run(place(folders, "whole"), 2, runtime=runtime), place(folders, "killed")
    started = start(killed, 2, runtime=runtime)
    wait_for(lambda: saved_step(killed) >= 5)
    for process in started:
        process.kill()
        process.join()
    assert killed.resume
    (killed.resume / ".step_00000099.tmp").mkdir()  # of a process killed while it wrote
    for output in (killed.model, killed.checkpoints, killed.plots):
        shutil.rmtree(output, ignore_errors=True)
    run(killed, 2, runtime=runtime)
    assert "continuing after step" in logged(killed)
    assert digests(killed) == digests(whole)
    names = sorted(name for name in os.listdir(killed.resume) if "step_" in name)
    assert len(names) == 2
    assert all(name.endswith(".sharded") for name in names)


@pytest.mark.torture
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_run_goes_on_sharded_or_not(folders: Folders, optimizer: str) -> None:
    """Two processes, then one, then two: each reads what the one before has written."""
    settings = {"optimizer": optimizer}
    whole = run(place(folders, "whole"), 2, train=settings, runtime={"parallel": "fsdp"})
    mixed = place(folders, "mixed")
    run(mixed, 2, lost_at=7, train=settings, runtime={"parallel": "fsdp"})
    run(mixed, 1, lost_at=12, train=settings)
    assert "continuing after step 5 of 20" in logged(mixed)
    assert "warning: sharded was True and is now False" in logged(mixed)
    run(mixed, 2, train=settings, runtime={"parallel": "fsdp"})
    assert "continuing after step 10 of 20" in logged(mixed)
    assert column(mixed, "train") == pytest.approx(column(whole, "train"), rel=1e-3)
    assert column(mixed, "val") == pytest.approx(column(whole, "val"), rel=1e-3)
    assert mixed.resume
    damage_and_read(mixed.resume)


def damage_and_read(folder: Path) -> None:
    """A damaged resume checkpoint of a sharded run is skipped for the one before, which one process reads."""
    with open_resume_checkpoints(folder) as resume:
        newest = resume._paths()[0]
        found = resume.newest()
        assert found
        file = next(newest.glob("shard-00002*"))
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        for damaged in (content, content[:100], None):
            file.write_bytes(damaged) if damaged else file.unlink()
            before = resume.newest()
            assert before
            assert before.info != found.info
        (newest / "state.json").write_text("{}")
        assert resume.newest()


class Other(World):
    """The second of two processes, whose first one is on another host."""

    def broadcast(self, number: int) -> int:
        return 7

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        return values


def test_a_folder_that_the_hosts_do_not_share_is_refused(tmp_path: Path) -> None:
    from tinylm.train.sharding.sharded_checkpoints import check_shared

    with pytest.raises(UserError, match="1 of 2 processes do not see the files of the main one; set TINYLM_RESUME"):
        check_shared(tmp_path, Other(1, 2), patience=0.0)
    (tmp_path / ".shared-7.tmp").touch()
    check_shared(tmp_path, Other(1, 2), patience=0.0)
    check_shared(tmp_path, World())
    assert os.listdir(tmp_path) == [".shared-7.tmp"]
