"""Two hosts, each with a network namespace, a folder and two processes, train as one; a lost one costs only time."""

import csv
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.compute.test_distributed import SETTINGS as SEVERAL_PROCESSES
from tests.support import hosts
from tests.support.clone import Clone
from tests.support.hosts import Host
from tests.train.test_torture import saved_step
from tinylm.base import atomic

STEPS = 40
SETTINGS = SEVERAL_PROCESSES | {"train.steps": STEPS, "train.checkpoint_every": 10}
OUTPUTS = ("artifacts/model/model.safetensors", "plots/train.csv", "plots/val.csv", "metrics/train.json")

pytestmark = [pytest.mark.torture, pytest.mark.skipif(bool(hosts.why_not()), reason=hosts.why_not())]


class Pair:
    """Two hosts with a clone each, in which the stages before training have run."""

    def __init__(self, network: list[Host], clones: list[Clone]):
        self.network, self.clones = network, clones
        self.running: list[subprocess.Popen[str]] = []

    def set_params(self, values: dict[str, Any]) -> None:
        for clone in self.clones:
            clone.set_params(values)

    def start(self, number: int) -> subprocess.Popen[str]:
        """Start the stage on a host, with its output in train.log of its clone."""
        clone = self.clones[number]
        with open(clone.root / "train.log", "w") as output:
            process = self.network[number].start(
                [sys.executable, "-m", "stages.train"],
                cwd=clone.root,
                env=clone.environ,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.running.append(process)
        return process

    def output(self, number: int) -> str:
        return (self.clones[number].root / "train.log").read_text()

    def shows(self, number: int, text: str) -> bool:
        return text in self.output(number)

    def finish(self, *processes: subprocess.Popen[str], timeout: float = 180) -> list[int]:
        """Wait for the processes to end; return their exit codes."""
        deadline = time.monotonic() + timeout
        try:
            return [process.wait(max(0.1, deadline - time.monotonic())) for process in processes]
        except subprocess.TimeoutExpired:
            raise AssertionError("\n---\n".join(map(self.output, range(len(self.clones))))) from None

    def train(self) -> None:
        codes = self.finish(self.start(0), self.start(1))
        assert codes == [0, 0], self.output(0) + self.output(1)

    def wait_for_step(self, step: int, number: int = 0) -> None:
        """Wait until a host has saved a resume checkpoint of this step or a later one."""
        folder = Path(self.clones[number].environ["TINYLM_RESUME"])
        self.wait_until(lambda: any(saved_step(run) >= step for run in folder.glob("train-*")))

    def wait_until(self, condition: Callable[[], object], timeout: float = 120) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, self.output(0) + self.output(1)
            time.sleep(0.05)

    def digests(self) -> dict[str, str]:
        return {name: atomic.sha256(self.clones[0].root / name) for name in OUTPUTS}

    def losses(self) -> list[float]:
        return read_losses(self.clones[0])

    def end(self) -> None:
        for process in self.running:
            kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a host's processes at once, as a power cut does."""
    if process.poll() is None:
        for child in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            child.send_signal(signal.SIGKILL)
    process.wait()


@contextmanager
def connected(ran: Clone, folder: Path) -> Iterator[Pair]:
    """Two hosts on a network of their own, and a clone for each in `folder`."""
    with hosts.hosts(2) as network:
        clones = [ran.copy(folder / name / "clone").real() for name in ("a", "b")]
        for clone in clones:
            clone.environ |= {"TINYLM_RESUME": str(clone.root.parent / "resume"), "TINYLM_FRESH": "0"}
        pair = Pair(network, clones)
        rendezvous = {"runtime.hosts": 2, "runtime.rendezvous": f"{network[0].address}:29400"}
        pair.set_params(SETTINGS | {"runtime.launcher": "torchrun", "runtime.processes": 2} | rendezvous)
        try:
            yield pair
        finally:
            pair.end()


@pytest.fixture
def pair(ran: Clone, tmp_path: Path) -> Iterator[Pair]:
    with connected(ran, tmp_path) as pair:
        yield pair


@pytest.fixture(scope="module")
def undisturbed(ran: Clone, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], list[float]]:
    """Digests of the outputs and losses of an undisturbed run on two hosts."""
    with connected(ran, tmp_path_factory.mktemp("undisturbed")) as pair:
        pair.train()
        assert "on 4 processes of 2 machines" in pair.output(0)
        assert len(read_losses(pair.clones[1])) < STEPS  # those of the pipeline's run: this host has written nothing
        return pair.digests(), pair.losses()


def test_two_hosts_give_the_losses_of_one_process(
    ran: Clone, undisturbed: tuple[dict[str, str], list[float]], tmp_path: Path
) -> None:
    alone = ran.copy(tmp_path / "clone").real()
    alone.set_params(SETTINGS)
    subprocess.run([sys.executable, "-m", "stages.train"], cwd=alone.root, env=alone.environ, check=True)
    expected, losses = read_losses(alone), undisturbed[1]
    assert losses[:20] == pytest.approx(expected[:20], rel=1e-3)
    assert len(losses) == STEPS


