"""The command line: `tinylm COMMAND`, or `python -m tinylm COMMAND`."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from tinylm.base.console import use_utf8
from tinylm.base.errors import LONGEST_LINE, StoppedError, UserError, explain, one_line, shorten
from tinylm.cli import compare, disk, evaluate, export, plan, push, ratings, review, scale, serve, sweep, write
from tinylm.cli import open as open_page

COMMANDS = (write, serve, open_page, ratings, export, push, plan, sweep, scale, evaluate, compare, review, disk)
SIGINT_EXIT, SIGPIPE_EXIT = 130, 141  # 128 + the signal's number, as in shells


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that reports errors in one line, without argparse's usage text."""

    def error(self, message: str) -> NoReturn:
        help_ = f"; `{self.prog} --help` lists the options"
        self.exit(2, f"error: {shorten(one_line(message), LONGEST_LINE - len(help_))}{help_}\n")


class ShowVersion(argparse.Action):
    """Print the version and exit. It is known only if tinylm is installed."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version  # slow to import

        try:
            print("tinylm", version("tinylm"))
        except PackageNotFoundError:
            print("tinylm is not installed here but runs from its repository; `git describe --always` names the commit")
        parser.exit()


def make_parser(prog: str = "tinylm") -> argparse.ArgumentParser:
    """Return the parser of all subcommands; `prog` is how the user started it."""
    parser = OneLineParser(prog=prog, description="Generate stories; rate, tune and compare models.")
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="show the version and exit")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "tinylm") -> int:
    """Run a command; return its exit code. Errors that a user can fix are printed in one line."""
    use_utf8()
    try:
        options = make_parser(prog).parse_args(arguments)
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
