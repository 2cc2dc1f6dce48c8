"""A trainer killed with SIGKILL at random moments ends with the same bytes as one that was not killed.

`make torture` kills it 200 times, the ordinary tests a few times.
"""

import logging
import multiprocessing
import os
import random
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.support import tiny
from tests.train.test_step import beside, hashes
from tinylm.base.errors import UserError
from tinylm.train.outputs import Folders
from tinylm.train.resume.checkpoints import NAME
from tinylm.train.run import run_training

FEW, MANY = 3, int(os.environ.get("TINYLM_KILLS", "200"))
STEPS = 25  # per kill
MOMENTS = ("starting", "writing", "between")
PATIENCE = 120.0  # seconds to wait for one moment

# Forked from a server that has already imported the trainer: separate processes that start at once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tinylm.train.run", "tests.support.tiny"])

pytestmark = pytest.mark.slow


def train(folders: Folders, steps: int, largest_file: int | None) -> None:
    if largest_file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    logging.basicConfig(filename=folders.model.parent.parent / "log.txt")
    p = tiny.train_params(steps=steps, log_every=7, val_every=50, checkpoint_every=60, resume_every=3)
    try:
        run_training(tiny.model_params(), p, tiny.runtime_params(), folders)
    except UserError as error:
        logging.getLogger("tinylm").error("%s", error)
        sys.exit(1)


def start(folders: Folders, steps: int, largest_file: int | None = None) -> BaseProcess:
    process = PROCESSES.Process(target=train, args=(folders, steps, largest_file))
    process.start()
    return process


def files(folders: Folders) -> dict[str, str]:
    root = folders.model.parent
    return {name.removeprefix(f"{root.name}/"): digest for name, digest in hashes(folders).items()}


def saved_step(resume: Path) -> int:
    names = [NAME.fullmatch(path.name) for path in resume.iterdir()] if resume.is_dir() else []
    return max((int(name[1]) for name in names if name), default=0)


def wait_for(condition: Callable[[], bool], process: BaseProcess) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.is_alive(), "the trainer ended too early"
        assert time.monotonic() < deadline, "the moment did not come"


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kills", [FEW, pytest.param(MANY, marks=pytest.mark.torture)])
def test_any_number_of_kills_at_any_moment_changes_no_byte(folders: Folders, kills: int) -> None:
    steps = STEPS * kills
    resume = folders.model.parent / "resume" / "train-0"
    whole = replace(beside(folders, "whole"), resume=None)
    not_killed = start(whole, steps)
    not_killed.join()
    assert not_killed.exitcode == 0
    killed = replace(beside(folders, "killed"), resume=resume)
    draw = random.Random(1337)
    moments = dict.fromkeys(MOMENTS, 0)
    for kill in range(kills):
        moment = MOMENTS[kill % 3]
        process = start(killed, steps)
        progress = steps * kill // (kills + 2)  # so that the run does not end before its kills
        if moment == "starting":
            time.sleep(draw.uniform(0.0, 0.3))
        else:
            wait_for(lambda progress=progress: saved_step(resume) > progress, process)  # type: ignore[misc]
            if moment == "writing":
                wait_for(lambda: any(name.endswith(".tmp") for name in os.listdir(resume)), process)
            else:
                time.sleep(draw.uniform(0.0, 0.05))
        assert process.is_alive(), "the trainer ended too early"
        process.kill()
        process.join()
        assert process.exitcode == -9
        moments[moment] += 1
    last = start(killed, steps)
    last.join()
    assert last.exitcode == 0
    assert sum(moments.values()) == kills
    assert min(moments.values()) >= kills // 3
    assert files(killed) == files(whole)
    assert len(list(resume.glob("step_*.safetensors"))) == 2


def finish(folders: Folders, largest_file: int | None = None) -> int | None:
    process = start(folders, 130, largest_file)
    process.join()
    return process.exitcode


@pytest.mark.torture
def test_a_full_disk_costs_resume_checkpoints_or_ends_the_run_but_loses_no_byte(folders: Folders) -> None:
    """The kernel refuses writes beyond a limit, as a full disk does."""
    whole, full = beside(folders, "whole"), beside(folders, "full")
    assert finish(whole) == 0
    weights = (whole.model / "model.safetensors").stat().st_size
    full = replace(full, resume=folders.model.parent / "resume" / "train-0")
    log = folders.model.parent / "log.txt"
    assert finish(full, weights // 2) == 1  # no space for a checkpoint
    assert "no space left on the disk; free some and run the same command again" in log.read_text()
    assert finish(full, 2 * weights) == 0  # space for those, but not for a resume checkpoint
    assert "the resume checkpoint of step 3 is not saved, training continues" in log.read_text()
    assert files(full) == files(whole)
    assert finish(full) == 0  # space for all; starts over, since there is no resume checkpoint
    assert "continuing after" not in log.read_text()
    assert files(full) == files(whole)
