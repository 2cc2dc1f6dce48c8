"""`tinylm compare` prints the comparison and draws the learning curves of the two."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.support.runs import Runs
from tinylm.cli.main import main
from tinylm.experiments import compare, curves_picture
from tinylm.experiments.curves import Curve

PARAMS = "".join(f"{section}:\n  x: 1\n" for section in compare.SECTIONS if section != "train")


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Experiments a1, a2 and b, whose losses by story need no cache."""
    monkeypatch.chdir(tmp_path)

    def read_run(name: str, end_of_text: str | None) -> compare.Run:
        commit, text_bytes = compare.history.resolve(name), np.array([300.0, 500.0, 400.0])
        return compare.Run(name, commit, text_bytes * (1 if name == "b" else 2), text_bytes)

    monkeypatch.setattr(compare, "read_run", read_run)
    made = Runs(tmp_path)
    for name, seed, rate in (("a1", 1, 1), ("a2", 2, 1), ("b", 1, 2)):
        made.run(factor=seed)
        made.write("params.yaml", f"{PARAMS}train:\n  seed: {seed}\n  peak_lr: {rate}\n")
        made.commit(name)
    return made


def compared(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["compare", *words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "runs_of_a"),
    [(("a1", "b"), ["a1"]), (("a1", "b", "--seeds"), ["a1", "a2"]), (("--a", "a1", "a2", "--b", "b"), ["a1", "a2"])],
    ids=["pair", "seeds", "lists"],
)
def test_the_comparison_ends_with_the_path_of_the_picture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], runs_of_a: list[str]
) -> None:
    drawn: list[list[str]] = []

    def make_figure(*groups: list[Curve]) -> Figure:
        drawn.extend([curve.name for curve in group] for group in groups)
        return original(*groups)

    original = curves_picture.make_figure
    monkeypatch.setattr(curves_picture, "make_figure", make_figure)
    lines = compared(capsys, *words).splitlines()
    assert drawn == [runs_of_a, ["b"]]
    assert lines[2].startswith("B is better by")
    assert lines[-1] == "learning curves: comparisons/a1_b.png"
    assert Path("comparisons/a1_b.png").stat().st_size > 10_000


def test_json_has_no_picture(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(compared(capsys, "a1", "b", "--json"))["better"] == "b"
    assert not Path("comparisons").exists()


def test_a_run_without_curves_is_still_compared(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    Path("plots/val.csv").unlink()
    runs.commit("old")
    lines = compared(capsys, "old", "b").splitlines()
    assert lines[2].startswith("B is better by")
    assert lines[-1].startswith("no picture of the learning curves: old: its commit ")


def test_an_unknown_run_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "a1", "nowhere"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: nowhere: neither an experiment nor a git revision")
    assert captured.out == ""
