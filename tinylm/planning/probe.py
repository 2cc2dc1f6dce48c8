"""The speed of training on this machine, measured: some steps on random tokens, as the run would make them."""

import time
from dataclasses import dataclass

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


def probe(run: Workload, hardware: Hardware, compiled: bool, processes: int = 1) -> Speed:
    """Measure training steps of one process; of several, each has its share, and their exchange is not measured."""
    seconds, steps = time_steps(run, hardware, compiled, processes)
    how = f"measured here: {steps} {'compiled ' if compiled else ''}steps in {hardware.precision}"
    if processes > 1:
        how += f" of 1 of {processes} processes, their exchange of gradients left out"
    return Speed(steps * run.tokens_per_step / seconds, how)


def time_steps(run: Workload, hardware: Hardware, compiled: bool, processes: int = 1) -> tuple[float, int]:
    """Return the seconds that some steps took, and their number."""
    changes = {"batch_size": run.train.batch_size // processes, "steps": MOST_STEPS + 1, "epochs": None}
    p = run.train.model_copy(update={**changes, "warmup_steps": 0, "val_stories": 1})
    deterministic = torch.are_deterministic_algorithms_enabled()
    if p.deterministic:
        make_deterministic(hardware.device)
    try:
        store = random_store(max(TOKENS, 4 * run.model.context), run.vocab_size)
        model = Transformer(run.model, run.vocab_size, hardware.dtype)
        model.initialize(torch.Generator().manual_seed(p.seed))
        trainer = Trainer(model.to(hardware.device).train(), p, store, hardware, compiled=compiled)
        trainer.train_step(0)[0].item()
        started, steps = time.perf_counter(), 0
        while steps < FEWEST_STEPS or (time.perf_counter() - started < SECONDS and steps < MOST_STEPS):
            steps += 1
            loss, _ = trainer.train_step(steps)
            loss.item()  # waits for a GPU
        return time.perf_counter() - started, steps
    finally:
        torch.use_deterministic_algorithms(deterministic)
