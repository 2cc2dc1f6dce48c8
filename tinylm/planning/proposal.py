"""Choose model, batch, steps and rates for a time and a device, around the recipe of a parameter file.

Of a ladder of shapes (shapes.py), the one whose law promises the fewest bits per byte for the tokens that it can be
trained on in the time. Without a law, the one that gets about 20 tokens per parameter (Hoffmann et al. 2022).

    batch    grows with the square root of the tokens, as the critical batch size does (Zhang et al. 2024,
             arXiv:2410.21676, found the exponent 0.47); a power of two
    rates    grow with the square root of the batch (Malladi et al. 2022, arXiv:2205.10643), and at most double, beyond
             which nothing was tried. They do not change with the width: Muon scales its updates by
             sqrt(max(1, rows / columns)), and AdamW trains only embeddings, head and norms, whose rate does not
             depend on the width for embeddings and vectors in muP (Yang et al. 2022, arXiv:2203.03466)
    warm-up  the same share of the steps, and at least the recipe's number of steps
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tinylm.base.errors import UserError
from tinylm.model.params import ModelParams
from tinylm.planning.estimate import VALIDATION_COST, largest_micro_batch
from tinylm.planning.law import KnownLaw
from tinylm.planning.random_tokens import TOKENS_PER_STORY
from tinylm.planning.shapes import shapes
from tinylm.planning.sizes import count_parameters
from tinylm.planning.targets import NamedTarget, Target
from tinylm.planning.workload import TINYSTORIES, WINDOWS_OVERLAP, Workload

TOKENS_PER_PARAMETER = 20  # Hoffmann et al. 2022: where more parameters and more tokens help equally
LARGEST_RATE_FACTOR = 2.0
FEWEST_STEPS = 100
VALIDATIONS, CHECKPOINTS, LOG_ROWS = 6, 4, 300  # in a run, about
WORSE = 3  # shapes in a row that are worse than the best end the search
ROUNDS = 3  # batch, speed and tokens depend on each other
STORIES_AT_ONCE = 10_000  # the number of stories is rounded up to a multiple


@dataclass(frozen=True)
class Proposal:
    """What was chosen, and what it changes in the parameter file."""

    run: Workload
    changes: dict[str, Any]  # by parameter, as in "train.steps"


def propose(base: Workload, source: str, seconds: float, target: Target, law: KnownLaw | None) -> Proposal:
    """Return the run for so many seconds of training on `target`, with the recipe of `base`.

    `source` is download.source. Raises UserError if the time or the memory is too little for the smallest model.
    """
    best, worst_since = None, 0
    for model in shapes(base.model):
        run = _fill(base, model, seconds, target)
        if run is None:
            break  # the larger ones take more memory
        if run.steps < FEWEST_STEPS:
            if best is None and model.width == next(shapes(base.model)).width:
                raise UserError(
                    f"--hours: too little on {target.name}, where the smallest model makes {run.steps} steps in "
                    f"{seconds:,.0f} seconds, expected at least {FEWEST_STEPS}; give more time"
                )
            break
        score = _score(run, law)
        if best is None or score < best[0]:
            best, worst_since = (score, run), 0
        elif (worst_since := worst_since + 1) == WORSE:
            break
    if best is None:
        raise UserError(f"{target.name}: not even the smallest model fits into its memory; use another --device")
    return Proposal(best[1], dict(_changes(base, best[1], source)))


def _score(run: Workload, law: KnownLaw | None) -> float:
    """Return what to minimize."""
    if law:
        return law.predict(run.size, run.tokens)
    return abs(math.log(run.tokens / (TOKENS_PER_PARAMETER * run.size.total)))


def _fill(base: Workload, model: ModelParams, seconds: float, target: Target) -> Workload | None:
    """Return the training of a model that takes so many seconds; None if it does not fit into memory."""
    run = replace(base, model=model, size=count_parameters(model, base.vocab_size))
    batch, tokens = base.train.batch_size, float(base.tokens)
    validations = (VALIDATIONS + 1) * VALIDATION_COST * WINDOWS_OVERLAP * TOKENS_PER_STORY
    for _ in range(ROUNDS):
        batch = _batch(base, tokens, target.devices)
        run = _with_steps(run, base, batch, max(1, int(tokens / (batch * model.context))))
        if isinstance(target, NamedTarget):  # the memory of a CPU is looked at once, for what is chosen
            run = fit_memory(run, target)
        tokens = max(1.0, seconds * target.rough_speed(run) - validations * (run.train.val_stories or 0))
    run = _with_steps(run, base, batch, max(1, int(tokens / (batch * model.context))))
    if not isinstance(target, NamedTarget):
        return run
    micro = largest_micro_batch(run, target)
    return None if micro is None else _with_micro_batch(run, target.devices, micro)


def _batch(base: Workload, tokens: float, devices: int) -> int:
    """Return the sequences of a step: the power of two for so many tokens, and a multiple of the devices."""
    wanted = base.train.batch_size * math.sqrt(tokens / base.tokens)
    each = max(1, 2 ** round(math.log2(wanted / devices)) if wanted > devices else 1)
    return each * devices


def _with_steps(run: Workload, base: Workload, batch: int, steps: int) -> Workload:
    """Return the run with another batch and number of steps, and what follows from them."""
    factor = min(LARGEST_RATE_FACTOR, math.sqrt(batch / base.train.batch_size))
    warmup = max(base.train.warmup_steps, round(steps * base.train.warmup_steps / base.steps))
    train = base.train.model_copy(
        update={
            "steps": steps,
            "epochs": None,
            "batch_size": batch,
            "micro_batch_size": None,
            "peak_lr": _rounded(base.train.peak_lr * factor),
            "muon_lr": _rounded(base.train.muon_lr * factor),
            "warmup_steps": min(warmup, steps),
            "val_every": -(-steps // VALIDATIONS),
            "checkpoint_every": -(-steps // CHECKPOINTS),
            "log_every": max(1, steps // LOG_ROWS),
        }
    )
    return replace(run, train=train, steps=steps)


def _with_micro_batch(run: Workload, devices: int, micro: int) -> Workload:
    whole = micro * devices == run.train.batch_size
    return replace(run, train=run.train.model_copy(update={"micro_batch_size": None if whole else micro}))


def fit_memory(run: Workload, target: Target) -> Workload:
    """Return the run with the largest micro-batch that fits; unchanged if none does, which `estimate` reports."""
    micro = largest_micro_batch(run, target)
    return _with_micro_batch(run, target.devices, micro) if micro else run


def _rounded(rate: float) -> float:
    """Return a rate with two significant digits."""
    return float(f"{rate:.2g}")


def _changes(base: Workload, run: Workload, source: str) -> Iterator[tuple[str, Any]]:
    """Yield the parameters that the proposal sets: those that differ from the recipe, and the text that it needs."""
    if source == "tinystories":
        stories = STORIES_AT_ONCE * math.ceil(run.tokens / TOKENS_PER_STORY / STORIES_AT_ONCE)
        yield "download.max_stories", stories if stories < TINYSTORIES else None
    for section, before, after in (("model", base.model, run.model), ("train", base.train, run.train)):
        was = before.model_dump()
        for key, value in after.model_dump().items():
            if value != was[key]:
                yield f"{section}.{key}", value
