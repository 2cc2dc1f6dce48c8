"""Work for the tests of workers, in a module that other processes can import."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tinylm.base.errors import UserError

HELD = 3  # the item at which the first process waits


def make_squaring(folder: Path) -> Callable[[int], int]:
    """Return a function that squares a number, notes who does so, and waits to be killed once."""
    (folder / f"made-{os.getpid()}").touch()

    def square(number: int) -> int:
        (folder / f"started-{number}-{os.getpid()}").touch()
        while number == HELD and len(list(folder.glob(f"started-{HELD}-*"))) == 1:
            time.sleep(0.01)
        return number * number

    return square


def make_failing() -> Callable[[int], int]:
    return _fail


def _fail(number: int) -> int:
    if number == HELD:
        raise UserError(f"{number} cannot be squared")
    return number * number


def make_dying() -> Callable[[int], int]:
    return lambda number: os.kill(os.getpid(), signal.SIGKILL) or number