def test_a_killed_host_that_comes_back_costs_only_time(pair: Pair, undisturbed: tuple[dict[str, str], Any]) -> None:
    pair.set_params({"runtime.rejoin_seconds": 120})
    leader, follower = pair.start(0), pair.start(1)
    pair.wait_for_step(10)
    kill(follower)
    pair.wait_until(lambda: "warning: a machine was lost; waiting 120 s for it" in pair.output(0))
    assert pair.finish(leader, pair.start(1)) == [0, 0]
    assert "continuing after step" in pair.output(0)
    assert pair.digests() == undisturbed[0]


@pytest.mark.parametrize("killed", ["follower", "leader"])
def test_a_killed_host_that_stays_away_ends_the_run_and_the_same_command_goes_on(
    pair: Pair, undisturbed: tuple[dict[str, str], Any], killed: str
) -> None:
    pair.set_params({"runtime.rejoin_seconds": 1})
    started = [pair.start(0), pair.start(1)]
    pair.wait_for_step(10)
    left = 0 if killed == "follower" else 1
    kill(started[1 - left])
    began = time.monotonic()
    assert pair.finish(started[left]) == [1]
    assert time.monotonic() - began < 60
    assert "error: the 2 machines of the run did not meet" in pair.output(left)
    assert "Traceback" not in pair.output(left)
    pair.train()
    assert pair.digests() == undisturbed[0]


@pytest.mark.parametrize("seconds", [1, 120])
def test_a_cut_link_ends_the_run_or_it_goes_on_by_itself(
    pair: Pair, undisturbed: tuple[dict[str, str], Any], seconds: int
) -> None:
    pair.set_params({"runtime.rejoin_seconds": seconds})
    leader, follower = pair.start(0), pair.start(1)
    pair.wait_for_step(10)
    pair.network[1].pull_cable()
    began = time.monotonic()
    for number in (0, 1):
        pair.wait_until(partial(pair.shows, number, "error: no answer from"), 60)
    if seconds == 1:
        assert pair.finish(leader, follower) == [1, 1]
        assert time.monotonic() - began < 60
        pair.network[1].plug_in()
        pair.train()
    else:
        pair.network[1].plug_in()
        assert pair.finish(leader, follower) == [0, 0]
    assert pair.digests() == undisturbed[0]


def test_a_signal_on_any_host_stops_all_with_a_resume_checkpoint(
    pair: Pair, undisturbed: tuple[dict[str, str], Any]
) -> None:
    leader, follower = pair.start(0), pair.start(1)
    pair.wait_for_step(10)
    stage(follower).send_signal(signal.SIGINT)
    codes = pair.finish(leader, follower)
    assert codes == [128 + signal.SIGTERM, 128 + signal.SIGINT], pair.output(0) + pair.output(1)
    assert "nothing is saved" not in pair.output(0) + pair.output(1)
    assert f"of {STEPS}; the same command continues" in pair.output(0)
    assert "Traceback" not in pair.output(0) + pair.output(1)
    pair.train()
    assert pair.digests() == undisturbed[0]


def test_a_resume_checkpoint_that_only_the_other_host_has_is_sent(
    pair: Pair, undisturbed: tuple[dict[str, str], Any]
) -> None:
    leader, follower = pair.start(0), pair.start(1)
    pair.wait_for_step(15)
    stage(leader).send_signal(signal.SIGTERM)
    pair.finish(leader, follower)
    one, other = (Path(clone.environ["TINYLM_RESUME"]) for clone in pair.clones)
    shutil.rmtree(other, ignore_errors=True)
    one.rename(other)
    pair.train()
    assert "receiving the resume checkpoint of step" in pair.output(0)
    assert "continuing after step" in pair.output(0)
    assert pair.digests() == undisturbed[0]
    assert list((pair.clones[0].root / "artifacts/checkpoints").glob("step_*0"))


def test_hosts_with_other_parameters_are_refused(pair: Pair) -> None:
    pair.clones[1].set_params({"train.peak_lr": 0.011})
    assert pair.finish(pair.start(0), pair.start(1)) == [1, 1]
    assert "params.yaml: section train differs between" in pair.output(0) + pair.output(1)
    assert "Traceback" not in pair.output(0) + pair.output(1)


def test_hosts_with_other_tokens_are_refused(pair: Pair) -> None:
    changed = pair.clones[1]
    changed.set_params({"download.seed": 7})
    changed.dvc("repro", "pretokenize")
    changed.set_params({"download.seed": 1337})
    assert pair.finish(pair.start(0), pair.start(1)) == [1, 1]
    assert "artifacts/tokens/tokens.json differs between" in pair.output(0) + pair.output(1)


def stage(host: subprocess.Popen[str]) -> psutil.Process:
    """The process of the stage itself: `ip netns exec` has replaced itself by it."""
    return psutil.Process(host.pid)


def read_losses(clone: Clone) -> list[float]:
    with open(clone.root / "plots/train.csv", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]
