"""Stage report: write the report of the run, one HTML page."""

from pathlib import Path

from tinylm.base import atomic
from tinylm.base.params import Params
from tinylm.base.stage import log, run
from tinylm.report.run import SECTIONS, page_of_run


def main(params: Params) -> None:
    """Write plots/report.html. Raises UserError if a file that it is built from is missing or invalid."""
    atomic.write_text("plots/report.html", page_of_run(Path(), params.values(*SECTIONS)))
    log.info("plots/report.html: open it in a browser")


if __name__ == "__main__":
    run(main)
