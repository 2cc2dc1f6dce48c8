"""Stage report: write the report of the run, one HTML page, and its model card."""

from pathlib import Path

from tinylm.base import atomic
from tinylm.base.params import Params
from tinylm.base.stage import log, run
from tinylm.report.run import SECTIONS, card_of_run, page_of_run


def main(params: Params) -> None:
    """Write both files. Raises UserError if a file that they are built from is missing or invalid."""
    atomic.write_text("plots/report.html", page_of_run(Path(), params.values(*SECTIONS)))
    atomic.write_text("artifacts/card/README.md", card_of_run(Path()))
    log.info("plots/report.html: open it in a browser")


if __name__ == "__main__":
    run(main)
