"""The run key changes with what the run depends on, and with nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tinylm.train.resume.run_key import run_key

DVC = """stages:
  train:
    cmd: python -m stages.train
    deps:
    - artifacts/tokens
    - ${train.init_from}/
    - stages/train.py
    - tinylm/train
    params:
    - model
    - train
"""
PARAMS = "model:\n  width: 8\ntrain:\n  init_from: null\n  peak_lr: 3e-4 # rate\nruntime:\n  threads: 1\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "artifacts/tokens").mkdir(parents=True)
    (tmp_path / "artifacts/tokens/train.bin").write_bytes(b"ids")
    for code in ("stages/train.py", "tinylm/train/step.py"):
        (tmp_path / code).parent.mkdir(parents=True)
        (tmp_path / code).write_text("a = 1\n")
    (tmp_path / "other.py").write_text("b = 1\n")
    (tmp_path / "dvc.yaml").write_text(DVC)
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


def edit(name: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text((root / name).read_text().replace(old, new))


def add(name: str) -> Callable[[Path], object]:
    def write(root: Path) -> None:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"more")

    return write


@pytest.mark.parametrize(
    ("change", "another"),
    [
        (edit("params.yaml", "3e-4", "1e-3"), True),
        (edit("params.yaml", "width: 8", "width: 9"), True),
        (edit("stages/train.py", "1", "2"), True),
        (edit("tinylm/train/step.py", "1", "2"), True),
        (add("tinylm/train/log/rows.py"), True),
        (edit("artifacts/tokens/train.bin", "ids", "idz"), True),
        (lambda root: (root / "artifacts/tokens/train.bin").rename(root / "artifacts/tokens/x.bin"), True),
        (add("artifacts/tokens/val.bin"), True),
        (edit("params.yaml", "threads: 1", "threads: 2"), False),
        (edit("params.yaml", "3e-4 # rate", "0.0003"), False),
        (edit("other.py", "1", "2"), False),
        (add("tinylm/train/__pycache__/step.cpython-311.pyc"), False),
        (add("tinylm/train/.step.py.swp"), False),
        (add("tinylm/train/step.py~"), False),
        (add("tinylm/generate/run.py"), False),
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


@pytest.mark.parametrize("absolute", [True, False])
def test_the_content_of_the_initial_model_changes_the_key(root: Path, tmp_path: Path, absolute: bool) -> None:
    keys = [run_key("train", root)]
    folder = tmp_path.parent / f"{tmp_path.name}-elsewhere" if absolute else root / "models/a"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    edit("params.yaml", "init_from: null", f"init_from: {folder if absolute else 'models/a'}")(root)
    keys.append(run_key("train", root))
    (folder / "model.safetensors").write_bytes(b"others")
    keys.append(run_key("train", root))
    (folder / "config.json").write_bytes(b"{}")
    keys.append(run_key("train", root))
    assert len(set(keys)) == 4
    assert run_key("train", root) == keys[-1]
