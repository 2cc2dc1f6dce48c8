"""Stage report: write the report of the run, one HTML page."""

from pathlib import Path

from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.base.params import Params
from tinylm.base.stage import log, run
from tinylm.report.baseline import find_baseline
from tinylm.report.inputs import read_run
from tinylm.report.page import build_page

SECTIONS = ("download", "train_tokenizer", "pretokenize", "model", "train", "generate", "evaluate")


def main(params: Params) -> None:
    """Write plots/report.html. Raises UserError if a file that it is built from is missing or invalid."""
    parameters = params.values(*SECTIONS)
    files = read_run(Path())
    baseline = find_baseline(Path("metrics/evaluate.json"), files.evaluate)
    try:
        page = build_page(files, parameters, baseline)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # The metrics come from a dozen files of other stages, each of which may have been edited or badly merged.
        raise UserError(
            f"metrics/, plots/: expected the metrics of a complete run, but one is missing or invalid "
            f"({type(error).__name__}: {error}); run dvc repro --force"
        ) from error
    atomic.write_text("plots/report.html", page)
    log.info("plots/report.html: open it in a browser")


if __name__ == "__main__":
    run(main)
