"""The speed of training on this machine, measured: some steps on random tokens, as the run would make them."""

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from statistics import median

import torch
from torch.multiprocessing.spawn import ProcessExitedException, spawn

from tinylm.base.errors import UserError
from tinylm.compute.allocator import keep_freed_memory
from tinylm.compute.device import Hardware, make_deterministic
from tinylm.model.transformer import Transformer
from tinylm.planning.random_tokens import random_store
from tinylm.planning.workload import Workload
from tinylm.train.step import Trainer

TOKENS = 500_000  # of the text
FEWEST_STEPS, SECONDS = 4, 2.0  # timed steps, after one that compiles: at least so many, for so long
MOST_STEPS = 50


@dataclass(frozen=True)
class Speed:
    """How fast training is, and how that is known."""

    tokens_per_second: float
    source: str
    alone: float | None = None  # tokens/s of one of several devices with the whole batch; None: as for its share


def probe(
    run: Workload,
    hardware: Hardware,
    compiled: bool,
    processes: int = 1,
    checkpointing: bool = False,
    here: int = 1,
) -> Speed:
    """Measure training steps of one process; of several, each has its share, and their exchange is not measured.

    On a CPU, all that this machine has (`here`) measure at the same time, since they share its caches and memory, and
    the slowest sets the pace. Raises UserError if one of them dies.
    """
    time_share = partial(time_steps, run, hardware, compiled, processes, checkpointing)
    together = here if hardware.device.type == "cpu" else 1
    seconds, steps = time_share() if together == 1 else _slowest(time_share, hardware.threads, together)
    how = f"measured here: {steps} {'compiled ' if compiled else ''}steps in {hardware.precision}"
    if processes > 1:
        how += f" of {together} of {processes} processes{' at once' if together > 1 else ''}"
    return Speed(steps * run.tokens_per_step / seconds, how)


Timed = tuple[float, int]  # seconds, and the number of steps


def time_steps(
    run: Workload,
    hardware: Hardware,
    compiled: bool,
    processes: int = 1,
    checkpointing: bool = False,
    wait: Callable[[], object] = lambda: None,
) -> Timed:
    """Return the seconds that some steps took, each counted as the median one, and their number.

    Their rates are those of the run's first steps. At full rates the random tokens would make the weights so large that
    probabilities are denormal numbers, with which some processors are forty times as slow. `wait` is called before the
    timed steps.
    """
    changes = {"batch_size": run.train.batch_size // processes, "steps": MOST_STEPS + 1, "epochs": None}
    p = run.train.model_copy(update={**changes, "warmup_steps": MOST_STEPS, "val_stories": 1})
    deterministic = torch.are_deterministic_algorithms_enabled()
    if p.deterministic:
        make_deterministic(hardware.device)
    try:
        store = random_store(max(TOKENS, 4 * run.model.context), run.vocab_size)
        model = Transformer(run.model, run.vocab_size, hardware.dtype)
        model.initialize(torch.Generator().manual_seed(p.seed))
        model.checkpointing = checkpointing
        trainer = Trainer(model.to(hardware.device).train(), p, store, hardware, compiled=compiled)
        trainer.train_step(0)[0].item()
        wait()
        times: list[float] = []
        while len(times) < FEWEST_STEPS or (sum(times) < SECONDS and len(times) < MOST_STEPS):
            started = time.perf_counter()
            loss, _ = trainer.train_step(1 + len(times))
            loss.item()  # waits for a GPU
            times.append(time.perf_counter() - started)
        return median(times) * len(times), len(times)
    finally:
        torch.use_deterministic_algorithms(deterministic)


def _slowest(time_share: Callable[..., Timed], threads: int, together: int) -> Timed:
    """Call `time_share` in so many processes at the same time; return the result of the slowest."""
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(together), context.SimpleQueue()
    try:
        spawn(_time_with_others, (time_share, threads, start, results), together)  # if one fails, it ends the others
    except ProcessExitedException:
        raise UserError(
            f"one of {together} processes that measured the speed died (killed, or out of memory?); "
            "--no-probe models it instead"
        ) from None
    return max((results.get() for _ in range(together)), key=lambda timed: timed[0] / timed[1])


def _time_with_others(
    _: int, time_share: Callable[..., Timed], threads: int, start: Barrier, results: "SimpleQueue[Timed]"
) -> None:
    torch.set_num_threads(threads)
    keep_freed_memory()
    results.put(time_share(wait=start.wait))
