"""The run in the workspace beside the committed one, by dvc.lock: whether it is complete, and in what they differ."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tinylm.base import yaml12
from tinylm.base.errors import UserError
from tinylm.base.params import PARAMS_FILE
from tinylm.experiments.history import read_file, read_params_at

LOCK = "dvc.lock"
REMEDY = "run from the root of the repository"

Lock = Mapping[str, Mapping[str, Any]]  # by stage: its deps, params and outs


def read_lock(commit: str | None) -> Lock:
    """Return the stages of dvc.lock in a commit or the workspace; empty if there is none.

    Raises UserError if it is not what DVC writes.
    """
    try:
        text = read_file(commit, LOCK)
    except UserError:
        return {}
    try:
        return dict(yaml12.parse(text, LOCK)["stages"])
    except (LookupError, TypeError, ValueError):
        raise UserError(f"{LOCK}: expected the stages of a pipeline; restore it: git checkout {LOCK}") from None


def find_outdated() -> Iterator[str]:
    """Yield the stages that have not run with the parameters and inputs of the workspace, or whose outputs are gone.

    Changes of the code are not looked for: `dvc status` does that, and takes longer.
    """
    lock, params = read_lock(None), _flat(read_params_at(None))
    made = _hashes(lock, "outs")
    for stage in yaml12.read("dvc.yaml", REMEDY)["stages"]:
        ran = {stage: lock[stage]} if stage in lock else {}
        inputs = {path: digest for path, digest in _hashes(ran, "deps").items() if path in made}
        current = inputs.items() <= made.items() and all(params.get(key) == it for key, it in _params(ran).items())
        if not (ran and current and all(Path(path).exists() for path in _hashes(ran, "outs"))):
            yield stage


def find_differences(before: Lock, now: Lock) -> list[str]:
    """Return the parameters in which two runs differ, then the files and folders of code."""
    params = _params(before), _params(now)
    code = [{path: it for path, it in _hashes(lock, "deps").items() if _is_code(path)} for lock in (before, now)]
    return [key for first, second in (params, code) for key in {**first, **second} if first.get(key) != second.get(key)]


def find_output(lock: Lock, path: str) -> str | None:
    """Return the hash of an output, or None if no stage has written it."""
    return _hashes(lock, "outs").get(path)


def find_value(lock: Lock, stage: str, key: str) -> Any:
    """Return the value of a parameter, such as "train.peak_lr", with which a stage ran; None if it has not run."""
    return _params({stage: lock[stage]}).get(key) if stage in lock else None


def _hashes(lock: Lock, kind: str) -> dict[str, str]:
    """Return the hashes of the `deps` or `outs` of all stages, by path."""
    return {str(entry["path"]): str(entry.get("md5")) for stage in lock.values() for entry in stage.get(kind, [])}


def _params(lock: Lock) -> dict[str, Any]:
    """Return the parameters of all stages, as in `_flat`."""
    return {k: v for stage in lock.values() for k, v in _flat(stage.get("params", {}).get(PARAMS_FILE, {})).items()}


def _flat(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the values of sections by name, such as "train.peak_lr"."""
    return {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}


def _is_code(path: str) -> bool:
    return path.startswith(("stages/", "tinylm/"))
