"""The option that commands share which need a model."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinylm.sampling.writer import Writer

DEFAULT_MODEL = Path("artifacts/model")  # where the stage `train` leaves it


def add_model_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", type=Path, default=DEFAULT_MODEL, metavar="DIR", help="folder of the model (%(default)s)"
    )


def open_model(folder: Path) -> "Writer":
    """The model of `folder`, on the device of params.yaml. Raises UserError where there is none."""
    from tinylm.compute.device import resolve_hardware
    from tinylm.sampling.writer import open_writer
    from tinylm.serve.defaults import read_runtime

    runtime = read_runtime()
    # A story's steps have one row. A second thread speeds them up by nothing, and where another program wants
    # its core, the wait for it has made them twenty times slower.
    one_thread = runtime.model_copy(update={"threads": runtime.threads or 1})
    return open_writer(folder, resolve_hardware(one_thread, "fp32").device)
