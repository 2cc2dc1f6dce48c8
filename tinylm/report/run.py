"""Read a run and build its page."""

from pathlib import Path

from tinylm.base.errors import UserError
from tinylm.report.baseline import find_baseline
from tinylm.report.charts import Chart
from tinylm.report.inputs import read_run
from tinylm.report.origin import Parameters
from tinylm.report.page import build_page

SECTIONS = (
    "download",
    "train_tokenizer",
    "pretokenize",
    "model",
    "train",
    "generate",
    "evaluate",
)  # that the page shows


def page_of_run(root: Path, parameters: Parameters, learning: Chart | None = None) -> str:
    """Return the HTML of the run below `root`, with the chart `learning` if there is one, as in `build_page`.

    Raises UserError if a file that it is built from is missing or invalid.
    """
    files = read_run(root)
    baseline = find_baseline(root / "metrics/evaluate.json", files.evaluate)
    try:
        return build_page(files, parameters, baseline, learning)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # The metrics come from a dozen files of other stages, each of which may have been edited or badly merged.
        raise UserError(
            f"metrics/, plots/: expected the metrics of a complete run, but one is missing or invalid "
            f"({type(error).__name__}: {error}); run dvc repro --force"
        ) from error
