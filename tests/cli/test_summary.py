"""What `make repro` shows at its end: stories, the score beside the committed one, what to do with the results."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.clone import Clone
from tinylm.cli import summary
from tinylm.cli.summary import choose_stories, explain, keep_or_drop, show_scores, suggest

RANGE = {"bits_per_byte": {"low": 0.6, "high": 0.62}, "loss": {"low": 1.4, "high": 1.6}}
SCORE: dict[str, Any] = {"loss": 1.5, "perplexity": 4.4817, "bits_per_byte": 0.61, "range95": RANGE}
LOCK = """\
stages:
  train:
    cmd: x
    params:
      params.yaml:
        train:
          steps: 9
    deps:
    - path: tinylm/a
      md5: 1
    - path: tinylm/b
      md5: 1
"""


def git(*words: str) -> str:
    command = ["git", "-c", "user.name=A Test", "-c", "user.email=test@example.org", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a committed run, which is the current folder."""
    monkeypatch.chdir(tmp_path)
    for folder in ("metrics", "plots", "artifacts/stories"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(LOCK)
    (tmp_path / "metrics/train.json").write_text('{"precision": "fp32", "threads": 2, "device_name": "x"}')
    (tmp_path / "plots/val.csv").write_text("step\n")
    (tmp_path / "params.yaml").write_text("")
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "a run")
    return tmp_path


def write_stories(*stories: tuple[str, bool]) -> None:
    lines = [json.dumps({"text": text, "ended": ended}) + "\n" for text, ended in stories]
    Path("artifacts/stories/stories.jsonl").write_text("".join(lines))


def test_three_stories_of_different_prompts_are_chosen(root: Path) -> None:
    write_stories(*((f"story {n}", True) for n in range(9)))
    assert choose_stories() == ["story 0", "story 3", "story 6"]


def test_stories_that_end_come_first(root: Path) -> None:
    write_stories(("cut", False), ("whole", True))
    assert choose_stories() == ["whole"]
    write_stories(("cut", False), ("cut too", False))
    assert choose_stories() == ["cut", "cut too"]


def test_the_score_stands_beside_the_committed_one() -> None:
    assert show_scores(SCORE, SCORE | {"bits_per_byte": 0.61234}) == [
        "               bits per byte  perplexity  loss [nats per token]",
        "this run              0.6100       4.482                 1.5000",
        "committed run         0.6123       4.482                 1.5000",
    ]
    assert len(show_scores(SCORE, {})) == 2
    lossy = show_scores(SCORE | {"bits_per_byte": None}, {})
    assert lossy[1].split() == ["this", "run", "-", "4.482", "1.5000"]
    assert lossy[2] == "There are no bits per byte, because the tokenizer is lossy."


def test_equal_scores_are_said_to_be_equal(root: Path) -> None:
    assert explain(SCORE, dict(SCORE)) == ["The scores are equal, to the last digit."]


def test_the_last_digits_differ_from_machine_to_machine(root: Path) -> None:
    Path("metrics/train.json").write_text('{"precision": "bf16", "threads": 4, "device_name": "x"}')
    lines = explain(SCORE, SCORE | {"bits_per_byte": 0.6101})
    assert "Parameters and code are the same. Another processor" in lines[0]
    assert lines[-2] == "Trained here with precision bf16, not fp32; threads 4, not 2."
    assert lines[-1] == "The score is within the committed one's 95% interval, 0.6000 to 0.6200."
    assert "is outside of" in explain(SCORE | {"bits_per_byte": 0.63}, SCORE)[-1]
    lossy = SCORE | {"bits_per_byte": None}
    assert explain(lossy | {"loss": 1.51}, lossy)[-1].endswith("95% interval, 1.4000 to 1.6000.")


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("steps: 9", "steps: 10", "train.steps"),
        ("md5: 1", "md5: 2", "tinylm/a, tinylm/b"),
        ("steps: 9", "a: 1\n          b: 2\n          c: 3", "train.steps, train.a, train.b and 1 more"),
    ],
)
def test_other_parameters_and_code_are_named(root: Path, old: str, new: str, what: str) -> None:
    Path("dvc.lock").write_text(LOCK.replace(old, new))
    first, second = explain(SCORE, SCORE | {"loss": 1.6})
    assert first == f"The runs differ in {what}."
    assert second.startswith("`dvc metrics diff`")


