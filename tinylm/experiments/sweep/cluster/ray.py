"""Trials as jobs of a Ray cluster, by Ray's client for jobs. Tried with Ray 2.60."""

import os
from collections.abc import Collection
from typing import Any

from tinylm.base.errors import UserError
from tinylm.base.extras import require
from tinylm.experiments.sweep.cluster.jobs import Job, State, Status, UnreachableError

GRACE = "60"  # time for saving a resume checkpoint after `stop_job` [seconds]
LOCAL = "http://127.0.0.1:8265"
OWN_ERRORS = {"JOB_ENTRYPOINT_COMMAND_ERROR", "RUNTIME_ENV_SETUP_FAILURE", None}  # the others: its process is gone


class Ray:
    """The Ray cluster at the address of its dashboard, by default $RAY_ADDRESS, else that of this machine."""

    name = "ray"

    def __init__(self, address: str | None = None, poll_every: float = 2.0):
        require("ray", "tinylm sweep --on ray")
        from ray.job_submission import JobSubmissionClient

        self.address = address or os.environ.get("RAY_ADDRESS") or LOCAL
        self.poll_every = poll_every
        try:
            self._client: Any = JobSubmissionClient(self.address)
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"{self.address}: no Ray answers there ({str(error).splitlines()[0]}); set RAY_ADDRESS to the "
                "address of its dashboard, such as http://head:8265"
            ) from None

    def submit(self, job: Job) -> str:
        """Submit a job; `extra` are amounts of Ray's custom resources, such as a100=1."""
        try:
            custom = {name: float(amount) for name, amount in (word.split("=") for word in job.resources.extra)}
        except ValueError:
            got = " ".join(job.resources.extra)
            raise UserError(f"--cluster-options: expected RESOURCE=AMOUNT ... for Ray, got {got}") from None
        variables = {"TINYLM_TRIAL": job.script, "RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": GRACE}
        return self._ask(
            "submit_job",
            entrypoint='exec bash -c "$TINYLM_TRIAL"',
            submission_id=job.name,
            entrypoint_num_cpus=job.resources.cpus,
            entrypoint_num_gpus=job.resources.gpus or None,
            entrypoint_resources=custom or None,
            runtime_env={"env_vars": variables},
        )

    def statuses(self, jobs: Collection[str]) -> dict[str, Status]:
        """Ask for all jobs of the cluster at once."""
        found = {details.submission_id: details for details in self._ask("list_jobs")}
        return {job: _status(found[job]) for job in jobs if job in found}

    def cancel(self, job: str, force: bool) -> None:
        """Have Ray send SIGINT to each process of the job, and SIGKILL to those that live on after a minute."""
        self._ask("stop_job", job)

    def printed(self, job: str) -> str:
        """Fetch the log from the node, which may be gone."""
        return str(self._ask("get_job_logs", job))

    def _ask(self, method: str, *words: Any, **options: Any) -> Any:
        try:
            return getattr(self._client, method)(*words, **options)
        except (OSError, RuntimeError) as error:
            raise UnreachableError(f"{self.address}: {(str(error) or type(error).__name__).splitlines()[0]}") from None


def _status(details: Any) -> Status:
    word = str(details.status.value)
    if word == "FAILED" and (kind := getattr(details.error_type, "value", details.error_type)) not in OWN_ERRORS:
        return Status(State.LOST, str(kind))
    states = {"SUCCEEDED": State.DONE, "FAILED": State.FAILED, "STOPPED": State.LOST}
    return Status(states.get(word, State.ACTIVE), word)
