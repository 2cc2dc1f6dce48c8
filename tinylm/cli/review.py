"""Summarize an experiment against its baseline, for a pull request."""

import argparse
from pathlib import Path
from typing import Any

from tinylm.base.extras import require


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    parser = subparsers.add_parser("review", help="summarize an experiment as Markdown", description=__doc__)
    parser.add_argument("experiment", nargs="?", default="workspace", help="experiment or revision (%(default)s)")
    parser.add_argument("--baseline", default="HEAD", metavar="REV", help="what to compare with (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("review"), metavar="DIR", help="output folder (%(default)s/)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    require("pipeline", "tinylm review")
    from tinylm.experiments.review import write_review

    print(write_review(options.baseline, options.experiment, options.out))
    return 0
