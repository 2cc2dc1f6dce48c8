"""Trials as managed jobs of SkyPilot, by its command `sky`.

Written by the command line of SkyPilot 0.14, and tested with a stand-in for `sky` only: a real run needs a cloud.
"""

import json
from collections.abc import Collection

from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.experiments.sweep.cluster.jobs import Job, State, Status, UnreachableError, ask

FAILED = {"FAILED", "FAILED_SETUP", "FAILED_PRECHECKS", "FAILED_NO_RESOURCE"}
LOST = {"CANCELLED", "FAILED_CONTROLLER"}


class SkyPilot:
    """The clouds and clusters that `sky` manages. It recovers jobs from preemption by itself."""

    name = "sky"

    def __init__(self, poll_every: float = 30.0):
        self.poll_every = poll_every

    def submit(self, job: Job) -> str:
        """Launch a managed job, known by its name; `extra` are options of `sky jobs launch`, such as --infra aws."""
        file = job.log.with_suffix(".yaml")
        atomic.write_text(file, json.dumps({"run": job.script}, ensure_ascii=False) + "\n")  # JSON is YAML
        gpus = [f"--gpus={job.resources.gpus}"] if job.resources.gpus else []
        words = [f"--cpus={job.resources.cpus}+", *gpus, *job.resources.extra]
        try:
            ask("sky", "jobs", "launch", "--yes", "--detach-run", f"--name={job.name}", *words, str(file))
        except UnreachableError as error:
            raise UserError(f"{error}; correct --cluster-options, --cpus or --gpus") from None
        return job.name

    def statuses(self, jobs: Collection[str]) -> dict[str, Status]:
        """Ask for the whole queue, with ended jobs."""
        records = json.loads(ask("sky", "jobs", "queue", "--all", "--output=json"))
        found = {record["job_name"]: str(record["status"]) for record in records}
        return {job: _status(found[job]) for job in jobs if job in found}

    def cancel(self, job: str, force: bool) -> None:
        """Cancel a job; SkyPilot takes its machine down."""
        ask("sky", "jobs", "cancel", "--yes", f"--name={job}")

    def printed(self, job: str) -> str:
        """Fetch what the job printed."""
        return ask("sky", "jobs", "logs", "--no-follow", f"--name={job}")


def _status(word: str) -> Status:
    if word == "SUCCEEDED":
        return Status(State.DONE, word)
    return Status(State.FAILED if word in FAILED else State.LOST if word in LOST else State.ACTIVE, word)
