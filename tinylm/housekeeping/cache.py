"""Whose are the files of DVC's cache: the workspace's, other commits', experiments', or nobody's.

Read from every version of dvc.lock that git has, which takes less than a second where asking DVC would take that
for each commit.
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
NOTHING = "0" * 40  # git's name of the content of a file that was removed
NAMED = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/[^/]+")  # others there are DVC's own


@dataclass(frozen=True)
class CacheUse:
    """Bytes of the cache, each file counted once."""

    workspace: int  # whoever else uses it
    commits: int  # of any branch, local or remote, or tag
    experiments: int
    commits_and_experiments: int
    nobody: int  # also metrics and plots, of which DVC keeps copies to repeat a run without running it
    runs: int  # the run cache


def cache_use(root: Path) -> CacheUse:
    cache = _cache_folder(root)
    files = {path.parent.name + path.name: path for path in cache.glob("files/md5/??/*")}
    sizes = {digest: path.stat().st_size for digest, path in files.items()}

    def total(digests: Set[str]) -> int:
        return sum(sizes.get(digest, 0) for digest in digests)

    in_git = _in_git(root)
    lock = root / "dvc.lock"
    here = _digests([lock.read_bytes()] if lock.is_file() else [], files, in_git)
    commits = _digests(_contents(root, _versions(root)), files, in_git) - here
    tried = _digests(_contents(root, [f"{name}:dvc.lock" for name in experiments(root)]), files, in_git) - here
    return CacheUse(
        workspace=total(here),
        commits=total(commits - tried),
        experiments=total(tried - commits),
        commits_and_experiments=total(commits & tried),
        nobody=total(sizes.keys() - here - commits - tried),
        runs=sum(path.stat().st_size for path in (cache / "runs").rglob("*") if path.is_file()),
    )


def experiments(root: Path) -> list[str]:
    """References of all that have a name."""
    return [reference for reference in _references(root, "refs/exps") if NAMED.fullmatch(reference)]


def _references(root: Path, *folders: str) -> list[str]:
    return _git(root, "for-each-ref", "--format=%(refname)", *folders).decode().split()


def _digests(locks: Iterable[bytes], files: Mapping[str, Path], in_git: Set[str]) -> set[str]:
    """What these dvc.lock have as outputs; of a folder, its list and all that the list names."""
    stages = [stage for lock in locks for stage in _stages(lock, "dvc.lock")]
    outs = [out for stage in stages for out in stage.get("outs") or [] if out.get("path") not in in_git]
    found = {str(out.get("md5")) for out in outs}
    lists = [files[digest] for digest in found if digest.endswith(".dir") and digest in files]
    return found.union(entry["md5"] for path in lists for entry in json.loads(path.read_bytes()))


def _in_git(root: Path) -> set[str]:
    """Outputs with `cache: false`, which `dvc gc` does not keep; as dvc.yaml is now, for dvc.lock does not say it."""
    found: set[str] = set()
    for stage in _stages((root / "dvc.yaml").read_bytes(), "dvc.yaml"):
        for out in [out for key in ("outs", "metrics", "plots") for out in stage.get(key) or []]:
            if isinstance(out, dict):
                found.update(path for path, options in out.items() if (options or {}).get("cache") is False)
    return found


def _stages(content: bytes, name: str) -> list[dict[str, Any]]:
    """The stages of a dvc.yaml or dvc.lock; `name` is for the message. Raises UserError for what is neither."""
    try:
        stages = (yaml.load(content, LOADER) or {}).get("stages") or {}
        return [stage for stage in stages.values() if isinstance(stage, dict)]
    except (yaml.YAMLError, AttributeError, RecursionError, TypeError, ValueError) as error:
        raise UserError(
            f"{name}: expected the stages of a pipeline, got other text; restore it: git restore {name}"
        ) from error


def _versions(root: Path) -> list[str]:
    """Git's names of all contents that dvc.lock ever had in a commit."""
    log = ["log", "--format=", "--raw", "--no-abbrev", "--full-history", "-m", "--stdin", "--", "dvc.lock"]
    lines = _git(root, *log, read=["HEAD", *_references(root, *COMMITS)]).decode().splitlines()
    return sorted({line.split()[3] for line in lines if line.startswith(":")} - {NOTHING})


def _contents(root: Path, names: Iterable[str]) -> list[bytes]:
    """The contents that git has under `names`, but for those it has not."""
    found, answer = [], _git(root, "cat-file", "--batch", read=names)
    while answer:
        head, _, answer = answer.partition(b"\n")
        if not head.endswith(b" missing"):
            length = int(head.rpartition(b" ")[2])
            found.append(answer[:length])
            answer = answer[length + 1 :]
    return found


def _cache_folder(root: Path) -> Path:
    done = subprocess.run([sys.executable, "-m", "dvc", "cache", "dir"], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"dvc cache dir: {done.stderr.strip()}")
    return Path(done.stdout.strip())


def _git(root: Path, *arguments: str, read: Iterable[str] = ()) -> bytes:
    """What git prints when it has read these lines."""
    lines = "".join(f"{line}\n" for line in read)
    done = subprocess.run(["git", *arguments], cwd=root, input=lines.encode(), capture_output=True)
    if done.returncode:
        raise UserError(f"git {arguments[0]}: {done.stderr.decode().strip()}")
    return done.stdout
