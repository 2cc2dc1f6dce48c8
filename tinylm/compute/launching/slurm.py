"""Train on the nodes of a Slurm job: start the processes by `srun`, and tell each its rank.

`launch_by_slurm` runs in the job, where `dvc repro` does. Each task runs this module, which takes the ranks from
Slurm's variables.
"""

import os
import re
import runpy
import shutil
import subprocess
import sys

from tinylm.base.errors import UserError, one_line
from tinylm.compute.launching.processes import killed, start_process, supervise

FIRST_PORT, PORTS = 20_000, 20_000  # where the processes of a job meet, by the job's number


def launch_by_slurm(module: str, processes: int, hosts: int | None) -> None:
    """Run `python -m module` in `processes` tasks on each node of the job; return when all have succeeded.

    Raises UserError outside of a job with enough nodes, and StoppedError after a signal. Exits with the exit code of
    srun if a task has failed; Slurm stops the others.
    """
    job, nodes = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_JOB_NUM_NODES")
    if not job or not nodes or shutil.which("srun") is None:
        raise UserError("runtime.launcher: slurm works inside a Slurm job, started by sbatch or salloc")
    if hosts and hosts > int(nodes):
        raise UserError(f"runtime.hosts: expected at most the {nodes} nodes of job {job}, got {hosts}")
    wanted = hosts or int(nodes)
    command = [
        "srun",
        f"--nodes={wanted}",
        f"--ntasks={wanted * processes}",
        f"--ntasks-per-node={processes}",
        "--distribution=block",  # task 0 is on the first node, where a batch script runs
        "--kill-on-bad-exit=1",
        "--disable-status",  # pass Ctrl-C on at once
        "--unbuffered",
        *([f"--cpus-per-task={cpus}"] if (cpus := os.environ.get("SLURM_CPUS_PER_TASK")) else []),
        *(sys.executable, "-m", "tinylm.compute.launching.slurm", module),
    ]
    address = {"MASTER_ADDR": first_node(), "MASTER_PORT": FIRST_PORT + int(job) % PORTS}
    (code,) = supervise(lambda: [start_process(command, address | {"LOCAL_WORLD_SIZE": processes})])
    if code and code < 0:
        raise killed("srun", code)
    if code:
        sys.exit(code)  # a task has printed the error


def first_node() -> str:
    """The address of the job's first node. Raises UserError if Slurm cannot tell."""
    name = _ask("hostnames", os.environ.get("SLURM_JOB_NODELIST", "")).partition("\n")[0]
    address = re.search(r"\bNodeAddr=(\S+)", _ask("node", name))
    return address[1] if address else name


def _ask(*question: str) -> str:
    """What `scontrol show` answers. Raises UserError if it fails."""
    answer = subprocess.run(["scontrol", "show", *question], capture_output=True, encoding="utf-8", errors="replace")
    if answer.returncode:
        raise UserError(f"scontrol show {' '.join(question)} failed: {one_line(answer.stderr)}")
    return answer.stdout.strip()


def run_task(module: str) -> None:
    """Run a module as `python -m` does, as the process that Slurm's variables say it is."""
    ranks = {"RANK": "SLURM_PROCID", "LOCAL_RANK": "SLURM_LOCALID", "WORLD_SIZE": "SLURM_NTASKS"}
    os.environ.update({name: os.environ[of] for name, of in ranks.items()})
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run_task(sys.argv[1])
