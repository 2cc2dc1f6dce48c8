"""Workers that are the CPUs of a Ray cluster. Tried with Ray 2.60.

Ray does the work of a lost process or node again, elsewhere. All nodes need the repository at the same path, on a
shared file system: tasks read and write its files.
"""

import contextlib
import logging
import os
import platform
import re
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tinylm.base.errors import UserError, one_line
from tinylm.base.extras import require

Item = TypeVar("Item")
Result = TypeVar("Result")
TASKS_AHEAD = 2  # per CPU, so that none waits for the result that is needed next
PATIENCE = 10  # for the cluster to answer [seconds]
RETRIES = 3  # of a task whose process or node was lost
REMEDY = "start one with `ray start --head`, and join the other machines with `ray start --address=...`"


class RayWorkers:
    """Up to `count` CPUs of the cluster to which this machine belongs, or of that at $RAY_ADDRESS; None: all."""

    def __init__(self, count: int | None = None):
        require("ray", "runtime.engine: ray")
        self.count = count

    def map(
        self, make_work: Callable[[], Callable[[Item], Result]], items: Sequence[Item], most: int | None = None
    ) -> Generator[Result, None, None]:
        """See `Workers`; raises UserError if there is no cluster, or a task was lost several times."""
        ray = _connect()
        cpus = int(ray.cluster_resources().get("CPU", 0))
        count = max(1, min(self.count or cpus, len(items) if most is None else most))
        ahead = count if count < cpus else count * (1 + TASKS_AHEAD)
        task = ray.remote(_work).options(num_cpus=1, max_retries=RETRIES)
        pending: deque[Any] = deque()
        with _marked_folder() as mark:
            made = ray.put((make_work, mark))
            try:
                for item in items:
                    if len(pending) >= ahead:
                        yield _result(pending.popleft())
                    pending.append(task.remote(made.hex(), made, item))
                while pending:
                    yield _result(pending.popleft())
            finally:
                for reference in pending:
                    ray.cancel(reference, force=True)


def _connect() -> Any:
    """Connect to the cluster and return the module `ray`."""
    import ray

    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS", "")
        path = os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH"))))
        variables = {"PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
        try:
            if re.fullmatch(r"[^/]+:\d+", address):  # Ray itself would try for minutes
                host, _, port = address.rpartition(":")
                socket.create_connection((host, int(port)), timeout=PATIENCE).close()
            ray.init(address or "auto", runtime_env={"env_vars": variables}, logging_level=logging.WARNING)
        except (OSError, RuntimeError, ValueError) as error:
            where = f"at RAY_ADDRESS={address}" if address else "on this machine"
            raise UserError(
                f"runtime.engine: ray: expected a Ray cluster {where}, got none ({one_line(str(error))}); {REMEDY}"
            ) from None
    return ray


@contextlib.contextmanager
def _marked_folder() -> Iterator[Path]:
    """Yield a file in the working folder by which a node knows that it sees the same folder."""
    with tempfile.NamedTemporaryFile(prefix=".workers-", suffix=".tmp", dir=Path.cwd()) as file:
        yield Path(file.name)


def _result(reference: Any) -> Any:
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from None
    except RayError as error:
        raise UserError(
            f"Ray lost the same work {RETRIES + 1} times ({one_line(str(error))}); "
            "see whether its nodes have enough memory, and run the same command again"
        ) from None


_made: tuple[str, Callable[[Any], Any]] = ("", print)  # in a process of Ray: the work at hand


def _work(key: str, made: tuple[Callable[[], Callable[[Any], Any]], Path], item: Any) -> Any:
    """Do the work on an item, in a process of Ray."""
    global _made  # noqa: PLW0603 - the function of a task has nowhere else to keep what is made once
    make_work, mark = made
    if _made[0] != key:
        if not mark.exists():
            raise UserError(
                f"{platform.node()}: does not see {mark.parent} as the machine that started the stage does; "
                "with runtime.engine: ray, put the repository on a file system that all nodes share, at the same path"
            )
        os.chdir(mark.parent)
        _made = (key, make_work())
    return _made[1](item)
