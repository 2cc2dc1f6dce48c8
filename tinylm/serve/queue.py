"""The queue where stories are written one after the other, and the queue before it.

Everything but `_write` runs in the event loop's thread, so that nothing needs a lock; `_write` runs in the one
thread that has the model. What a client is told of its story are events: dictionaries, as they are sent.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tinylm.sampling.writer import Writing

log = logging.getLogger("tinylm")

MOST_WAITING = 8  # stories that wait while one is written; more are refused
FINAL = ("done", "failed")  # events after which none comes
Event = dict[str, Any]


class BusyError(Exception):
    """Another story cannot be taken; says why."""


class Job:
    """A story of one client."""

    def __init__(self, writing: Writing):
        self.writing = writing
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.abandoned = threading.Event()  # nobody reads it any more

    def tell(self, event: str, **values: Any) -> None:
        self.events.put_nowait({"event": event, **values})


class RequestQueue:
    """Use as a context manager within a running event loop; at its exit all stories end."""

    def __init__(self, most_waiting: int = MOST_WAITING):
        self.most_waiting = most_waiting
        self._waiting: list[Job] = []
        self._current: Job | None = None
        self._closed = False
        self._thread = ThreadPoolExecutor(1, "writer")
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> "RequestQueue":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        await asyncio.to_thread(self._thread.shutdown)

    def close(self) -> None:
        """End all stories, of which each client is told."""
        self._closed = True
        for job in [*self._waiting, *([self._current] if self._current else [])]:
            job.abandoned.set()
            job.tell("failed", error="the server is ending")
        self._waiting.clear()

    @contextlib.asynccontextmanager
    async def told(self, writing: Writing) -> AsyncIterator[AsyncIterator[Event]]:
        """Have a story written; gives what is told of it, as it happens. Leaving the block abandons the story.

        Raises BusyError where too many wait.
        """
        if self._closed:
            raise BusyError("the server is ending")
        if self._current is not None and len(self._waiting) >= self.most_waiting:
            raise BusyError(f"one story is being written, and {self.most_waiting} wait")
        job = Job(writing)
        self._waiting.append(job)
        if self._current is None:
            self._next()
        else:
            job.tell("waiting", before=len(self._waiting))
        try:
            yield _until_final(job.events)
        finally:
            job.abandoned.set()
            if job in self._waiting:
                self._waiting.remove(job)
                self._tell_places()

    def _next(self) -> None:
        """Begin the story that has waited longest."""
        self._current = self._waiting.pop(0) if self._waiting else None
        if self._current is not None:
            self._current.tell("begun", prompt=self._current.writing.prompt, seed=self._current.writing.seed)
            done = self._loop.run_in_executor(self._thread, self._write, self._current)
            done.add_done_callback(lambda _: self._next())
            self._tell_places()

    def _tell_places(self) -> None:
        for before, job in enumerate(self._waiting, start=1):
            job.tell("waiting", before=before)

    def _write(self, job: Job) -> None:
        """In the model's thread. An error ends this story and no other."""
        writing = job.writing

        def tell(event: str, **values: Any) -> None:
            self._loop.call_soon_threadsafe(lambda: job.tell(event, **values))

        try:
            for piece in writing:
                if job.abandoned.is_set():
                    return
                tell("text", text=piece)
        except Exception:
            log.exception("a story failed")
            tell("failed", error="the model failed; the server's log has the reason")
        else:
            rate = round(writing.tokens_per_second, 1)
            tell("done", ended=writing.ended, tokens=writing.tokens, tokens_per_second=rate)


async def _until_final(events: asyncio.Queue[Event]) -> AsyncIterator[Event]:
    while True:
        event = await events.get()
        yield event
        if event["event"] in FINAL:
            return
