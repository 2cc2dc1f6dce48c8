"""Learning: bits per byte on unseen stories after a fixed time of training, compilation included.

With `--tokens`, this project's recipe is trained on a number of tokens instead, however fast the machine is.

nanoGPT is trained as it ships and tuned (training.py), each at a learning rate that is better than the next lower and
the next higher one. What is compared is the mean over several seeds.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch._inductor import config as inductor_config

from benchmarks.measure import ROOT
from benchmarks.models import Size, make_model, nanogpt_model, plain_step, sizes
from benchmarks.report import Row, write
from benchmarks.token_files import make_tokens
from tinylm.base.params import read_params
from tinylm.base.runtime import RuntimeParams
from tinylm.compute.device import Hardware, make_deterministic, resolve_hardware
from tinylm.evaluate.outputs import StoryScores, score_stories
from tinylm.evaluate.score import score_split
from tinylm.model.params import ModelParams
from tinylm.tokens.store import TokenStore
from tinylm.train.batches import RandomSequences, gather
from tinylm.train.optim.schedule import learning_rate_factor
from tinylm.train.params import TrainParams
from tinylm.train.step import Trainer

TITLE = "Learning: bits per byte on unseen stories after a given time"
TOKENS_TITLE = "Learning: bits per byte on unseen stories after a given number of tokens"
PROBE = 20  # steps between estimates of how many more fit into the time
MOST_STEPS = 100_000
PRESET = ROOT / "presets/quick.yaml"  # the recipe of this project; nanoGPT has batches of 16
FIRST_RATE, RATE_FACTOR = 1e-2, 3.0  # of nanoGPT; the search goes up and down from here


UNIT = "bits per byte"


class Trained(NamedTuple):
    """The result of a run: bits per byte, and a note on steps, tokens and time."""

    score: float
    note: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=180, help="training time of the section `learning`")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each kind in the section `learning`")
    parser.add_argument(
        "--tokens", type=int, nargs="+", help="train so many tokens each instead of `--seconds`, without nanoGPT"
    )


def bench(arguments: argparse.Namespace) -> None:
    size, hardware = sizes()[1], resolve_hardware(read_params(ROOT / "params.yaml")[RuntimeParams])
    with tempfile.TemporaryDirectory() as folder:
        tokens = make_tokens(Path(folder), arguments.stories, size.vocab_size)
        if arguments.tokens:
            rows = [learn_tokens(size, tokens, hardware, budget, arguments.seeds) for budget in arguments.tokens]
            write("learning_tokens", TOKENS_TITLE, rows)
            return
        inductor_config.force_disable_caches = True  # so that every run pays for its compilation
        rows = list(compare(size, tokens, hardware, arguments.seconds, arguments.seeds, arguments.nanogpt))
    write("learning", TITLE, rows)


def compare(
    size: Size, tokens: TokenStore, hardware: Hardware, limit: float, seeds: int, nanogpt: Path | None
) -> Iterator[Row]:
    name = f"{size.name}, {limit:.0f} s"
    if nanogpt:
        for tuned, kind in ((False, "nanoGPT, eager"), (True, "nanoGPT, compiled, bf16")):

            def train(rate: float, seed: int, tuned: bool = tuned) -> Trained:
                return train_nanogpt(nanogpt, size, tokens, hardware, limit, rate, seed, tuned)

            tried = bracket(lambda rate: train(rate, 1))
            for rate in sorted(tried):
                yield Row(f"{name}: {kind}, learning rate {rate:.2g}", tried[rate].score, UNIT, None, tried[rate].note)
            best = min(tried, key=lambda rate: tried[rate].score)
            results = [tried[best], *(train(best, seed) for seed in range(2, seeds + 1))]
            yield mean_row(f"{name}: {kind}, learning rate {best:.2g}", results)
    yield mean_row(
        f"{name}: this project", [train_ours(size, tokens, hardware, limit, seed) for seed in range(1, seeds + 1)]
    )


def bracket(train: Callable[[float], Trained]) -> dict[float, Trained]:
    """Train at higher and lower rates until the best one has a worse neighbour on both sides; return all results."""
    results = {FIRST_RATE: train(FIRST_RATE)}
    while True:
        best = min(results, key=lambda rate: results[rate].score)
        if best == max(results):
            rate = best * RATE_FACTOR
        elif best == min(results):
            rate = best / RATE_FACTOR
        else:
            return results
        results[rate] = train(rate)


def mean_row(what: str, results: list[Trained]) -> Row:
    """The mean over seeds, with its range in the note."""
    scores = [result.score for result in results]
    note = f"mean of {len(scores)} seeds, {min(scores):.4f} to {max(scores):.4f}; the first: {results[0].note}"
    return Row(what, fmean(scores), UNIT, None, note)


def learn_tokens(size: Size, tokens: TokenStore, hardware: Hardware, budget: int, seeds: int) -> Row:
    """Train the recipe of PRESET on `budget` tokens, once for each seed."""
    results = []
    for seed in range(1, seeds + 1):
        trainer = make_trainer(size, tokens, hardware, seed)
        trainer.steps = budget // trainer.tokens_per_step
        for step in range(trainer.steps):
            trainer.train_step(step)
        note = f"{trainer.steps:,} steps of {trainer.tokens_per_step:,} tokens"
        results.append(Trained(evaluate(trainer.model, tokens).bits_per_byte, note))
    return mean_row(f"{size.name}, {budget / 1e6:.1f} M tokens: this project", results)


def train_ours(size: Size, tokens: TokenStore, hardware: Hardware, limit: float, seed: int) -> Trained:
    """Train with the recipe of PRESET. The time includes compilation."""
    torch.compiler.reset()
    started = time.perf_counter()
    trainer = make_trainer(size, tokens, hardware, seed)

    def step(number: int, steps: int) -> Tensor:
        trainer.steps = steps
        return trainer.train_step(number)[0]

    note = train_until(started + limit, step, trainer.tokens_per_step)
    return Trained(evaluate(trainer.model, tokens).bits_per_byte, note)


def make_trainer(size: Size, tokens: TokenStore, hardware: Hardware, seed: int) -> Trainer:
    """The recipe of PRESET, compiled and deterministic, for the caller to set the number of steps."""
    make_deterministic(hardware.device)  # as with train.deterministic: true
    p = read_params(PRESET)[TrainParams].model_copy(update={"steps": MOST_STEPS, "seed": seed})
    return Trainer(make_model(size, hardware, seed).train(), p, tokens, hardware, compiled=True)


def train_nanogpt(
    checkout: Path,
    size: Size,
    tokens: TokenStore,
    hardware: Hardware,
    limit: float,
    rate: float,
    seed: int,
    tuned: bool,
) -> Trained:
    """Train nanoGPT's model with its optimizer and schedule: linear warm-up, cosine decay to a tenth."""
    torch.compiler.reset()
    started = time.perf_counter()
    torch.manual_seed(seed)
    model = nanogpt_model(checkout, size).to(hardware.device).train()
    call = torch.compile(model) if tuned else model
    optimizer = model.configure_optimizers(0.1, 0.0, (0.9, 0.95), hardware.device.type)
    for group in optimizer.param_groups:
        group["fused"] = tuned or None
    sequences, rows = RandomSequences(len(tokens.train.tokens), size.model.context, seed), range(size.batch_size)

    def loss_of(ids: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(hardware.device.type, torch.bfloat16, enabled=tuned):
            loss: Tensor = call(ids, targets)[1]
            return loss

    def step(number: int, steps: int) -> Tensor:
        for group in optimizer.param_groups:
            group["lr"] = rate * learning_rate_factor(number, steps, 100, 0.1, "cosine")
        starts = sequences.starts(number, np.array(rows, np.uint64), size.batch_size)
        batch = gather(tokens.train.tokens, starts, size.model.context)
        ids, targets = (part.to(hardware.device).contiguous() for part in batch)
        return plain_step(model, loss_of, optimizer, ids, targets)

    note = train_until(started + limit, step, size.tokens_per_step)
    return Trained(evaluate(NanoGPTScores(model, size.model), tokens).bits_per_byte, note)


def train_until(deadline: float, step: Callable[[int, int], Tensor], tokens_per_step: int) -> str:
    """Call `step(number, steps)` until the deadline; return a note on steps, tokens and time.

    `steps`, the length of the learning rate schedule, is estimated again after every PROBE steps from the time that
    they took, so that the schedule ends at the deadline, however fast the machine is.
    """
    number, steps = 0, MOST_STEPS
    started = before = time.perf_counter()
    while number < steps:
        loss = step(number, steps)
        number += 1
        if number % PROBE == 0:
            loss.item()
            now = time.perf_counter()
            if number > PROBE:  # the first ones include the compilation
                steps = number + max(0, math.floor((deadline - now) / ((now - before) / PROBE)))
            before = now
    taken = time.perf_counter() - started
    return f"{number:,} steps, {number * tokens_per_step / 1e6:.1f} M tokens in {taken:.0f} s"


class NanoGPTScores(nn.Module):
    """nanoGPT's model with the interface that `score_split` needs."""

    def __init__(self, model: Any, params: ModelParams):
        super().__init__()
        self.params, self.parts = params, model.transformer
        self.embedding, self.head = self.parts.wte, model.lm_head

    def embed(self, ids: Tensor) -> Tensor:
        return self.embedding(ids) + self.parts.wpe(torch.arange(ids.shape[1], device=ids.device))

    def hidden(self, x: Tensor) -> Tensor:
        for block in self.parts.h:
            x = block(x)
        return self.parts.ln_f(x)


def evaluate(model: Any, tokens: TokenStore) -> StoryScores:
    """Return the scores of the model on the validation stories."""
    model.eval()
    with torch.inference_mode():
        score = score_split(model, tokens.val, tokens.end_of_text, model.params.context // 2, 16, bar=False)
    return score_stories(score, tokens.val)
