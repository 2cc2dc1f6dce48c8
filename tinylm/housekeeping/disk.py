"""Show disk usage and the commands that free space: `tinylm disk`, or `make disk`.

The only files removed here are resume checkpoints, and only with --remove-resume and if no training run holds them.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tinylm.housekeeping.cache import cache_use, experiments
from tinylm.train.resume.lock import idle
from tinylm.train.resume.pruning import OldRun, find, remove

# Without --force, DVC asks about each folder of the history that was never pulled, and fails if nobody answers.
GC = "dvc gc --force --workspace --all-commits --all-experiments"
GC_COMMITS = "dvc gc --force --workspace --all-experiments"
UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Row:
    """A line of the table: what it is, its size [bytes], and how to free it."""

    key: str  # for programs
    name: str
    size: int
    remedy: str


def rows(root: Path) -> list[Row]:
    """Return everything that grows, in the order in which one would look for space."""
    return [*_cache(root), *_artifacts(root), *_resume_checkpoints(resume_folder(root)), *_folders(root)]


def _cache(root: Path) -> list[Row]:
    use = cache_use(root)
    name = f"cache: experiments only ({len(experiments(root))})"
    return [
        Row("cache.workspace", "cache: workspace", use.workspace, "keep: artifacts/ is copied from it or linked to it"),
        Row("cache.commits", "cache: other commits only", use.commits, f"dvc push --all-commits && {GC_COMMITS}"),
        Row("cache.experiments", name, use.experiments, f"dvc exp remove NAME (or --all-commits); {GC}"),
        Row(
            "cache.commits_and_experiments",
            "cache: commits and experiments",
            use.commits_and_experiments,
            "as the two above",
        ),
        Row("cache.unused", "cache: unused", use.nobody, GC),
        Row("cache.runs", "cache: run cache", use.runs, "keep: DVC uses it to skip stages that ran before"),
    ]


def _artifacts(root: Path) -> list[Row]:
    own, linked = 0, 0
    for path in _files(root / "artifacts"):
        if path.is_symlink() or path.stat().st_nlink > 1:
            linked += path.stat().st_size
        else:
            own += path.stat().st_size
    note = f"; {show(linked)} more are links to the cache" if linked else ""
    link = "dvc config --local cache.type hardlink,symlink; dvc checkout --relink"
    return [Row("artifacts", "artifacts/, copies" + note, own, link if own else "")]


def resume_folder(root: Path) -> Path:
    """Return the folder of the resume checkpoints: $TINYLM_RESUME, else `.resume`."""
    return Path(os.environ.get("TINYLM_RESUME") or root / ".resume")


def _resume_checkpoints(folder: Path) -> list[Row]:
    idle_runs = find_idle_runs(folder)
    finished, interrupted = [run for run in idle_runs if not run.lost], [run for run in idle_runs if run.lost]
    finished_size, interrupted_size = (sum(run.size for run in runs) for runs in (finished, interrupted))
    running_size = size(folder) - finished_size - interrupted_size
    return [
        Row(
            "resume.finished",
            f"resume: finished runs ({len(finished)})",
            finished_size,
            "make disk ARGS=--remove-resume",
        ),
        Row(
            "resume.interrupted",
            f"resume: interrupted runs ({len(interrupted)})",
            interrupted_size,
            "dvc repro resumes them; make disk ARGS=--remove-resume",
        ),
        Row("resume.running", "resume: running", running_size, "keep: these runs resume from them"),
    ]


def find_idle_runs(folder: Path) -> list[OldRun]:
    """Return the runs in `folder` that no process is working on, sorted by name."""
    runs = []
    for run in sorted(find(folder), key=lambda run: run.folder.name):
        with idle(run.folder) as free:
            if free:
                runs.append(run)
    return runs


def _folders(root: Path) -> list[Row]:
    temporary = root / ".dvc/tmp"
    experiments = temporary / "exps"
    return [
        Row(
            "queue", ".dvc/tmp/exps (queue, temporary copies)", size(experiments), "dvc queue remove --success --failed"
        ),
        Row("dvc", ".dvc/tmp, other", size(temporary) - size(experiments), "keep: DVC's locks and records"),
        Row("git", ".git", size(root / ".git"), "git gc, after dvc exp remove"),
        Row("environment", ".venv", size(root / ".venv"), "rm -r .venv; make env installs it again"),
    ]


def size(path: Path) -> int:
    """Return the size of a file, or of all files below a folder [bytes]; symbolic links do not count."""
    return sum(file.stat().st_size for file in _files(path) if not file.is_symlink())


def _files(path: Path) -> Iterable[Path]:
    """Yield the files at or below `path`; a file that vanishes meanwhile is skipped."""
    if path.is_file():
        yield path
    for folder, _, names in os.walk(path):
        yield from (file for name in names if (file := Path(folder, name)).exists())


def show(count: int) -> str:
    """Format a size in bytes: 1234567 as "1.2 MB"."""
    number = float(count)
    for unit in UNITS:
        if number < 1000 or unit == UNITS[-1]:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError


def remove_idle_runs(root: Path) -> None:
    """Remove the resume checkpoints of all runs that no process is working on."""
    for run in find_idle_runs(resume_folder(root)):
        note = f", of a run that was interrupted at step {run.step}" if run.lost else ""
        if remove(run):
            print(f"removed {run.folder}, {show(run.size)}{note}")
        else:
            print(f"kept {run.folder}, {show(run.size)}: a process is using it, or this user may not remove it")


def print_table(root: Path) -> None:
    """Print the table of disk usage."""
    shown = rows(root)
    width = max(len(row.name) for row in shown)
    for row in shown:
        print(f"{row.name:{width}}  {show(row.size):>9}  {row.remedy}")
    print(f'{"total":{width}}  {show(sum(row.size for row in shown)):>9}  see "Cleaning up" in README.md')


def print_json(root: Path) -> None:
    """Print the table as one JSON object: sizes in bytes by key, with their names and remedies."""
    values = {row.key: {"name": row.name, "bytes": row.size, "remedy": row.remedy} for row in rows(root)}
    print(json.dumps(values, indent=2, ensure_ascii=False))
