"""What takes the disk, and the command that gets it back: `python -m tinylm disk`, or `make disk`.

Nothing is removed here but states of runs, and those only with --remove-resume and where no training holds them.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tinylm.housekeeping.cache import cache_use, experiments
from tinylm.train.resume.lock import idle
from tinylm.train.resume.pruning import OldRun, find, remove

# --force: without, DVC asks about each folder of the history that was never pulled here, and ends where nobody answers.
GC = "dvc gc --force --workspace --all-commits --all-experiments"
GC_COMMITS = "dvc gc --force --workspace --all-experiments"
UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Row:
    name: str
    size: int
    remedy: str


def rows(root: Path) -> list[Row]:
    """All that grows, in the order in which one would look for space."""
    return [*_cache(root), *_artifacts(root), *_states(states_folder(root)), *_folders(root)]


def _cache(root: Path) -> list[Row]:
    use = cache_use(root)
    name = f"cache: experiments' alone ({len(experiments(root))})"
    return [
        Row("cache: the workspace's", use.workspace, "keep: what artifacts/ was made from, or is linked to"),
        Row("cache: other commits' alone", use.commits, f"dvc push --all-commits && {GC_COMMITS}"),
        Row(name, use.experiments, f"dvc exp remove NAME (or --all-commits); {GC}"),
        Row("cache: of both", use.commits_and_experiments, "as the two above"),
        Row("cache: nobody's", use.nobody, GC),
        Row("cache: records of runs", use.runs, "keep: DVC knows by them what was run before"),
    ]


def _artifacts(root: Path) -> list[Row]:
    own, linked = 0, 0
    for path in _files(root / "artifacts"):
        if path.is_symlink() or path.stat().st_nlink > 1:
            linked += path.stat().st_size
        else:
            own += path.stat().st_size
    note = f"; {show(linked)} more are links into the cache" if linked else ""
    link = "dvc config --local cache.type hardlink,symlink; dvc checkout --relink"
    return [Row("artifacts/, as copies" + note, own, link if own else "")]


def states_folder(root: Path) -> Path:
    return Path(os.environ.get("TINYLM_RESUME") or root / ".resume")


def _states(folder: Path) -> list[Row]:
    ended = idle_states(folder)
    finished, broken = [run for run in ended if not run.lost], [run for run in ended if run.lost]
    free, unfinished = (sum(run.size for run in runs) for runs in (finished, broken))
    return [
        Row(f"states of {len(finished)} finished runs", free, "make disk ARGS=--remove-resume"),
        Row(
            f"states of {len(broken)} runs broken off",
            unfinished,
            "dvc repro goes on; make disk ARGS=--remove-resume",
        ),
        Row("states of runs at work", size(folder) - free - unfinished, "keep: they go on from them"),
    ]


def idle_states(folder: Path) -> list[OldRun]:
    """Runs that no process works on, by name."""
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
        Row(".dvc/tmp/exps (queue, temporary copies)", size(experiments), "dvc queue remove --success --failed"),
        Row(".dvc/tmp, the rest", size(temporary) - size(experiments), "keep: DVC's locks and notes"),
        Row(".git", size(root / ".git"), "git gc, after dvc exp remove"),
        Row(".venv", size(root / ".venv"), "rm -r .venv; make env installs it again"),
    ]


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links count as nothing, as their files lie elsewhere."""
    return sum(file.stat().st_size for file in _files(path) if not file.is_symlink())


def _files(path: Path) -> Iterable[Path]:
    """Files at or below `path`; one that vanishes on the way is passed over."""
    if path.is_file():
        yield path
    for folder, _, names in os.walk(path):
        yield from (file for name in names if (file := Path(folder, name)).exists())


def show(count: int) -> str:
    """1234567 as 1.2 MB."""
    number = float(count)
    for unit in UNITS:
        if number < 1000 or unit == UNITS[-1]:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError


def remove_idle_states(root: Path) -> None:
    for run in idle_states(states_folder(root)):
        what = f", of a run that was broken off at step {run.step}" if run.lost else ""
        if remove(run):
            print(f"removed {run.folder}, {show(run.size)}{what}")
        else:
            print(f"kept {run.folder}, {show(run.size)}: a process works on it, or this user may not remove it")


def print_table(root: Path) -> None:
    shown = rows(root)
    width = max(len(row.name) for row in shown)
    for row in shown:
        print(f"{row.name:{width}}  {show(row.size):>9}  {row.remedy}")
    print(f'{"all":{width}}  {show(sum(row.size for row in shown)):>9}  see "Cleaning up" in README.md')
