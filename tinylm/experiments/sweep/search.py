"""Optuna's samplers, which draw the next trial, and pruners, which end bad ones early."""

from typing import TYPE_CHECKING, Any

import numpy as np

from tinylm.base.extras import require
from tinylm.experiments.sweep.plan import Plan
from tinylm.experiments.sweep.space import Choices, Space, Values, listed

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.trial import Trial

ATTEMPTS = 32  # at drawing settings that were not tried yet; the second half of them at random


def pruner(kind: str, startup: int) -> "BasePruner | None":
    """Return the pruner that decides which trials end early; None for no pruning.

    median: prunes a trial that is worse than the median of earlier trials at the same step. halving: keeps the
    best quarter of trials at each of a few steps, each four times as far as the last (Jamieson and Talwalkar 2016).
    """
    pruners = load_optuna().pruners
    if kind == "median":
        return pruners.MedianPruner(n_startup_trials=startup)
    if kind == "halving":
        return pruners.SuccessiveHalvingPruner()
    return None


def sampler(plan: Plan, number: int, attempt: int, startup: int) -> Any:
    """Return the sampler of a trial. Each trial has its own seed, so that a resumed sweep does not repeat its draws."""
    samplers = load_optuna().samplers
    seed = int(np.random.SeedSequence([plan.seed, number, attempt]).generate_state(1)[0])
    if plan.search == "guided" and attempt < ATTEMPTS // 2:
        return samplers.TPESampler(seed=seed, n_startup_trials=startup)
    return samplers.RandomSampler(seed=seed)


def suggest(trial: "Trial", space: Space, search: str) -> None:
    """Have Optuna draw a value for each parameter of the space."""
    for name, values in space.items():
        if search == "grid" or isinstance(values, Choices):
            trial.suggest_categorical(name, listed(values) or ())
        elif values.whole:
            trial.suggest_int(name, int(values.low), int(values.high), log=values.log)
        else:
            trial.suggest_float(name, values.low, values.high, log=values.log)


def typed(text: str, values: Values, search: str) -> str | int:
    """Convert a listed value to the type that Optuna holds it in."""
    return text if search == "grid" or isinstance(values, Choices) else int(text)


def load_optuna() -> Any:
    """Import Optuna. Raises UserError if it is not installed."""
    require("sweep", "tinylm sweep")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
