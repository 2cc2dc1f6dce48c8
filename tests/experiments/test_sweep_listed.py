"""A sweep over a list of complete settings: named experiments, resumed like any other sweep."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tinylm.base.errors import StoppedError, UserError
from tinylm.cli.main import main
from tinylm.experiments.history import Experiment
from tinylm.experiments.sweep import rows as rows_module
from tinylm.experiments.sweep import runner as runner_module
from tinylm.experiments.sweep import trial as trial_module
from tinylm.experiments.sweep.listed import ListedStudy, list_plan, open_listed
from tinylm.experiments.sweep.rows import collect
from tinylm.experiments.sweep.runner import Options, Runner

PARAMS = {"model": {"width": 1, "layers": 1}, "train": {"steps": 5, "seed": 0}}
RUNS = {
    "small-1M": {"model.width": "32", "model.layers": "2", "train.epochs": "null"},
    "large-1M": {"model.width": "64", "model.layers": "2", "train.epochs": "null"},
    "small-2M": {"model.width": "32", "model.layers": "4", "train.epochs": "null"},
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rows_module.history, "list_experiments", list)


def study(runs: Any = RUNS, params: Any = PARAMS) -> ListedStudy:
    return open_listed("s", list_plan(runs, params))


class FakeRuns:
    """Stands in for DVC: each started experiment ends at once, after `killed` ends by a signal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, killed: int = 0):
        self.done: dict[str, dict[str, str]] = {}
        self.killed = killed
        monkeypatch.setattr(trial_module, "start", self.start)
        monkeypatch.setattr(runner_module, "find_experiment", self.find)
        monkeypatch.setattr(runner_module, "find_conflict", lambda settings: None)
        monkeypatch.setattr(runner_module, "read_params_at", lambda commit: PARAMS)
        monkeypatch.setattr(runner_module, "read_score", lambda commit: {"bits_per_byte": float(len(commit))})
        monkeypatch.setattr(runner_module, "POLL_EVERY", 0.0)

    def start(self, name: str, settings: dict[str, str], *_: Any) -> Any:
        was_killed = self.killed > 0
        if was_killed:
            self.killed -= 1
        else:
            self.done[name] = settings
        return SimpleNamespace(
            name=name, poll=lambda: 0, new_losses=list, prepared=True, seen=set(), pruned=False, stopped=False,
            was_killed=was_killed, lost="", log="log", interrupt=lambda: None,
        )  # fmt: skip

    def find(self, name: str) -> Experiment | None:
        return Experiment(name, "c" * (1 + list(self.done).index(name)), "b") if name in self.done else None


def test_every_run_is_made_once_in_the_order_of_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRuns(monkeypatch, killed=2)
    Runner(study(), Options(3, 1, 1, None, ["evaluate"])).run()
    assert fake.done == {f"s-{name}": settings for name, settings in RUNS.items()}
    assert list(fake.done) == [f"s-{name}" for name in RUNS]
    Runner(study(), Options(3, 1, 1, None, ["evaluate"])).run()  # there is nothing left to do
    assert len(fake.done) == 3


def test_a_stopped_series_continues_with_its_unfinished_run(monkeypatch: pytest.MonkeyPatch) -> None:
    first = study()
    first.complete(first.begin(1), 1.0)
    interrupted = first.begin(1)
    fake = FakeRuns(monkeypatch)
    again = study()
    assert (
        [again.experiment(trial) for trial in again.unfinished()] == [first.experiment(interrupted)] == ["s-large-1M"]
    )
    Runner(again, Options(3, 1, 1, None, ["evaluate"])).run()
    assert list(fake.done) == ["s-large-1M", "s-small-2M"]


def test_the_table_has_the_settings_of_each_run(capsys: pytest.CaptureFixture[str]) -> None:
    series = study()
    for bits in (1.5, 1.25):
        series.complete(series.begin(1), bits)
    rows = collect(["s"])
    assert [(row.name, row.bits) for row in rows] == [("s-large-1M", 1.25), ("s-small-1M", 1.5)]
    assert rows[0].settings == {"model.width": 64, "model.layers": 2, "train.epochs": None}
    assert main(["sweep", "--show", "s"]) == 0
    assert "| s-large-1M | 64 " in capsys.readouterr().out


def test_a_failed_run_is_tried_again() -> None:
    series = study()
    series.give_up(series.begin(1), "no memory")
    series.retry()
    assert series.experiment(series.begin(1)) == "s-small-1M"
    assert series.started == 1


def test_another_list_or_other_parameters_are_refused() -> None:
    study()
    other = {name: settings | {"model.width": "48"} for name, settings in RUNS.items()}
    with pytest.raises(UserError, match="the sweep s was started with --search list"):
        study(other)
    with pytest.raises(
        UserError, match=r"params.yaml has changed since the sweep started: train.seed was 0 and is now 1"
    ):
        study().plan.check_base({**PARAMS, "train": {"steps": 5, "seed": 1}})
    study().plan.check_base({**PARAMS, "model": {"width": 9, "layers": 9}})  # each run sets these


def test_a_signal_stops_the_series(monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal

    fake = FakeRuns(monkeypatch)
    start = fake.start

    def stopping(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return start(*arguments)

    monkeypatch.setattr(trial_module, "start", stopping)
    with pytest.raises(StoppedError, match="^the sweep s has stopped; the same command continues$"):
        Runner(study(), Options(3, 1, 1, None, ["evaluate"])).run()
    assert list(fake.done) == ["s-small-1M"]
