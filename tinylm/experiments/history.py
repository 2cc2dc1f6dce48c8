"""Read DVC experiments from git: their commits, parameters and metrics."""

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Required

from pydantic import ConfigDict
from typing_extensions import TypedDict

from tinylm.base import yaml12
from tinylm.base.errors import UserError, quote
from tinylm.base.params import PARAMS_FILE
from tinylm.base.reading import parse_as, read_text

SCORE = "metrics/evaluate.json"
WORKSPACE = "workspace"


class Interval(TypedDict):
    """A 95% interval, as metrics/evaluate.json stores it."""

    low: float
    high: float


class Score(TypedDict, total=False):
    """The part of metrics/evaluate.json by which runs are compared."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    bits_per_byte: Required[float | None]
    loss: float | None
    perplexity: float | None
    accuracy: float | None
    range95: dict[str, Interval | None]


@dataclass(frozen=True)
class Experiment:
    """A named DVC experiment."""

    name: str
    commit: str
    baseline: str  # the commit it was run from


def run(*command: str) -> str:
    """Run a command and return its standard output. Raises UserError with its last error line if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{command[0]}: not found; install it") from None
    except ValueError:  # a NUL character, which a program argument cannot contain
        raise UserError(f"{quote(command[-1])}: expected a name, got one with a NUL; remove it") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError(f"{' '.join(command[:3])}: {lines[-1].removeprefix('ERROR: ')}")
    return done.stdout


def list_experiments() -> list[Experiment]:
    """Return all experiments of this repository, newest first. Their refs: refs/exps/BASELINE[:2]/BASELINE[2:]/NAME."""
    found = []
    form = "--format=%(refname) %(objectname)"
    for line in run("git", "for-each-ref", "--sort=-committerdate", form, "refs/exps").splitlines():
        reference, commit = line.split()
        parts = reference.split("/")
        if len(parts) == 5 and len(parts[2]) == 2:  # DVC also keeps refs/exps/exec and refs/exps/stash
            found.append(Experiment(parts[4], commit, parts[2] + parts[3]))
    return found


def find_experiment(name: str) -> Experiment | None:
    """Return the experiment called `name`, or None; of several, the one run from HEAD, else the newest."""
    named = [experiment for experiment in list_experiments() if experiment.name == name]
    head = head_commit()
    return next((experiment for experiment in named if experiment.baseline == head), named[0] if named else None)


def head_commit() -> str:
    """Return the full hash of HEAD."""
    return run("git", "rev-parse", "--verify", "HEAD").strip()


def resolve(name: str) -> str | None:
    """Return the commit of an experiment or git revision; None for the workspace. Raises UserError if unknown."""
    if name == WORKSPACE:
        return None
    if experiment := find_experiment(name):
        return experiment.commit
    try:
        return run("git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()
    except UserError:
        raise UserError(
            f"{name}: neither an experiment nor a git revision, nor {WORKSPACE}; `dvc exp list` lists the experiments"
        ) from None


def read_file(commit: str | None, path: str) -> str:
    """Read a file tracked by git, from a commit or the workspace. Raises UserError if it is missing."""
    if commit is not None:
        return run("git", "show", f"{commit}:{path}")
    return read_text(path, "run the pipeline first: make repro")


def read_cached(name: str, commit: str | None, path: str) -> str:
    """Read a file tracked by DVC, from a commit or the workspace: from the cache, else from the default remote.

    Raises UserError if neither has it; `name` is the user's name for the commit.
    """
    if commit is None:
        return read_file(None, path)
    import dvc.api
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError
    from dvc_data.index import DataIndexDirError

    try:
        return str(dvc.api.read(path, rev=commit, encoding="utf-8"))
    except (FileNotFoundError, DataIndexDirError):  # the latter for a folder that is not in the cache
        why = f"{name}: its commit {commit[:7]} has no {path}, or neither the cache nor a remote has it"
    except (DvcException, SCMError, OSError) as error:
        why = f"{name}: {path} of commit {commit[:7]} cannot be read ({error})"
    raise UserError(f"{why}; pull it (dvc pull, dvc exp pull REMOTE {name}), or produce it: dvc repro")


def read_params_at(commit: str | None) -> dict[str, dict[str, Any]]:
    """Read the sections of params.yaml without validation: an old commit may have other parameters."""
    sections = yaml12.parse(read_file(commit, PARAMS_FILE), PARAMS_FILE)
    if not isinstance(sections, dict) or not all(isinstance(values, dict) for values in sections.values()):
        where = f" of commit {commit[:7]}" if commit else ""
        raise UserError(f"{PARAMS_FILE}{where}: expected sections of `key: value` lines; see presets/ for examples")
    return sections


def read_score(commit: str | None) -> dict[str, Any]:
    """Read metrics/evaluate.json."""
    where = f" of commit {commit[:7]}" if commit else ""
    return dict(parse_as(Score, read_file(commit, SCORE), SCORE + where, "run the evaluate stage again"))


def show() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return HEAD and the experiments run from it, as `dvc exp show` has them: state, parameters, metrics."""
    shown = json.loads(run(sys.executable, "-m", "dvc", "exp", "show", "--json"))
    head = next(baseline for baseline in shown if baseline["rev"] != WORKSPACE)
    experiments = [
        {**experiment, **(experiment.get("revs") or [{}])[0], "name": experiment["name"]}
        for experiment in head.get("experiments") or []
    ]
    return head, experiments


def as_shown(experiment: Experiment) -> dict[str, Any]:
    """Return an experiment run from another commit in the format of `show`, which would take seconds per commit."""
    try:
        score = read_score(experiment.commit)
    except UserError:  # no score: it ended at an earlier stage
        score = {}
    params, metrics = ({"data": values} for values in (read_params_at(experiment.commit), score))
    data = {"params": {PARAMS_FILE: params}, "metrics": {SCORE: metrics}}
    return {"name": experiment.name, "rev": experiment.commit, "data": data}
