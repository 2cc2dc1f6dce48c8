"""Checks on a real GPU, in about two minutes: `make test-gpu`."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import tiny
from tests.train.test_resuming import break_and_go_on, files, kept
from tests.train.test_step import beside, hashes, make_trainer, rows, run
from tinylm.base.errors import UserError
from tinylm.compute.compiling import resolve_compile
from tinylm.compute.device import Hardware, resolve_hardware
from tinylm.evaluate.score import score_split
from tinylm.sampling.generation import generate
from tinylm.sampling.sampler import Sampling
from tinylm.tokens.store import TokenStore
from tinylm.train.outputs import Folders
from tinylm.train.run import run_training

BreakOff = Callable[[int, Callable[[], object]], None]
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {"architecture": "llama"},
    "gpt2": {"architecture": "gpt2", "qk_norm": False, "dropout": 0.2},
}
SAME_BYTES = {"deterministic": True, "precision": "auto", "context": 128}
pytestmark = pytest.mark.filterwarnings("default")  # libraries warn on some GPUs and not on others
PATIENCE = 300  # seconds for two processes to start and train


@pytest.fixture
def compiled(device: str) -> dict[str, Any]:
    """`runtime` for a compiled run; skips where this machine cannot compile for its GPU."""
    if device == "mps":
        pytest.skip("compilation is not used on Apple's GPUs")
    try:
        resolve_compile(True, resolve_hardware(tiny.runtime_params(device=device)), steps=1, flop=0)
    except UserError as error:
        pytest.skip(str(error))
    return {"device": device, "compile": True}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_two_equal_runs_write_equal_bytes(folders: Folders, device: str, architecture: str) -> None:
    for seed, place in enumerate((folders, beside(folders, "again"))):
        torch.manual_seed(seed)  # whatever ran before
        metrics = run(place, {"device": device}, **SAME_BYTES, **ARCHITECTURES[architecture])
        assert metrics["device"] == device
    assert hashes(folders) == hashes(beside(folders, "again"))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_interrupted_run_writes_the_bytes_of_an_uninterrupted_one(
    folders: Folders, break_off: BreakOff, device: str, architecture: str
) -> None:
    settings = {"log_every": 4, "resume_every": 5, **SAME_BYTES, **ARCHITECTURES[architecture]}
    break_and_go_on(folders, break_off, {"device": device, "sample_every": 6}, **settings)


def test_it_learns_as_a_cpu_does(folders: Folders, device: str) -> None:
    there, here = beside(folders, "there"), beside(folders, "here")
    for place, where in ((there, device), (here, "cpu")):
        run(place, {"device": where}, steps=20, log_every=1)
    losses = [[row["loss"] for row in rows(place.plots / "train.csv")] for place in (there, here)]
    assert losses[0][:5] == pytest.approx(losses[1][:5], rel=1e-3)
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_compiled_runs_write_equal_bytes_and_learn_as_an_eager_one_does(
    folders: Folders, compiled: dict[str, Any]
) -> None:
    again, eager = beside(folders, "again"), beside(folders, "eager")
    found = [run(place, compiled, **SAME_BYTES) for place in (folders, again)]
    assert found[0]["compiled"]
    assert hashes(folders) == hashes(again)
    plain = run(eager, {**compiled, "compile": False}, **SAME_BYTES)
    assert found[0]["val_loss"] == pytest.approx(plain["val_loss"], rel=0.03)


def test_an_overflow_in_fp16_skips_one_step(tiny_tokens: TokenStore, device: str) -> None:
    trainer = make_trainer(tiny_tokens, Hardware(torch.device(device), "fp16", 1), steps=40)
    trainer.scaler = torch.amp.GradScaler(device, init_scale=2.0**32)
    before = [weight.detach().clone() for weight in trainer.model.parameters()]
    first, _ = trainer.train_step(0)
    assert all(torch.equal(a, b) for a, b in zip(trainer.model.parameters(), before, strict=True))
    assert trainer.scaler.get_scale() == 2.0**31
    for step in range(1, 40):
        last, _ = trainer.train_step(step)
    assert all(weight.isfinite().all() for weight in trainer.model.parameters())
    assert float(last) < float(first) - 0.5
    assert trainer.validate().loss < float(first) - 0.5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_evaluation_and_generation_agree_with_a_cpu(tiny_tokens: TokenStore, device: str, architecture: str) -> None:
    model = tiny.make_model(spread=0.1, **ARCHITECTURES[architecture])
    split, end = replace(tiny_tokens.val, tokens=tiny_tokens.val.tokens[:1000]), tiny_tokens.end_of_text
    sampling = Sampling(temperature=1.0, top_k=None, top_p=0.9, max_tokens=40, seed=1)
    found = []
    for place in ("cpu", device):
        model = model.to(place)
        score = score_split(model, split, end, stride=32, batch=8, bar=False)
        found.append((score.loss, list(generate(model, [[5, 6], [7]], [0, 1], [sampling] * 2, end))))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-4)
    # Only the first ids: later, a draw may fall between two tokens that differ by rounding.
    firsts = [[story.continuation[:8] for story in stories] for _, stories in found]
    assert firsts[0] == firsts[1]


def train_as(rank: int, port: int, folders: Folders, device: str) -> None:
    """One of two processes."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    p = tiny.train_params(log_every=1, deterministic=True, micro_batch_size=2, resume_every=5)
    run_training(tiny.model_params(), p, tiny.runtime_params(device=device), folders)
    os._exit(0)  # as stages do, since threads of the connections have been seen to hang at exit


def train_with_two(folders: Folders, device: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=train_as, args=(rank, port, folders, device)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [0, 0]


def test_two_processes_train_as_one_and_write_the_same_bytes_twice(
    folders: Folders, device: str, tmp_path: Path
) -> None:
    if device == "cuda" and torch.cuda.device_count() < 2:
        pytest.skip("this machine has one GPU")
    if device == "mps":
        pytest.skip("Apple's GPUs train with one process")
    two, again, one = kept(folders, "two"), kept(folders, "again"), kept(folders, "one")
    train_with_two(two, device)
    train_with_two(again, device)
    assert files(two) == files(again)
    run(one, {"device": device}, log_every=1, deterministic=True)
    losses = [[row["loss"] for row in rows(place.plots / "train.csv")] for place in (two, one)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
