"""The page of the workspace's run with the learning curves of other runs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import report_data
from tests.support.runs import Runs
from tests.support.tiny import PARAMS
from tinylm.base.errors import UserError
from tinylm.experiments.curves import read_curve
from tinylm.experiments.overlay import MOST_RUNS, SHOWN, learning_curves, write_overlay
from tinylm.report.run import SECTIONS, page_of_run


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """A complete run in the workspace, and the experiments `better` and `slow`."""
    monkeypatch.chdir(tmp_path)
    made = Runs(tmp_path)
    for name, factor, speed in (("better", 0.5, 256), ("slow", 1, 64)):
        made.run(factor, speed)
        made.commit(name)
    report_data.write_run(tmp_path)
    made.run(2)
    return made


def charts(page: Path) -> dict[str, Any]:
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(encoding="utf-8"))
    found: dict[str, Any] = json.loads(data)["charts"]
    return found


def test_the_page_has_the_curves_of_all_runs(runs: Runs) -> None:
    page = write_overlay(["better", "slow", "better"])
    assert page == Path("comparisons/workspace_better_slow.html")
    chart = charts(page)["learning"]
    assert (chart["title"], chart["y"]) == ("Learning curves", "bits per byte")
    assert (chart["scales"], chart["tall"], chart["dots"]) == (["logarithmic", "linear"], True, False)
    assert [(view["name"], view["x"]) for view in chart["views"]] == [
        *(("steps", "step"), ("tokens", "tokens"), ("seconds", "seconds")),
    ]
    for view, xs in zip(chart["views"], ([0, 6, 12], [0, 1536, 3072], [0, 9, 15]), strict=True):
        strong = [line for line in view["lines"] if line["style"] == "strong"]
        assert [(line["name"], line["run"]) for line in strong] == [("this run", 0), ("better", 1), ("slow", 2)]
        slow = [4 * x for x in xs] if view["x"] == "seconds" else xs
        assert strong[0]["points"] == [[x, y] for x, y in zip(xs, (4, 3, 2), strict=True)]
        assert strong[1]["points"] == [[x, y] for x, y in zip(xs, (1, 0.75, 0.5), strict=True)]
        assert strong[2]["points"] == [[x, y] for x, y in zip(slow, (2, 1.5, 1), strict=True)]
        thin = [line for line in view["lines"] if line["style"] == "thin"]
        assert [(line["run"], line["quiet"], len(line["points"])) for line in thin] == [(n, True, 4) for n in range(3)]
    text = page.read_text(encoding="utf-8")
    assert f'<p class="note">{SHOWN}</p>' in text
    assert "Caution" not in text
    assert text.index('data-chart="learning"') < text.index('data-chart="loss"')


def test_everything_else_is_as_on_the_page_of_the_run(runs: Runs) -> None:
    """Its parameters are those of dvc.lock, in the same order, also if params.yaml has changed since."""
    runs.write("params.yaml", "train:\n  peak_lr: 7\n")
    page = write_overlay(["better"])
    assert set(charts(page)) == {"learning", "loss", "rate", "norm", "position", "calibration"} | {
        f"by_{kind}_{n}" for kind in ("step", "temperature") for n in (0, 1)
    }
    made = re.compile('<section id="made-of">.*</section>', re.DOTALL)
    expected = page_of_run(Path(), PARAMS.values(*SECTIONS))
    assert made.findall(page.read_text(encoding="utf-8")) == made.findall(expected)


def test_the_page_that_dvc_tracks_stays_as_it_is(runs: Runs) -> None:
    runs.write("plots/report.html", "the page")
    before = {path: path.read_bytes() for path in runs.root.rglob("*") if path.is_file() and ".git" not in path.parts}
    write_overlay(["better"])
    after = {path: path.read_bytes() for path in runs.root.rglob("*") if path.is_file() and ".git" not in path.parts}
    assert set(after) - set(before) == {runs.root / "comparisons/workspace_better.html"}
    assert before.items() <= after.items()


def test_names_and_notes_inject_no_markup(runs: Runs) -> None:
    name = "<img-src=x>&co"
    runs.run(corpus="c2")
    runs.commit(name)
    runs.run()
    page = write_overlay([name])
    text = page.read_text(encoding="utf-8")
    assert "<img" not in text
    assert "Caution: &lt;img-src=x&gt;&amp;co was validated on other stories than this run" in text
    assert charts(page)["learning"]["views"][0]["lines"][-1]["name"] == name


def test_losses_that_are_not_finite_are_gaps(runs: Runs) -> None:
    runs.write("plots/val.csv", "step,tokens,loss,bits_per_byte\n0,0,4,2\n6,1536,nan,nan\n12,3072,2,inf\n")
    chart = learning_curves([read_curve("workspace")])
    assert [line["points"] for line in chart["views"][0]["lines"]][-1] == [[0, 2], [6, None], [12, None]]
    assert json.dumps(chart, allow_nan=False)


def test_lossy_tokenizers_are_compared_per_token(runs: Runs) -> None:
    runs.run(lossy=True)
    runs.commit("lossy")
    chart = charts(write_overlay(["lossy"]))["learning"]
    assert chart["y"] == "nats per token"
    assert chart["views"][0]["lines"][-1]["points"][0] == [0, 4]
    runs.run(tokenizer="t2")
    with pytest.raises(UserError, match="^this run and lossy: expected bits per byte or the same tokenizer"):
        write_overlay(["lossy"])


def test_what_cannot_be_overlaid_is_one_line(runs: Runs) -> None:
    with pytest.raises(UserError, match="^nowhere: neither an experiment nor a git revision"):
        write_overlay(["better", "nowhere"])
    with pytest.raises(UserError, match="^workspace: expected other runs"):
        write_overlay(["workspace"])
    with pytest.raises(UserError, match="^expected at most 7 runs to overlay, got 8"):
        write_overlay([f"HEAD~{n}" for n in range(MOST_RUNS)])
    with pytest.raises(UserError, match=r"^HEAD: its commit \w{7} has no plots/train.csv"):
        write_overlay(["HEAD"])
    (runs.root / "metrics/evaluate.json").unlink()
    with pytest.raises(UserError, match="^metrics/evaluate.json: not found; run dvc repro"):
        write_overlay(["better"])
    (runs.root / "dvc.lock").unlink()
    with pytest.raises(UserError, match="^dvc.lock: expected a complete run, found none; run the pipeline"):
        write_overlay(["better"])
    runs.write("dvc.lock", '{"stages": {"report": {"params": {"params.yaml": {"train": {"rate": 1}}}}}}')  # an old one
    with pytest.raises(UserError, match="^dvc.lock: expected a complete run, found none; run the pipeline"):
        write_overlay(["better"])
    assert not (runs.root / "comparisons").exists()
