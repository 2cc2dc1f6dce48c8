"""Graceful stop: a signal ends the run after the current step, with a resume checkpoint saved."""

import contextlib
import ctypes
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
if sys.platform == "win32":
    SIGNALS += (signal.SIGBREAK,)  # Ctrl-Break, which another program can send, too
PR_SET_PDEATHSIG = 1


class StopRequest:
    """The signal received, if any; true once there is one."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self:  # the second signal
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


@contextlib.contextmanager
def listening() -> Iterator[StopRequest]:
    """In this block, record SIGINT (Ctrl-C) and SIGTERM instead of exiting; a second one raises KeyboardInterrupt.

    On Windows also SIGBREAK (Ctrl-Break).
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():  # only the main thread can handle signals
        yield request
        return
    before = {number: signal.signal(number, request._receive) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_with_parent() -> None:
    """Ask the kernel to send SIGTERM to this process when its parent exits (Linux only).

    DVC does not stop its stages when it is killed, and an orphaned trainer would keep the run's lock.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
