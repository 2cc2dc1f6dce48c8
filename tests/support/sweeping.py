"""Run sweep commands in a clone, and parse their output."""

from pathlib import Path

from tests.support.clone import Clone

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
