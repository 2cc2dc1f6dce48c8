"""A sweep over a list of complete settings, each with a name of its own: its experiments are NAME-RUN.

For Optuna it has one parameter, the name of the run. The plan holds the settings as columns, one value for each run.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tinylm.experiments.sweep.plan import Plan, plan_of
from tinylm.experiments.sweep.space import Choices, split_values
from tinylm.experiments.sweep.study import SweepStudy, open_study

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

SEARCH = "list"
RUN = "run"  # the parameter; those of params.yaml have a dot

Settings = Mapping[str, str]


class ListedStudy(SweepStudy):
    """The trials of a sweep whose plan lists them."""

    def __init__(self, study: SweepStudy):
        columns = {key: split_values(text) for key, text in study.plan.space.items()}
        self._runs = {
            name: {key: values[row] for key, values in columns.items() if key != RUN}
            for row, name in enumerate(columns[RUN])
        }
        super().__init__(study.name, study._study, study.plan, {RUN: Choices(tuple(self._runs))})

    def experiment(self, trial: "FrozenTrial") -> str:
        return f"{self.name}-{self.drawn(trial)[RUN]}"

    def settings(self, trial: "FrozenTrial") -> dict[str, str]:
        return dict(self._runs[self.drawn(trial)[RUN]])


def list_plan(runs: Mapping[str, Settings], params: Mapping[str, Mapping[str, Any]]) -> Plan:
    """Return the plan of a sweep over `runs`, which all set the same parameters; all others are as in `params`."""
    keys = list(next(iter(runs.values())))
    columns = {RUN: Choices(tuple(runs))} | {key: Choices(tuple(run[key] for run in runs.values())) for key in keys}
    return plan_of(SEARCH, dict(columns), 0, params)


def open_listed(name: str, plan: Plan) -> ListedStudy:
    """Open or create the sweep `name`. Raises UserError as `open_study` does."""
    return ListedStudy(open_study(name, plan, {}))
