"""The run in the workspace beside the committed one, by dvc.lock."""

import subprocess
from pathlib import Path

import pytest

from tinylm.base.errors import UserError
from tinylm.experiments.committed import find_differences, find_outdated, read_lock

PIPELINE = "stages:\n  tokens: {}\n  train: {}\n"
PARAMS = "tokens:\n  size: 5\ntrain:\n  steps: 9\n"
LOCK = """\
schema: '2.0'
stages:
  tokens:
    cmd: x
    deps:
    - path: stages/tokens.py
      md5: a1
    params:
      params.yaml:
        tokens:
          size: 5
    outs:
    - path: tokens.bin
      md5: b1
  train:
    cmd: y
    deps:
    - path: tokens.bin
      md5: b1
    - path: tinylm/train
      md5: c1
    params:
      params.yaml:
        train:
          steps: 9
    outs:
    - path: model
      md5: d1
"""


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (("dvc.yaml", PIPELINE), ("params.yaml", PARAMS), ("dvc.lock", LOCK), ("tokens.bin", "")):
        Path(name).write_text(text)
    Path("model").mkdir()
    return tmp_path


def rewrite(name: str, old: str, new: str) -> None:
    text = Path(name).read_text()
    assert old in text
    Path(name).write_text(text.replace(old, new))


def test_a_complete_run_has_nothing_outdated() -> None:
    assert list(find_outdated()) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "outdated"),
    [
        ("params.yaml", "steps: 9", "steps: 10", ["train"]),
        ("params.yaml", "  size: 5", "  size: 6", ["tokens"]),
        ("params.yaml", "  steps: 9", "  other: 9", ["train"]),
        ("dvc.lock", "path: tokens.bin\n      md5: b1\n  train", "path: tokens.bin\n      md5: b2\n  train", ["train"]),
        ("dvc.yaml", "  train: {}\n", "  train: {}\n  evaluate: {}\n", ["evaluate"]),
    ],
)
def test_other_parameters_inputs_and_new_stages_are_outdated(
    name: str, old: str, new: str, outdated: list[str]
) -> None:
    rewrite(name, old, new)
    assert list(find_outdated()) == outdated


def test_a_stage_whose_output_is_gone_is_outdated() -> None:
    Path("model").rmdir()
    assert list(find_outdated()) == ["train"]


def test_without_a_lock_nothing_has_run() -> None:
    Path("dvc.lock").unlink()
    assert list(find_outdated()) == ["tokens", "train"]


@pytest.mark.parametrize("text", ["a: 1\n", "- 1\n", "stages: 3\n"])
def test_a_damaged_lock_is_one_clear_error(text: str) -> None:
    Path("dvc.lock").write_text(text)
    with pytest.raises(UserError, match=r"dvc\.lock: expected the stages of a pipeline; restore it: git checkout"):
        list(find_outdated())


def test_the_differences_are_parameters_and_then_code(root: Path) -> None:
    git = ["git", "-c", "user.name=A Test", "-c", "user.email=test@example.org"]
    assert read_lock("HEAD") == {}
    for words in (["init", "-q"], ["add", "dvc.lock"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    before = read_lock("HEAD")
    assert find_differences(before, read_lock(None)) == []
    rewrite("dvc.lock", "md5: c1", "md5: c2")
    rewrite("dvc.lock", "md5: b1", "md5: b2")  # what is made of other code is no difference of its own
    rewrite("dvc.lock", "steps: 9", "steps: 10")
    rewrite("dvc.lock", "size: 5", "width: 5")
    expected = ["tokens.size", "train.steps", "tokens.width", "tinylm/train"]
    assert find_differences(before, read_lock(None)) == expected
