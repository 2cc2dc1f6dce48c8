"""Show disk usage and the commands that free space."""

import argparse
from pathlib import Path
from typing import Any

from tinylm.base.errors import UserError
from tinylm.base.extras import require


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    parser = subparsers.add_parser("disk", help="show disk usage", description=__doc__)
    parser.add_argument("--remove-resume", action="store_true", help="remove the resume checkpoints of all idle runs")
    parser.add_argument("--json", action="store_true", help="print JSON, with sizes in bytes")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    require("pipeline", "tinylm disk")
    from tinylm.housekeeping.disk import print_json, print_table, remove_idle_runs

    root = Path()
    if not (root / "dvc.yaml").is_file():
        raise UserError("dvc.yaml: not found; run from the root of the repository")
    if options.remove_resume and options.json:
        raise UserError("--json: expected without --remove-resume; give one of them")
    if options.remove_resume:
        remove_idle_runs(root)
    elif options.json:
        print_json(root)
    else:
        print_table(root)
    return 0
