"""What a run measures between two rows of its log."""

import contextlib
import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from tinylm.base.errors import UserError
from tinylm.compute.device import peak_memory_mb
from tinylm.scoring.bits_per_byte import bits_per_byte
from tinylm.train.log.runlog import RunLog
from tinylm.train.step import Trainer

EXPLODED = 2.0  # times the loss of guessing


class Meter:
    """Figures of the steps between two rows of the log, without waiting for the device in between."""

    def __init__(self, trainer: Trainer, runlog: RunLog):
        self.trainer, self.runlog = trainer, runlog
        # Of each step since the last row its loss and the norm of its gradient: first those that are the same in
        # all processes and known to be numbers, then what this process measured since and nobody looked at yet.
        self.checked: list[tuple[float, float]] = []
        self._losses: list[Tensor] = []  # means over this process's share of the batch
        self._norms: list[Tensor] = []
        self.saved_step: int | None = None  # of the last state
        self._mark = time.perf_counter()  # when the steps since the last row began, pauses taken out
        self._steps = 0  # that this process made since then
        self._guess_loss = math.log(trainer.model.vocab_size)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Time in this block is not the steps'."""
        started = time.perf_counter()
        yield
        self._mark += time.perf_counter() - started

    @property
    def pending(self) -> bool:
        """Whether there are steps since the last row."""
        return bool(self.checked or self._losses)

    def add(self, loss: Tensor, norm: Tensor) -> None:
        self._losses.append(loss)
        self._norms.append(norm)
        self._steps += 1

    def check(self) -> None:
        """Wait for the device and all processes, which call this at the same step, and look at what they measured.

        Raises UserError for the first step whose loss, or gradient, is no number. With fp16 a gradient may
        overflow: the scaler then skips the step and lowers its scale.
        """
        if not self._losses:
            return
        world, scaled = self.trainer.world, self.trainer.scaler.is_enabled()
        # In float64 the sum does not depend on the order of the processes; on the CPU, as some GPUs have no float64.
        losses = (world.sum(torch.stack(self._losses).float().cpu().double()) / world.size).float()
        norms = torch.stack(self._norms).float().cpu()
        bad = ~losses.isfinite() | (losses > EXPLODED * self._guess_loss)
        if not scaled:
            bad |= ~norms.isfinite()
        if bad.any():
            index = int(bad.nonzero()[0])
            step = self.trainer.step - len(losses) + 1 + index
            raise self._trouble(step, float(losses[index]), float(norms[index]))
        self.checked += zip(losses.tolist(), norms.tolist(), strict=True)
        self._losses, self._norms = [], []

    def _trouble(self, step: int, loss: float, norm: float) -> UserError:
        saved = "there is none" if self.saved_step is None else f"it is of step {self.saved_step}"
        return UserError(
            f"the loss is {loss:.4g} at step {step} (gradient norm {norm:.3g}), where guessing gives "
            f"{self._guess_loss:.4g}; lower train.peak_lr and train.muon_lr, or lengthen train.warmup_steps "
            f"(last good state: {saved})"
        )

    def write_row(self, step: int) -> str:
        """Write the rows of `step`; gives the text for the progress bar. Raises UserError as `check` does."""
        trainer = self.trainer
        self.check()
        loss = float(torch.tensor([loss for loss, _ in self.checked]).mean())
        norm = self.checked[-1][1]
        self.checked = []
        rate = trainer.learning_rate(step - 1)
        self.runlog.write(
            "train",
            step=step,
            tokens=step * trainer.tokens_per_step,
            loss=loss,
            bits_per_byte=bits_per_byte(loss, trainer.tokens.train.bytes_per_token),
            learning_rate=rate,
            grad_norm=norm,
        )
        return f"loss {loss:.3f}, lr {rate:.2e}{self._write_speed(step)}"

    def _write_speed(self, step: int) -> str:
        """Write the speed of this process's steps since the last row, if it made any; gives it for the bar."""
        trainer, now = self.trainer, time.perf_counter()
        steps, seconds, self._steps, self._mark = self._steps, now - self._mark, 0, now
        if not steps:  # stopped early right after a break
            return ""
        speed = steps * trainer.tokens_per_step / seconds
        memory = peak_memory_mb(trainer.hardware.device)
        self.runlog.write("speed", step=step, tokens_per_second=speed, memory_mb=memory)
        return f", {speed:,.0f} tokens/s"
