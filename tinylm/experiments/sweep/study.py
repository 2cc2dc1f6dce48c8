"""The trials of a sweep, stored in an Optuna database, and the choice of the next one.

A trial is identified by its number. Its settings are a function of the sweep's seed, its number and, in
a guided search, of the earlier trials: a sweep that was killed continues as if it had not been.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinylm.base.errors import UserError
from tinylm.experiments.sweep.plan import Plan
from tinylm.experiments.sweep.search import ATTEMPTS, load_optuna, sampler, suggest, typed
from tinylm.experiments.sweep.space import Space, grid, written

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial, Trial

FOLDER = Path(".sweeps")
DRAWING = ("random", "guided")  # the other searches take what they list in its order


class SweepStudy:
    """The trials of the sweep `name`."""

    def __init__(self, name: str, study: "Study", plan: Plan, space: Space):
        self.name, self.plan, self.space = name, plan, space
        self._study = study

    @property
    def trials(self) -> "list[FrozenTrial]":
        return self._study.get_trials(deepcopy=False)

    def experiment(self, trial: "FrozenTrial") -> str:
        """Return the name of the trial's experiment."""
        return f"{self.name}-{trial.number:03d}"

    def settings(self, trial: "FrozenTrial") -> dict[str, str]:
        """Return the parameters that the trial changes, with values formatted for DVC's `-S`."""
        return self.drawn(trial)

    def drawn(self, trial: "FrozenTrial") -> dict[str, str]:
        """Return what Optuna chose for the trial, by the names of the space."""
        queued = trial.system_attrs.get("fixed_params", {})  # chosen when the trial was queued
        return self._written({**queued, **trial.params})

    def _written(self, params: Mapping[str, Any]) -> dict[str, str]:
        return {name: written(params[name]) for name in self.space}

    def unfinished(self) -> "list[FrozenTrial]":
        """Return the trials that were started and have not ended."""
        return [trial for trial in self.trials if trial.state.name == "RUNNING"]

    @property
    def started(self) -> int:
        """The number of different settings that were started; a retry does not count again."""
        return len({str(self.drawn(trial)) for trial in self.trials if trial.state.name != "WAITING"})

    @property
    def queued(self) -> int:
        """The number of trials that are queued and not started."""
        return sum(trial.state.name == "WAITING" for trial in self.trials)

    def retry(self) -> None:
        """Queue the settings again whose last trial failed."""
        last = {str(self.drawn(trial)): trial for trial in self.trials}
        for trial in last.values():
            if "error" in trial.user_attrs:
                self._study.enqueue_trial(dict(trial.params))

    def begin(self, startup: int) -> "FrozenTrial":
        """Start and return the next trial; the first `startup` trials are drawn at random in a guided search, too."""
        if not self.queued:
            self._study.enqueue_trial(self._next(startup))
        return self.resume(self._study.ask())

    def resume(self, trial: "Trial | FrozenTrial") -> "FrozenTrial":
        """Return a started trial after drawing any values that it may still lack."""
        from optuna.trial import Trial

        suggest(Trial(self._study, trial._trial_id), self.space, self.plan.search)
        return self.trials[trial.number]

    def _next(self, startup: int) -> dict[str, Any]:
        """Draw settings that no trial has tried yet: a guided search tends to repeat good ones."""
        optuna = load_optuna()
        tried = [self.drawn(trial) for trial in self.trials]
        for attempt in range(ATTEMPTS if self.plan.search in DRAWING else 0):
            scratch = optuna.create_study(sampler=sampler(self.plan, len(tried), attempt, startup))
            scratch.add_trials(self.trials)
            drawn = scratch.ask()
            suggest(drawn, self.space, self.plan.search)
            if self._written(drawn.params) not in tried:
                return dict(drawn.params)
        left = next(settings for settings in grid(self.space) if settings not in tried)
        return {name: typed(left[name], self.space[name], self.plan.search) for name in left}

    def report(self, trial: "FrozenTrial", row: Mapping[str, float], pruner: "BasePruner | None") -> bool:
        """Record a validation; return whether to prune the trial."""
        from optuna.trial import Trial

        step = int(row["step"])
        if step not in self.trials[trial.number].intermediate_values:
            Trial(self._study, trial._trial_id).report(row["loss"], step)
        self._note(trial, "last", {"step": step, "loss": row["loss"], "bits_per_byte": row.get("bits_per_byte")})
        return pruner is not None and pruner.prune(self._study, self.trials[trial.number])

    def complete(self, trial: "FrozenTrial", value: float) -> None:
        """Record the score of a finished trial [bits per byte]."""
        self._study.tell(trial.number, value)

    def give_up(self, trial: "FrozenTrial", error: str | None = None) -> None:
        """End a trial as pruned, or as failed if there is an error.

        For Optuna, a failed trial with a validation is pruned as well, so that a guided search learns to avoid it.
        """
        from optuna.trial import TrialState

        if error is not None:
            self._note(trial, "error", error)
        validated = bool(self.trials[trial.number].intermediate_values)
        self._study.tell(trial.number, state=TrialState.PRUNED if validated else TrialState.FAIL)

    def _note(self, trial: "FrozenTrial", key: str, value: Any) -> None:
        from optuna.trial import Trial

        Trial(self._study, trial._trial_id).set_user_attr(key, value)


def database(name: str) -> Path:
    """Return the path of the database of the sweep `name`."""
    return FOLDER / f"{name}.db"


def open_study(name: str, plan: Plan | None, space: Space) -> SweepStudy:
    """Open or create the study `name`; without a plan, open an existing one.

    Raises UserError if it was started with another plan, does not exist, or its database is damaged.
    """
    optuna = load_optuna()
    file = database(name)
    if plan is None and not file.is_file():
        raise UserError(f"{name}: no such sweep in {FOLDER}/; check the name")
    FOLDER.mkdir(exist_ok=True)
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{file}", study_name=name, load_if_exists=True, direction="minimize"
        )
    except Exception as error:  # from Optuna, SQLAlchemy or SQLite
        raise UserError(f"{file} cannot be used ({type(error).__name__}); remove it to start over") from None
    known = study.user_attrs.get("plan")
    if known is None:
        if plan is None:
            raise UserError(f"{name}: the sweep was killed before its first trial; start it again")
        study.set_user_attr("plan", known := asdict(plan))
    original = Plan(**known)
    if plan is not None and str(original) != str(plan):
        raise UserError(f"the sweep {name} was started with {original}, not {plan}; use that, or another --name")
    return SweepStudy(name, study, original, space)
