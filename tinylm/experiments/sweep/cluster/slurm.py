"""Trials as jobs of Slurm, by its commands. Written for Slurm 22.05 and tried with it."""

import contextlib
from collections.abc import Collection

from tinylm.base.errors import UserError
from tinylm.experiments.sweep.cluster.jobs import Job, State, Status, UnreachableError, ask

GRACE = 60  # time for saving a resume checkpoint before the time limit [seconds]
FAILED = {"FAILED", "OUT_OF_MEMORY", "DEADLINE"}
LOST = {"CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "REVOKED"}
OWN_ERROR = "NonZeroExitCode"  # the reason of a failure that is the job's own


class Slurm:
    """The Slurm that `sbatch` and `squeue` talk to. A lost job is not requeued by Slurm: the sweep starts it again."""

    name = "slurm"

    def __init__(self, poll_every: float = 5.0):
        self.poll_every = poll_every

    def submit(self, job: Job) -> str:
        """Submit a job; Slurm writes what it prints into its log, on the shared file system."""
        gpus = [f"--gpus-per-node={job.resources.gpus}"] if job.resources.gpus else []
        words = [
            *("--parsable", "--no-requeue", "--nodes=1", "--ntasks=1", f"--cpus-per-task={job.resources.cpus}"),
            *(f"--job-name={job.name}", f"--output={job.log}", "--open-mode=append", f"--signal=B:USR1@{GRACE}"),
        ]
        try:
            said = ask("sbatch", *words, *gpus, *job.resources.extra, stdin=job.script)
        except UnreachableError as error:
            raise UserError(f"{error}; correct --cluster-options, --cpus or --gpus") from None
        return said.strip().split(";")[0]  # followed by the name of the cluster, if there are several

    def statuses(self, jobs: Collection[str]) -> dict[str, Status]:
        """Ask squeue, which knows jobs for some minutes after their end, and sacct for older ones."""
        lines = ask("squeue", "--me", "--states=all", "--noheader", "--format=%i|%T|%r").splitlines()
        found = {line.split("|")[0]: _status(*line.split("|")[1:]) for line in lines}
        if older := set(jobs) - found.keys():
            with contextlib.suppress(UnreachableError):  # no accounting: nobody remembers these jobs
                words = ("--noheader", "--parsable2", "--allocations", "--format=JobID,State", "--jobs")
                for line in ask("sacct", *words, ",".join(sorted(older))).splitlines():
                    number, state = line.split("|")
                    found[number] = _status(state.split()[0], OWN_ERROR)  # "CANCELLED by 1000"
        return {job: found[job] for job in jobs if job in found}

    def cancel(self, job: str, force: bool) -> None:
        """Cancel a job that waits; have a running one's script interrupt its trial (node.sh)."""
        if force:
            ask("scancel", job)
        else:
            ask("scancel", "--state=PENDING", job)
            ask("scancel", "--state=RUNNING", "--batch", "--signal=USR1", job)

    def printed(self, job: str) -> str:
        """Return nothing: Slurm has written it."""
        return ""


def _status(state: str, reason: str) -> Status:
    if state == "COMPLETED":
        return Status(State.DONE, state)
    if state in LOST or (state == "FAILED" and reason != OWN_ERROR):
        return Status(State.LOST, state if state in LOST else reason)
    return Status(State.FAILED if state in FAILED else State.ACTIVE, state)
