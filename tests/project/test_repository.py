"""What surrounds the code: workflows, forms, containers. Each names things of this repository, which have to exist."""

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny import ROOT
from tinylm.base import yaml12

GITHUB = ROOT / ".github"
WORKFLOWS = [*sorted((GITHUB / "workflows").glob("*.yml")), ROOT / "examples/github_workflow.yml"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    parsed = yaml12.read(path, "fix it")
    assert isinstance(parsed, dict)
    return parsed


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in read(path)["jobs"].items():
            yield f"{path.name}: {name}", job


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, job in jobs():
        for step in job["steps"]:
            yield name, step


# ---- workflows


def test_every_action_is_pinned_to_one_commit_and_says_its_version() -> None:
    pins: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for line in re.findall(r"uses: (.*)", path.read_text(encoding="utf-8")):
            pinned = re.fullmatch(r"(actions/[a-z/-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)", line)
            assert pinned, f"{path.name}: {line}"
            pins.setdefault(pinned[1].split("/")[1], set()).add(pinned[2])
    assert pins
    assert {name: commits for name, commits in pins.items() if len(commits) > 1} == {}


def test_a_job_may_do_only_what_it_declares_and_ends() -> None:
    for path in WORKFLOWS:
        assert read(path)["permissions"] == {}, path.name
    for name, job in jobs():
        assert job["permissions"], name
        assert job["timeout-minutes"] <= 180, name
        writes = {scope for scope, access in job["permissions"].items() if access == "write"}
        assert not writes or not runs_code_of_the_repository(job), name


def runs_code_of_the_repository(job: dict[str, Any]) -> bool:
    return any(step.get("uses", "").startswith("actions/checkout@") for step in job["steps"])


def test_a_checkout_keeps_no_token_for_the_code_that_runs_after_it() -> None:
    checkouts = [(name, step) for name, step in steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert [name for name, step in checkouts if step["with"]["persist-credentials"] is not False] == []


def test_no_command_contains_text_that_others_choose() -> None:
    """Names of branches and tags reach a shell as variables; as part of its text they could be commands."""
    assert [name for name, step in steps() if "${{" in step.get("run", "")] == []


def test_workflows_call_targets_and_tests_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    commands = "\n".join(step.get("run", "") for _, step in steps())
    called = set(re.findall(r"^(?:.* )?make ([a-z-]+)", commands, re.MULTILINE))
    assert {"docs", "lint", "test"} <= called
    assert called - targets <= {"docs"}
    portable = read(GITHUB / "workflows/ci.yml")["env"]["PORTABLE"].split()
    assert [path for path in portable if not (ROOT / path).exists()] == []


def test_tests_for_windows_import_nothing_that_only_posix_has() -> None:
    for path in map(ROOT.joinpath, read(GITHUB / "workflows/ci.yml")["env"]["PORTABLE"].split()):
        for file in path.rglob("*.py") if path.is_dir() else [path]:
            text = file.read_text(encoding="utf-8")
            assert not re.search(
                r"^(import|from) (fcntl|pty|resource|termios)\b|SIGKILL|os\.fork|/proc/", text, re.MULTILINE
            ), file


# ---- forms


@pytest.mark.parametrize("path", sorted((GITHUB / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.stem)
def test_an_issue_form_asks_for_something_and_has_unique_ids(path: Path) -> None:
    form = read(path)
    assert form["name"]
    assert form["description"]
    asked = [element for element in form["body"] if element["type"] != "markdown"]
    assert any(element.get("validations", {}).get("required") for element in asked)
    ids = [element["id"] for element in asked]
    assert len(ids) == len(set(ids))
    assert all(element["attributes"]["label"] for element in asked)


def test_texts_name_files_that_exist() -> None:
    for name in ("SECURITY.md", "CODE_OF_CONDUCT.md", ".github/pull_request_template.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        named = re.findall(r"\b[A-Z_]+\.md\b|`([a-z.]+)/`", text)
        assert [file for file in named if file and not (ROOT / file).is_dir()] == []
        assert [file for file in re.findall(r"\b[A-Z_]+\.md\b", text) if not (ROOT / file).is_file()] == []


# ---- containers


@pytest.mark.parametrize(("variant", "torch"), [("cpu", "cpu"), ("cuda", "default")])
def test_a_dev_container_is_the_base_of_the_image(variant: str, torch: str) -> None:
    file = ROOT / ".devcontainer" / variant / "devcontainer.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    build = settings["build"]
    assert (file.parent / build["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (file.parent / build["context"]).resolve() == ROOT
    assert f" AS {build['target']}\n" in DOCKERFILE
    assert f" {settings['remoteUser']} " in DOCKERFILE
    assert settings["containerEnv"] == {"TORCH": torch}
    assert ("--gpus" in settings.get("runArgs", [])) == (variant == "cuda")


def test_the_image_leaves_out_what_git_ignores() -> None:
    """What was made on this machine would replace what the image makes, such as .venv."""
    left_out = [line.removeprefix("**/") for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()]
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()]
    assert [name for name in ignored if name[:1] not in ("", "#") and not covered(name, left_out)] == []
    assert not covered(".git", left_out)


def covered(name: str, patterns: list[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


# ---- the notebook


def test_the_badge_is_in_the_first_cell_and_names_the_notebook() -> None:
    cells = json.loads((ROOT / "notebooks/hosted_gpu.ipynb").read_text(encoding="utf-8"))["cells"]
    first = "".join(cells[0]["source"])
    assert "](https://colab.research.google.com/github/)" in first
    (named,) = re.findall(r"`(notebooks/.*\.ipynb)`", first)
    assert (ROOT / named).is_file()
