"""Open the report of the last run, plots/report.html, in the browser.

With --with or --best, open a copy of it in comparisons/ that also has the learning curves of other runs.
"""

import argparse
import os
import sys
import webbrowser
from pathlib import Path
from typing import Any

PAGE = Path("plots/report.html")


def add_parser(subparsers: "argparse._SubParsersAction[Any]") -> None:
    parser = subparsers.add_parser("open", help="open the report of the last run in the browser", description=__doc__)
    parser.add_argument(
        "--with", nargs="+", default=[], dest="others", metavar="NAME", help="experiments and git revisions to overlay"
    )
    parser.add_argument("--best", metavar="SWEEP", help="overlay the best complete trial of this sweep")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Open the page, or say that this machine has no browser. Raises UserError if there is no page or other run."""
    from tinylm.base.reading import check_file

    page = PAGE
    if options.others or options.best is not None:
        page = _overlaid(options.others, options.best)
    else:
        check_file(page, "write it with `make repro`, or fetch it with `dvc pull`, from the root of the repository")
    print(page.resolve())
    if not (has_windows() and webbrowser.open(page.resolve().as_uri())):
        print("no browser opens from here; copy the file, which needs nothing else, to a machine that has one")
    return 0


def _overlaid(others: list[str], sweep: str | None) -> Path:
    """Write the page with the curves of `others` and the best trial of `sweep`; return its path."""
    from tinylm.base.extras import require

    require("pipeline", "tinylm open --with" if sweep is None else "tinylm open --best")
    from tinylm.experiments.overlay import write_overlay
    from tinylm.experiments.sweep.rows import best_trial

    return write_overlay([*others, *([] if sweep is None else [best_trial(sweep)])])


def has_windows() -> bool:
    """Return whether a browser can open in a window, and not as text in this terminal."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
