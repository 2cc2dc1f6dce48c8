"""A command of this package that is run by itself: `python -m tinylm.NAME`."""

import argparse
import sys
from typing import Protocol

from tinylm.errors import StoppedError, UserError


class Command(Protocol):
    """A module with these two functions."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def main(self, arguments: argparse.Namespace) -> None: ...


def run_alone(command: Command) -> None:
    """Parse the command line, run, and end a user's mistake in one line."""
    parser = argparse.ArgumentParser(description=command.__doc__, formatter_class=argparse.RawTextHelpFormatter)
    command.add_arguments(parser)
    try:
        command.main(parser.parse_args())
    except UserError as error:
        sys.exit(f"error: {error}")
    except StoppedError as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.exit_code)
