"""A study is unchanged by an interruption, and its summary has the outcome of each trial."""

import json
import os
from pathlib import Path

import pytest

from tinylm.base.errors import UserError
from tinylm.cli.main import main
from tinylm.experiments.sweep import rows as rows_module
from tinylm.experiments.sweep import summary
from tinylm.experiments.sweep.lock import is_running, only_one
from tinylm.experiments.sweep.picture import draw
from tinylm.experiments.sweep.plan import plan_of
from tinylm.experiments.sweep.rows import Row, collect, group_seeds
from tinylm.experiments.sweep.search import pruner
from tinylm.experiments.sweep.slots import environment, share_cores
from tinylm.experiments.sweep.space import grid, parse_space
from tinylm.experiments.sweep.study import SweepStudy, database, open_study
from tinylm.experiments.sweep.summary import table

SPACE = parse_space(["train.peak_lr=log(1e-4,1e-1)", "train.batch_size=8,16"])
PARAMS = {"train": {"peak_lr": 0.1, "batch_size": 8, "steps": 100}, "runtime": {"threads": 1}}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rows_module.history, "list_experiments", list)


def study(name: str = "s", search: str = "guided", seed: int = 0) -> SweepStudy:
    return open_study(name, plan_of(search, SPACE, seed, PARAMS), SPACE)


def row(step: int, loss: float) -> dict[str, float]:
    return {"step": step, "loss": loss, "bits_per_byte": loss / 2}


def tried(name: str, trials: int, reopen: bool, search: str = "guided", seed: int = 0) -> list[dict[str, str]]:
    """Return the settings of a sweep whose score is the learning rate; `reopen`: each trial as in a new process."""
    sweep, settings = study(name, search, seed), []
    for _ in range(trials):
        sweep = study(name, search, seed) if reopen else sweep
        trial = sweep.begin(startup=3)
        settings.append(sweep.settings(trial))
        sweep.complete(trial, float(settings[-1]["train.peak_lr"]))
    return settings


@pytest.mark.parametrize("search", ["random", "guided"])
def test_a_resumed_sweep_tries_the_same_settings(search: str) -> None:
    whole = tried("a", 8, reopen=False, search=search)
    assert tried("b", 8, reopen=True, search=search) == whole
    assert len({tuple(settings.values()) for settings in whole}) == 8
    assert tried("c", 8, reopen=False, search=search, seed=1) != whole


def test_guided_search_finds_good_values() -> None:
    rates = [float(settings["train.peak_lr"]) for settings in tried("a", 24, reopen=False)]
    drawn = [float(settings["train.peak_lr"]) for settings in tried("b", 24, reopen=False, search="random")]
    assert sorted(rates[8:])[8] < sorted(drawn[8:])[8] / 2  # the median; small rates score best here


def test_an_unfinished_trial_is_resumed_with_its_settings() -> None:
    first = study()
    trial = first.begin(startup=3)
    again = study()
    assert [again.settings(again.resume(left)) for left in again.unfinished()] == [first.settings(trial)]
    again.complete(trial, 1.0)
    assert again.unfinished() == []


@pytest.mark.parametrize("search", ["grid", "random", "guided"])
def test_a_small_space_is_tried_completely_and_nothing_twice(search: str) -> None:
    space = parse_space(["train.batch_size=8,16", "model.layers=int(1,3)"])
    sweep = open_study("small", plan_of(search, space, 0, PARAMS), space)
    for _ in range(6):
        sweep.complete(sweep.begin(startup=1), 1.0)
    tried = [sweep.settings(trial) for trial in sweep.trials]
    assert sweep.started == 6
    assert sorted(map(str, tried)) == sorted(map(str, grid(space)))
    assert (tried == grid(space)) is (search == "grid")
    assert collect(["small"])[0].settings.keys() == space.keys()


def test_a_damaged_database() -> None:
    study()
    database("s").write_bytes(b"nonsense" * 1000)
    with pytest.raises(UserError, match=r".sweeps/s.db cannot be used \(\w+\); remove it to start over"):
        study()


def test_another_plan_is_refused() -> None:
    study()
    with pytest.raises(UserError, match=r"the sweep s was started with --search guided --seed 0 train.peak_lr=log"):
        study(seed=1)


def test_changed_parameters_are_refused() -> None:
    plan = study().plan
    plan.check_base({"train": {"peak_lr": 0.2, "batch_size": 4, "steps": 100}, "runtime": {"threads": 2}})
    message = r"params.yaml has changed since the sweep started: train.steps was 100 and is now 9"
    with pytest.raises(UserError, match=message):
        plan.check_base({**PARAMS, "train": {**PARAMS["train"], "steps": 9}})


def test_one_process_at_a_time() -> None:
    with only_one("s"), pytest.raises(UserError, match="another process runs the sweep s"), only_one("s"):
        pass
    with only_one("s"):  # released
        assert is_running("s")
    assert not is_running("s")


def test_an_unfinished_trial_is_running_while_its_sweep_runs() -> None:
    sweep = study()
    sweep.report(sweep.begin(startup=3), row(100, 1.0), None)
    with only_one("s"):
        assert [(r.state, r.note) for r in collect(["s"])] == [("running", "at step 100")]
    assert [(r.state, r.note) for r in collect(["s"])] == [("interrupted", "at step 100")]


