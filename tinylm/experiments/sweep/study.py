"""What a sweep has found so far, in a database that outlives it, and what it tries next (Optuna).

A trial is known by its number. What it tries is a function of the sweep's seed, its number and, when
the search is guided, of the trials before: a sweep that was killed goes on as if it had not been.
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


class SweepStudy:
    """The trials of the sweep `name`."""

    def __init__(self, name: str, study: "Study", plan: Plan, space: Space):
        self.name, self.plan, self.space = name, plan, space
        self._study = study

    @property
    def trials(self) -> "list[FrozenTrial]":
        return self._study.get_trials(deepcopy=False)

    def experiment(self, trial: "FrozenTrial") -> str:
        return f"{self.name}-{trial.number:03d}"

    def settings(self, trial: "FrozenTrial") -> dict[str, str]:
        """What the trial changes, as `-S` takes it."""
        decided = trial.system_attrs.get("fixed_params", {})  # when it was queued
        return self._written({**decided, **trial.params})

    def _written(self, params: Mapping[str, Any]) -> dict[str, str]:
        return {name: written(params[name]) for name in self.space}

    def broken(self) -> "list[FrozenTrial]":
        """Trials that were begun and not ended."""
        return [trial for trial in self.trials if trial.state.name == "RUNNING"]

    @property
    def begun(self) -> int:
        """Settings that were begun; one that is tried again counts once."""
        return len({str(self.settings(trial)) for trial in self.trials if trial.state.name != "WAITING"})

    @property
    def queued(self) -> int:
        """Trials that are decided and not begun."""
        return sum(trial.state.name == "WAITING" for trial in self.trials)

    def retry(self) -> None:
        """Queue again what failed the last time it was tried."""
        last = {str(self.settings(trial)): trial for trial in self.trials}
        for trial in last.values():
            if "error" in trial.user_attrs:
                self._study.enqueue_trial(dict(trial.params))

    def begin(self, startup: int) -> "FrozenTrial":
        """The next trial. `startup` is how many are drawn at random before the search is guided."""
        if not self.queued:
            self._study.enqueue_trial(self._next(startup))
        return self.resume(self._study.ask())

    def resume(self, trial: "Trial | FrozenTrial") -> "FrozenTrial":
        """A trial that was begun, with what its settings may still lack."""
        from optuna.trial import Trial

        suggest(Trial(self._study, trial._trial_id), self.space, self.plan.search)
        return self.trials[trial.number]

    def _next(self, startup: int) -> dict[str, Any]:
        """What no trial has tried yet: a guided search likes to repeat what was good."""
        optuna = load_optuna()
        tried = [self.settings(trial) for trial in self.trials]
        for attempt in range(ATTEMPTS if self.plan.search != "grid" else 0):
            scratch = optuna.create_study(sampler=sampler(self.plan, len(tried), attempt, startup))
            scratch.add_trials(self.trials)
            drawn = scratch.ask()
            suggest(drawn, self.space, self.plan.search)
            if self._written(drawn.params) not in tried:
                return dict(drawn.params)
        left = next(settings for settings in grid(self.space) if settings not in tried)
        return {name: typed(left[name], self.space[name], self.plan.search) for name in left}

    def report(self, trial: "FrozenTrial", row: Mapping[str, float], pruner: "BasePruner | None") -> bool:
        """Note a validation; gives whether the trial is hopeless."""
        from optuna.trial import Trial

        step = int(row["step"])
        if step not in self.trials[trial.number].intermediate_values:
            Trial(self._study, trial._trial_id).report(row["loss"], step)
        self._note(trial, "last", {"step": step, "loss": row["loss"], "bits_per_byte": row.get("bits_per_byte")})
        return pruner is not None and pruner.prune(self._study, self.trials[trial.number])

    def complete(self, trial: "FrozenTrial", value: float) -> None:
        self._study.tell(trial.number, value)

    def give_up(self, trial: "FrozenTrial", why: str | None = None) -> None:
        """End a trial as pruned; or as failed, with the reason.

        To Optuna both are pruned when there was a validation: so a guided search learns to keep away.
        """
        from optuna.trial import TrialState

        if why is not None:
            self._note(trial, "error", why)
        learned = bool(self.trials[trial.number].intermediate_values)
        self._study.tell(trial.number, state=TrialState.PRUNED if learned else TrialState.FAIL)

    def _note(self, trial: "FrozenTrial", key: str, value: Any) -> None:
        from optuna.trial import Trial

        Trial(self._study, trial._trial_id).set_user_attr(key, value)


def database(name: str) -> Path:
    return FOLDER / f"{name}.db"


def open_study(name: str, plan: Plan | None, space: Space) -> SweepStudy:
    """The study `name`, new or as it was left. Raises UserError for another plan than it was begun with."""
    optuna = load_optuna()
    file = database(name)
    if plan is None and not file.is_file():
        raise UserError(f"{name}: there is no such sweep in {FOLDER}/")
    FOLDER.mkdir(exist_ok=True)
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{file}", study_name=name, load_if_exists=True, direction="minimize"
        )
    except Exception as error:  # of Optuna, SQLAlchemy or SQLite
        raise UserError(f"{file} cannot be used ({type(error).__name__}); remove it to begin anew") from None
    known = study.user_attrs.get("plan")
    if known is None:
        if plan is None:
            raise UserError(f"{name}: this sweep was killed before it began; start it again")
        study.set_user_attr("plan", known := asdict(plan))
    begun = Plan(**known)
    if plan is not None and str(begun) != str(plan):
        raise UserError(f"the sweep {name} was begun with {begun}, not {plan}; give that, or another --name")
    return SweepStudy(name, study, begun, space)
