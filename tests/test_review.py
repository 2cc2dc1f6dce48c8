"""A summary for a pull request, made of real experiments; and the example of a workflow that posts it."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests import fork_server
from tests.clone import Clone
from tests.tiny import ROOT
from tinylm.review import cell, metrics_table


def test_a_story_is_no_markup_in_a_table() -> None:
    assert cell("a|b\n*c* <img> @you [x](y)") == r"a\|b<br>\*c\* \<img\> \@you \[x\](y)"
    assert cell(None) == "null"
    assert len(cell("x" * 10_000)) < 2000


def test_better_and_worse_are_told() -> None:
    before = {"loss": 2.0, "perplexity": 7.4, "bits_per_byte": 0.8, "accuracy": 0.5}
    after = {"loss": 1.9, "perplexity": 6.7, "bits_per_byte": 0.8, "accuracy": 0.4}
    table = "\n".join(metrics_table(before, after))
    assert "| loss [nats per token] | 2.0000 | 1.9000 | -0.1000 better |" in table
    assert "| bits per byte | 0.8000 | 0.8000 | +0.0000 |" in table
    assert "| accuracy (top-1) | 0.5000 | 0.4000 | -0.1000 worse |" in table
    assert "| loss [nats per token] | – | 1.9000 | |" in "\n".join(metrics_table({}, after))


@pytest.mark.slow
def test_an_experiment_beside_its_baseline(ran_clone: Clone) -> None:
    ran_clone.dvc("exp", "run", "--name", "lower", "-S", "train.peak_lr=4e-4")
    ran_clone.git("checkout", "--quiet", "--force", "main")
    ran_clone.dvc("checkout", "--quiet")
    output = _review(ran_clone, "lower", "--baseline", "main")
    assert output.strip() == "review/review.md"
    text = (ran_clone.root / "review/review.md").read_text(encoding="utf-8")
    assert text.startswith("# lower against main\n")
    assert "| `train.peak_lr` | 0.02 | 0.0004 |" in text
    assert re.search(r"\| bits per byte \| \d\.\d{4} \| \d\.\d{4} \| [+-]\d\.\d{4} (better|worse) \|", text)
    assert "A is better by" in text or "B is better by" in text
    assert text.count("    line [") == 2
    assert text.count("Once upon a time") == 2
    assert len(text) < 65_536
    assert (ran_clone.root / "review/loss.png").stat().st_size > 10_000
    assert ran_clone.git("status", "--porcelain") == ""

    assert "No parameter differs." in _reviewed(ran_clone, "workspace", "--baseline", "HEAD")
    assert "error: nowhere: neither an experiment nor a git revision" in _review(ran_clone, "nowhere")


@pytest.mark.slow
def test_a_baseline_whose_files_were_never_pulled(ran: Clone, tmp_path: Path) -> None:
    """What a fresh clone is: git has the figures, and DVC's cache has nothing."""
    text = _reviewed(Clone.of(ran, tmp_path / "colleague"), "HEAD", "--baseline", "HEAD")
    assert "| loss [nats per token] |" in text
    assert "Whether that is more than chance cannot be told: HEAD: its commit" in text
    assert "No stories: HEAD: its commit" in text


def _review(clone: Clone, *words: str) -> str:
    command = [fork_server.python(), "-m", "tinylm", "review", *words]
    done = subprocess.run(command, cwd=clone.root, env=clone.environ, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def _reviewed(clone: Clone, *words: str) -> str:
    return (clone.root / _review(clone, *words).strip()).read_text(encoding="utf-8")


def test_the_example_of_a_workflow_runs_what_there_is() -> None:
    workflow = yaml.safe_load((ROOT / "examples/github_workflow.yml").read_text(encoding="utf-8"))
    steps = workflow["jobs"]["experiment"]["steps"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [target for step in steps for target in re.findall(r"\bmake (\w+)", step.get("run", ""))]
    assert targets == ["repro", "report"]
    assert all(f"\n{target}: env ##" in makefile for target in targets)
