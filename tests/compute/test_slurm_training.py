"""Training as a job of a real Slurm: two nodes, with two tasks each, give the losses of one process."""

import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compute.test_distributed import SETTINGS as SEVERAL_PROCESSES
from tests.support import slurm
from tests.support.clone import Clone
from tinylm.base.errors import UserError
from tinylm.compute.launching.slurm import launch_by_slurm

SETTINGS = SEVERAL_PROCESSES | {"train.steps": 20}


@pytest.mark.torture
@pytest.mark.skipif(bool(slurm.missing()), reason=f"needs Slurm: {', '.join(slurm.missing())} missing")
class TestRealSlurm:
    @pytest.fixture
    def cluster(self) -> Iterator[slurm.Slurm]:
        with slurm.slurm(nodes=2, cpus=2) as cluster:
            yield cluster

    def test_a_job_on_two_nodes_gives_the_losses_of_one_process(
        self, ran: Clone, cluster: slurm.Slurm, tmp_path: Path
    ) -> None:
        losses = []
        for name, settings in (("alone", {}), ("nodes", {"runtime.launcher": "slurm", "runtime.processes": 2})):
            clone = ran.copy(tmp_path / name).real()
            clone.set_params(SETTINGS | settings)
            job = ["sbatch", "--wait", "--output=job.log", "--nodes=2", "--ntasks-per-node=2"] if settings else []
            script = f"{sys.executable} -m stages.train"
            command = [*job, f"--wrap={script}"] if settings else [sys.executable, "-m", "stages.train"]
            environ = clone.environ | {"SLURM_CONF": cluster.environ["SLURM_CONF"]}
            done = subprocess.run(command, cwd=clone.root, env=environ, timeout=300)
            log = clone.root / "job.log"
            assert done.returncode == 0, log.read_text() if log.exists() else ""
            with open(clone.root / "plots/train.csv", newline="") as file:
                losses.append([float(row["loss"]) for row in csv.DictReader(file)])
        assert losses[1] == pytest.approx(losses[0], rel=1e-3)
        assert len(losses[1]) == 20


def test_outside_of_a_job_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(UserError, match="runtime.launcher: slurm works inside a Slurm job, started by sbatch"):
        launch_by_slurm("stages.train", 2, None)


def test_more_nodes_than_the_job_has_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "srun").write_text("")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    with pytest.raises(UserError, match=r"runtime\.hosts: expected at most the 2 nodes of job 7, got 3"):
        launch_by_slurm("stages.train", 2, 3)
