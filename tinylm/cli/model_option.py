"""The `--model` option, shared by the commands that need a model."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tinylm.base.errors import UserError

if TYPE_CHECKING:
    from tinylm.sampling.streaming import TextGenerator

DEFAULT_MODEL = Path("artifacts/model")  # written by the train stage


def add_model_option(parser: argparse.ArgumentParser) -> None:
    """Add `--model` and `--end-of-text` to a parser."""
    parser.add_argument(
        "--model", type=Path, default=DEFAULT_MODEL, metavar="DIR", help="folder of the model (%(default)s)"
    )
    add_end_of_text_option(parser)


def add_end_of_text_option(parser: argparse.ArgumentParser) -> None:
    """Add `--end-of-text` to a parser."""
    parser.add_argument(
        "--end-of-text", metavar="TOKEN", help="token between stories in the training of a model from elsewhere"
    )


def open_model(folder: Path, compiled: bool = False, end_of_text: str | None = None) -> "TextGenerator":
    """Load the model of `folder` on the device set in params.yaml; `compiled` takes half a minute.

    Raises UserError if there is no model, or no compiler.
    """
    from tinylm.compute.compiling import missing_for_compile
    from tinylm.compute.device import resolve_hardware
    from tinylm.sampling.streaming import open_generator
    from tinylm.serve.defaults import read_runtime

    runtime = read_runtime()
    # A generation step has a batch of one, which a second thread does not speed up. When another program competes
    # for its core, waiting for that thread has made steps twenty times slower.
    one_thread = runtime.model_copy(update={"threads": runtime.threads or 1})
    device = resolve_hardware(one_thread, "fp32").device
    if compiled and (missing := missing_for_compile(device)):
        raise UserError(f"--compile needs {missing}, which is missing; install it, or go without")
    return open_generator(folder, device, compiled, end_of_text)
