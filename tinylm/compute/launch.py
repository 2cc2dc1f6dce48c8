"""Starts the processes of a run on this machine, and ends them together."""

import os
import signal
import socket
import subprocess
import sys
import time

from tinylm.base.errors import StoppedError, UserError
from tinylm.compute.signals import StopRequest, listening

POLL_EVERY = 0.1  # seconds
GRACE = 10.0  # seconds for the other processes to end by themselves when one has failed


def launch(module: str, processes: int) -> None:
    """Run `python -m module` in `processes` processes that find each other; return when all are done.

    Raises UserError where one was killed, StoppedError where a signal came (which all receive), and
    exits as the first did that ended with a message of its own.
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
            f"process {rank + 1} of {processes} was killed by {how}; the others were ended: "
            "run the same command again, which goes on from the last saved state"
        )
    if code := next((child.returncode for child in children if child.returncode), 0):
        sys.exit(code)  # the process has said why


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _start(module: str, rank: int, processes: int, port: int) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C at the terminal comes to it once: from here."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = os.environ | {name: str(value) for name, value in (place | meeting).items()}
    return subprocess.Popen([sys.executable, "-m", module], env=environment, start_new_session=True)


def _watch(children: list[subprocess.Popen[bytes]], stop: StopRequest) -> None:
    """Wait for all to end well, or for the first that does not; pass a signal on, and wait for all to obey it."""
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
    """Give those that still run a moment to end, and kill them after it; gives who was killed by somebody else."""
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
