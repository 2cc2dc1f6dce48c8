"""Trials as jobs: the script of a node, run by a cluster of processes, and what is said to and heard from clusters."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.experiments.test_sweep_faults import wait_for
from tests.support.clone import Clone, committed, stages_run
from tests.support.sweeping import sweep_clone
from tinylm.base.errors import UserError
from tinylm.cli.main import main
from tinylm.experiments.sweep.cluster import ray, trials
from tinylm.experiments.sweep.cluster.jobs import Job, Resources, State, Status, UnreachableError
from tinylm.experiments.sweep.cluster.opening import open_cluster
from tinylm.experiments.sweep.cluster.script import Remotes, SharedFiles, Way, check_committed
from tinylm.experiments.sweep.cluster.skypilot import SkyPilot
from tinylm.experiments.sweep.cluster.slurm import Slurm
from tinylm.experiments.sweep.cluster.trials import OnCluster

JOB = Job("s-000-abc", "#!/bin/bash\necho 'hi'\n", Path("/shared/.sweeps/s-000.log"), Resources(4, 2, ["--time=1:00"]))


class Processes:
    """A cluster of processes on this machine."""

    name = "processes"
    poll_every = 0.0

    def __init__(self, environ: dict[str, str]):
        self.environ = environ
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.lost: set[str] = set()
        self.reachable = True

    def submit(self, job: Job) -> str:
        with open(job.log, "ab") as log:
            command = ["bash", "-c", job.script]
            self.running[job.name] = subprocess.Popen(command, env=self.environ, stdout=log, stderr=log)
        return job.name

    def statuses(self, jobs: Collection[str]) -> dict[str, Status]:
        if not self.reachable:
            raise UnreachableError("processes: no answer")
        return {job: self._status(job) for job in jobs if job in self.running}

    def _status(self, job: str) -> Status:
        if job in self.lost:
            return Status(State.LOST, "NODE_FAIL")
        code = self.running[job].poll()
        return Status(State.ACTIVE if code is None else State.FAILED if code else State.DONE, str(code))

    def cancel(self, job: str, force: bool) -> None:
        self.running[job].send_signal(signal.SIGKILL if force else signal.SIGUSR1)

    def printed(self, job: str) -> str:
        if job in self.lost:
            raise UnreachableError("processes: its node is gone")
        return "the last words\n"


@pytest.fixture(scope="module")
def clone(ran: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return sweep_clone(ran, tmp_path_factory.mktemp("cluster") / "clone")


def place(clone: Clone, way: Way, setup: str = "true") -> OnCluster:
    """Return a cluster of processes for `clone`, whose commands are on the PATH of its jobs."""
    environ = {key: value for key, value in clone.environ.items() if key != "TINYLM_RESUME"}
    return OnCluster(Processes(environ), way, Resources(1, 0, []), setup)


def model_is_cached(clone: Clone, experiment: str) -> bool:
    """Return whether the model of an experiment is in the clone's cache."""
    dvc_lock = clone.git("show", f"{committed(clone, experiment)}:dvc.lock")
    model = re.findall(r"path: artifacts/model\n\s+hash: md5\n\s+md5: (\S+)", dvc_lock)[0]
    return (clone.root / f".dvc/cache/files/md5/{model[:2]}/{model[2:]}").is_file()


@pytest.mark.slow
def test_a_trial_on_shared_files(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone.root)
    on = place(clone, SharedFiles())
    trial = on.start("shared", {"train.peak_lr": "2e-3"}, ["evaluate"], 0)
    assert trial.poll() is None
    wait_for(lambda: trial.poll() is not None)
    assert (trial.poll(), trial.was_killed) == (0, True), trial.error()
    assert list(trial.new_losses()) == []  # the clone has been removed
    assert list(Path(".sweeps/nodes").iterdir()) == []
    assert "peak_lr: 0.002" in clone.git("show", f"{committed(clone, 'shared')}:params.yaml")
    assert model_is_cached(clone, "shared")


@pytest.mark.slow
@pytest.mark.torture
def test_a_trial_through_remotes(clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone.root)
    clone.git("init", "--quiet", "--bare", str(tmp_path / "hub.git"))
    clone.git("remote", "add", "hub", str(tmp_path / "hub.git"))
    with pytest.raises(UserError, match="hub does not have HEAD, .*; run: git push hub"):
        Remotes("hub")
    clone.git("push", "--quiet", "hub", "main")
    with pytest.raises(UserError, match="the DVC remote has no address"):
        Remotes("hub")
    clone.dvc("remote", "add", "--local", "--force", "storage", str(tmp_path / "storage"))
    clone.dvc("push")
    on = place(clone, Remotes("hub"))
    trial = on.start("remote", {"train.peak_lr": "3e-3"}, ["evaluate"], 0)
    wait_for(lambda: trial.poll() is not None)
    assert trial.poll() == 0, trial.log.read_text()
    assert committed(clone, "remote")
    assert not Path(trial.record.work).exists()
    assert stages_run(trial.log.read_text()) == ["train", "evaluate"]
    assert model_is_cached(clone, "remote")


