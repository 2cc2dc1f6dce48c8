"""Write a model in the format of another program.

The export is a folder in exports/ with a file of checksums; the last line of the output is a command that runs it.
"""

import argparse
from pathlib import Path
from typing import Any

from tinylm.base.errors import UserError
from tinylm.base.extras import require
from tinylm.cli.model_option import add_model_option
from tinylm.export.formats import FORMATS

EXPORTS = Path("exports")


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    parser = subparsers.add_parser(
        "export",
        help="write the model in the format of another program",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(["formats:", *(f"  {name:8} {format_.readers}" for name, format_ in FORMATS.items())]),
    )
    parser.add_argument("--format", choices=FORMATS, required=True, help="format of the export")
    add_model_option(parser)
    parser.add_argument(
        "--type", metavar="TYPE", help="how weights are stored: f32, f16, bf16, q8_0; default: f16 or f32"
    )
    parser.add_argument(
        "--output", type=Path, default=EXPORTS, metavar="DIR", help="folder of all exports (%(default)s)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    format_ = FORMATS[options.format]
    type_ = options.type or format_.types[0]
    if type_ not in format_.types:
        raise UserError(f"--type: expected {' or '.join(format_.types)} for {options.format}, got {type_}")
    require("export", "tinylm export")
    from tinylm.export.exporting import export
    from tinylm.export.source import read_source
    from tinylm.housekeeping.disk import show

    folder, files = export(read_source(options.model, options.end_of_text), options.format, type_, options.output)
    print(f"{options.model} -> {folder}")
    names = [file.path.relative_to(folder).as_posix() for file in files]
    width = max(map(len, names))
    for name, file in zip(names, files, strict=True):
        print(f"  {name:{width}} {show(file.size):>9}  sha256 {file.sha256}")
    print(format_.command.format(folder=folder))
    return 0
