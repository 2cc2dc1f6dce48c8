"""Find out what uses the files in DVC's cache: the workspace, other commits, experiments, or nothing.

This is read from every version of dvc.lock in git, which takes less than a second in all; asking DVC would take
that long per commit.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tinylm.base.errors import UserError

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
COMMITS = ("refs/heads", "refs/tags", "refs/remotes")
NO_BLOB = "0" * 40  # git's blob id of a file that was removed
NAMED = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/[^/]+")  # the other refs there are DVC's own


@dataclass(frozen=True)
class CacheUse:
    """Bytes in the cache by what uses them; each file is counted once."""

    workspace: int  # used by the workspace, whatever else uses it
    commits: int  # of any local or remote branch or tag
    experiments: int
    commits_and_experiments: int
    nobody: int  # includes metrics and plots, of which DVC keeps copies for its run cache
    runs: int  # the run cache


def cache_use(root: Path) -> CacheUse:
    """Return what uses the cache of the repository at `root`. Raises UserError if git, DVC or dvc.yaml fails."""
    cache = _cache_folder(root)
    files = {path.parent.name + path.name: path for path in cache.glob("files/md5/??/*")}
    sizes = {digest: path.stat().st_size for digest, path in files.items()}

    def total(digests: Set[str]) -> int:
        return sum(sizes.get(digest, 0) for digest in digests)

    in_git = _in_git(root)
    lock = root / "dvc.lock"
    here = _digests([lock.read_bytes()] if lock.is_file() else [], files, in_git)
    commits = _digests(_contents(root, _versions(root)), files, in_git) - here
    exps = _digests(_contents(root, [f"{name}:dvc.lock" for name in experiments(root)]), files, in_git) - here
    return CacheUse(
        workspace=total(here),
        commits=total(commits - exps),
        experiments=total(exps - commits),
        commits_and_experiments=total(commits & exps),
        nobody=total(sizes.keys() - here - commits - exps),
        runs=sum(path.stat().st_size for path in (cache / "runs").rglob("*") if path.is_file()),
    )


def is_cached(root: Path, commit: str) -> bool:
    """Return whether the cache has all outputs of a commit, so that `dvc checkout` can restore them."""
    cache = _cache_folder(root)
    files = {path.parent.name + path.name: path for path in cache.glob("files/md5/??/*")}
    return _digests(_contents(root, [f"{commit}:dvc.lock"]), files, _in_git(root)) <= files.keys()


def experiments(root: Path) -> list[str]:
    """Return the git references of all named experiments."""
    return [reference for reference in _references(root, "refs/exps") if NAMED.fullmatch(reference)]


def _references(root: Path, *folders: str) -> list[str]:
    return _git(root, "for-each-ref", "--format=%(refname)", *folders).decode().split()


def _digests(locks: Iterable[bytes], files: Mapping[str, Path], in_git: Set[str]) -> set[str]:
    """Return the digests of the outputs in these dvc.lock files; for a folder, of its list and all files listed."""
    stages = [stage for lock in locks for stage in _stages(lock, "dvc.lock")]
    outs = [out for stage in stages for out in stage.get("outs") or [] if out.get("path") not in in_git]
    found = {str(out.get("md5")) for out in outs}
    lists = [files[digest] for digest in found if digest.endswith(".dir") and digest in files]
    return found.union(entry["md5"] for path in lists for entry in json.loads(path.read_bytes()))


def _in_git(root: Path) -> set[str]:
    """Return the outputs with `cache: false`, which `dvc gc` does not keep.

    Read from the current dvc.yaml, because dvc.lock does not record it.
    """
    found: set[str] = set()
    for stage in _stages((root / "dvc.yaml").read_bytes(), "dvc.yaml"):
        for out in [out for key in ("outs", "metrics", "plots") for out in stage.get(key) or []]:
            if isinstance(out, dict):
                found.update(path for path, options in out.items() if (options or {}).get("cache") is False)
    return found


def _stages(content: bytes, name: str) -> list[dict[str, Any]]:
    """Parse the stages of a dvc.yaml or dvc.lock; `name` is for the message. Raises UserError if it is neither."""
    try:
        stages = (yaml.load(content, LOADER) or {}).get("stages") or {}
        return [stage for stage in stages.values() if isinstance(stage, dict)]
    except (yaml.YAMLError, AttributeError, RecursionError, TypeError, ValueError) as error:
        raise UserError(
            f"{name}: expected the stages of a pipeline, got something else; restore it: git restore {name}"
        ) from error


def _versions(root: Path) -> list[str]:
    """Return the git blob ids of all versions of dvc.lock in any commit."""
    log = ["log", "--format=", "--raw", "--no-abbrev", "--full-history", "-m", "--stdin", "--", "dvc.lock"]
    lines = _git(root, *log, stdin=["HEAD", *_references(root, *COMMITS)]).decode().splitlines()
    return sorted({line.split()[3] for line in lines if line.startswith(":")} - {NO_BLOB})


def _contents(root: Path, names: Iterable[str]) -> list[bytes]:
    """Return the contents of these git objects; missing ones are skipped."""
    found, answer = [], _git(root, "cat-file", "--batch", stdin=names)
    while answer:
        head, _, answer = answer.partition(b"\n")
        if not head.endswith(b" missing"):
            length = int(head.rpartition(b" ")[2])
            found.append(answer[:length])
            answer = answer[length + 1 :]
    return found


def _cache_folder(root: Path) -> Path:
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    done = subprocess.run(command, cwd=root, capture_output=True, encoding="locale")
    if done.returncode:
        raise UserError(f"dvc cache dir: {done.stderr.strip()}")
    return Path(done.stdout.strip())


def _git(root: Path, *arguments: str, stdin: Iterable[str] = ()) -> bytes:
    """Run git with these lines as standard input; return its standard output. Raises UserError if it fails."""
    lines = "".join(f"{line}\n" for line in stdin)
    done = subprocess.run(["git", *arguments], cwd=root, input=lines.encode(), capture_output=True)
    if done.returncode:
        raise UserError(f"git {arguments[0]}: {done.stderr.decode().strip()}")
    return done.stdout
