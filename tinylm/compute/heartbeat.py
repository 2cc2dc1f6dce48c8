"""Notice a machine that is lost without a word, because its power failed or its link was cut.

A process that ends closes its connections, and the others notice at once. A lost machine closes nothing: they would
wait in the next collective until its timeout, which is minutes. So every process counts up a number of its machine in
the store of the process group, and ends the process if the number of another machine stands still.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from torch import distributed as dist

from tinylm.base.errors import LostProcessError
from tinylm.compute.launching.notes import Note, leave

BEAT_EVERY = 2.0  # seconds
LOST_AFTER = 20.0  # seconds without a beat


class Heartbeat:
    """The beats of the machines called `hosts`, of which this process's own is number `own`; `store` is a TCPStore."""

    def __init__(self, store: Any, hosts: Sequence[str], own: int):
        self._store, self._hosts, self._own = store, hosts, own
        self._keys = [f"tinylm/heartbeat/{number}" for number in range(len(hosts))]
        for key in self._keys:
            store.add(key, 0)  # so that all exist
        self._beats: list[bytes] = store.multi_get(self._keys)
        self._moved = [time.monotonic()] * len(hosts)  # when each number last changed

    def beat(self) -> None:
        """Count up the own number and read all. Blocks where the store cannot be reached."""
        self._store.add(self._keys[self._own], 1)
        beats = self._store.multi_get(self._keys)
        for number, (before, now) in enumerate(zip(self._beats, beats, strict=True)):
            if now != before:
                self._moved[number] = time.monotonic()
        self._beats = beats

    def lost(self) -> list[str]:
        """The other machines whose numbers have stood still for `LOST_AFTER` seconds.

        These are all others if the machine of the store cannot be reached.
        """
        late = time.monotonic() - LOST_AFTER
        return [
            host
            for number, (host, moved) in enumerate(zip(self._hosts, self._moved, strict=True))
            if number != self._own and moved < late
        ]


@contextlib.contextmanager
def watching(hosts: Sequence[str], own: int) -> Iterator[None]:
    """In this block, end the process with an error line if a machine is lost; `hosts` and `own` as in Heartbeat.

    The line is printed by one process of each machine. Nothing is saved: a resume checkpoint that is being written
    stays a temporary file.
    """
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=False)  # type: ignore[attr-defined] # not in torch's __all__
    heartbeat = Heartbeat(store, hosts, own)
    ended = threading.Event()

    def beat() -> None:
        with contextlib.suppress(RuntimeError):  # the store is gone, which `watch` reports, or the main thread
            while not ended.wait(BEAT_EVERY):
                heartbeat.beat()

    def watch() -> None:
        while not ended.wait(1.0):
            if lost := heartbeat.lost():
                _end(lost)

    # Two threads, since a beat over a cut link does not return.
    for work in (beat, watch):
        threading.Thread(target=work, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _end(lost: Sequence[str]) -> None:
    """End this process: its main thread is blocked in a collective, and cannot raise an error."""
    if leave(Note.LOST):
        print(
            f"error: no answer from {', '.join(lost)} for {LOST_AFTER:.0f} s; "
            "the run goes on from its last resume checkpoint once all machines are there",
            file=sys.stderr,
            flush=True,
        )
    os._exit(LostProcessError.exit_code)
