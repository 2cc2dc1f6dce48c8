"""Everything worth knowing about a GPU in less than ten minutes: training and writing at the sizes of the presets.

Only when asked for by name, since most machines have none.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import training, writing
from benchmarks.measure import ROOT
from benchmarks.models import sizes
from benchmarks.report import write
from benchmarks.token_files import make_tokens
from tinylm.base.params import read_params
from tinylm.base.runtime import RuntimeParams
from tinylm.compute.device import resolve_hardware

TITLE = "On a GPU: tokens per second"
BATCHES = (32, 128)  # sequences: the presets' and one that fills a large GPU


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options: this section uses those of `training`."""


def bench(arguments: argparse.Namespace) -> None:
    if not torch.cuda.is_available():
        sys.exit("error: gpu: expected a GPU that torch can use, found none")
    hardware = resolve_hardware(read_params(ROOT / "params.yaml")[RuntimeParams])
    rows, size = list(training.machine_rows(hardware)), sizes()[0]
    with tempfile.TemporaryDirectory() as folder:
        tokens = make_tokens(Path(folder), arguments.stories, size.vocab_size)
        for batch_size in BATCHES:
            same = replace(size, name=f"{size.name}, batch {batch_size}", batch_size=batch_size)
            rows += training.compare(same, tokens, hardware, arguments.nanogpt, arguments.llama2c)
    for stories in writing.BATCHES:
        rows += writing.compare(size, stories, hardware, arguments.nanogpt)
    write("gpu", TITLE, rows)
