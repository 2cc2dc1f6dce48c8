"""Stopping well: a signal ends the run after the step it is in, with its state saved."""

import contextlib
import ctypes
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PR_SET_PDEATHSIG = 1


class StopRequest:
    """The signal that came, if one came."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self:  # asked twice
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


@contextlib.contextmanager
def listening() -> Iterator[StopRequest]:
    """Within the block SIGINT (Ctrl-C) and SIGTERM are noted instead of obeyed; a second one is obeyed at once."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():  # signals come to the main thread alone
        yield request
        return
    before = {number: signal.signal(number, request._receive) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_with_parent() -> None:
    """Have the system send SIGTERM when the process that started this one ends (Linux).

    DVC does not end its stages when it is killed; a trainer left alone would hold the run's lock.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
