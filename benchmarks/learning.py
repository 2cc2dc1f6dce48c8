"""What a given time of training is worth: bits per byte on unseen stories, with compilation and all."""

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measure import ROOT
from benchmarks.models import Size, make_model, nanogpt_model, plain_step, sizes, train_params
from benchmarks.report import Row, write
from benchmarks.token_files import make_tokens
from tinylm.batches import RandomWindows, gather
from tinylm.device import Hardware, resolve_hardware
from tinylm.evaluation import Score, score_split
from tinylm.params import read_params
from tinylm.params.model import ModelParams
from tinylm.params.runtime import RuntimeParams
from tinylm.schedule import learning_rate_factor
from tinylm.tokens import TokenStore
from tinylm.trainer import Trainer

TITLE = "Learning: bits per byte on unseen stories after a given time"
PROBE = 10  # steps that show how many fit into the time
BATCH_SIZE = 8  # windows; with nanoGPT's 16 this project learns less in the same time
NANOGPT_RATES = (1e-3, 3e-3, 1e-2)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=180, help="training time of the section learning")


def bench(arguments: argparse.Namespace) -> None:
    size, hardware = sizes()[1], resolve_hardware(read_params(ROOT / "params.yaml")[RuntimeParams])
    with tempfile.TemporaryDirectory() as folder:
        tokens = make_tokens(Path(folder), arguments.stories, size.vocab_size)
        rows = list(compare(size, tokens, hardware, arguments.seconds, arguments.nanogpt))
    write("learning", TITLE, rows)


def compare(size: Size, tokens: TokenStore, hardware: Hardware, limit: float, nanogpt: Path | None) -> Iterator[Row]:
    name = f"{size.name}, {limit:.0f} s"
    if nanogpt:
        for rate in NANOGPT_RATES:
            score, steps = train_nanogpt(nanogpt_model(nanogpt, size), size, tokens, hardware, limit, rate)
            yield Row(f"{name}: nanoGPT, learning rate {rate:g}", score.bits_per_byte, "bits per byte", None, steps)
    score, steps = train_ours(size, tokens, hardware, limit)
    yield Row(f"{name}: this project", score.bits_per_byte, "bits per byte", None, steps)


def train_ours(size: Size, tokens: TokenStore, hardware: Hardware, limit: float) -> tuple[Score, str]:
    """The default recipe; the time includes compilation."""
    started = time.perf_counter()
    p = train_params(steps=100_000, batch_size=BATCH_SIZE)
    probe = Trainer(make_model(size, hardware).train(), p, tokens, hardware, compiled=True)
    probe.train_step(0)[0].item()
    steps = steps_that_fit(lambda step: probe.train_step(step)[0], limit, started)
    p = p.model_copy(update={"steps": steps})
    trainer = Trainer(make_model(size, hardware).train(), p, tokens, hardware, compiled=True)
    for step in range(steps):
        loss, _ = trainer.train_step(step)
    loss.item()
    taken = time.perf_counter() - started
    return evaluate(trainer.model, tokens), _note(steps, trainer.tokens_per_step, taken)


def train_nanogpt(
    model: Any, size: Size, tokens: TokenStore, hardware: Hardware, limit: float, rate: float
) -> tuple[Score, str]:
    """NanoGPT's model and optimizer with its schedule: linear warm-up, cosine to a tenth."""
    started = time.perf_counter()
    model = model.to(hardware.device).train()
    optimizer = model.configure_optimizers(0.1, 0.0, (0.9, 0.95), hardware.device.type)
    windows, rows = RandomWindows(len(tokens.train.tokens), size.model.context, 1), range(size.batch_size)
    steps = 100_000

    def step(number: int) -> Tensor:
        for group in optimizer.param_groups:
            group["lr"] = rate * learning_rate_factor(number, steps, 100, 0.1)
        starts = windows.starts(number, np.array(rows, np.uint64), size.batch_size)
        batch = gather(tokens.train.tokens, starts, size.model.context)
        ids, targets = (part.to(hardware.device).contiguous() for part in batch)
        return plain_step(model, lambda ids, targets: model(ids, targets)[1], optimizer, ids, targets)

    first = {name: weight.clone() for name, weight in model.state_dict().items()}
    steps = steps_that_fit(step, limit, started)
    model.load_state_dict(first)
    optimizer = model.configure_optimizers(0.1, 0.0, (0.9, 0.95), hardware.device.type)
    for number in range(steps):
        loss = step(number)
    loss.item()
    taken = time.perf_counter() - started
    return evaluate(NanoGPTScores(model, size.model), tokens), _note(steps, size.tokens_per_step, taken)


def steps_that_fit(step: Callable[[int], Tensor], limit: float, started: float) -> int:
    """Steps until `limit` seconds after `started`, by the time that some take now."""
    began = time.perf_counter()
    for number in range(PROBE):
        loss = step(number)
    loss.item()
    now = time.perf_counter()
    return max(1, math.floor((limit - (now - started)) / ((now - began) / PROBE)))


class NanoGPTScores(nn.Module):
    """nanoGPT's model with the methods that `score_split` asks a model for."""

    def __init__(self, model: Any, params: ModelParams):
        super().__init__()
        self.model, self.params, self.embedding = model, params, model.transformer.wte

    def loss(self, ids: Tensor, targets: Tensor, reduction: str) -> Tensor:
        logits = self.model(ids, targets)[0]  # of all places, which it gives where there are targets
        return nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction=reduction)


def evaluate(model: Any, tokens: TokenStore) -> Score:
    model.eval()
    with torch.inference_mode():
        return score_split(model, tokens.val, tokens.end_of_text, model.params.context // 2, 16, bar=False)


def _note(steps: int, tokens_per_step: int, taken: float) -> str:
    return f"{steps:,} steps, {steps * tokens_per_step / 1e6:.1f} M tokens in {taken:.0f} s"
