"""Commands of a sweep in a clone, and what they print."""

from pathlib import Path

from tests.support.clone import Clone

MARK = "TINYLM_TEST_CLONE"  # in the environment of all that a clone starts


def sweep_clone(ran: Clone, root: Path) -> Clone:
    """A copy of the clone in which the pipeline ran, whose trials have the threads that a sweep gives them."""
    clone = ran.copy(root)
    clone.environ |= {"TINYLM_FRESH": "0", "OMP_NUM_THREADS": "1", MARK: str(clone.root)}
    clone.set_params({"runtime.threads": "null"})
    clone.commit("threads as the environment has them")
    return clone


def sweep(clone: Clone, *arguments: str) -> str:
    return clone.python("-m", "tinylm", "sweep", *arguments)


def table(output: str) -> list[list[str]]:
    """The cells of a summary's first table, without its head."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in output.split("\n\n")[0].splitlines()]
    return [line for line in lines if len(line) > 1][2:]