def test_a_trial_worse_than_the_median_is_pruned() -> None:
    sweep, median = study(), pruner("median", 2)
    for loss in (1.0, 1.1):
        trial = sweep.begin(startup=3)
        assert not sweep.report(trial, row(100, loss), median)
        sweep.complete(trial, loss)
    trial = sweep.begin(startup=3)
    assert not sweep.report(trial, row(50, 9.0), median)  # no other trial was validated there
    assert sweep.report(trial, row(100, 1.2), median)
    assert not sweep.report(trial, row(100, 1.2), pruner("none", 2))
    sweep.give_up(trial)
    assert [(r.name, r.state, r.note) for r in collect(["s"])][-1] == ("s-002", "pruned", "at step 100")


def test_halving_prunes_trials_that_are_not_among_the_best() -> None:
    sweep, halving = study(), pruner("halving", 2)
    ended = []
    for loss in (1.0, 1.1, 1.2, 0.9):
        trial = sweep.begin(startup=3)
        ended.append(any(sweep.report(trial, row(step, loss), halving) for step in (100, 400, 1600)))
        sweep.give_up(trial) if ended[-1] else sweep.complete(trial, loss)
    assert ended == [False, False, True, False]  # the first sets the length of a trial and is not compared


def test_a_diverged_trial_counts_as_pruned_for_the_search() -> None:
    sweep = study()
    trial = sweep.begin(startup=3)
    sweep.report(trial, row(50, 9.0), None)
    sweep.give_up(trial, "the loss is nan at step 60")
    assert sweep.trials[0].state.name == "PRUNED"
    (shown,) = collect(["s"])
    assert (shown.state, shown.note) == ("failed", "the loss is nan at step 60")


def test_a_trial_that_failed_at_the_start() -> None:
    sweep = study()
    sweep.give_up(sweep.begin(startup=3), "no disk")
    assert sweep.trials[0].state.name == "FAIL"
    assert collect(["s"])[0].state == "failed"
    failed = sweep.settings(sweep.trials[0])
    sweep.retry()
    assert (sweep.queued, sweep.started) == (1, 1)
    assert sorted((r.name, r.state) for r in collect(["s"])) == [("s-000", "failed"), ("s-001", "queued")]
    again = sweep.begin(startup=3)
    assert sweep.settings(again) == failed
    assert (sweep.queued, sweep.started, again.number) == (0, 1, 1)
    sweep.complete(again, 1.0)
    sweep.retry()
    assert sweep.queued == 0


ROWS = [
    Row("a", {"train.peak_lr": 0.01, "train.seed": 1}, "complete", 1.0, 0.9, 1.1),
    Row("b", {"train.peak_lr": 0.01, "train.seed": 2}, "complete", 1.2, 1.1, 1.3),
    Row("c", {"train.peak_lr": 0.001, "train.seed": 1}, "complete", 1.4, 1.3, 1.5),
    Row("d", {"train.peak_lr": 0.5, "train.seed": 1}, "pruned", 9.0, note="at step 50"),
    Row("e", {"train.peak_lr": 1.0, "train.seed": 1}, "failed", note="the loss is nan"),
]


def test_the_table() -> None:
    assert table(ROWS).splitlines() == [
        "| experiment | train.peak_lr | train.seed | bits per byte | 95%              | state                   |",
        "|------------|---------------|------------|---------------|------------------|-------------------------|",
        "| a          | 0.01          | 1          | 1.0000        | 0.9000 to 1.1000 | complete                |",
        "| b          | 0.01          | 2          | 1.2000        | 1.1000 to 1.3000 | complete                |",
        "| c          | 0.001         | 1          | 1.4000        | 1.3000 to 1.5000 | complete                |",
        "| d          | 0.5           | 1          | 9.0000        |                  | pruned at step 50       |",
        "| e          | 1             | 1          |               |                  | failed: the loss is nan |",
    ]


def test_runs_that_differ_only_in_the_seed_are_grouped() -> None:
    (group,) = group_seeds(ROWS)
    assert (group.settings, group.names) == ({"train.peak_lr": 0.01}, ["a", "b"])
    assert group.score.value == pytest.approx(1.1)


def test_the_table_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(summary, "collect", lambda names: ROWS if names == ["s"] else [])
    assert main(["sweep", "--show", "s", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [experiment["name"] for experiment in shown["experiments"]] == ["a", "b", "c", "d", "e"]
    assert shown["experiments"][0] == {
        "name": "a",
        "state": "complete",
        "bits_per_byte": 1.0,
        "low": 0.9,
        "high": 1.1,
        "settings": {"train.peak_lr": 0.01, "train.seed": 1},
        "note": "",
    }
    (mean,) = shown["means_over_seeds"]
    assert (mean["names"], mean["settings"]) == (["a", "b"], {"train.peak_lr": 0.01})
    assert mean["bits_per_byte"] == pytest.approx(1.1)
    assert mean["low"] < 1.1 < mean["high"]
    assert not Path("sweeps").exists()
    assert main(["sweep", "--show", "--json"]) == 1
    assert main(["sweep", "train.seed=1,2", "--json"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "error: there are no experiments; run some: dvc exp run, or tinylm sweep"
    assert second == "error: --json: expected with --show only; add --show"


def test_the_picture(tmp_path: Path) -> None:
    assert draw(ROWS, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert not draw(ROWS[:1], tmp_path / "q.png")  # nothing was varied


def test_cores_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4}, raising=False)
    assert share_cores(1) == [[0, 1, 2, 3, 4]]
    assert share_cores(2) == [[0, 1], [2, 3]]
    assert share_cores(7)[5:] == [[0], [1]]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [environment(job, 3) for job in range(3)] == [
        {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": gpu} for gpu in ("4", "6", "4")
    ]
    assert environment(0, 1) == {"OMP_NUM_THREADS": "5"}
