"""The training loop.

`train` reads as the run does: for each step validate, save, step, log. A step is a pure function of
the weights, the optimizers' state and the step's number: its windows and its dropout are drawn from
(seed, step), never from what ran before.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from tinylm.batches import RandomWindows, StridedWindows, Windows, gather, spread_windows, starts_with_room
from tinylm.counter_rng import hash_counters
from tinylm.device import Hardware, peak_memory_mb
from tinylm.errors import UserError
from tinylm.hf_format import Weights
from tinylm.model import Transformer
from tinylm.optim import build_optimizers
from tinylm.params.train import TrainParams
from tinylm.runlog import RunLog
from tinylm.schedule import learning_rate_factor
from tinylm.tokens import TokenSplit, TokenStore

SPEEDS_SHOWN = 10  # rows of the log whose median speed is told at a validation


def make_windows(p: TrainParams, split: TokenSplit, context: int) -> Windows:
    tokens = len(split.tokens)
    story_starts = starts_with_room(split.offsets, tokens, context) if p.align == "story" else None
    if p.windows == "random":
        return RandomWindows(tokens, context, p.seed, story_starts)
    return StridedWindows(tokens, context, p.seed, p.stride or context, story_starts)


def count_steps(p: TrainParams, windows: Windows) -> int:
    """Steps of the run: as given, or those that `epochs` passes over the windows take."""
    if p.steps is not None:
        return p.steps
    assert p.epochs is not None
    return math.ceil(p.epochs * windows.per_epoch / p.batch_size)


@dataclass
class Best:
    """The weights with the lowest validation loss so far."""

    loss: float = math.inf
    step: int = 0
    weights: Weights = field(default_factory=dict)


class Trainer:
    """Everything that changes from step to step: weights, optimizers, scaler, best so far."""

    def __init__(self, model: Transformer, p: TrainParams, tokens: TokenStore, hardware: Hardware, compiled: bool):
        self.p, self.tokens, self.hardware = p, tokens, hardware
        self.model = model.to(hardware.device)
        self.context = model.params.context
        self.windows = make_windows(p, tokens.train, self.context)
        self.steps = count_steps(p, self.windows)
        if p.warmup_steps > self.steps:
            raise UserError(
                f"train.warmup_steps: expected at most the {self.steps} steps of the run, got {p.warmup_steps}"
            )
        self.optimizers = build_optimizers(self.model, p)
        self.scaler = torch.amp.GradScaler(hardware.device.type, enabled=hardware.precision == "fp16")
        self.best = Best()
        loss: Callable[[Tensor, Tensor], Tensor] = model.loss
        self._loss = torch.compile(loss, dynamic=False) if compiled else loss

    @property
    def tokens_per_step(self) -> int:
        return self.p.batch_size * self.context

    def learning_rate(self, step: int) -> float:
        return self.p.peak_lr * self._factor(step)

    def _factor(self, step: int) -> float:
        return learning_rate_factor(step, self.steps, self.p.warmup_steps, self.p.final_lr_fraction)

    def train_step(self, step: int) -> tuple[Tensor, Tensor]:
        """One optimizer step; gives the loss of its batch before it and the norm of the gradient, both scalars."""
        loss = self._accumulate_gradients(step)
        self.optimizers.set_factor(self._factor(step))
        self.optimizers.unscale(self.scaler)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.p.grad_clip or math.inf)
        self.optimizers.step(self.scaler)
        self.optimizers.zero_grad()
        return loss, norm

    def _accumulate_gradients(self, step: int) -> Tensor:
        """Gradients of the mean loss over the whole batch, a micro-batch at a time; gives that loss."""
        micro = self.p.micro_batch_size or self.p.batch_size
        total = torch.zeros((), device=self.hardware.device)
        for first in range(0, self.p.batch_size, micro):
            rows = np.arange(first, first + micro, dtype=np.uint64)
            starts = self.windows.starts(step, rows, self.p.batch_size)
            if self.model.params.dropout:  # torch's dropout draws from the global generator alone
                torch.manual_seed(int(hash_counters(self.p.seed, step, first)[0] >> np.uint64(1)))
            loss = self._loss(*self._to_device(starts, self.tokens.train, self.context))
            loss = loss * (micro / self.p.batch_size)
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def _to_device(self, starts: np.ndarray, split: TokenSplit, length: int) -> tuple[Tensor, Tensor]:
        ids, targets = gather(split.tokens, starts, length)
        return ids.to(self.hardware.device, non_blocking=True), targets.to(self.hardware.device, non_blocking=True)

    @torch.no_grad()
    def validate(self) -> float:
        """Mean loss [nats per token] over the same whole windows each time."""
        self.model.eval()
        split = self.tokens.val
        starts, length = spread_windows(len(split.tokens), self.context, self.p.val_windows)
        micro = self.p.micro_batch_size or self.p.batch_size
        total = torch.zeros((), dtype=torch.float64)
        for first in range(0, len(starts), micro):
            batch = self._to_device(starts[first : first + micro], split, length)
            total += self.model.loss(*batch, reduction="sum").double().cpu()
        self.model.train()
        return float(total) / (len(starts) * length)

    def keep_best(self, step: int, loss: float) -> None:
        if loss < self.best.loss:
            self.best = Best(loss, step, {name: w.detach().clone() for name, w in self.model.state_dict().items()})


@dataclass(frozen=True)
class Hooks:
    """What the loop calls and does not know: saving a milestone, showing a sample."""

    save_milestone: Callable[[int], None]
    show_sample: Callable[[int], None]


def train(trainer: Trainer, log: RunLog, hooks: Hooks, sample_every: int | None, progress: bool) -> None:
    """Run all steps. A row at step N is about the weights after N steps (the loss: mean of the steps up to it)."""
    p, steps = trainer.p, trainer.steps
    meter = Meter(trainer, log)
    with tqdm(total=steps, unit="step", disable=None if progress else True, mininterval=1.0) as bar:
        trainer.model.train()
        for step in range(steps):
            with meter.paused():
                if step % p.val_every == 0:
                    validate(trainer, log, step)
                if step == 0 or (p.save_every and step % p.save_every == 0):
                    hooks.save_milestone(step)
                if sample_every and step % sample_every == 0:
                    hooks.show_sample(step)
            meter.add(*trainer.train_step(step))
            if (step + 1) % p.log_every == 0 or step in (0, steps - 1):
                bar.set_postfix_str(meter.write_row(step + 1), refresh=False)
            bar.update()
        validate(trainer, log, steps)
        hooks.save_milestone(steps)
        if sample_every:
            hooks.show_sample(steps)


def validate(trainer: Trainer, log: RunLog, step: int) -> None:
    loss = trainer.validate()
    trainer.keep_best(step, loss)
    bits = bits_per_byte(loss, trainer.tokens.val)
    log.write("val", step=step, tokens=step * trainer.tokens_per_step, loss=loss, bits_per_byte=bits)
    speeds = [row["tokens_per_second"] for row in log.rows["speed"][-SPEEDS_SHOWN:]]
    speed = f", {median(speeds):,.0f} tokens/s" if speeds else ""
    tqdm.write(f"step {step}/{trainer.steps}: validation loss {loss:.4f}, {bits:.4f} bits per byte{speed}")


def bits_per_byte(loss: float, split: TokenSplit) -> float:
    """Loss [nats/token] as bits per byte of text, by the split's own bytes per token.

    Bits per byte compare across tokenizers, where nats per token do not. Over the whole split this is
    exact; over a part of it, it is exact up to how far the part's bytes per token are from the split's.
    """
    return loss / math.log(2) / split.bytes_per_token


class Meter:
    """Figures of the steps between two rows of the log, without waiting for the device in between."""

    def __init__(self, trainer: Trainer, log: RunLog):
        self.trainer, self.log = trainer, log
        self.losses: list[Tensor] = []
        self.norm = torch.zeros(())
        self._mark = time.perf_counter()  # when the steps since the last row began, pauses taken out

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Time in this block is not the steps'."""
        started = time.perf_counter()
        yield
        self._mark += time.perf_counter() - started

    def add(self, loss: Tensor, norm: Tensor) -> None:
        self.losses.append(loss)
        self.norm = norm

    def write_row(self, step: int) -> str:
        """Write the rows of `step`; gives the text for the progress bar. UserError if the loss is no number."""
        trainer, steps = self.trainer, len(self.losses)
        loss, norm = float(torch.stack(self.losses).mean()), float(self.norm)  # waits for the device
        now = time.perf_counter()
        speed = steps * trainer.tokens_per_step / (now - self._mark)
        self.losses, self._mark = [], now
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} at step {step} (gradient norm {norm:.3g}); "
                "lower train.peak_lr and train.muon_lr, or lengthen train.warmup_steps"
            )
        rate = trainer.learning_rate(step - 1)
        self.log.write(
            "train",
            step=step,
            tokens=step * trainer.tokens_per_step,
            loss=loss,
            bits_per_byte=bits_per_byte(loss, trainer.tokens.train),
            learning_rate=rate,
            grad_norm=norm,
        )
        self.log.write("speed", step=step, tokens_per_second=speed, memory_mb=peak_memory_mb(trainer.hardware.device))
        return f"loss {loss:.3f}, lr {rate:.2e}, {speed:,.0f} tokens/s"
