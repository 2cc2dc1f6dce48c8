"""Average the marks that human raters gave to stories."""

import argparse
import sys
from pathlib import Path
from typing import Any

KEY = Path("artifacts/stories/ratings_key.json")  # written by the generate stage


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    parser = subparsers.add_parser("ratings", help="average the marks of filled-in rating sheets", description=__doc__)
    parser.add_argument("sheets", nargs="+", type=Path, metavar="CSV", help="filled-in copies of ratings.csv")
    parser.add_argument("--key", type=Path, default=KEY, metavar="JSON", help="sources of the stories (%(default)s)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from tinylm.experiments.ratings import Mean, read_sheets
    from tinylm.generate.ratings_sheet import CRITERIA

    def show(mean: Mean | None) -> str:
        return "no marks" if mean is None else f"{mean.mean:.2f} ({mean.interval.low:.2f} to {mean.interval.high:.2f})"

    means = read_sheets(options.sheets, options.key)
    widest = max(map(len, means))
    print(" " * widest, *(f"{criterion:>20}" for criterion in CRITERIA))
    for source, by_criterion in means.items():
        print(f"{source:<{widest}}", *(f"{show(by_criterion.get(criterion)):>20}" for criterion in CRITERIA))
    stories = {mean.stories for by_criterion in means.values() for mean in by_criterion.values()}
    print(f"means from 0 to 5, with 95% intervals over {min(stories)} to {max(stories)} stories each", file=sys.stderr)
    return 0
