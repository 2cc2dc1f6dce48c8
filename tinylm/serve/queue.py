"""The request queue: stories are generated one after the other, in the order of their requests.

Everything but `_write` runs in the event loop's thread, so nothing needs a lock; `_write` runs in the single thread
that uses the model. Clients receive the progress of their story as events: dictionaries, as they are sent.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tinylm.sampling.streaming import StoryStream

log = logging.getLogger("tinylm")

MOST_WAITING = 8  # stories that wait while one is generated; more are refused
FINAL = ("done", "failed")  # the last event of a story is one of these
Event = dict[str, Any]


class BusyError(Exception):
    """The queue takes no more stories; the message says why."""


class Job:
    """The request of one client for a story."""

    def __init__(self, stream: StoryStream):
        self.stream = stream
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.abandoned = threading.Event()  # set when nobody reads the story any more

    def send(self, event: str, **values: Any) -> None:
        """Send an event to the client."""
        self.events.put_nowait({"event": event, **values})


class RequestQueue:
    """An async context manager, to use in a running event loop; when it exits, all stories end."""

    def __init__(self, most_waiting: int = MOST_WAITING):
        self.most_waiting = most_waiting
        self._waiting: list[Job] = []
        self._current: Job | None = None
        self._closed = False
        self._thread = ThreadPoolExecutor(1, "generator")
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> "RequestQueue":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        await asyncio.to_thread(self._thread.shutdown)

    def close(self) -> None:
        """End all stories and notify their clients."""
        self._closed = True
        for job in [*self._waiting, *([self._current] if self._current else [])]:
            job.abandoned.set()
            job.send("failed", error="the server is shutting down")
        self._waiting.clear()

    @contextlib.asynccontextmanager
    async def submit(self, stream: StoryStream) -> AsyncIterator[AsyncIterator[Event]]:
        """Queue a story; yields its events as they happen. Leaving the block abandons the story.

        Raises BusyError if too many stories wait.
        """
        if self._closed:
            raise BusyError("the server is shutting down")
        if self._current is not None and len(self._waiting) >= self.most_waiting:
            raise BusyError(f"one story is being generated, {self.most_waiting} waiting")
        job = Job(stream)
        self._waiting.append(job)
        if self._current is None:
            self._next()
        else:
            job.send("waiting", before=len(self._waiting))
        try:
            yield _until_final(job.events)
        finally:
            job.abandoned.set()
            if job in self._waiting:
                self._waiting.remove(job)
                self._send_positions()

    def _next(self) -> None:
        """Start the story that has waited longest."""
        self._current = self._waiting.pop(0) if self._waiting else None
        if self._current is not None:
            self._current.send("begun", prompt=self._current.stream.prompt, seed=self._current.stream.seed)
            done = self._loop.run_in_executor(self._thread, self._write, self._current)
            done.add_done_callback(lambda _: self._next())
            self._send_positions()

    def _send_positions(self) -> None:
        for before, job in enumerate(self._waiting, start=1):
            job.send("waiting", before=before)

    def _write(self, job: Job) -> None:
        """Generate a story, in the model's thread. An error ends only this story."""
        stream = job.stream

        def send(event: str, **values: Any) -> None:
            self._loop.call_soon_threadsafe(lambda: job.send(event, **values))

        try:
            for piece in stream:
                if job.abandoned.is_set():
                    return
                send("text", text=piece)
        except Exception:
            log.exception("generating a story failed")
            send("failed", error="the model failed; see the server's log")
        else:
            rate = round(stream.tokens_per_second, 1)
            send("done", ended=stream.ended, tokens=stream.tokens, tokens_per_second=rate)


async def _until_final(events: asyncio.Queue[Event]) -> AsyncIterator[Event]:
    while True:
        event = await events.get()
        yield event
        if event["event"] in FINAL:
            return
