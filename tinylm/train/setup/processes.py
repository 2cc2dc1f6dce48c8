"""How many processes train together: as many as can share a batch equally and make training faster."""

import logging
import sys
from collections.abc import Iterator

import torch

from tinylm.base.errors import UserError
from tinylm.base.runtime import RuntimeParams
from tinylm.compute.device import resolve_device
from tinylm.model.params import ModelParams
from tinylm.model.transformer import Transformer, training_flop_per_token
from tinylm.train.params import TrainParams

# FLOP of a step per process: about 10 ms at the 50 TFLOP/s that small models reach on current GPUs. With less, kernel
# launches and the gradient all-reduce (40 MB for 10M parameters, about 4 ms over PCIe) cost as much time as is saved.
# This is an estimate; it was not measured on a machine with several GPUs.
SHARING_PAYS_FROM_FLOP = 5e11

log = logging.getLogger("tinylm")


def resolve_processes(model: ModelParams, p: TrainParams, runtime: RuntimeParams, vocab_size: int) -> int:
    """The number of processes: `runtime.processes`, or the choice of `share_gpus` where that is null.

    Raises UserError if `runtime.processes` exceeds the number of GPUs, or for several processes or machines on Windows.
    """
    if sys.platform == "win32":  # where torch has no NCCL, and no process can be interrupted by another one
        if (runtime.processes or 1) > 1:
            raise UserError(f"runtime.processes: expected 1 on Windows, got {runtime.processes}; use Linux, or WSL")
        if runtime.launcher != "none":
            raise UserError(f"runtime.launcher: expected none on Windows, got {runtime.launcher}; use Linux, or WSL")
        return 1
    if resolve_device(runtime.device) != "cuda":
        return runtime.processes or 1
    gpus = torch.cuda.device_count()
    if runtime.processes and runtime.processes > gpus:
        raise UserError(f"runtime.processes: expected at most {gpus}, one for each GPU, got {runtime.processes}")
    if runtime.processes or gpus <= 1:
        return runtime.processes or 1
    return share_gpus(gpus, p, step_flop(model, p, vocab_size))


def step_flop(model: ModelParams, p: TrainParams, vocab_size: int) -> float:
    """Floating-point operations of a training step."""
    with torch.device("meta"):
        parameters = Transformer(model, vocab_size).size().parameters
    return float(training_flop_per_token(model, parameters)) * model.context * p.batch_size


def share_gpus(gpus: int, p: TrainParams, flop: float) -> int:
    """The most processes, one per GPU, that can share a step of `flop` operations equally and profit from it."""
    equal = list(_equal_shares(gpus, p))
    processes = max(n for n in equal if n == 1 or flop / n >= SHARING_PAYS_FROM_FLOP)
    if processes < max(equal):
        why = f"a step of {flop / 1e9:,.0f} GFLOP is too small to benefit from more"
    else:
        of = "" if p.micro_batch_size is None else f" in micro-batches of {p.micro_batch_size}"
        why = f"more do not divide train.batch_size ({p.batch_size}){of}"
    if processes < gpus:
        log.info("on %d of %d GPUs: %s; set runtime.processes to change this", processes, gpus, why)
    return processes


def _equal_shares(gpus: int, p: TrainParams) -> Iterator[int]:
    """Numbers of processes whose shares of a batch are equal, and a multiple of the micro-batch."""
    for n in range(1, gpus + 1):
        if p.batch_size % n == 0 and (p.batch_size // n) % (p.micro_batch_size or 1) == 0:
            yield n
