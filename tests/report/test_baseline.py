"""The choice of the committed run with which a run is compared."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tinylm.report.baseline import find_baseline

NOW = {"loss": 1.0}


class Repository:
    """A git repository in which `metrics/evaluate.json` is committed several times."""

    def __init__(self, root: Path):
        self.root, self.path = root, root / "metrics/evaluate.json"
        self.path.parent.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=A Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *who, *arguments], cwd=self.root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, content: Any, subject: str = "a run") -> str:
        text = content if isinstance(content, str) else json.dumps(content)
        self.path.write_text(text, encoding="utf-8")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", subject)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


def test_no_repository(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    assert find_baseline(tmp_path / "metrics/evaluate.json", NOW) is None


def test_no_git(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.commit({"loss": 2.0})
    assert find_baseline(repository.path, NOW)
    monkeypatch.setenv("PATH", "")
    assert find_baseline(repository.path, NOW) is None


def test_no_commit_yet(repository: Repository) -> None:
    assert find_baseline(repository.path, NOW) is None


def test_no_other_run(repository: Repository) -> None:
    repository.commit(NOW)
    assert find_baseline(repository.path, NOW) is None


def test_the_last_committed_run(repository: Repository) -> None:
    repository.commit({"loss": 3.0})
    commit = repository.commit({"loss": 2.0}, 'say "2" & <b>')
    found = find_baseline(repository.path, NOW)
    assert found
    assert (found.commit, found.subject, found.metrics) == (commit, 'say "2" & <b>', {"loss": 2.0})


def test_committing_a_run_does_not_change_its_baseline(repository: Repository) -> None:
    repository.commit({"loss": 2.0})
    before = find_baseline(repository.path, NOW)
    repository.commit(NOW)
    (repository.root / "README.md").write_text("something else")
    repository.commit(NOW, "another file")
    assert find_baseline(repository.path, NOW) == before
    assert before


def test_relative_paths_and_folders_within_a_repository(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({"loss": 2.0})
    monkeypatch.chdir(repository.root)
    found = find_baseline(Path("metrics/evaluate.json"), NOW)
    assert found
    assert found == find_baseline(repository.path, NOW)


def test_renamed_keys_are_still_a_run(repository: Repository) -> None:
    repository.commit({"nats": 2.0})
    found = find_baseline(repository.path, NOW)
    assert found
    assert found.metrics == {"nats": 2.0}


@pytest.mark.parametrize("invalid", ["", "<<<<<<< ours", "[1]"])
def test_an_invalid_file_in_the_history_is_skipped(repository: Repository, invalid: str) -> None:
    commit = repository.commit({"loss": 2.0})
    repository.commit(invalid)
    repository.git("rm", "--quiet", "--force", "metrics/evaluate.json")
    repository.git("commit", "--quiet", "--message", "deleted")
    repository.path.parent.mkdir(exist_ok=True)
    found = find_baseline(repository.path, NOW)
    assert found
    assert found.commit == commit


def test_a_merged_branch_is_not_the_previous_run(repository: Repository) -> None:
    commit = repository.commit({"loss": 2.0})
    repository.git("switch", "--quiet", "--create", "side")
    repository.commit({"loss": 5.0})
    repository.commit(NOW)
    repository.git("switch", "--quiet", "main")
    repository.git("merge", "--quiet", "--no-ff", "--message", "merged", "side")
    found = find_baseline(repository.path, NOW)
    assert found
    assert (found.commit, found.metrics) == (commit, {"loss": 2.0})


def test_a_shallow_clone_without_an_earlier_run(repository: Repository, tmp_path: Path) -> None:
    repository.commit({"loss": 2.0})
    repository.commit(NOW)
    subprocess.run(
        ["git", "clone", "--quiet", "--depth=1", f"file://{repository.root}", str(tmp_path / "shallow")], check=True
    )
    assert find_baseline(tmp_path / "shallow/metrics/evaluate.json", NOW) is None
