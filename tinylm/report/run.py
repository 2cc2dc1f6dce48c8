"""Read a run and build its page and its model card."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tinylm.base.atomic import sha256
from tinylm.base.errors import UserError
from tinylm.base.reading import check_file
from tinylm.report.baseline import find_baseline
from tinylm.report.card import build_card
from tinylm.report.charts import Chart
from tinylm.report.inputs import REMEDY, read_run
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
    with _complete_run():
        return build_page(files, parameters, baseline, learning)


def card_of_run(root: Path) -> str:
    """Return the model card of the run below `root`. Raises UserError as `page_of_run` does."""
    files, weights = read_run(root), root / "artifacts/model/model.safetensors"
    check_file(weights, REMEDY)
    with _complete_run():
        return build_card(files, sha256(weights))


@contextlib.contextmanager
def _complete_run() -> Iterator[None]:
    """Turn the errors of missing and invalid metrics into a UserError.

    They come from a dozen files of other stages, each of which may have been edited or badly merged.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f"metrics/, plots/: expected the metrics of a complete run, but one is missing or invalid "
            f"({type(error).__name__}: {error}); run dvc repro --force"
        ) from error
