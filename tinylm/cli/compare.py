"""Test whether B is better than A, by their losses on the same validation stories.

A and B are DVC experiments, git revisions, `workspace`, or model folders, which are scored now:
  A B                    one run of each
  A B --seeds            and all experiments that differ from them only in train.seed
  --a A1 A2 --b B1 B2    several runs of each

A picture of their learning curves is written to comparisons/.
"""

import argparse
from typing import Any

from tinylm.base.errors import UserError
from tinylm.base.extras import require
from tinylm.cli.model_option import add_end_of_text_option


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    parser = subparsers.add_parser(
        "compare",
        help="test whether one run is better than another",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pair", nargs="*", metavar="A B", help="the two to compare")
    parser.add_argument("--seeds", action="store_true", help="include the experiments that differ only in train.seed")
    parser.add_argument("--a", nargs="+", default=[], metavar="NAME", help="runs of A, which differ only in train.seed")
    parser.add_argument("--b", nargs="+", default=[], metavar="NAME", help="runs of B, which differ only in train.seed")
    add_end_of_text_option(parser)
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON, and write no picture")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    import json

    require("pipeline", "tinylm compare")
    from tinylm.experiments.compare import as_json, check_group, is_model_folder, read_run, report, with_seeds

    if options.pair and not (options.a or options.b) and len(options.pair) == 2:
        names = [[name] for name in options.pair]
        if options.seeds:
            names = [with_seeds(name) for name in options.pair]
    elif options.a and options.b and not options.pair:
        names = [options.a, options.b]
    else:
        raise UserError("expected two names (A B), or --a NAME ... --b NAME ...")
    a, b = ([read_run(name, options.end_of_text) for name in group] for group in names)
    check_group(a)
    check_group(b)
    if options.json:
        print(json.dumps(as_json(a, b), indent=2, ensure_ascii=False))
        return 0
    from tinylm.experiments.curves_picture import write_picture

    print("\n".join(report(a, b)), flush=True)
    if not any(is_model_folder(name) for group in names for name in group):  # a folder has no learning curves
        print("\n".join(write_picture(*names)))
    return 0
