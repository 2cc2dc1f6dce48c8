"""Start the processes of a run on this machine, and end them together."""

import os
import signal
import socket
import subprocess
import sys
import time

from tinylm.base.errors import StoppedError, UserError
from tinylm.compute.signals import StopRequest, listening

POLL_EVERY = 0.1  # seconds
GRACE = 10.0  # seconds the other processes have to exit after one has failed


def launch(module: str, processes: int) -> None:
    """Run `python -m module` in `processes` connected processes; return when all have succeeded.

    Raises UserError if one was killed and StoppedError after a signal, which is passed on to all. Exits with the exit
    code of the first process that failed with a message of its own.
    """
    port = _free_port()
    with listening() as stop:
        children = [_start(module, rank, processes, port) for rank in range(processes)]
        try:
            _watch(children, stop)
        finally:
            killed = _end(children)
    if stop.signal:
        raise StoppedError("all processes have stopped", stop.signal)
    for rank in killed:
        how = signal.Signals(-children[rank].returncode).name
        raise UserError(
            f"process {rank + 1} of {processes} was killed by {how}; the others were stopped; "
            "run the same command again to resume from the last resume checkpoint"
        )
    if code := next((child.returncode for child in children if child.returncode), 0):
        sys.exit(code)  # that process has printed the error


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _start(module: str, rank: int, processes: int, port: int) -> subprocess.Popen[bytes]:
    """Start a process in its own session, so that it receives Ctrl-C only once: from this process, not the terminal."""
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = os.environ | {name: str(value) for name, value in (ranks | address).items()}
    return subprocess.Popen([sys.executable, "-m", module], env=environment, start_new_session=True)


def _watch(children: list[subprocess.Popen[bytes]], stop: StopRequest) -> None:
    """Wait until all processes succeed or one fails; after a signal, pass it on and wait for all to exit."""
    passed_on = False
    while True:
        codes = [child.poll() for child in children]
        if None not in codes or (any(codes) and not passed_on):
            return
        if stop.signal and not passed_on:
            passed_on = True
            for child in children:
                child.send_signal(stop.signal)
        time.sleep(POLL_EVERY)


def _end(children: list[subprocess.Popen[bytes]]) -> list[int]:
    """Wait `GRACE` seconds for all to exit, then kill the rest; return the ranks that something else killed."""
    deadline = time.monotonic() + GRACE
    killed = []
    for rank, child in enumerate(children):
        try:
            if child.wait(max(0.0, deadline - time.monotonic())) < 0:
                killed.append(rank)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    return killed
