"""The summary for a pull request, made from real experiments, and the example workflow that posts it."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import fork_server
from tests.support.clone import Clone
from tests.support.tiny import ROOT
from tinylm.experiments.review import cell, metrics_table


def test_markup_in_a_story_is_escaped_in_a_table() -> None:
    assert cell("a|b\n*c* <img> @you [x](y)") == r"a\|b<br>\*c\* \<img\> \@you \[x\](y)"
    assert cell(None) == "null"
    assert len(cell("x" * 10_000)) < 2000


def test_changes_are_marked_better_or_worse() -> None:
    before = {"loss": 2.0, "perplexity": 7.4, "bits_per_byte": 0.8, "accuracy": 0.5}
    after = {"loss": 1.9, "perplexity": 6.7, "bits_per_byte": 0.8, "accuracy": 0.4}
    table = "\n".join(metrics_table(before, after))
    assert "| loss [nats per token] | 2.0000 | 1.9000 | -0.1000 better |" in table
    assert "| bits per byte | 0.8000 | 0.8000 | +0.0000 |" in table
    assert "| accuracy (top-1) | 0.5000 | 0.4000 | -0.1000 worse |" in table
    assert "| loss [nats per token] | – | 1.9000 | |" in "\n".join(metrics_table({}, after))


@pytest.mark.slow
def test_an_experiment_next_to_its_baseline(ran_clone: Clone) -> None:
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

    assert "No parameters differ." in _reviewed(ran_clone, "workspace", "--baseline", "HEAD")
    assert "error: nowhere: neither an experiment nor a git revision" in _review(ran_clone, "nowhere")


@pytest.mark.slow
def test_a_baseline_whose_files_were_never_pulled(ran: Clone, tmp_path: Path) -> None:
    """As in a fresh clone: git has the metrics, and DVC's cache is empty."""
    text = _reviewed(Clone.of(ran, tmp_path / "colleague"), "HEAD", "--baseline", "HEAD")
    assert "| loss [nats per token] |" in text
    assert "Significance not tested: HEAD: its commit" in text
    assert "No stories: HEAD: its commit" in text


def _review(clone: Clone, *words: str) -> str:
    command = [fork_server.python(), "-m", "tinylm", "review", *words]
    done = subprocess.run(command, cwd=clone.root, env=clone.environ, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def _reviewed(clone: Clone, *words: str) -> str:
    return (clone.root / _review(clone, *words).strip()).read_text(encoding="utf-8")


WORKFLOW = ROOT / "examples/github_workflow.yml"


@pytest.fixture
def workflow() -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    return found


@pytest.fixture
def jobs(workflow: dict[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = workflow["jobs"]
    return found


def test_the_example_workflow_runs_existing_targets(jobs: dict[str, Any]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {name: re.findall(r"\bmake (\w+)", json.dumps(job["steps"])) for name, job in jobs.items()}
    assert targets == {"storage": ["env"], "experiment": ["env", "repro", "report"], "comment": []}
    assert all(f"\n{target}:" in makefile for targets_of in targets.values() for target in targets_of)


def test_only_reviewed_code_gets_the_keys_of_the_storage(workflow: dict[Any, Any], jobs: dict[str, Any]) -> None:
    assert workflow[True] == {"pull_request": None, "push": {"branches": ["main"]}}  # in YAML 1.1 `on` is true
    assert [name for name, part in (workflow | jobs).items() if name != "jobs" and "secrets." in json.dumps(part)] == [
        "storage"
    ]
    assert jobs["storage"]["environment"] == "storage"  # its secrets are those of an environment that only main may use
    kept = next(step["with"] for step in jobs["storage"]["steps"] if "actions/cache/save@" in step.get("uses", ""))
    assert kept["path"] == ".dvc/cache"  # pull requests restore it, so no settings of DVC are among it


def test_the_code_of_a_pull_request_has_no_secrets_and_no_write_permission(
    workflow: dict[Any, Any], jobs: dict[str, Any]
) -> None:
    assert workflow["permissions"] == {}
    experiment, storage, comment = jobs["experiment"], jobs["storage"], jobs["comment"]
    assert experiment["permissions"] == storage["permissions"] == {"contents": "read"}
    assert not re.search(r"secrets|github\.token|GH_TOKEN", json.dumps(experiment))
    assert storage["if"].startswith("github.event_name == 'push' && ")  # to main: reviewed code
    assert "secrets." in json.dumps(storage)
    assert not re.search(r"secrets|checkout|make |python", json.dumps(comment))  # it posts, and runs no code
    for job in (experiment, storage):
        checkout = next(step for step in job["steps"] if "actions/checkout@" in step.get("uses", ""))
        assert checkout["with"]["persist-credentials"] is False
    # The name of a branch is passed in the environment: in a script it could inject code.
    assert not any("${{" in step.get("run", "") for job in jobs.values() for step in job["steps"])


def test_a_fork_gets_its_summary_on_the_page_of_the_job(jobs: dict[str, Any]) -> None:
    assert "GITHUB_STEP_SUMMARY" in json.dumps(jobs["experiment"])
    assert jobs["comment"]["if"] == "github.event.pull_request.head.repo.full_name == github.repository"


def test_actions_are_pinned_to_commits(jobs: dict[str, Any]) -> None:
    uses = re.findall(r"uses: (.*)", WORKFLOW.read_text(encoding="utf-8"))
    assert len(uses) == sum("uses" in step for job in jobs.values() for step in job["steps"]) > 0
    assert all(re.fullmatch(r"actions/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in uses)
