"""Sweeps and queues with longer trials: guided, killed, and with DVC's own workers."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support.clone import Clone, committed
from tests.support.sweeping import MARK, sweep, sweep_clone, table
from tests.train.test_torture import saved_step

# Long enough to be watched and killed before the end.
LONG = {"train.steps": 300, "train.log_every": 25, "train.val_every": 25, "train.checkpoint_every": 300}
LONG |= {"train.resume_every": 10, "runtime.compile": "false", "runtime.progress": "false"}
HOPELESS = "1e-9"
SEED_GOOD_FIRST = 0  # seed with which the first trial draws the good rate and the second the hopeless one

pytestmark = [pytest.mark.slow, pytest.mark.torture]


@pytest.fixture(scope="module")
def short(ran: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the pipeline ran, with runs of twelve steps."""
    return sweep_clone(ran, tmp_path_factory.mktemp("sweep") / "clone")


@pytest.fixture(scope="module")
def long(short: Clone) -> Clone:
    """The same clone, with runs that take seconds; tests of it come after the test of `short`."""
    short.set_params(LONG)
    short.commit("longer runs")
    return short


def wait_for(done: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def start_queue(clone: Clone, workers: int) -> None:
    """Start DVC's queue. Its workers inherit the output: with a pipe, this would wait until they end."""
    command = ["dvc", "queue", "start", "-j", str(workers)]
    null = subprocess.DEVNULL
    subprocess.run(command, cwd=clone.root, env=clone.environ, stdout=null, stderr=null, check=True)


def queue_is_done(clone: Clone) -> bool:
    return not re.search("Running|Queued", clone.dvc("queue", "status"))


def working(clone: Clone, word: str) -> list[psutil.Process]:
    """Return the processes started in the clone, directly or indirectly, with `word` in their command line."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if word in process.cmdline() and process.environ().get(MARK) == str(clone.root):
                found.append(process)
    return found


def test_a_manually_queued_grid_with_two_workers(short: Clone) -> None:
    short.dvc("exp", "run", "--queue", "--name", "grid", "-S", "train.peak_lr=1e-3,1e-2", "evaluate")
    start_queue(short, 2)
    wait_for(lambda: queue_is_done(short))
    output = sweep(short, "--show", "grid-*")
    rows = table(output)
    assert [row[:2] for row in rows] == [["grid-2", "0.01"], ["grid-1", "0.001"]]
    assert [row[-1] for row in rows] == ["complete", "complete"]
    score = json.loads(short.git("show", f"{committed(short, 'grid-2')}:metrics/evaluate.json"))
    interval = score["range95"]["bits_per_byte"]
    assert rows[0][2:4] == [f"{score['bits_per_byte']:.4f}", f"{interval['low']:.4f} to {interval['high']:.4f}"]
    assert (short.root / "sweeps/grid-.png").read_bytes().startswith(b"\x89PNG")
    assert "grid-2" in (short.root / "sweeps/grid-.md").read_text(encoding="utf-8")
    threads = json.loads(short.git("show", f"{committed(short, 'grid-2')}:metrics/train.json"))["threads"]
    assert threads == 1  # OMP_NUM_THREADS reached the worker's trainer


def test_a_guided_sweep_prunes_a_hopeless_trial(long: Clone) -> None:
    words = ("--search", "guided", "--startup", "1", "--trials", "2", "--seed", str(SEED_GOOD_FIRST))
    output = sweep(long, "--name", "guided", *words, f"train.peak_lr={HOPELESS},0.02")
    assert re.search(r"guided-001: pruned at step \d+, loss [\d.]+$", output, re.MULTILINE)
    good, hopeless = table(output[output.index("| experiment") :])
    assert (good[0], good[1], good[-1]) == ("guided-000", "0.02", "complete")
    assert hopeless[:2] == ["guided-001", "1e-09"]
    step = re.fullmatch(r"pruned at step (\d+)", hopeless[-1])
    assert step
    assert 0 < int(step[1]) < LONG["train.steps"]
    assert not list((long.root / ".dvc/tmp/exps/standalone").glob("tmp*"))  # DVC cleaned up
    resumed = long.dvc("exp", "run", "--temp", "-S", f"train.peak_lr={HOPELESS}", "train")
    assert "continuing after step" in resumed


def start_sweep(clone: Clone, *words: str) -> subprocess.Popen[bytes]:
    command = ["python", "-m", "tinylm", "sweep", *words]
    return subprocess.Popen(command, cwd=clone.root, env=clone.environ, start_new_session=True)


def step_reached(clone: Clone, before: set[Path]) -> int:
    return max((saved_step(run) for run in (clone.root / ".resume").glob("train-*") if run not in before), default=0)


def resume_folders(clone: Clone) -> set[Path]:
    return set((clone.root / ".resume").glob("train-*"))


@pytest.mark.parametrize(
    ("name", "rates", "number"), [("killed", ["0.01"], signal.SIGKILL), ("asked", ["0.01", "0.015"], signal.SIGINT)]
)
def test_an_interrupted_sweep_continues(long: Clone, name: str, rates: list[str], number: signal.Signals) -> None:
    """The first sweep's trainer is killed before the sweep; the sweep restarts it.

    The second sweep's first trial is the same as that of the first sweep, and comes from DVC's run cache.
    """
    long = long.real()
    words = ("--name", name, f"train.muon_lr={','.join(rates)}")
    before, interrupted = resume_folders(long), f"{name}-{len(rates) - 1:03d}"
    process = start_sweep(long, *words)
    wait_for(lambda: step_reached(long, before) >= 60)
    if number == signal.SIGKILL:
        working(long, "stages.train")[0].kill()
        log = long.root / f".sweeps/{interrupted}.log"
        wait_for(lambda: "continuing after step" in log.read_text(encoding="utf-8"))
    os.killpg(process.pid, number)
    process.wait(60)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    killed_at = step_reached(long, before)
    output = sweep(long, *words)
    assert re.findall(r"(\S+): train.muon_lr=", output) == [interrupted]
    log = (long.root / f".sweeps/{interrupted}.log").read_text(encoding="utf-8")
    assert int(re.findall(r"continuing after step (\d+) of 300", log)[-1]) >= killed_at
    assert [row[-1] for row in table(output[output.index("| experiment") :])] == ["complete"] * len(rates)
    assert not list((long.root / ".dvc/tmp/exps/standalone").glob("tmp*"))
    assert "train.muon_lr=" not in sweep(long, *words)  # nothing runs twice


def test_a_killed_queue_worker_loses_nothing(long: Clone) -> None:
    long = long.real()
    queue = ("exp", "run", "--queue", "--name", "lost", "-S", "train.momentum=0.9", "evaluate")
    before = resume_folders(long)
    long.dvc(*queue)
    start_queue(long, 1)
    wait_for(lambda: step_reached(long, before) >= 60)
    for process in (*working(long, "queue-worker"), *working(long, "exec-run")):
        process.kill()
    wait_for(lambda: not working(long, "stages.train"))  # it ends with its parent, and saves a resume checkpoint
    if "Running" in long.dvc("queue", "status"):  # DVC may not have noticed that its worker is gone
        long.dvc("queue", "kill", "--force", "lost")
    long.dvc(*queue)
    start_queue(long, 1)
    wait_for(lambda: queue_is_done(long))
    assert int(re.findall(r"continuing after step (\d+) of 300", long.dvc("queue", "logs", "lost"))[-1]) >= 60
    assert ["lost", "complete"] in [[row[0], row[-1]] for row in table(sweep(long, "--show", "lost"))]
