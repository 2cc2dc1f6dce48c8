"""A real Slurm on this machine: munged, slurmctld and a slurmd for each node, for the duration of a `with` block.

It needs the programs of Debian's packages slurmctld, slurmd, slurm-client and munge, and neither systemd, cgroups nor
containers: all files are in one folder, and all nodes have this machine's address, each with a port of its own.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from getpass import getuser
from pathlib import Path

import psutil

from tests.support.servers import free_port

SBIN = os.pathsep.join(("/usr/sbin", "/sbin", os.environ["PATH"]))  # a user's PATH may lack the daemons
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "squeue", "srun")
PATIENCE = 30  # seconds
NO_CGROUPS = """\
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
"""
QUICK = """\
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0
SlurmdTimeout=5
KillWait=10
ReturnToService=2
SlurmdParameters=config_overrides
"""


def missing() -> list[str]:
    """Return the programs that are not installed; a test skips if there are any."""
    return [program for program in PROGRAMS if shutil.which(program, path=SBIN) is None]


class Slurm:
    """A running cluster with the nodes n1, n2, ...; commands with `environ` talk to it."""

    def __init__(self, folder: Path, nodes: int, cpus: int):
        self.folder, self.names = folder, [f"n{number + 1}" for number in range(nodes)]
        self.environ = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._write_configuration(cpus)

    def _write_configuration(self, cpus: int) -> None:
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o600)
        host, user = socket.gethostname().split(".")[0], getuser()
        lines = [
            "ClusterName=test",
            f"SlurmctldHost={host}(127.0.0.1)",
            f"SlurmctldPort={free_port()}",
            f"SlurmUser={user}",
            f"SlurmdUser={user}",
            "AuthType=auth/munge",
            f"AuthInfo=socket={self.folder / 'munge.socket'}",
            f"StateSaveLocation={self._made('state')}",
            f"SlurmdSpoolDir={self._made('spool')}/%n",
            f"SlurmctldPidFile={self.folder}/slurmctld.pid",
            f"SlurmdPidFile={self.folder}/slurmd.%n.pid",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_CPU",
        ]
        for name in self.names:
            self._made(f"spool/{name}")
            place = f"NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()}"
            lines.append(f"NodeName={name} {place} CPUs={cpus} State=UNKNOWN")
        lines.append("PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP")
        (self.folder / "slurm.conf").write_text(NO_CGROUPS + QUICK + "\n".join(lines) + "\n")

    def _made(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(mode=0o700)
        return folder

    def start(self) -> None:
        """Start the daemons; return when every node is idle."""
        files = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
        self._daemon("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *files)
        self._wait_for((self.folder / "munge.socket").exists)
        self._daemon("slurmctld", "-D")
        for name in self.names:
            self.start_node(name)
        self._wait_for(
            lambda: (
                self.run("sinfo", "--noheader", "--Node", "--format=%T", check=False).split()
                == ["idle"] * len(self.names)
            )
        )

    def start_node(self, name: str) -> None:
        """Start the slurmd of a node."""
        self._daemon("slurmd", "-D", "-N", name, label=name)

    def kill_node(self, name: str) -> None:
        """Kill a node, with all that runs on it, as a power cut would; Slurm notices after some seconds."""
        slurmd = self._processes.pop(name)
        doomed = [slurmd.pid]
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                environ, parent = process.environ(), process.parent()
                if environ.get("SLURM_CONF") == self.environ["SLURM_CONF"] and environ.get("SLURMD_NODENAME") == name:
                    doomed += [process.pid] if parent is None else [parent.pid, process.pid]
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        slurmd.wait()

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command of Slurm and return its standard output."""
        found = shutil.which(command[0], path=SBIN) or command[0]
        done = subprocess.run([found, *command[1:]], env=self.environ, capture_output=True, text=True, timeout=PATIENCE)
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def stop(self) -> None:
        """Cancel all jobs and end the daemons."""
        if "slurmctld" in self._processes:
            self.run("scancel", "--user", getuser(), check=False)
            with contextlib.suppress(AssertionError):
                self._wait_for(lambda: not self.run("squeue", "--noheader", check=False).strip())
        for process in reversed(self._processes.values()):
            process.terminate()
        for process in self._processes.values():
            process.wait(PATIENCE)

    def _daemon(self, program: str, *words: str, label: str = "") -> None:
        found = shutil.which(program, path=SBIN)
        assert found
        with open(self.folder / f"{label or program}.log", "ab") as log:
            self._processes[label or program] = subprocess.Popen(
                [found, *words], env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _wait_for(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            ended = [label for label, process in self._processes.items() if process.poll() is not None]
            logs = "\n".join((self.folder / f"{label}.log").read_text()[-2000:] for label in ended)
            assert not ended, f"ended: {ended}\n{logs}"
            assert time.monotonic() < deadline, self.run("sinfo", check=False)
            time.sleep(0.1)


@contextlib.contextmanager
def slurm(nodes: int = 2, cpus: int = 1) -> Iterator[Slurm]:
    """Run a Slurm with `nodes` nodes of `cpus` CPUs each, whatever this machine has."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short, because of the limit on the path of munge's socket
    folder.chmod(0o755)  # munge refuses a socket that others cannot reach
    cluster = Slurm(folder, nodes, cpus)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder)
