"""Starts the processes of a run on this machine, and ends them together."""

import os
import signal
import socket
import subprocess
import sys
import time

from tinylm.errors import StoppedError, UserError
from tinylm.stopping import StopRequest, listening

POLL_EVERY = 0.1  # seconds
GRACE = 10.0  # seconds for the other processes to end by themselves when one has failed


def launch(module: str, processes: int) -> None:
    """Run `python -m module` in `processes` processes that find each other; return when all are done.

    Raises UserError where one died, StoppedError where a signal came (which all receive), and exits
    as rank 0 did where that ended with a message of its own.
    """
    with listening() as stop:
        children = [_start(module, rank, processes, port) for port in [_free_port()] for rank in range(processes)]
        try:
            failed = _watch(children, stop)
        finally:
            _end(children)
    codes = [child.returncode for child in children]
    if stop.signal:
        raise StoppedError("all processes have stopped", stop.signal)
    if failed is None:
        return
    if codes[0] == 1 or (failed == 0 and codes[0] > 0):
        sys.exit(codes[0])  # rank 0 has said why
    how = f"was killed by {signal.Signals(-codes[failed]).name}" if codes[failed] < 0 else f"failed ({codes[failed]})"
    raise UserError(
        f"process {failed + 1} of {processes} {how}; the others were ended: "
        "run the same command again, which goes on from the last saved state"
    )


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


def _watch(children: list[subprocess.Popen[bytes]], stop: StopRequest) -> int | None:
    """Wait for all to end well (None) or for the first that does not (its rank); pass a signal on."""
    passed_on = False
    while True:
        codes = [child.poll() for child in children]
        if not any(code is None for code in codes) and not any(codes):
            return None
        if stop.signal and not passed_on:
            passed_on = True
            for child in children:
                child.send_signal(stop.signal)
        for rank, code in enumerate(codes):
            if code and not passed_on:
                return rank
        if passed_on and None not in codes:
            return None
        time.sleep(POLL_EVERY)


def _end(children: list[subprocess.Popen[bytes]]) -> None:
    """Give those that still run a moment to end, and kill them after it."""
    deadline = time.monotonic() + GRACE
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