@pytest.mark.parametrize("cached", [True, False])
def test_modified_results_are_kept_or_dropped(root: Path, cached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "is_cached", lambda *_: cached)
    assert keep_or_drop() == []
    Path("params.yaml").write_text("changed: 1")
    Path("untracked").write_text("")
    assert keep_or_drop() == []  # nothing of it is a result
    Path("plots/val.csv").write_text("changed")
    Path("dvc.lock").write_text("changed")
    lines = keep_or_drop()
    assert lines[0] == "`git status` shows 3 modified files; all but 1 are results of this run:"
    git("commit", "--quiet", "--message", "params", "params.yaml")
    lines = keep_or_drop()
    assert lines[0] == "`git status` shows 2 modified files, the results of this run:"
    assert ("&& dvc checkout" in lines[2]) == cached  # it would delete what is not in the cache
    assert len(lines) == (3 if cached else 4)
    drop = lines[2].partition("them")[2].removesuffix("&& dvc checkout").split()
    subprocess.run(drop, check=True, capture_output=True)
    assert keep_or_drop() == []


def test_the_commands_to_try_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    lines = suggest()
    assert [re.split("  +", line.strip())[0].removeprefix("python -m ") for line in lines[1:]] == [
        "tinylm open",
        'tinylm write "Once upon a time"',
        "dvc exp run -S train.peak_lr=0.01",
    ]
    assert "plots/report.html" in lines[1]
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    assert re.fullmatch(r"  \. \S*bin/activate +once in each terminal", suggest()[1])


@pytest.mark.slow
def test_at_the_end_of_a_run(ran: Clone, tmp_path: Path) -> None:
    """As a user sees it: after the run that is committed, after an experiment, and after a part of one."""
    clone = ran.copy(tmp_path / "clone")
    shown = clone.python("-m", "tinylm.cli.summary")
    assert "The scores are equal" in shown
    assert "git status" not in shown
    assert shown.count("─" * summary.WIDTH) == 2
    clone.set_params({"train.peak_lr": 0.01})
    clone.dvc("repro", "train")
    assert "not up to date: generate, evaluate, report; `make repro`" in clone.python("-m", "tinylm.cli.summary")
    clone.dvc("repro")
    shown = clone.python("-m", "tinylm.cli.summary")
    assert "The runs differ in train.peak_lr." in shown
    count = len(clone.git("status", "--porcelain", "-uno").splitlines())
    assert f"`git status` shows {count} modified files; all but 1 are results of this run:" in shown
    assert "git checkout -- dvc.lock metrics plots && dvc checkout" in shown
    clone.git("checkout", "--", "dvc.lock", "metrics", "plots", "params.yaml")
    clone.dvc("checkout")
    assert "The scores are equal" in clone.python("-m", "tinylm.cli.summary")


@pytest.mark.slow
@pytest.mark.torture
def test_what_is_not_in_the_cache_is_not_to_be_checked_out(ran: Clone, tmp_path: Path) -> None:
    """`dvc checkout` would delete the model of a fresh clone that ran the pipeline with other bytes."""
    clone = Clone.of(ran, tmp_path / "clone")
    clone.set_params({"train.seed": 3})
    clone.dvc("repro")
    shown = clone.python("-m", "tinylm.cli.summary")
    assert re.search(r"drop them +git checkout -- dvc.lock metrics plots\n", shown)
    assert "not in this machine's cache: artifacts/ stays" in shown
