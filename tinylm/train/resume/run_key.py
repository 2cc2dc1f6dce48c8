"""The run key identifies a run by the values of its stage's parameters and the content of its dependencies."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from tinylm.base import checksums, yaml12
from tinylm.base.errors import UserError, quote
from tinylm.base.params import PARAMS_FILE

CODE = ("stages/", "tinylm/")  # dependencies that are code
PARAMETER = re.compile(r"\$\{(\w+)\.(\w+)\}")


def run_key(stage: str, root: Path = Path()) -> str:
    """16 hexadecimal digits that change with the code, inputs and parameters of `stage`, as listed in dvc.yaml.

    Computed from the files and not by DVC, so that the key is the same in the workspace, in a temporary copy of it
    and without DVC. Raises UserError if dvc.yaml or params.yaml is not as expected.
    """
    parts = run_parts(stage, root)
    return hashlib.sha256("\n".join(f"{name} {part}" for name, part in parts.items()).encode()).hexdigest()[:16]


def run_parts(stage: str, root: Path = Path()) -> dict[str, str]:
    """What identifies a run of `stage`: values of parameter sections and checksums of files, by name.

    Raises UserError as `run_key` does.
    """
    entry = _stage_entry(stage, root)
    params = _parse(root / PARAMS_FILE)
    if unknown := [section for section in entry["params"] if section not in params]:
        raise UserError(
            f"{root / 'dvc.yaml'}: expected sections of {PARAMS_FILE} in stages.{stage}.params, "
            f"got {quote(unknown[0])}; restore it: git checkout dvc.yaml"
        )
    parts = {
        f"{PARAMS_FILE}: section {section}": json.dumps(params[section], sort_keys=True) for section in entry["params"]
    }
    deps = [_fill_in(dep, params) for dep in entry["deps"]]
    files = [file for dep in deps for file in _files(root / dep, dep.startswith(CODE))]
    contents = checksums.read([checksums.Request(file) for file in files])
    for file, content in zip(files, contents, strict=True):
        name = file.relative_to(root) if file.is_relative_to(root) else file
        parts[name.as_posix()] = content.sha256
    return parts


def _parse(path: Path) -> dict[str, Any]:
    found = yaml12.read(path, "run from the root of the repository")
    if not isinstance(found, dict):
        raise UserError(
            f"{path}: expected `key: value` lines, got {quote(found)}; restore it: git checkout {path.name}"
        )
    return found


def _stage_entry(stage: str, root: Path) -> dict[str, Any]:
    """The stage's entry in dvc.yaml."""
    path = root / "dvc.yaml"
    found = _parse(path).get("stages")
    entry = found.get(stage) if isinstance(found, dict) else None
    if isinstance(entry, dict) and all(
        isinstance(entry.get(key), list) and all(isinstance(value, str) for value in entry[key])
        for key in ("params", "deps")
    ):
        return entry
    raise UserError(
        f"{path}: expected stages.{stage} with lists `params` and `deps`, got {quote(entry)}; "
        f"restore it: git checkout {path.name}"
    )


def _fill_in(dep: str, params: dict[str, Any]) -> str:
    """Fill in the parameters of a dependency, such as ${train.init_from}, as DVC does: null is written None."""
    return PARAMETER.sub(lambda name: str(params.get(name[1], {}).get(name[2])), dep)


def _files(dep: Path, code: bool) -> list[Path]:
    """Files of a dependency; none if it is missing, which the stage itself reports better.

    In a folder of code only Python files count: an editor's temporary file must not change the key.
    """
    if dep.is_file():
        return [dep]
    return sorted(path for path in dep.rglob("*.py" if code else "*") if path.is_file())
