"""Start the processes of a run on this machine, and end them together."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from tinylm.base.errors import StoppedError, UserError
from tinylm.compute.signals import StopRequest, listening

POLL_EVERY = 0.1  # seconds
GRACE = 10.0  # seconds the other processes have to exit after one has failed


def launch(module: str, processes: int) -> None:
    """Run `python -m module` in `processes` connected processes; return when all have succeeded.

    Raises UserError if one was killed and StoppedError after a signal, which is passed on to all. Exits with the exit
    code of the first process that failed with a message of its own.
    """
    port = free_port()
    codes = supervise(lambda: [_start(module, rank, processes, port) for rank in range(processes)])
    for rank, code in enumerate(codes):
        if code and code < 0:
            raise killed(f"process {rank + 1} of {processes}", code)
    if code := next(filter(None, codes), 0):
        sys.exit(code)  # that process has printed the error


def killed(who: str, code: int) -> UserError:
    """The error for a process that a signal has ended; `code` is its negative number."""
    return UserError(
        f"{who} was killed by {signal.Signals(-code).name}; the others were stopped; "
        "run the same command again to resume from the last resume checkpoint"
    )


def supervise(
    start: Callable[[], Sequence[subprocess.Popen[bytes]]], given_up: Callable[[], bool] = lambda: False
) -> list[int | None]:
    """Wait until all started processes have succeeded, or end them if one failed or `given_up` is true.

    Returns their exit codes: None for those that this function had to kill, and -N for those that something else
    killed with signal N. A signal is passed on to all; when they have exited, StoppedError is raised.
    """
    with listening() as stop:
        children = start()
        try:
            _watch(children, stop, given_up)
        finally:
            codes = _end(children)
    if stop.signal:
        raise StoppedError("all processes have stopped", stop.signal)
    return codes


def free_port() -> int:
    """A TCP port that is free on this machine's loopback interface."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _start(module: str, rank: int, processes: int, port: int) -> subprocess.Popen[bytes]:
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return start_process([sys.executable, "-m", module], ranks | address)


def start_process(command: Sequence[str], environment: Mapping[str, object]) -> subprocess.Popen[bytes]:
    """Start a process in its own session, so that it receives Ctrl-C only once: from this process, not the terminal."""
    variables = os.environ | {name: str(value) for name, value in environment.items()}
    return subprocess.Popen(command, env=variables, start_new_session=True)


def _watch(children: Sequence[subprocess.Popen[bytes]], stop: StopRequest, given_up: Callable[[], bool]) -> None:
    """Wait until all processes succeed or one fails; after a signal, pass it on and wait for all to exit."""
    passed_on = False
    while True:
        codes = [child.poll() for child in children]
        if None not in codes or ((any(codes) or given_up()) and not passed_on):
            return
        if stop.signal and not passed_on:
            passed_on = True
            for child in children:
                child.send_signal(stop.signal)
        time.sleep(POLL_EVERY)


def _end(children: Sequence[subprocess.Popen[bytes]]) -> list[int | None]:
    """Wait `GRACE` seconds for all to exit, then kill the rest; return the exit codes, None for those killed here."""
    deadline = time.monotonic() + GRACE
    codes: list[int | None] = []
    for child in children:
        try:
            codes.append(child.wait(max(0.0, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            codes.append(None)
    return codes
