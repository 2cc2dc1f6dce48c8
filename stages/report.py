"""Stage report: the run as one page, to look at in a browser."""

from pathlib import Path

from tinylm import atomic
from tinylm.baseline import find_baseline
from tinylm.errors import UserError
from tinylm.params import Params
from tinylm.params.download import DownloadParams
from tinylm.params.evaluate import EvaluateParams
from tinylm.params.generate import GenerateParams
from tinylm.params.model import ModelParams
from tinylm.params.pretokenize import PretokenizeParams
from tinylm.params.train import TrainParams
from tinylm.params.train_tokenizer import TrainTokenizerParams
from tinylm.report.inputs import read_run
from tinylm.report.page import build_page
from tinylm.stage import log, run


def main(params: Params) -> None:
    sections = (
        params[DownloadParams],
        params[TrainTokenizerParams],
        params[PretokenizeParams],
        params[ModelParams],
        params[TrainParams],
        params[GenerateParams],
        params[EvaluateParams],
    )
    files = read_run(Path())
    baseline = find_baseline(Path("metrics/evaluate.json"), files.evaluate)
    try:
        page = build_page(files, sections, baseline)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # The figures come from a dozen files of other stages, each of which somebody may have edited or half merged.
        raise UserError(
            f"metrics/, plots/: expected the figures of a whole run, but one is missing or of another kind "
            f"({type(error).__name__}: {error}); run dvc repro --force"
        ) from error
    atomic.write_text("plots/report.html", page)
    log.info("plots/report.html: open it in a browser")


if __name__ == "__main__":
    run(main)
