"""Data-parallel training in several processes: each holds all weights and processes a part of every batch.

The processes are started by the stage itself (launching/) or by `torchrun`, which both pass the ranks and the address
where the processes meet in environment variables.
"""

import contextlib
import inspect
import os
import platform
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from tinylm.base.errors import LostProcessError, UserError
from tinylm.compute.heartbeat import watching
from tinylm.compute.launching.notes import Note, leave

LEADS = "TINYLM_LEADS"  # environment variable: 1 on the machine that writes the results
AGAIN = "TINYLM_AGAIN"  # environment variable: 1 if the run goes on by itself after a machine was lost
MACHINE = "TINYLM_MACHINE"  # environment variable: what messages call this machine
CHUNK = 64 << 20  # bytes that are sent at once
PATIENCE = timedelta(minutes=10)  # timeout for collectives; longer than a validation or a compilation takes
SECONDS_BETWEEN_EXCHANGES = 1.0
LONGEST_INTERVAL = 256  # steps; bounds the delay if steps suddenly become slower
# The option of DistributedDataParallel was renamed in torch 2.13.
BROADCAST_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)
LOST = re.compile("connection|timed out|peer", re.IGNORECASE)  # in gloo's errors, which are plain RuntimeErrors
T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The rank of this process among those of the run. Only the main process writes files and logs."""

    rank: int = 0
    size: int = 1
    control: dist.ProcessGroup | None = None  # gloo, for CPU tensors; gradients use the default group
    main: int = 0  # rank of the main process
    hosts: tuple[str, ...] = ("",)  # names of the machines of the run

    @property
    def is_main(self) -> bool:
        return self.rank == self.main

    def share(self, batch_size: int) -> int:
        """Return the number of sequences of a batch per process. Raises UserError if they do not divide evenly."""
        if batch_size % self.size:
            raise UserError(
                f"train.batch_size: expected a multiple of the {self.size} processes (runtime.processes), "
                f"got {batch_size}"
            )
        return batch_size // self.size

    def wrap(self, module: nn.Module) -> nn.Module:
        """Wrap `module` so that the backward pass averages its gradients over all processes.

        Its buffers are constant tables, so they are not broadcast at each step.
        """
        if self.size == 1:
            return module
        options: dict[str, bool] = {"gradient_as_bucket_view": True, BROADCAST_BUFFERS: False}
        return DistributedDataParallel(module, **options)  # type: ignore[arg-type]

    def sum(self, values: Tensor) -> Tensor:
        """Sum a CPU tensor over all processes, in place, and return it."""
        if self.size > 1:
            dist.all_reduce(values, group=self.control)
        return values

    def broadcast(self, number: int) -> int:
        """Return the number that the main process passes, in every process."""
        values = torch.tensor(number if self.is_main else 0)
        return int(self.sum(values))

    def gather(self, value: T) -> list[T]:
        """Return the values that all processes pass, by rank; they can be pickled."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value, group=self.control)
        return values

    def send(self, content: bytes | None, source: int) -> bytes:
        """Return the bytes, at least one, that the process of rank `source` passes, in every process.

        The other processes pass None.
        """
        size = self.gather(len(content or b""))[source]
        received = torch.frombuffer(bytearray(content or size), dtype=torch.uint8)
        for part in received.split(CHUNK):
            dist.broadcast(part, source, group=self.control)
        return received.numpy().tobytes()


class Agreement:
    """Flags that any process may raise between steps, and that all processes see after the same step.

    The processes exchange them about once a second. An exchange after every step would make all of them wait for the
    slowest, up to a thousand times a second on a fast GPU. The main process sets the number of steps until the next
    exchange.
    """

    def __init__(self, world: World):
        self._world, self._steps, self._every = world, 0, 1
        self._asked_at = time.monotonic()

    def ask(self, *flags: bool) -> list[bool]:
        """Return which flags any process has raised; all False between exchanges. Call it after every step."""
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
        """Return the number of steps that take about a second.

        It at most doubles each time: a GPU queues its first steps, so they only seem to take no time.
        """
        seconds = max(time.monotonic() - self._asked_at, 1e-6)
        return max(1, min(int(self._steps * SECONDS_BETWEEN_EXCHANGES / seconds), 2 * self._every, LONGEST_INTERVAL))


def started_by_launcher() -> bool:
    """Return whether a launcher started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def local_rank() -> int:
    """Return the rank of this process on this machine, which is also the index of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_processes() -> int:
    """Return the number of processes of the run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[World]:
    """Join the process group of the run, if it has several processes; wait for the others at the end of the block.

    The group is not destroyed, since that has been seen to hang: connections end with the process (base/stage.py).
    Raises LostProcessError if another process is lost at any time, including while joining. Where a whole machine is
    lost, the process may end at once instead (heartbeat.py).
    """
    if not started_by_launcher() or int(os.environ["WORLD_SIZE"]) == 1:
        yield World()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        if device.type == "cuda":  # device_id: NCCL connects eagerly, no process allocates on another's GPU
            dist.init_process_group("nccl", timeout=PATIENCE, device_id=device)
        else:
            dist.init_process_group("gloo", timeout=PATIENCE)
        control = dist.new_group(backend="gloo", timeout=PATIENCE)
        # One that finds a mistake and ends must not leave another half connected, which would report a lost process.
        dist.barrier(control)
        with _in_world(control) as world:
            yield world
            dist.barrier(control)  # no process may close its connections while another still uses them
            leave(Note.FINISHED, local_rank())
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not LOST.search(str(error)):
            raise
        leave(Note.LOST)
        raise LostProcessError(
            "another process of this run has ended or does not respond, and this one cannot continue alone; "
            "run the same command again to resume from the last resume checkpoint"
        ) from error


@contextlib.contextmanager
def _in_world(control: dist.ProcessGroup) -> Iterator[World]:
    """Find out which processes share a machine and which one is the main process; watch the other machines."""
    first = local_rank() == 0  # of this machine
    world = World(dist.get_rank(), dist.get_world_size(), control)
    processes = world.gather(
        (os.environ.get(MACHINE) or platform.node() if first else None, first and os.environ.get(LEADS) == "1")
    )
    leading = [rank for rank, (_, leads) in enumerate(processes) if leads]
    hosts = tuple(host for host, _ in processes if host is not None)
    world = replace(world, main=leading[0] if leading else 0, hosts=hosts)
    if len(hosts) == 1:
        yield world
        return
    own = sum(host is not None for host, _ in processes[: world.rank + 1]) - 1  # ranks of a machine are neighbours
    leave(Note.MET)
    with watching(hosts, own):
        yield world