@pytest.mark.slow
def test_a_trial_that_fails_says_why(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone.root)
    trial = place(clone, SharedFiles(), setup="echo error: no module; exit 3").start("failing", {}, [], 0)
    wait_for(lambda: trial.poll() is not None)
    assert (trial.poll(), trial.was_killed, trial.error()) == (1, False, "no module")
    assert not list(Path(".sweeps/nodes").iterdir())
    assert not Path(".sweeps/failing.job").exists()


@pytest.mark.slow
def test_a_job_is_found_again_and_a_lost_one_is_told(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(clone.root)
    on = place(clone, SharedFiles(), setup="exec sleep 100")
    first = on.start("again", {}, [], 0)
    on.cluster.reachable = False
    assert (first.poll(), first.poll()) == (None, None)
    assert capsys.readouterr().out == "processes: no answer; asking again\n"
    on.cluster.reachable = True
    again = on.start("again", {}, [], 0)
    assert again.record == first.record
    assert capsys.readouterr().out == f"again: its job {first.record.job} goes on\n"
    on.cluster.lost.add(again.record.job)
    assert (again.poll(), again.was_killed, again.lost) == (-1, True, "NODE_FAIL")
    assert on.start("again", {}, [], 0).record != first.record
    for process in on.cluster.running.values():
        process.kill()
        process.wait()


@pytest.mark.slow
def test_an_experiment_that_does_not_come_back_is_an_error(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone.root)
    monkeypatch.setattr(trials, "ARRIVAL", 0.0)
    trial = place(clone, SharedFiles(), setup="exit 0").start("absent", {}, [], 0)
    wait_for(lambda: trial.poll() is not None)
    assert (trial.poll(), trial.was_killed) == (1, False)
    assert trial.error() == "the job has ended, and its experiment has not come back: not found"


@pytest.mark.slow
def test_nodes_run_what_is_committed(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone.root)
    check_committed()
    before = Path("params.yaml").read_text()
    Path("params.yaml").write_text(before + "# changed\n")
    with pytest.raises(UserError, match="the nodes run HEAD, and params.yaml differs from it; commit it first"):
        check_committed()
    Path("params.yaml").write_text(before)


# ---- what is said to clusters


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for the commands of clusters: each answers with the file of its name and notes how it was called."""
    for name in ("sbatch", "squeue", "sacct", "scancel", "sky"):
        file = tmp_path / name
        file.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\n'
            f"[ -e {tmp_path}/{name}.fails ] && cat {tmp_path}/{name}.fails >&2 && exit 1\n"
            f"cat > {tmp_path}/{name}.stdin\ncat {tmp_path}/{name}.answer 2>/dev/null || true\n"
        )
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def calls(said: Path) -> list[str]:
    found = (said / "calls").read_text().splitlines()
    (said / "calls").unlink()
    return found


def test_slurm_is_told_what_a_job_needs(said: Path) -> None:
    (said / "sbatch.answer").write_text("17;other\n")
    assert Slurm().submit(JOB) == "17"
    (call,) = calls(said)
    assert call == (
        "sbatch --parsable --no-requeue --nodes=1 --ntasks=1 --cpus-per-task=4 --job-name=s-000-abc "
        "--output=/shared/.sweeps/s-000.log --open-mode=append --signal=B:USR1@60 --gpus-per-node=2 --time=1:00"
    )
    assert (said / "sbatch.stdin").read_text() == JOB.script
    (said / "sbatch.fails").write_text("sbatch: error: no such partition\n")
    with pytest.raises(UserError, match="sbatch: .*no such partition; correct --cluster-options"):
        Slurm().submit(JOB)


def test_slurm_is_asked_and_its_accounting_about_older_jobs(said: Path) -> None:
    (said / "squeue.answer").write_text(
        "1|PENDING|Resources\n2|RUNNING|None\n3|COMPLETED|None\n4|FAILED|NonZeroExitCode\n5|FAILED|JobLaunchFailure\n"
        "6|TIMEOUT|TimeLimit\n7|OUT_OF_MEMORY|OutOfMemory\n8|PREEMPTED|None\n99|RUNNING|None\n"
    )
    (said / "sacct.answer").write_text("10|CANCELLED by 1000\n11|COMPLETED\n")
    found = Slurm().statuses([str(number) for number in range(1, 13)])
    active, done, failed, lost = State.ACTIVE, State.DONE, State.FAILED, State.LOST
    expected = {1: active, 2: active, 3: done, 4: failed, 5: lost, 6: lost, 7: failed, 8: lost, 10: lost, 11: done}
    assert {int(job): status.state for job, status in found.items()} == expected
    assert (found["5"].word, found["6"].word) == ("JobLaunchFailure", "TIMEOUT")
    assert calls(said)[1].endswith("--jobs 10,11,12,9")
    (said / "sacct.fails").write_text("Slurm accounting storage is disabled\n")
    assert Slurm().statuses(["10"]) == {}
    (said / "squeue.fails").write_text("slurm_load_jobs error: Unable to contact slurm controller\n")
    with pytest.raises(UnreachableError, match="squeue: slurm_load_jobs error: Unable to contact"):
        Slurm().statuses(["1"])


def test_slurm_interrupts_the_script_before_it_kills(said: Path) -> None:
    Slurm().cancel("5", force=False)
    Slurm().cancel("5", force=True)
    assert calls(said) == [
        "scancel --state=PENDING 5",
        "scancel --state=RUNNING --batch --signal=USR1 5",
        "scancel 5",
    ]


def test_sky_is_told_what_a_job_needs(said: Path, tmp_path: Path) -> None:
    log = tmp_path / "s-000.log"
    job = Job("s-000-abc", JOB.script, log, Resources(4, 0, ["--infra", "aws"]))
    assert SkyPilot().submit(job) == "s-000-abc"
    assert json.loads((tmp_path / "s-000.yaml").read_text()) == {"run": JOB.script}
    (said / "sky.answer").write_text(
        json.dumps([{"job_id": i, "job_name": name, "status": state} for i, (name, state) in enumerate(SKY.items())])
    )
    found = SkyPilot().statuses([*SKY, "unknown"])
    assert [status.state for status in found.values()] == [
        *(State.ACTIVE, State.ACTIVE, State.DONE, State.FAILED, State.LOST, State.LOST)
    ]
    SkyPilot().cancel("s-000-abc", force=False)
    (said / "sky.answer").write_text("what it printed\n")
    assert SkyPilot().printed("s-000-abc") == "what it printed\n"
    assert calls(said) == [
        f"sky jobs launch --yes --detach-run --name=s-000-abc --cpus=4+ --infra aws {tmp_path}/s-000.yaml",
        "sky jobs queue --all --output=json",
        "sky jobs cancel --yes --name=s-000-abc",
        "sky jobs logs --no-follow --name=s-000-abc",
    ]


SKY = {"a": "PENDING", "b": "RECOVERING", "c": "SUCCEEDED", "d": "FAILED_SETUP", "e": "CANCELLED"}
SKY |= {"f": "FAILED_CONTROLLER"}


@pytest.mark.parametrize(
    ("status", "kind", "state"),
    [
        ("PENDING", None, State.ACTIVE),
        ("RUNNING", None, State.ACTIVE),
        ("SUCCEEDED", None, State.DONE),
        ("STOPPED", None, State.LOST),
        ("FAILED", "JOB_ENTRYPOINT_COMMAND_ERROR", State.FAILED),
        ("FAILED", "JOB_SUPERVISOR_ACTOR_DIED", State.LOST),
    ],
)
def test_a_job_of_ray_is_lost_with_its_process(status: str, kind: str | None, state: State) -> None:
    details = SimpleNamespace(status=SimpleNamespace(value=status), error_type=kind)
    assert ray._status(details) == Status(state, kind if state is State.LOST and kind else status)


@pytest.mark.parametrize(
    ("on", "through", "message"),
    [
        ("slurm", "origin", "--through: expected with Ray or SkyPilot"),
        ("sky", None, "--on sky: its machines do not see"),
    ],
)
def test_a_way_that_a_cluster_lacks_is_refused(on: str, through: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_cluster(on, through, 1, 0, "", None)


def test_a_missing_command_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="squeue: not found; run the sweep where this command is installed"):
        Slurm().statuses(["1"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--cpus 2", "--cpus: expected with --on slurm, ray or sky only; leave it out"),
        ("--cluster-options=--time=1", "--cluster-options: expected with --on slurm, ray or sky only; leave it out"),
        ("--on ray --cpus 0", "--cpus: expected at least 1, got 0"),
    ],
)
def test_an_option_of_clusters_that_cannot_be_used_is_refused(
    capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    assert main(["sweep", *words.split(), "train.seed=1,2"]) == 1
    assert capsys.readouterr().err == f"error: {message}\n"
