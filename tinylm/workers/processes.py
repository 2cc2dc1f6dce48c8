"""Workers that are processes of this machine."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from tinylm.base.errors import UserError

if sys.platform == "win32":
    from multiprocessing.connection import PipeConnection as Connection
else:
    from multiprocessing.connection import Connection

Item = TypeVar("Item")
Result = TypeVar("Result")
ITEMS_AHEAD = 2  # per worker, so that none waits for the result that is needed next


class LocalWorkers:
    """Up to `count` processes; this process alone if `count` is 1 or there is one item."""

    def __init__(self, count: int = 1):
        self.count = count

    def map(
        self, make_work: Callable[[], Callable[[Item], Result]], items: Sequence[Item], most: int | None = None
    ) -> Generator[Result, None, None]:
        """See `Workers`."""
        count = min(self.count, len(items) if most is None else most)
        if count > 1:
            yield from _map_in_processes(make_work, items, count)
        else:
            yield from map(make_work(), items)


def _map_in_processes(
    make_work: Callable[[], Callable[[Item], Result]], items: Sequence[Item], count: int
) -> Generator[Result, None, None]:
    """Yield all results in order, from `count` processes.

    The processes are spawned, since the libraries' threads do not survive a fork. They exit when `alive` is closed:
    below, or by the kernel if this process is killed.
    """
    context = multiprocessing.get_context("spawn")
    lifeline, alive = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(count, context, _start_worker, (make_work, lifeline))
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(_work, item))
            if len(pending) > ITEMS_AHEAD * count:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool:
        alive.close()  # a pool that breaks while starting a process would wait for it forever
        raise UserError(
            "a worker process died (killed, or out of memory?); nothing was written; "
            "run the same command again, with fewer runtime.workers if it happens again"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
        alive.close()
        lifeline.close()


_worker_function: Callable[[Any], Any]  # set in worker processes only


def _start_worker(make_work: Callable[[], Callable[[Any], Any]], lifeline: Connection) -> None:
    global _worker_function  # noqa: PLW0603 - a pool initializer has nowhere else to store it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one stops the workers
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes already run in parallel
    _worker_function = make_work()


def _end_with(lifeline: Connection) -> None:
    """Exit when the parent does. Workers hold both ends of the pool's pipes, so they would never notice otherwise."""
    lifeline.poll(None)  # nothing is ever sent; returns when the other end closes
    os._exit(1)


def _work(item: Any) -> Any:
    return _worker_function(item)
