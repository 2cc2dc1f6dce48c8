"""How the processes hold the model: each the whole of it (DDP), or each a shard of every weight (FSDP).

FSDP: Zhao et al. 2023, arXiv:2304.11277, in its second version in torch (`torch.distributed.fsdp.fully_shard`).
"""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch

from tinylm.base.errors import UserError
from tinylm.base.runtime import RuntimeParams
from tinylm.compute.device import Hardware
from tinylm.compute.distributed import World, local_processes
from tinylm.compute.memory import free_bytes, gigabytes
from tinylm.model.params import ModelParams
from tinylm.train.params import TrainParams
from tinylm.train.setup.memory import StepMemory, layout_memory

log = logging.getLogger("tinylm")


@dataclass(frozen=True)
class Layout:
    """How a run holds the model and its activations in memory; it changes results only within rounding."""

    sharded: bool = False  # each process holds a part of every weight, its gradient and its optimizer state
    checkpointing: bool = False  # blocks are computed again in the backward pass (activation checkpointing)


def resolve_layout(
    model: ModelParams, vocab_size: int, p: TrainParams, runtime: RuntimeParams, hardware: Hardware, world: World
) -> Layout:
    """Choose the layout of a run by the free memory of its devices, the same in all processes; raises as `choose`."""
    sequences = p.micro_batch_size or world.share(p.batch_size)
    free = free_for_process(hardware.device, local_processes())

    def fits(layout: Layout) -> bool:
        needed = memory_of_layout(layout, model, vocab_size, hardware, sequences, world.size).total
        lacking = torch.tensor(int(free is not None and needed > free))
        return int(world.sum(lacking)) == 0  # in every process

    layout = choose(runtime, hardware, world.size, fits)
    _log_choice(layout, runtime, world, free)
    return layout


def choose(runtime: RuntimeParams, hardware: Hardware, processes: int, fits: Callable[[Layout], bool]) -> Layout:
    """Resolve `runtime.parallel` and `runtime.activation_checkpointing`.

    With `auto`, weights are sharded if a step does not fit into memory otherwise, and blocks are computed again if it
    still does not fit then. `fits` says whether a step with some layout does. `tinylm plan` calls this too. Raises
    UserError for `fsdp` where it does not work.
    """
    if runtime.parallel == "fsdp" and (reason := _cannot_shard(hardware)):
        raise UserError(f"runtime.parallel: fsdp {reason}; use auto or ddp")
    again = runtime.activation_checkpointing is True
    sharded = processes > 1 and runtime.parallel == "fsdp"
    if processes > 1 and runtime.parallel == "auto" and not _cannot_shard(hardware):
        sharded = not fits(Layout(False, again))
    if runtime.activation_checkpointing == "auto":
        again = not fits(Layout(sharded))
    return Layout(sharded, again)


def memory_of_layout(
    layout: Layout, model: ModelParams, vocab_size: int, hardware: Hardware, sequences: int, processes: int
) -> StepMemory:
    """Estimate the memory that each of the processes needs for a step with `sequences` in memory at once."""
    device = "cpu" if hardware.device.type == "cpu" else "meta"
    sharing = processes if layout.sharded else 1
    return layout_memory(model, vocab_size, hardware.dtype, device, sequences, sharing, layout.checkpointing)


def free_for_process(device: torch.device, processes: int) -> int | None:
    """Return the free memory for one of the processes of a machine [bytes], which share that of its CPUs."""
    free = free_bytes(device)
    return free if free is None or device.type == "cuda" else free // processes


def _cannot_shard(hardware: Hardware) -> str | None:
    """Return why weights cannot be sharded here, in words; None if they can."""
    if sys.platform == "win32":
        return "needs several processes, which do not train together on Windows"
    if hardware.device.type == "mps":
        return "needs NVIDIA or AMD GPUs or CPUs, and this run is on an Apple GPU"
    if hardware.precision == "fp16":
        return "needs train.precision bf16 or fp32, because a loss scaler would see only a part of each gradient"
    return None


def _log_choice(layout: Layout, runtime: RuntimeParams, world: World, free: int | None) -> None:
    left = "" if free is None else f" into the {gigabytes(free)} that are free"
    if layout.sharded:
        why = "" if runtime.parallel == "fsdp" else f": a step does not fit{left} otherwise"
        log.info("weights, gradients and optimizer states are sharded over %d processes%s", world.size, why)
    elif runtime.parallel == "fsdp":
        log.info("runtime.parallel: fsdp has no effect in one process, which holds the whole model")
    if layout.checkpointing:
        why = "" if runtime.activation_checkpointing is True else f": a step does not fit{left} otherwise"
        log.info("activations are computed again in the backward pass%s", why)
