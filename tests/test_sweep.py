"""Sweeps over DVC experiments, with real commands in a clone: grid, random, guided, killed, summarized, compared."""

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

from tests.clone import Clone
from tests.test_torture import saved_step

# Long enough to be watched and killed on the way.
LONG = {"train.steps": 300, "train.log_every": 25, "train.val_every": 25, "train.save_every": 300}
LONG |= {"train.checkpoint_every": 10, "runtime.compile": "false", "runtime.progress": "false"}
MARK = "TINYLM_TEST_CLONE"  # in the environment of all that a clone starts
HOPELESS = "1e-9"
SEED_GOOD_FIRST = 0  # with which the first trial draws the good rate, so that the second is the hopeless one

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def short(ran: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone whose runs take twelve steps; the pipeline ran."""
    clone = ran.copy(tmp_path_factory.mktemp("sweep") / "clone")
    clone.environ |= {"TINYLM_FRESH": "0", "OMP_NUM_THREADS": "1", MARK: str(clone.root)}
    clone.set_params({"runtime.threads": "null"})
    clone.commit("threads as the environment has them")
    return clone


@pytest.fixture(scope="module")
def long(short: Clone) -> Clone:
    """The same clone, with runs of seconds; it comes after the tests of `short`."""
    short.set_params(LONG)
    short.commit("longer runs")
    return short


def sweep(clone: Clone, *arguments: str) -> str:
    return clone.python("-m", "tinylm", "sweep", *arguments)


def table(output: str) -> list[list[str]]:
    """The cells of a summary's first table, without its head."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in output.split("\n\n")[0].splitlines()]
    return [line for line in lines if len(line) > 1][2:]


def wait_for(done: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def start_queue(clone: Clone, workers: int) -> None:
    """Its workers keep what they write to open: with a pipe this would wait until they end."""
    command = ["dvc", "queue", "start", "-j", str(workers)]
    null = subprocess.DEVNULL
    subprocess.run(command, cwd=clone.root, env=clone.environ, stdout=null, stderr=null, check=True)


def queue_is_done(clone: Clone) -> bool:
    return not re.search("Running|Queued", clone.dvc("queue", "status"))


def working(clone: Clone, word: str) -> list[psutil.Process]:
    """Processes that commands in the clone have started, directly or not, with `word` in their command line."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if word in process.cmdline() and process.environ().get(MARK) == str(clone.root):
                found.append(process)
    return found


def test_a_grid_by_hand_with_two_workers(short: Clone) -> None:
    short.dvc("exp", "run", "--queue", "--name", "grid", "-S", "train.peak_lr=1e-3,1e-2", "evaluate")
    start_queue(short, 2)
    wait_for(lambda: queue_is_done(short))
    output = sweep(short, "--show", "grid-*")
    rows = table(output)
    assert [row[:2] for row in rows] == [["grid-2", "0.01"], ["grid-1", "0.001"]]
    assert [row[-1] for row in rows] == ["complete", "complete"]
    score = json.loads(short.git("show", f"{commit(short, 'grid-2')}:metrics/evaluate.json"))
    interval = score["range95"]["bits_per_byte"]
    assert rows[0][2:4] == [f"{score['bits_per_byte']:.4f}", f"{interval['low']:.4f} to {interval['high']:.4f}"]
    assert (short.root / "sweeps/grid-.png").read_bytes().startswith(b"\x89PNG")
    assert "grid-2" in (short.root / "sweeps/grid-.md").read_text(encoding="utf-8")
    threads = json.loads(short.git("show", f"{commit(short, 'grid-2')}:metrics/train.json"))["threads"]
    assert threads == 1  # OMP_NUM_THREADS reached the worker's trainer


def commit(clone: Clone, name: str) -> str:
    return clone.git("for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{name}").split()[0]


def test_one_is_compared_with_another_and_with_itself(short: Clone) -> None:
    output = short.python("-m", "tinylm", "compare", "grid-1", "grid-2")
    assert re.search(r"^B is better by 0\.\d{4} bits per byte \(95%: 0\.\d{4} to 0\.\d{4}\)$", output, re.MULTILINE)
    assert "one run of each: the interval knows the noise of the stories and not that of the seeds" in output
    output = short.python("-m", "tinylm", "compare", "workspace", "HEAD")
    assert "no difference can be told: A and B score every story alike" in output


def test_all_experiments_stand_beside_what_is_committed(short: Clone) -> None:
    rows = {row[0]: row for row in table(sweep(short, "--show"))}
    assert {"main", "grid-1", "grid-2"} <= rows.keys()
    score = json.loads(short.git("show", "HEAD:metrics/evaluate.json"))
    assert f"{score['bits_per_byte']:.4f}" in rows["main"]
    assert "main" not in sweep(short, "--show", "*")


def test_seeds_two_at_a_time_and_their_mean(short: Clone) -> None:
    output = sweep(short, "--name", "seeds", "--jobs", "2", "train.seed=1,2")
    assert "| mean over seeds" in output
    scores = [float(row[2]) for row in table(output[output.index("| experiment") :])]
    mean = re.search(r"\| seeds-\d+ seeds-\d+ +\| ([\d.]+) ", output)
    assert mean
    assert float(mean[1]) == pytest.approx(sum(scores) / 2, abs=1e-4)
    output = short.python("-m", "tinylm", "compare", "grid-1", "seeds-000", "--seeds")
    assert "seeds-000 seeds-001" in output.replace("seeds-000 grid", "")
    assert "A has one run: its seeds are taken to vary as much as those of the other" in output


def test_random_trials_go_on_where_they_ended(short: Clone) -> None:
    words = ("--name", "drawn", "--search", "random", "--seed", "3", "train.peak_lr=log(1e-3,1e-1)")
    first = sweep(short, *words, "--trials", "1")
    both = sweep(short, *words, "--trials", "2")
    assert "drawn-000: train" in first
    assert "drawn-000: train" not in both
    assert "drawn-001: train" in both
    assert len(table(both[both.index("| experiment") :])) == 2
    rates = [float(rate) for rate in re.findall(r"train.peak_lr=(\S+)", first + both)]
    assert len(set(rates)) == 2
    assert all(1e-3 <= rate <= 1e-1 for rate in rates)


def test_a_value_that_cannot_be_together_with_the_others_fails_alone(short: Clone) -> None:
    output = sweep(short, "--name", "heads", "model.heads=3")
    assert "heads-000: model.heads=3: cannot be: params.yaml has 1 mistake: model.heads: expected a divisor" in output
    assert table(output[output.index("| experiment") :])[0][-1].startswith("failed: params.yaml has 1 mistake")


def test_a_mistake_is_told_in_one_line(short: Clone) -> None:
    for words, message in (
        (["sweep", "train.typo=1,2"], "error: train.typo: is not in params.yaml"),
        (["sweep", "--name", "seeds", "train.seed=7,8"], "error: the sweep seeds was begun with --search grid"),
        (["sweep", "--show", "nothing"], "error: nothing: neither a sweep nor an experiment; there are: "),
        (["compare", "grid-1", "nothing"], "error: nothing: neither an experiment nor a git revision"),
        (["compare", "--a", "grid-1", "grid-2", "--b", "HEAD"], "error: grid-1 and grid-2 differ in train.peak_lr"),
    ):
        command = ["python", "-m", "tinylm", *words]
        done = subprocess.run(command, cwd=short.root, env=short.environ, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.startswith(message)
        assert len(done.stderr.splitlines()) == 1


def test_a_guided_sweep_ends_what_is_hopeless(long: Clone) -> None:
    words = ("--search", "guided", "--startup", "1", "--trials", "2", "--seed", str(SEED_GOOD_FIRST))
    output = sweep(long, "--name", "guided", *words, f"train.peak_lr={HOPELESS},0.02")
    assert re.search(r"guided-001: ended at step \d+, loss [\d.]+: hopeless", output)
    good, hopeless = table(output[output.index("| experiment") :])
    assert (good[0], good[1], good[-1]) == ("guided-000", "0.02", "complete")
    assert hopeless[:2] == ["guided-001", "1e-09"]
    step = re.fullmatch(r"pruned at step (\d+)", hopeless[-1])
    assert step
    assert 0 < int(step[1]) < LONG["train.steps"]
    assert not list((long.root / ".dvc/tmp/exps/standalone").glob("tmp*"))  # DVC tidied up
    by_hand = long.dvc("exp", "run", "--temp", "-S", f"train.peak_lr={HOPELESS}", "train")
    assert "continuing after step" in by_hand


def test_experiments_of_an_earlier_commit_are_shown_by_name(long: Clone) -> None:
    rows = table(sweep(long, "--show", "grid-*"))
    assert [row[:2] for row in rows] == [["grid-2", "0.01"], ["grid-1", "0.001"]]
    assert [row[-1] for row in rows] == ["complete", "complete"]
    assert "grid-1" not in sweep(long, "--show")


def start_sweep(clone: Clone, *words: str) -> subprocess.Popen[bytes]:
    command = ["python", "-m", "tinylm", "sweep", *words]
    return subprocess.Popen(command, cwd=clone.root, env=clone.environ, start_new_session=True)


def step_reached(clone: Clone, before: set[Path]) -> int:
    return max((saved_step(run) for run in (clone.root / ".resume").glob("train-*") if run not in before), default=0)


def states(clone: Clone) -> set[Path]:
    return set((clone.root / ".resume").glob("train-*"))


@pytest.mark.parametrize(
    ("name", "rates", "number"), [("killed", ["0.01"], signal.SIGKILL), ("asked", ["0.01", "0.015"], signal.SIGINT)]
)
@pytest.mark.torture
def test_a_sweep_that_is_ended_goes_on(long: Clone, name: str, rates: list[str], number: signal.Signals) -> None:
    """Of the second the first trial is done: it is that of the other sweep, and comes from DVC's run cache.

    In the first its trainer is killed before, which the sweep starts again by itself.
    """
    long = long.real()
    words = ("--name", name, f"train.muon_lr={','.join(rates)}")
    before, broken = states(long), f"{name}-{len(rates) - 1:03d}"
    process = start_sweep(long, *words)
    wait_for(lambda: step_reached(long, before) >= 60)
    if number == signal.SIGKILL:
        working(long, "stages.train")[0].kill()
        log = long.root / f".sweeps/{broken}.log"
        wait_for(lambda: "continuing after step" in log.read_text(encoding="utf-8"))
    os.killpg(process.pid, number)
    process.wait(60)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    killed_at = step_reached(long, before)
    output = sweep(long, *words)
    assert re.findall(r"(\S+): train.muon_lr=", output) == [broken]
    log = (long.root / f".sweeps/{broken}.log").read_text(encoding="utf-8")
    assert int(re.findall(r"continuing after step (\d+) of 300", log)[-1]) >= killed_at
    assert [row[-1] for row in table(output[output.index("| experiment") :])] == ["complete"] * len(rates)
    assert not list((long.root / ".dvc/tmp/exps/standalone").glob("tmp*"))
    assert "train.muon_lr=" not in sweep(long, *words)  # nothing is run twice


@pytest.mark.torture
def test_a_worker_of_the_queue_that_is_killed_loses_nothing(long: Clone) -> None:
    long = long.real()
    queue = ("exp", "run", "--queue", "--name", "lost", "-S", "train.momentum=0.9", "evaluate")
    before = states(long)
    long.dvc(*queue)
    start_queue(long, 1)
    wait_for(lambda: step_reached(long, before) >= 60)
    for process in (*working(long, "queue-worker"), *working(long, "exec-run")):
        process.kill()
    wait_for(lambda: not working(long, "stages.train"))  # it ends with its parent, and saves its state
    if "Running" in long.dvc("queue", "status"):  # DVC may not have seen that its worker is gone
        long.dvc("queue", "kill", "--force", "lost")
    long.dvc(*queue)
    start_queue(long, 1)
    wait_for(lambda: queue_is_done(long))
    assert int(re.findall(r"continuing after step (\d+) of 300", long.dvc("queue", "logs", "lost"))[-1]) >= 60
    assert ["lost", "complete"] in [[row[0], row[-1]] for row in table(sweep(long, "--show", "lost"))]
