"""The script that runs one trial on a node, and the two ways on which its experiment comes back.

Either the nodes see this repository, on a file system that they share: they clone it by its path, use its DVC cache and
its folder of resume checkpoints, and push the experiment into it. Or they reach a git remote and a DVC remote: they
clone the one, push the experiment to both, and this repository pulls it from there.
"""

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tinylm.base.errors import UserError
from tinylm.experiments.history import find_experiment, run
from tinylm.experiments.sweep.study import FOLDER

NODE = Path(__file__).with_name("node.sh")
DVC = (sys.executable, "-m", "dvc")


@dataclass(frozen=True)
class Node:
    """What all trials share. `setup` are lines of Bash after which the node finds `dvc` and `python`."""

    commit: str
    cpus: int
    setup: str | None


class Way(Protocol):
    """How a node gets the repository, and how the experiment comes back."""

    def work_folder(self, name: str) -> Path:
        """Return a new folder's path on the node, for a clone."""

    def variables(self) -> dict[str, str | Sequence[str]]:
        """Return the variables of node.sh which depend on the way."""

    def exports(self) -> dict[str, str]:
        """Return environment variables of the trial."""

    def fetch(self, name: str) -> bool:
        """Bring the experiment here if it is not; return whether it is here."""


class SharedFiles:
    """The nodes see this repository at the same path."""

    def work_folder(self, name: str) -> Path:
        folder = FOLDER / "nodes"
        folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder)).resolve()

    def variables(self) -> dict[str, str | Sequence[str]]:
        cache = run(*DVC, "cache", "dir").strip()
        return {
            "origin": str(Path.cwd()),
            "configuration": [f"cache.dir={Path(cache).resolve()}"],
            "options": [],
            "push": ["--no-cache"],
        }

    def exports(self) -> dict[str, str]:
        return {"TINYLM_RESUME": str(Path(os.environ.get("TINYLM_RESUME") or ".resume").resolve())}

    def fetch(self, name: str) -> bool:
        return find_experiment(name) is not None


class Remotes:
    """The nodes reach the git remote `remote` of this repository, and its default DVC remote.

    Raises UserError if one of them has no address, or the git remote lacks HEAD.
    """

    def __init__(self, remote: str):
        self.remote = remote
        self._url = run("git", "remote", "get-url", remote).strip()
        if not run("git", "branch", "--remotes", "--contains", "HEAD", "--list", f"{remote}/*").strip():
            raise UserError(f"{remote} does not have HEAD, which the nodes clone from there; run: git push {remote}")
        self._storage = run(*DVC, "config", "core.remote").strip()
        self._storage_url = run(*DVC, "config", f"remote.{self._storage}.url").strip()
        if self._storage_url.startswith("/dev/null"):
            raise UserError(
                "the DVC remote has no address, and the nodes send the models there; "
                "run: dvc remote add --local --force storage URL"
            )

    def work_folder(self, name: str) -> Path:
        return Path(f"/tmp/tinylm-{name}-{os.urandom(4).hex()}")

    def variables(self) -> dict[str, str | Sequence[str]]:
        return {
            "origin": self._url,
            "configuration": [f"remote.{self._storage}.url={self._storage_url}"],
            "options": ["--pull"],
            "push": [],
        }

    def exports(self) -> dict[str, str]:
        return {}

    def fetch(self, name: str) -> bool:
        if find_experiment(name) is None:
            run(*DVC, "exp", "pull", self.remote, name)
        return find_experiment(name) is not None


def check_committed() -> None:
    """Raise UserError if files differ from HEAD, which is what nodes run."""
    if changed := run("git", "status", "--porcelain", "--untracked-files=no").splitlines():
        raise UserError(f"the nodes run HEAD, and {changed[0][3:]} differs from it; commit it first")


def trial_script(
    name: str, settings: Mapping[str, str], targets: Sequence[str], node: Node, way: Way, work: Path
) -> str:
    """Return the script of a trial, with a clone in the folder `work` of the node."""
    exports = {"OMP_NUM_THREADS": str(node.cpus), "PYTHONUNBUFFERED": "1", **way.exports()}
    variables = way.variables()
    words = [word for key, value in settings.items() for word in ("-S", f"{key}={value}")]
    variables |= {"name": name, "commit": node.commit, "work": str(work)}
    variables["options"] = [*variables["options"], *words, *targets]
    lines = ["#!/bin/bash", f"# The trial {name} of a sweep, for a node of a cluster"]
    for key, value in variables.items():
        lines.append(f"{key}={shlex.quote(value)}" if isinstance(value, str) else f"{key}=({shlex.join(value)})")
    lines += [f"export {key}={shlex.quote(value)}" for key, value in exports.items()]
    path = f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"'
    lines += ["setup() {", node.setup or path, "}"]
    return "\n".join(lines) + "\n" + NODE.read_text(encoding="utf-8")


def remove_work(work: Path) -> None:
    """Remove the clone of a job whose node may have died; a folder of another machine is not here."""
    if FOLDER.resolve() in work.parents:
        shutil.rmtree(work, ignore_errors=True)
