"""Train on several machines: start the processes of this one, by torchrun's agent, and go on after a lost machine.

Each machine runs the same command with the same parameters, and they meet at `runtime.rendezvous`. The machine with
that address leads: its main process writes the results.
"""

import logging
import os
import platform
import socket
import sys
import tempfile
import time
from enum import Enum, auto
from pathlib import Path

import psutil

from tinylm.base.errors import LostProcessError, UserError
from tinylm.base.runtime import RuntimeParams
from tinylm.compute.distributed import AGAIN, LEADS, MACHINE
from tinylm.compute.launching.notes import FOLDER, Note
from tinylm.compute.launching.processes import killed, start_process, supervise

PATIENCE = 600.0  # how long the machines wait for each other at the start [seconds]
GRACE = 5.0  # seconds that the agent has to end after its processes have finished, or lost a machine
PAUSE = 5.0  # seconds between attempts to join: the machine that leads notices a loss by so much later

log = logging.getLogger("tinylm")


def launch_on_hosts(module: str, processes: int, runtime: RuntimeParams) -> None:
    """Run `python -m module` in `processes` processes here, connected with those of the other machines.

    Returns when all have succeeded. If a machine is lost, the run waits `runtime.rejoin_seconds` for it and goes on
    from its last resume checkpoint. Raises UserError if a machine does not come, or if a process was killed, and
    StoppedError after a signal. Exits with the exit code of a process that failed with a message of its own.
    """
    assert runtime.rendezvous
    assert runtime.hosts
    host, _, port = runtime.rendezvous.rpartition(":")
    address = _resolve(host.strip("[]"), int(port))
    leads = _is_own(address)
    own = address if leads else _address_towards(address, int(port))
    if leads:
        log.info(
            "this machine leads a run of %d: run `python -m %s` on the others, with the same code and parameters",
            runtime.hosts,
            module,
        )
    else:
        log.info("joining the run that %s leads", runtime.rendezvous)
    environment: dict[str, object] = {LEADS: int(leads), MACHINE: f"{platform.node()} ({own})"} | _network(own)
    arguments = (module, runtime.rendezvous, own, str(int(leads)), str(runtime.hosts), str(processes))
    patience = PATIENCE
    deadline = time.monotonic() + patience
    while (left := deadline - time.monotonic()) > 0:
        outcome = _attempt([*arguments, str(max(1, round(left)))], environment, processes)
        if outcome is _Outcome.FINISHED:
            return
        if outcome is _Outcome.LOST:
            patience, environment[AGAIN] = runtime.rejoin_seconds, 1
            deadline = time.monotonic() + patience
            log.warning("warning: a machine was lost; waiting %g s for it (runtime.rejoin_seconds)", patience)
        if not leads:
            time.sleep(min(PAUSE, patience))
    raise UserError(
        f"the {runtime.hosts} machines of the run did not meet at {runtime.rendezvous} within {patience:g} s; "
        "start the same command on all, and the run goes on from its last resume checkpoint"
    )


class _Outcome(Enum):
    """How an attempt has ended."""

    FINISHED = auto()
    NOT_MET = auto()
    LOST = auto()


def _attempt(arguments: list[str], environment: dict[str, object], processes: int) -> _Outcome:
    """Meet the other machines and train, until the run ends or a machine is lost.

    When a machine is gone, the agent can wait for its answer for minutes, so it gets `GRACE` seconds.
    """
    with tempfile.TemporaryDirectory(prefix="tinylm-") as folder:
        notes = Path(folder)

        def finished() -> bool:
            return all((notes / f"{Note.FINISHED}{rank}").exists() for rank in range(processes))

        def given_up() -> bool:
            over = notes.stat().st_mtime < time.time() - GRACE  # the time of the last note
            return over and ((notes / Note.LOST).exists() or finished())

        command = [sys.executable, "-m", "tinylm.compute.launching.torchrun_agent", *arguments]
        (code,) = supervise(lambda: [start_process(command, environment | {FOLDER: folder})], given_up)
        if code == 0 or finished():
            return _Outcome.FINISHED
        if code is None or code == LostProcessError.exit_code:
            return _Outcome.LOST if (notes / Note.MET).exists() else _Outcome.NOT_MET
    if code < 0:
        raise killed("torchrun's agent", code)
    sys.exit(code)  # the agent or one of its processes has printed the error


def _resolve(host: str, port: int) -> str:
    """The address of a host. Raises UserError if it has none."""
    try:
        return str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise UserError(
            f"runtime.rendezvous: expected the name or address of a machine, got {host} ({error}); "
            "use the address by which the other machines reach the one that leads"
        ) from None


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _is_own(address: str) -> bool:
    """Whether the address is one of this machine."""
    with socket.socket(_family(address), socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _address_towards(address: str, port: int) -> str:
    """The own address from which this machine reaches another one. Sends nothing. Raises UserError without a route."""
    with socket.socket(_family(address), socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, port))
        except OSError as error:
            raise UserError(
                f"runtime.rendezvous: {address} cannot be reached from this machine ({error.strerror}); "
                "check the address and the network"
            ) from None
        return str(probe.getsockname()[0])


def _network(own: str) -> dict[str, object]:
    """Variables by which gloo and NCCL use the network interface with this address, unless the user chose another one.

    Otherwise gloo looks up the machine's name, which many systems resolve to the loopback interface. Torch logs every
    failed attempt to connect, and every address that has no name, which is of no use here.
    """
    named = [
        name
        for name, addresses in psutil.net_if_addrs().items()
        if any(address.address.partition("%")[0] == own for address in addresses)
    ]
    wanted = dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), named[0]) if named else {}
    return {name: os.environ.get(name, value) for name, value in (wanted | {"TORCH_CPP_LOG_LEVEL": "FATAL"}).items()}
