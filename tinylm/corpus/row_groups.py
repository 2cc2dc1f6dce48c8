"""Work on the row groups of a corpus file in several processes, with the results in order."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from tinylm.base.errors import UserError

if sys.platform == "win32":
    from multiprocessing.connection import PipeConnection as Connection
else:
    from multiprocessing.connection import Connection

T = TypeVar("T")
ROW_GROUPS_PER_WORKER = 8  # at least; a second or two of work, while a process takes almost a second to start
GROUPS_AHEAD = 2  # per worker, so that none waits for the result that is needed next
MAX_WORKERS = 8  # the process that takes the results cannot keep up with more


def map_row_groups(
    row_groups: int, make_work: Callable[[], Callable[[int], T]], workers: int
) -> Generator[T, None, None]:
    """Yield the result of work on each row group, in order, from up to `workers` processes.

    `make_work` is called once in every process and returns the function of a row group's index. Uses this process alone
    if more would not be faster. Raises UserError for a worker that died, and what the work raises.
    """
    workers = min(workers, MAX_WORKERS, row_groups // ROW_GROUPS_PER_WORKER)
    if workers > 1:
        yield from _map_in_processes(row_groups, make_work, workers)
    else:
        yield from map(make_work(), range(row_groups))


def _map_in_processes(
    row_groups: int, make_work: Callable[[], Callable[[int], T]], workers: int
) -> Generator[T, None, None]:
    """Yield all results in order, from `workers` processes.

    The processes are spawned, since the libraries' threads do not survive a fork. They exit when `alive` is closed:
    below, or by the kernel if this process is killed.
    """
    context = multiprocessing.get_context("spawn")
    lifeline, alive = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, _start_worker, (make_work, lifeline))
    pending: deque[Future[T]] = deque()
    try:
        for index in range(row_groups):
            pending.append(pool.submit(_work, index))
            if len(pending) > GROUPS_AHEAD * workers:
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


_worker_function: Callable[[int], Any]  # set in worker processes only


def _start_worker(make_work: Callable[[], Callable[[int], Any]], lifeline: Connection) -> None:
    global _worker_function  # noqa: PLW0603 - a pool initializer has nowhere else to store it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one stops the workers
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes already run in parallel
    _worker_function = make_work()


def _end_with(lifeline: Connection) -> None:
    """Exit when the parent does. Workers hold both ends of the pool's pipes, so they would never notice otherwise."""
    lifeline.poll(None)  # nothing is ever sent; returns when the other end closes
    os._exit(1)


def _work(index: int) -> Any:
    return _worker_function(index)
