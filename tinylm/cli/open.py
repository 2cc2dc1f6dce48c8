"""`tinylm open`: open the report of the last run, plots/report.html, in the browser."""

import argparse
import os
import sys
import webbrowser
from pathlib import Path
from typing import Any

PAGE = Path("plots/report.html")


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    parser = subparsers.add_parser("open", help="open the report of the last run in the browser", description=__doc__)
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Open the page, or say that this machine has no browser. Raises UserError if there is no page."""
    from tinylm.base.reading import check_file

    check_file(PAGE, "write it with `make repro`, or fetch it with `dvc pull`, from the root of the repository")
    print(PAGE.resolve())
    if not (has_windows() and webbrowser.open(PAGE.resolve().as_uri())):
        print("no browser opens from here; copy the file, which needs nothing else, to a machine that has one")
    return 0


def has_windows() -> bool:
    """Return whether a browser can open in a window, and not as text in this terminal."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
