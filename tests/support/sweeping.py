"""Run sweep commands in a clone, and parse their output."""

import re
import shutil
import subprocess
from pathlib import Path

from tests.support.clone import Clone, committed

MARK = "TINYLM_TEST_CLONE"  # in the environment of all processes that a clone starts


def sweep_clone(ran: Clone, root: Path) -> Clone:
    """Copy the clone in which the pipeline ran; trials in the copy use the threads that a sweep assigns to them."""
    clone = ran.copy(root)
    clone.environ |= {"TINYLM_FRESH": "0", "OMP_NUM_THREADS": "1", MARK: str(clone.root)}
    clone.set_params({"runtime.threads": "null"})
    clone.commit("threads from the environment")
    return clone


def sweep(clone: Clone, *arguments: str) -> str:
    return clone.python("-m", "tinylm", "sweep", *arguments)


def table(output: str) -> list[list[str]]:
    """Return the cells of a summary's first table, without its header."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in output.split("\n\n")[0].splitlines()]
    return [line for line in lines if len(line) > 1][2:]


def start_on(cluster: str, clone: Clone, *words: str) -> "subprocess.Popen[str]":
    """Start a sweep on a cluster."""
    command = ["python", "-m", "tinylm", "sweep", "--on", cluster, *words]
    return subprocess.Popen(
        command, cwd=clone.root, env=clone.environ, start_new_session=True, stdout=subprocess.PIPE, text=True
    )


def continued(clone: Clone, name: str) -> list[int]:
    """Return the steps after which a trial of 300 steps went on when it started again."""
    log = (clone.root / f".sweeps/{name}.log").read_text(encoding="utf-8")
    return [int(step) for step in re.findall(r"continuing after step (\d+) of 300", log)]


def nothing_is_left(clone: Clone) -> bool:
    return not list((clone.root / ".sweeps").glob("*.job")) and not list((clone.root / ".sweeps/nodes").iterdir())


def assert_as_here(clone: Clone, names: list[str], words: list[str], folder: Path) -> None:
    """Assert that trials of a cluster have the params, metrics and outputs that they have on this machine.

    They run here in a copy of the clone that has neither their results nor their resume checkpoints.
    """
    alone = clone.copy(folder)
    for traces in (".resume", ".dvc/cache/runs"):
        shutil.rmtree(alone.root / traces, ignore_errors=True)
    sweep(alone, "--name", "here", "--jobs", "2", *words)
    for number, name in enumerate(names):
        here, there = committed(alone, f"here-{number:03d}"), committed(clone, name)
        for file in ("params.yaml", "metrics/evaluate.json", "metrics/train.json", "plots/val.csv"):
            assert clone.git("show", f"{there}:{file}") == alone.git("show", f"{here}:{file}"), file
        checksums = _checksums(alone.git("show", f"{here}:dvc.lock"))
        assert "artifacts/model" in checksums
        assert _checksums(clone.git("show", f"{there}:dvc.lock")) == checksums


def _checksums(dvc_lock: str) -> dict[str, str]:
    """Return the checksums of all files and folders in dvc.lock, except those that depend on the clock."""
    pairs = re.findall(r"path: (\S+)\n\s+hash: md5\n\s+md5: (\S+)", dvc_lock)
    return {path: checksum for path, checksum in pairs if "speed" not in path}
