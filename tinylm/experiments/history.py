"""DVC's experiments, read from git: where their commits are, and what their files say."""

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
    low: float
    high: float


class Score(TypedDict, total=False):
    """What `evaluate` measured, as far as runs are compared by it."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    bits_per_byte: Required[float | None]
    loss: float | None
    perplexity: float | None
    accuracy: float | None
    range95: dict[str, Interval | None]


@dataclass(frozen=True)
class Experiment:
    name: str
    commit: str
    baseline: str  # the commit that it was made from


def run(*command: str) -> str:
    """Standard output of a command. Raises UserError with the last line of what it said instead."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError(f"{command[0]}: not found; install it") from None
    except ValueError:  # a NUL, which no argument of a program can hold
        raise UserError(f"{quote(command[-1])}: expected a name, got one with a NUL; leave that out") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError(f"{' '.join(command[:3])}: {lines[-1].removeprefix('ERROR: ')}")
    return done.stdout


def list_experiments() -> list[Experiment]:
    """All of this repository, the newest first. Their names: refs/exps/BASELINE[:2]/BASELINE[2:]/NAME."""
    found = []
    form = "--format=%(refname) %(objectname)"
    for line in run("git", "for-each-ref", "--sort=-committerdate", form, "refs/exps").splitlines():
        reference, commit = line.split()
        parts = reference.split("/")
        if len(parts) == 5 and len(parts[2]) == 2:  # others are DVC's own: refs/exps/exec, refs/exps/stash
            found.append(Experiment(parts[4], commit, parts[2] + parts[3]))
    return found


def find_experiment(name: str) -> Experiment | None:
    """By name; of several the one made from HEAD, else the newest."""
    named = [experiment for experiment in list_experiments() if experiment.name == name]
    head = head_commit()
    return next((experiment for experiment in named if experiment.baseline == head), named[0] if named else None)


def head_commit() -> str:
    return run("git", "rev-parse", "--verify", "HEAD").strip()


def resolve(name: str) -> str | None:
    """The commit of an experiment or a revision; None for the workspace. Raises UserError for what is neither."""
    if name == WORKSPACE:
        return None
    if experiment := find_experiment(name):
        return experiment.commit
    try:
        return run("git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()
    except UserError:
        raise UserError(
            f"{name}: neither an experiment nor a git revision, nor {WORKSPACE}; `dvc exp list` names the experiments"
        ) from None


def read_file(commit: str | None, path: str) -> str:
    """A file that is in git, of a commit or of the workspace. Raises UserError where it is not there."""
    if commit is not None:
        return run("git", "show", f"{commit}:{path}")
    return read_text(path, "run the pipeline first: make repro")


def read_cached(name: str, commit: str | None, path: str) -> str:
    """A file that DVC keeps, of a commit or of the workspace: from its cache, or a remote storage if there is one.

    Raises UserError where neither has it; `name` is what the user calls the commit.
    """
    if commit is None:
        return read_file(None, path)
    import dvc.api
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError
    from dvc_data.index import DataIndexDirError

    try:
        return str(dvc.api.read(path, rev=commit, encoding="utf-8"))
    except (FileNotFoundError, DataIndexDirError):  # the latter for a folder of which the cache knows nothing
        why = f"{name}: its commit {commit[:7]} has no {path}, or neither the cache nor a remote storage holds it"
    except (DvcException, SCMError, OSError) as error:
        why = f"{name}: {path} of commit {commit[:7]} cannot be read ({error})"
    raise UserError(f"{why}; pull it (dvc pull, dvc exp pull REMOTE {name}), or make it: dvc repro")


def read_params_at(commit: str | None) -> dict[str, dict[str, Any]]:
    """The sections of params.yaml, unchecked: those of an old commit may be others than today's."""
    sections = yaml12.parse(read_file(commit, PARAMS_FILE), PARAMS_FILE)
    if not isinstance(sections, dict) or not all(isinstance(values, dict) for values in sections.values()):
        where = f" of commit {commit[:7]}" if commit else ""
        raise UserError(f"{PARAMS_FILE}{where}: expected sections of `key: value` lines; presets/ holds files")
    return sections


def read_score(commit: str | None) -> dict[str, Any]:
    """What `evaluate` measured."""
    where = f" of commit {commit[:7]}" if commit else ""
    return dict(parse_as(Score, read_file(commit, SCORE), SCORE + where, "run its stage evaluate again"))


def show() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """`dvc exp show`: HEAD, and each experiment made from it, with state, parameters and metrics."""
    shown = json.loads(run(sys.executable, "-m", "dvc", "exp", "show", "--json"))
    head = next(baseline for baseline in shown if baseline["rev"] != WORKSPACE)
    experiments = [
        {**experiment, **(experiment.get("revs") or [{}])[0], "name": experiment["name"]}
        for experiment in head.get("experiments") or []
    ]
    return head, experiments


def as_shown(experiment: Experiment) -> dict[str, Any]:
    """One that was made from another commit, in the form of `show`, which would take seconds for each."""
    try:
        score = read_score(experiment.commit)
    except UserError:  # it has none: it ended at an earlier stage
        score = {}
    params, metrics = ({"data": values} for values in (read_params_at(experiment.commit), score))
    data = {"params": {PARAMS_FILE: params}, "metrics": {SCORE: metrics}}
    return {"name": experiment.name, "rev": experiment.commit, "data": data}
