"""`tinylm scale`: the ladder goes to the runner, and the law follows from the experiments that there are."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.planning import LAW, QUICK, Experiments
from tinylm.base import yaml12
from tinylm.base.params import check
from tinylm.cli.main import main
from tinylm.cli.scale import BUDGETS, SIZES
from tinylm.experiments.sweep import runner
from tinylm.experiments.sweep.listed import ListedStudy
from tinylm.planning.ladder import ladder
from tinylm.planning.parameter_file import apply
from tinylm.planning.workload import workload_of

QUICK_PARAMS = check(QUICK, "")


@pytest.fixture
def experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiments:
    monkeypatch.chdir(tmp_path)
    return Experiments(tmp_path)


def add_ladder(experiments: Experiments, name: str = "s", **changes: Any) -> None:
    for run, settings in ladder(SIZES, BUDGETS, QUICK_PARAMS).items():
        values = apply(QUICK, {key: yaml12.parse(value, "") for key, value in settings.items()} | changes)
        work = workload_of(check(values, ""))
        experiments.add(f"{name}-{run}", values, work.tokens, LAW.predict(work.size.blocks, work.tokens))


def test_the_law_of_existing_experiments(experiments: Experiments, capsys: pytest.CaptureFixture[str]) -> None:
    add_ladder(experiments)
    experiments.add("s-other", QUICK, 1, 9.0)  # not of the ladder
    assert main(["scale", "--name", "s", "--show"]) == 0
    said = capsys.readouterr().out
    law = json.loads(Path("scaling/s.json").read_text())
    assert law["law"] == pytest.approx(vars(LAW), rel=1e-4)
    assert law["data"] == {
        "source": "tinystories",
        "variant": "v1",
        "max_tokens": None,
        "vocab_size": 4096,
        "text_tokens": 4_000_000,
    }
    assert [run["name"] for run in law["runs"]][:4] == ["s-0.2M-1M", "s-0.2M-2M", "s-0.2M-4M", "s-0.5M-1M"]
    assert law["held_out"]["name"] == "s-3M-4M"
    assert law["held_out"]["predicted"] == pytest.approx(law["held_out"]["measured"], rel=1e-6)
    assert said.startswith("L(N, D) = 0.5500 + 20 / N^0.350 + 60 / D^0.370 bits per byte")
    assert said.endswith("scaling/s.json, scaling/s.md, scaling/s.png\n")


def test_missing_experiments(experiments: Experiments, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scale", "--name", "s", "--show"]) == 1
    assert capsys.readouterr().err == (
        "error: expected at least 6 finished runs of 3 sizes and 3 budgets, found 0 of 0 and 0; run more: "
        "tinylm scale\n"
    )


def test_experiments_on_other_texts(experiments: Experiments, capsys: pytest.CaptureFixture[str]) -> None:
    add_ladder(experiments)
    values = apply(QUICK, {"download.variant": "v2"})
    experiments.add("s-9M-9M", values, 9, 0.5)
    assert main(["scale", "--name", "s", "--show"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: s-9M-9M and s-0.2M-1M were trained on other texts")
    assert len(said.splitlines()) == 1


def test_the_ladder_is_run(experiments: Experiments, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []

    class Fake:
        def __init__(self, study: ListedStudy, options: runner.Options):
            ran.append((study, options))

        def run(self) -> None:
            add_ladder(experiments, "mine")

    monkeypatch.setattr(runner, "Runner", Fake)
    assert main(["scale", "--name", "mine", "--jobs", "2"]) == 0
    ((study, options),) = ran
    assert (options.trials, options.jobs, options.pruner, options.targets) == (12, 2, None, ["evaluate"])
    trial = study.begin(1)
    assert study.experiment(trial) == "mine-0.2M-1M"
    assert study.settings(trial) == ladder(SIZES, BUDGETS, QUICK_PARAMS)["0.2M-1M"]
    assert Path("scaling/mine.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--name a/b", "--name: expected letters, digits, - and _, got 'a/b'"),
        ("--jobs 0", "--jobs: expected at least 1, got 0"),
        ("--sizes 1M", "--sizes: expected at least 3 different counts, each once, got '1M'"),
        ("--budgets 1K,2M,3M", "--budgets: 1K is 0 steps of 2,048 tokens"),
    ],
)
def test_mistakes_are_one_line(
    experiments: Experiments, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    assert main(["scale", *arguments.split()]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {message}")
    assert len(said.splitlines()) == 1


def test_outside_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["scale"]) == 1
    assert capsys.readouterr().err == "error: dvc.yaml: not found; run from the root of the repository\n"
