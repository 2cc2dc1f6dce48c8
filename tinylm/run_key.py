"""What makes a run the same run: the values of its stage's parameters and the content of its dependencies."""

import hashlib
import json
from pathlib import Path

from tinylm import atomic
from tinylm.errors import UserError
from tinylm.params import PARAMS_FILE, yaml_core


def run_key(stage: str, root: Path = Path()) -> str:
    """16 hexadecimal digits of `stage` as dvc.yaml describes it: other code, inputs or parameters make another key.

    Read from the files rather than from DVC, so that it is the same in the workspace, in a temporary
    copy of it and without DVC.
    """
    described = _parse(root / "dvc.yaml")["stages"][stage]
    params = _parse(root / PARAMS_FILE)
    key = hashlib.sha256(json.dumps([params[section] for section in described["params"]], sort_keys=True).encode())
    for dep in described["deps"]:
        for file in _files(root / dep):
            key.update(f"{file.relative_to(root).as_posix()} {atomic.sha256(file)}\n".encode())
    return key.hexdigest()[:16]


def _parse(path: Path) -> dict:  # type: ignore[type-arg]
    if not path.is_file():
        raise UserError(f"{path}: not found; run from the root of the repository")
    return dict(yaml_core.parse(path.read_text(encoding="utf-8"), str(path)))


def _files(dep: Path) -> list[Path]:
    """What is missing is no file; the stage itself says so best."""
    if dep.is_file():
        return [dep]
    return sorted(path for path in dep.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
