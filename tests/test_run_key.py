"""A run's key changes with what the run depends on, and with nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tinylm.run_key import run_key

DVC = """stages:
  train:
    cmd: python -m stages.train
    deps:
    - artifacts/tokens
    - code.py
    params:
    - model
    - train
"""
PARAMS = "model:\n  width: 8\ntrain:\n  peak_lr: 3e-4 # rate\nruntime:\n  threads: 1\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "artifacts/tokens").mkdir(parents=True)
    (tmp_path / "artifacts/tokens/train.bin").write_bytes(b"ids")
    (tmp_path / "code.py").write_text("a = 1\n")
    (tmp_path / "other.py").write_text("b = 1\n")
    (tmp_path / "dvc.yaml").write_text(DVC)
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


def edit(name: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text((root / name).read_text().replace(old, new))


def pycache(root: Path) -> None:
    (root / "artifacts/tokens/__pycache__").mkdir()
    (root / "artifacts/tokens/__pycache__/x.pyc").write_bytes(b"x")


@pytest.mark.parametrize(
    ("change", "another"),
    [
        (edit("params.yaml", "3e-4", "1e-3"), True),
        (edit("params.yaml", "width: 8", "width: 9"), True),
        (edit("code.py", "1", "2"), True),
        (edit("artifacts/tokens/train.bin", "ids", "idz"), True),
        (lambda root: (root / "artifacts/tokens/train.bin").rename(root / "artifacts/tokens/x.bin"), True),
        (lambda root: (root / "artifacts/tokens/val.bin").write_bytes(b"more"), True),
        (edit("params.yaml", "threads: 1", "threads: 2"), False),
        (edit("params.yaml", "3e-4 # rate", "0.0003"), False),
        (edit("other.py", "1", "2"), False),
        (pycache, False),
    ],
)
def test_what_changes_the_key(root: Path, change: Callable[[Path], object], another: bool) -> None:
    before = run_key("train", root)
    change(root)
    assert (run_key("train", root) != before) == another


def test_the_key_is_the_same_elsewhere(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = run_key("train", root)
    monkeypatch.chdir(root)
    assert run_key("train") == key
    assert len(key) == 16
