"""Run the story server in a thread of the test's own process, on a free loopback port."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tinylm.sampling import streaming
from tinylm.sampling.streaming import StoryStream, TextGenerator
from tinylm.serve import queue
from tinylm.serve.description import describe
from tinylm.serve.queue import MOST_WAITING, Job
from tinylm.serve.server import serve

DEFAULTS = {"temperature": 1.0, "top_k": None, "top_p": 0.9, "max_tokens": 60, "seed": None}


@contextlib.contextmanager
def serving(generator: TextGenerator, most_waiting: int = MOST_WAITING) -> Iterator[str]:
    """Run a server; yield its address, such as http://127.0.0.1:40001."""
    listening = socket.create_server(("127.0.0.1", 0))
    ready, stop, loops = threading.Event(), asyncio.Event(), []

    def note_ready() -> None:
        loops.append(asyncio.get_running_loop())
        ready.set()

    description = describe(generator, "a/model", DEFAULTS)
    thread = threading.Thread(
        target=lambda: asyncio.run(serve(generator, description, listening, note_ready, most_waiting, stop))
    )
    thread.start()
    assert ready.wait(10)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(10)
        listening.close()
        assert not thread.is_alive()


class Gate:
    """Blocks a server's model before each token, until the gate is opened or lets some tokens through."""

    def __init__(self) -> None:
        self._tokens, self._is_open, self.drawn = threading.Semaphore(0), False, 0
        self._stream = streaming.stream
        self.jobs: list[Job] = []  # jobs that the server accepted, in order

    def stream(self, *arguments: Any) -> Iterator[int]:
        for token in self._stream(*arguments):
            if threading.current_thread() is not threading.main_thread():  # the test's own thread
                if not self._is_open:
                    self._tokens.acquire()
                self.drawn += 1
            yield token

    def let_through(self, tokens: int) -> None:
        self._tokens.release(tokens)

    def open(self) -> None:
        self._is_open = True
        self._tokens.release()


@contextlib.contextmanager
def gated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Put a gate before the model; open it at the end, otherwise the thread of a failed test would wait forever."""
    gate = Gate()

    class NotedJob(Job):
        def __init__(self, stream: StoryStream):
            super().__init__(stream)
            gate.jobs.append(self)

    monkeypatch.setattr(streaming, "stream", gate.stream)
    monkeypatch.setattr(queue, "Job", NotedJob)
    try:
        yield gate
    finally:
        gate.open()
