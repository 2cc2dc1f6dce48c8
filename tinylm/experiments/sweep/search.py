"""How Optuna draws what is tried next, and tells what is hopeless."""

from typing import TYPE_CHECKING, Any

import numpy as np

from tinylm.base.errors import UserError
from tinylm.experiments.sweep.plan import Plan
from tinylm.experiments.sweep.space import Choices, Space, Values, listed

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.trial import Trial

ATTEMPTS = 32  # to draw what was not tried yet; the second half of them at random


def pruner(kind: str, startup: int) -> "BasePruner | None":
    """What ends trials; None: nothing does.

    median: worse than half of those before at the same step. halving: not among the best quarter at each
    of a few steps, every one four times as far as the one before (Jamieson and Talwalkar 2016).
    """
    pruners = load_optuna().pruners
    if kind == "median":
        return pruners.MedianPruner(n_startup_trials=startup)
    if kind == "halving":
        return pruners.SuccessiveHalvingPruner()
    return None


def sampler(plan: Plan, number: int, attempt: int, startup: int) -> Any:
    """Made anew for each trial, since one that is kept would begin its draws again in a sweep that goes on."""
    samplers = load_optuna().samplers
    seed = int(np.random.SeedSequence([plan.seed, number, attempt]).generate_state(1)[0])
    if plan.search == "guided" and attempt < ATTEMPTS // 2:
        return samplers.TPESampler(seed=seed, n_startup_trials=startup)
    return samplers.RandomSampler(seed=seed)


def suggest(trial: "Trial", space: Space, search: str) -> None:
    for name, values in space.items():
        if search == "grid" or isinstance(values, Choices):
            trial.suggest_categorical(name, listed(values) or ())
        elif values.whole:
            trial.suggest_int(name, int(values.low), int(values.high), log=values.log)
        else:
            trial.suggest_float(name, values.low, values.high, log=values.log)


def typed(text: str, values: Values, search: str) -> str | int:
    """A listed value as Optuna knows it."""
    return text if search == "grid" or isinstance(values, Choices) else int(text)


def load_optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError(
            "sweeps take Optuna, which is not here; `.venv/bin/uv pip install optuna`, "
            "or queue a grid with DVC: dvc exp run --queue -S 'train.peak_lr=1e-3,3e-3'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
