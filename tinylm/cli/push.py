"""Send the model to the Hugging Face Hub, with its card.

It lists what it sends and asks nothing. Files that the Hub has already are not sent again, so a push that was
interrupted continues when it is repeated. Nothing is deleted there.
"""

import argparse
from pathlib import Path
from typing import Any

from tinylm.base.extras import require
from tinylm.cli.model_option import add_model_option


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    parser = subparsers.add_parser("push", help="send the model to the Hugging Face Hub", description=__doc__)
    parser.add_argument("repository", metavar="USER/NAME", help="repository on the Hub; created if there is none")
    add_model_option(parser)
    parser.add_argument(
        "--card", type=Path, metavar="FILE", help="model card to send as README.md; default: the card of the run"
    )
    parser.add_argument("--private", action="store_true", help="only you can see a new repository")
    parser.add_argument("--dry-run", action="store_true", help="list what would be sent, and send nothing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    require("pipeline", "tinylm push")
    from tinylm.housekeeping.disk import show
    from tinylm.publish.contents import collect
    from tinylm.publish.push import Push, address, check_name

    check_name(options.repository)
    contents = collect(options.model, options.card, options.repository)
    print(f"{options.model} -> {address(options.repository)}")
    for upload in contents.uploads:
        print(f"  {upload.name:24} {show(upload.size):>9}  {upload.origin}")
    print(f"  {len(contents.uploads)} files, {show(sum(upload.size for upload in contents.uploads))}")
    if contents.left_out:
        print(f"not sent: {', '.join(contents.left_out)}")
    if options.dry_run:
        print("nothing was sent: --dry-run")
        return 0
    Push(options.repository, lambda line: print(line, flush=True)).run(contents.uploads, options.private)
    return 0
