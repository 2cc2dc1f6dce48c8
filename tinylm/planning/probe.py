"""The speed of training on this machine, measured: some steps on random tokens, as the run would make them."""

import time
from dataclasses import dataclass
from statistics import median

import torch

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


def probe(run: Workload, hardware: Hardware, compiled: bool, processes: int = 1, checkpointing: bool = False) -> Speed:
    """Measure training steps of one process; of several, each has its share, and their exchange is not measured."""
    seconds, steps = time_steps(run, hardware, compiled, processes, checkpointing)
    how = f"measured here: {steps} {'compiled ' if compiled else ''}steps in {hardware.precision}"
    if processes > 1:
        how += f" of 1 of {processes} processes"
    return Speed(steps * run.tokens_per_step / seconds, how)


def time_steps(
    run: Workload, hardware: Hardware, compiled: bool, processes: int = 1, checkpointing: bool = False
) -> tuple[float, int]:
    """Return the seconds that some steps took, each counted as the median one, and their number.

    Their rates are those of the run's first steps. At full rates the random tokens would make the weights so large that
    probabilities are denormal numbers, with which some processors are forty times as slow.
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
        times: list[float] = []
        while len(times) < FEWEST_STEPS or (sum(times) < SECONDS and len(times) < MOST_STEPS):
            started = time.perf_counter()
            loss, _ = trainer.train_step(1 + len(times))
            loss.item()  # waits for a GPU
            times.append(time.perf_counter() - started)
        return median(times) * len(times), len(times)
    finally:
        torch.use_deterministic_algorithms(deterministic)
