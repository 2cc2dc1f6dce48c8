"""Sweeps on a real Slurm of two nodes, with killed nodes, jobs and sweeps."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.experiments.test_sweep_faults import LONG, resume_folders, step_reached, wait_for
from tests.support.clone import Clone
from tests.support.slurm import Slurm, missing, slurm
from tests.support.sweeping import assert_as_here, continued, nothing_is_left, start_on, sweep, sweep_clone, table
from tests.train.test_torture import saved_step

pytestmark = [
    pytest.mark.slow,
    pytest.mark.torture,
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    with slurm(nodes=2, cpus=1) as running:
        yield running


@pytest.fixture(scope="module")
def clone(ran: Clone, cluster: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the pipeline ran, with runs that take seconds, whose commands talk to the cluster."""
    clone = sweep_clone(ran, tmp_path_factory.mktemp("slurm") / "clone").real()
    clone.environ["SLURM_CONF"] = cluster.environ["SLURM_CONF"]
    clone.set_params(LONG)
    clone.commit("longer runs")
    return clone


def job_of(clone: Clone, name: str) -> str:
    """Return the number of a trial's job, which is recorded while it has not ended."""
    return re.findall(r'"job": "(\d+)"', (clone.root / f".sweeps/{name}.job").read_text())[0]


def test_trials_on_a_cluster_are_those_of_this_machine_although_a_node_dies(
    clone: Clone, cluster: Slurm, tmp_path: Path
) -> None:
    """Both nodes run a trial; one is killed, and its trial resumes on the other node."""
    before, rates = resume_folders(clone), "train.peak_lr=1e-3,2e-2"
    process = start_on("slurm", clone, "--name", "nodes", "--jobs", "2", rates)
    wait_for(lambda: min(map(saved_step, new := resume_folders(clone) - before), default=0) >= 60 and len(new) == 2)
    cluster.kill_node("n1")
    output = process.communicate(timeout=300)[0]
    cluster.start_node("n1")
    assert process.returncode == 0
    (lost,) = re.findall(r"(nodes-00\d): lost \(NODE_FAIL\), starts again", output)
    assert min(continued(clone, lost)) >= 60
    assert [row[-1] for row in table(output[output.index("| experiment") :])] == ["complete"] * 2
    assert nothing_is_left(clone)
    assert_as_here(clone, ["nodes-000", "nodes-001"], [rates], tmp_path / "alone")


def test_ctrl_c_cancels_the_jobs_and_the_same_command_continues(clone: Clone, cluster: Slurm) -> None:
    """There are more jobs than nodes, so one is cancelled while it waits."""
    before, words = resume_folders(clone), ("--name", "asked", "--jobs", "3", "train.muon_lr=0.01,0.015,0.02")
    process = start_on("slurm", clone, *words)
    wait_for(lambda: len(resume_folders(clone) - before) == 2 and step_reached(clone, before) >= 60)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT
    assert cluster.run("squeue", "--noheader").strip() == ""
    assert nothing_is_left(clone)
    reached = step_reached(clone, before)
    output = sweep(clone, "--on", "slurm", *words)
    assert [row[-1] for row in table(output[output.index("| experiment") :])] == ["complete"] * 3
    assert max(continued(clone, "asked-000") + continued(clone, "asked-001")) >= reached


def test_a_killed_sweep_finds_its_job_again(clone: Clone) -> None:
    before, words = resume_folders(clone), ("--name", "killed", "train.momentum=0.9")
    process = start_on("slurm", clone, *words)
    wait_for(lambda: step_reached(clone, before) >= 20)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    job = job_of(clone, "killed-000")
    output = sweep(clone, "--on", "slurm", *words)
    assert f"killed-000: its job {job} goes on" in output
    assert not continued(clone, "killed-000")
    assert nothing_is_left(clone)


def test_a_cancelled_job_starts_again(clone: Clone, cluster: Slurm) -> None:
    before = resume_folders(clone)
    process = start_on("slurm", clone, "--name", "cancelled", "train.momentum=0.8")
    wait_for(lambda: step_reached(clone, before) >= 60)
    cluster.run("scancel", job_of(clone, "cancelled-000"))
    output = process.communicate(timeout=120)[0]
    assert "cancelled-000: lost (CANCELLED), starts again" in output
    assert max(continued(clone, "cancelled-000")) >= 60
    assert process.returncode == 0


def test_a_hopeless_trial_is_pruned_on_its_node(clone: Clone) -> None:
    words = ("--search", "guided", "--startup", "1", "--trials", "2", "--seed", "0", "train.peak_lr=1e-9,0.02")
    output = sweep(clone, "--on", "slurm", "--name", "pruned", *words)
    assert re.search(r"^pruned-001: pruned at step \d+, loss [\d.]+$", output, re.MULTILINE)
    assert nothing_is_left(clone)


def test_a_job_that_cannot_start_is_reported(clone: Clone) -> None:
    output = sweep(clone, "--on", "slurm", "--name", "broken", "--setup", "nothing-of-this-name", "train.momentum=0.7")
    assert re.search(r"broken-000: failed: .*nothing-of-this-name: command not found \(\S+broken-000.log\)", output)
    words = ("--name", "refused", "--cluster-options=--partition=none", "train.momentum=0.6")
    command = ["python", "-m", "tinylm", "sweep", "--on", "slurm", *words]
    refused = subprocess.run(command, cwd=clone.root, env=clone.environ, capture_output=True, text=True)
    assert refused.returncode == 1
    assert re.fullmatch(r"error: sbatch: .*; correct --cluster-options, --cpus or --gpus\n", refused.stderr)
    assert nothing_is_left(clone)
