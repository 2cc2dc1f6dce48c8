"""Run trials as jobs of a cluster. A job outlives the sweep that submitted it: the same command finds it again."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.experiments.history import head_commit
from tinylm.experiments.sweep.cluster.jobs import Cluster, Job, Resources, State, Status, UnreachableError
from tinylm.experiments.sweep.cluster.script import Node, Way, remove_work, trial_script
from tinylm.experiments.sweep.study import FOLDER
from tinylm.experiments.sweep.watched import Trial, log_length, stale_losses

ARRIVAL = 60.0  # longest time until files written on a node are seen here, as NFS caches them [seconds]
PATIENCE = 120.0  # time for an interrupted job to end by itself [seconds]


@dataclass(frozen=True)
class Record:
    """The job of a trial, kept in `.sweeps/NAME.job` until its end is seen."""

    cluster: str
    job: str
    work: str  # the clone, on the node


class OnCluster:
    """Trials are jobs of `cluster`."""

    one_at_a_time = False

    def __init__(self, cluster: Cluster, way: Way, resources: Resources, setup: str | None = None):
        self.cluster, self.way = cluster, way
        self._resources, self._node = resources, Node(head_commit(), resources.cpus, setup)
        self._statuses: dict[str, Status] = {}
        self._asked = -cluster.poll_every
        self._jobs: set[str] = set()  # of the trials that have not ended
        self._reachable = True

    def start(self, name: str, settings: Mapping[str, str], targets: list[str], slot: int) -> Trial:
        """Submit a trial, unless a job of an earlier process of this sweep runs it, or has run it."""
        log, file = (FOLDER / f"{name}.log").resolve(), FOLDER / f"{name}.job"
        before = log_length(log)
        if (record := self._known(file)) is None:
            work = self.way.work_folder(name)
            script = trial_script(name, settings, targets, self._node, self.way, work)
            try:
                job = self.cluster.submit(Job(f"{name}-{work.name[-8:]}", script, log, self._resources))
            except UserError:
                remove_work(work)
                raise
            record = Record(self.cluster.name, job, str(work))
            atomic.write_text(file, json.dumps(asdict(record)) + "\n")
        else:
            print(f"{name}: its job {record.job} goes on", flush=True)
        self._jobs.add(record.job)
        self._statuses[record.job] = Status(State.ACTIVE, "submitted")
        self._asked = time.monotonic()
        return ClusterTrial(
            name=name, log=log, before=before, stale=stale_losses(), place=self, record=record, file=file
        )

    def _known(self, file: Path) -> Record | None:
        """Return the recorded job if it may still bring a result; else remove what it left."""
        if not file.is_file():
            return None
        record = Record(**json.loads(file.read_text(encoding="utf-8")))
        if record.cluster == self.cluster.name:
            status = self.cluster.statuses([record.job]).get(record.job)
            if status is not None and status.state in (State.ACTIVE, State.DONE):
                return record
        remove_work(Path(record.work))
        return None

    def status(self, job: str) -> Status:
        """Return how a job is; the cluster is asked about all of them at once, and not too often."""
        if time.monotonic() >= self._asked + self.cluster.poll_every:
            try:
                found = self.cluster.statuses(self._jobs)
            except UnreachableError as error:  # it may answer later; the jobs go on
                if self._reachable:
                    print(f"{error}; asking again", flush=True)
                self._reachable = False
            else:
                self._statuses = {
                    job: found.get(job, Status(State.LOST, "unknown to the cluster")) for job in self._jobs
                }
                self._reachable = True
            self._asked = time.monotonic()
        return self._statuses[job]

    def forget(self, job: str) -> None:
        """Ask no more about a job that has ended."""
        self._jobs.discard(job)


@dataclass(kw_only=True)
class ClusterTrial(Trial):
    """A trial whose job waits, runs or has ended."""

    place: OnCluster
    record: Record
    file: Path
    code: int | None = None
    done_since: float | None = None  # when the job had ended without its experiment being here
    trouble: str = "not found"

    def folders(self) -> Iterator[Path]:
        if (work := Path(self.record.work)).is_dir():
            yield work

    def poll(self) -> int | None:
        if self.code is None:
            self.code = self._ended()
            if self.code is not None:
                self._clean_up()
        return self.code

    def _ended(self) -> int | None:
        status = self.place.status(self.record.job)
        if status.state is State.ACTIVE:
            return None
        if status.state is State.LOST:
            self.lost = status.word
            return -1
        if status.state is State.FAILED:
            return 1
        return 0 if self._arrived() else self._late()

    def _arrived(self) -> bool:
        try:
            return self.place.way.fetch(self.name)
        except UserError as error:  # of the network; it is tried again
            self.trouble = str(error)
            return False

    def _late(self) -> int | None:
        """Return 1 if an experiment that must exist has not been seen for too long."""
        self.done_since = self.done_since or time.monotonic()
        if time.monotonic() < self.done_since + ARRIVAL:
            return None
        self.trouble = f"the job has ended, and its experiment has not come back: {self.trouble}"
        return 1

    def error(self) -> str:
        return self.trouble if self.done_since is not None else super().error()

    def _clean_up(self) -> None:
        self._save_log()
        self.place.forget(self.record.job)
        remove_work(Path(self.record.work))
        self.file.unlink(missing_ok=True)

    def _save_log(self) -> None:
        try:
            text = self.place.cluster.printed(self.record.job)
        except UnreachableError as error:  # its node may be gone
            text = f"(the log is lost: {error})\n"
        with open(self.log, "a", encoding="utf-8", newline="\n") as file:
            file.write(text)

    def interrupt(self) -> None:
        if self.poll() is None:
            self._cancel(force=False)

    def wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.poll() is None:
            if time.monotonic() >= deadline:
                self._cancel(force=True)
                deadline += PATIENCE
            time.sleep(0.2)

    def _cancel(self, force: bool) -> None:
        with contextlib.suppress(UnreachableError):  # the job may have ended at this moment
            self.place.cluster.cancel(self.record.job, force)
