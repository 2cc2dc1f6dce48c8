"""Presets: time a few training steps of each parameter file on this machine, to estimate its whole run."""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.measure import ROOT
from benchmarks.report import Row, write
from tinylm.base.params import read_params
from tinylm.base.runtime import RuntimeParams
from tinylm.compute.device import make_deterministic, resolve_hardware
from tinylm.download.params import DownloadParams
from tinylm.model.params import ModelParams
from tinylm.model.transformer import Transformer, training_flop_per_token
from tinylm.tokens.store import SplitInfo, TokenSplit, TokenStore
from tinylm.train.params import TrainParams
from tinylm.train.step import Trainer, count_steps
from tinylm.train_tokenizer.params import TrainTokenizerParams

TITLE = "Presets: cost of a training run on this machine"
STEPS = 4  # timed steps, after one that compiles
GPT2_ENTRIES = 50257
TOKENS_PER_STORY = 225  # of TinyStories, with GPT-2's tokenizer or one of 8,192 entries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options."""


def bench(arguments: argparse.Namespace) -> None:  # noqa: ARG001 - the sections have one interface
    """Measure each file in a process of its own, so that peak memory is not shared."""
    rows = []
    for path in ("params.yaml", *sorted(f"presets/{file.name}" for file in (ROOT / "presets").glob("*.yaml"))):
        ran = subprocess.run([sys.executable, "-m", __spec__.name, path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        if ran.returncode:
            sys.exit(f"error: {path} failed; see its message above")
        values = [line.split("\t") for line in ran.stdout.splitlines() if "\t" in line]
        rows += [Row(what, float(value), unit) for what, value, unit in values]
    write("presets", TITLE, rows)


def measure(path: str) -> Iterator[Row]:
    """Time a few training steps with the parameter file `path`."""
    params = read_params(ROOT / path)
    p, hardware = params[TrainParams], resolve_hardware(params[RuntimeParams], params[TrainParams].precision)
    if p.deterministic:
        make_deterministic(hardware.device)
    tokenizer, corpus = params[TrainTokenizerParams], params[DownloadParams]
    vocab_size = GPT2_ENTRIES if tokenizer.kind == "gpt2" else tokenizer.vocab_size
    tokens = random_tokens((corpus.max_stories or 20_000) * TOKENS_PER_STORY, vocab_size)
    model = Transformer(params[ModelParams], vocab_size, hardware.dtype)
    model.initialize(torch.Generator().manual_seed(p.seed))
    trainer = Trainer(model.to(hardware.device).train(), p, tokens, hardware, compiled=True)
    trainer.train_step(0)[0].item()
    started = time.perf_counter()
    for step in range(1, STEPS + 1):
        loss, _ = trainer.train_step(step)
    loss.item()
    speed = STEPS * trainer.tokens_per_step / (time.perf_counter() - started)
    steps, flop = count_steps(p, trainer.sequences), training_flop_per_token(model.params, model.size().parameters)
    yield Row(f"{path}: parameters", model.size().parameters / 1e6, "million")
    yield Row(f"{path}: training", steps * trainer.tokens_per_step / 1e6, "million tokens")
    yield Row(f"{path}: operations", steps * trainer.tokens_per_step * flop / 1e15, "PFLOP")
    yield Row(f"{path}: speed", speed, "tokens/s")
    yield Row(f"{path}: time", steps * trainer.tokens_per_step / speed / 3600, "hours")
    yield Row(f"{path}: memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, "GB")


def random_tokens(count: int, vocab_size: int) -> TokenStore:
    """Return random tokens, which take as long to train on as real ones."""
    ids = np.random.default_rng(1).integers(vocab_size, size=count).astype("<u2")
    offsets = np.append(np.arange(0, count, TOKENS_PER_STORY, dtype="<u8"), np.uint64(count))
    split = TokenSplit(
        "train", ids, offsets, 4 * offsets, SplitInfo(count, len(offsets) - 1, 4 * count, "", "", "", True)
    )
    return TokenStore(split, split, vocab_size, 0, "")


if __name__ == "__main__":
    for row in measure(sys.argv[1]):
        print(row.what, row.value, row.unit, sep="\t")
