"""`python -m tinylm COMMAND`: the command line."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from tinylm.base.errors import LONGEST_LINE, StoppedError, UserError, explain, one_line, shorten
from tinylm.cli import compare, disk, ratings, review, serve, sweep, write
from tinylm.cli import open as open_page

COMMANDS = (write, serve, open_page, ratings, sweep, compare, review, disk)
SIGINT_EXIT, SIGPIPE_EXIT = 130, 141  # 128 + the signal's number, as in shells


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that reports errors in one line, without argparse's usage text."""

    def error(self, message: str) -> NoReturn:
        help_ = f"; `{self.prog} --help` lists the options"
        self.exit(2, f"error: {shorten(one_line(message), LONGEST_LINE - len(help_))}{help_}\n")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    parser = OneLineParser(prog="python -m tinylm", description="Generate stories; rate, tune and compare models.")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code. Errors that a user can fix are printed in one line."""
    try:
        options = make_parser().parse_args(arguments)
        code: int = options.run(options)
        sys.stdout.flush()
    except StoppedError as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    except KeyboardInterrupt:
        return SIGINT_EXIT
    except BrokenPipeError:  # the reader of the output has closed it, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        return SIGPIPE_EXIT
    except (UserError, OSError) as error:
        if (line := explain(error)) is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        return 1
    return code
