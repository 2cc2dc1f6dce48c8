"""One run in several processes: each has all weights and a part of every batch (data parallelism).

The processes are started by `torchrun`, or by the stage itself (launch.py); both tell each its rank
and how to find the others through the environment.
"""

import contextlib
import inspect
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from tinylm.base.errors import UserError

PATIENCE = timedelta(minutes=10)  # for another process; longer than a validation or a compilation takes
SECONDS_BETWEEN_EXCHANGES = 1.0
LONGEST_INTERVAL = 256  # steps, should they become slower all of a sudden
# The option of DistributedDataParallel, by the name it has had since torch 2.13, or before.
BROADCAST_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)
LOST = re.compile("connection|timed out|peer", re.IGNORECASE)  # in gloo's plain RuntimeErrors


@dataclass(frozen=True)
class World:
    """Where this process stands among those of the run. Rank 0 alone writes and speaks."""

    rank: int = 0
    size: int = 1
    control: dist.ProcessGroup | None = None  # for figures on the CPU, beside the devices' own group

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def share(self, batch_size: int) -> int:
        """Sequences of a batch for each process. Raises UserError where they cannot be equal."""
        if batch_size % self.size:
            raise UserError(
                f"train.batch_size: expected a multiple of the {self.size} processes (runtime.processes), "
                f"got {batch_size}"
            )
        return batch_size // self.size

    def wrap(self, module: nn.Module) -> nn.Module:
        """`module`, whose gradients become the mean over all processes in the backward pass.

        Its buffers are tables that never change: to send them around at each step would be for nothing.
        """
        if self.size == 1:
            return module
        options: dict[str, bool] = {"gradient_as_bucket_view": True, BROADCAST_BUFFERS: False}
        return DistributedDataParallel(module, **options)  # type: ignore[arg-type]

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes of a tensor on the CPU."""
        if self.size > 1:
            dist.all_reduce(values, group=self.control)
        return values

    def broadcast(self, number: int) -> int:
        """The number of rank 0."""
        values = torch.tensor(number if self.is_main else 0)
        return int(self.sum(values))


class Agreement:
    """Flags that any process may raise between two steps, and that all of them see after the same step.

    The processes ask each other about once a second: to do so after each step would make all wait for the
    slowest, a thousand times a second on a fast GPU. Rank 0 says after how many steps they ask again.
    """

    def __init__(self, world: World):
        self._world, self._steps, self._every = world, 0, 1
        self._asked_at = time.monotonic()

    def ask(self, *flags: bool) -> list[bool]:
        """Which flags are raised in any process; none between two exchanges. To be called after each step."""
        if self._world.size == 1:
            return list(flags)
        self._steps += 1
        if self._steps < self._every:
            return [False] * len(flags)
        every = self._next_interval() if self._world.is_main else 0
        *raised, self._every = self._world.sum(torch.tensor([*map(int, flags), every])).tolist()
        self._steps, self._asked_at = 0, time.monotonic()
        return [flag > 0 for flag in raised]

    def _next_interval(self) -> int:
        """Steps that take a second. At most doubled each time: a GPU's first steps only seem to take no time."""
        seconds = max(time.monotonic() - self._asked_at, 1e-6)
        return max(1, min(int(self._steps * SECONDS_BETWEEN_EXCHANGES / seconds), 2 * self._every, LONGEST_INTERVAL))


def started_by_launcher() -> bool:
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def local_rank() -> int:
    """Which of this machine's processes this one is: its GPU's number."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_processes() -> int:
    """How many processes of the run are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[World]:
    """Meet the other processes of the run, if there are any; wait for them at the end of the block.

    The connections end with the process (stage.py), since taking them down has been seen to hang.
    Raises UserError when another process is lost, from the meeting to the end.
    """
    if not started_by_launcher() or int(os.environ["WORLD_SIZE"]) == 1:
        yield World()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        if device.type == "cuda":  # bound to it, NCCL connects at once, and no process takes memory on another's GPU
            dist.init_process_group("nccl", timeout=PATIENCE, device_id=device)
        else:
            dist.init_process_group("gloo", timeout=PATIENCE)
        control = dist.new_group(backend="gloo", timeout=PATIENCE)
        yield World(dist.get_rank(), dist.get_world_size(), control)
        dist.barrier(control)  # or one would take its end of the connections away from another
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not LOST.search(str(error)):
            raise
        raise UserError(
            "another process of this run has ended or does not answer, and this one cannot go on alone: "
            "run the same command again, which goes on from the last saved state"
        ) from error
