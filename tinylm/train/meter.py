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

EXPLODED = 2.0  # times the loss of a uniform guess


class Meter:
    """Losses, gradient norms and speed since the last row. Does not wait for the device before they are needed."""

    def __init__(self, trainer: Trainer, runlog: RunLog):
        self.trainer, self.runlog = trainer, runlog
        # (loss, gradient norm) of the steps since the last row: first those that were checked and averaged over the
        # processes, then those that this process has measured since.
        self.checked: list[tuple[float, float]] = []
        self._losses: list[Tensor] = []  # means over this process's share of the batch
        self._norms: list[Tensor] = []
        self.saved_step: int | None = None  # of the last resume checkpoint
        self._mark = time.perf_counter()  # when the steps since the last row began, moved forward by every pause
        self._steps = 0  # steps of this process since then
        self._guess_loss = math.log(trainer.model.vocab_size)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the time spent in this block out of the speed."""
        started = time.perf_counter()
        yield
        self._mark += time.perf_counter() - started

    @property
    def pending(self) -> bool:
        """Whether there were steps since the last row."""
        return bool(self.checked or self._losses)

    def add(self, loss: Tensor, norm: Tensor) -> None:
        """Record the loss and the gradient norm of a step, both scalars on the device."""
        self._losses.append(loss)
        self._norms.append(norm)
        self._steps += 1

    def check(self) -> None:
        """Wait for the device, average the losses over the processes and check them. All call this at the same step.

        Raises UserError for the first step whose loss exploded, or whose loss or gradient norm is not finite. With
        fp16 a gradient may overflow: the scaler then skips the step and lowers its scale.
        """
        if not self._losses:
            return
        world, scaled = self.trainer.world, self.trainer.scaler.is_enabled()
        # In float64, so that the sum does not depend on the order of the processes; on the CPU, because some GPUs
        # have no float64.
        losses = (world.sum(torch.stack(self._losses).float().cpu().double()) / world.size).float()
        norms = torch.stack(self._norms).float().cpu()
        bad = ~losses.isfinite() | (losses > EXPLODED * self._guess_loss)
        if not scaled:
            bad |= ~norms.isfinite()
        if bad.any():
            index = int(bad.nonzero()[0])
            step = self.trainer.step - len(losses) + 1 + index
            raise self._diverged(step, float(losses[index]), float(norms[index]))
        self.checked += zip(losses.tolist(), norms.tolist(), strict=True)
        self._losses, self._norms = [], []

    def _diverged(self, step: int, loss: float, norm: float) -> UserError:
        saved = "none" if self.saved_step is None else f"step {self.saved_step}"
        return UserError(
            f"the loss is {loss:.4g} at step {step} (gradient norm {norm:.3g}), where a uniform guess has "
            f"{self._guess_loss:.4g}; lower train.peak_lr and train.muon_lr, or lengthen train.warmup_steps "
            f"(last resume checkpoint: {saved})"
        )

    def write_row(self, step: int) -> str:
        """Write the rows of `step`; return the text for the progress bar. Raises UserError as `check` does."""
        trainer = self.trainer
        self.check()
        loss = float(torch.tensor([loss for loss, _ in self.checked]).mean())
        norm = self.checked[-1][1]
        self.checked = []
        rate = trainer.optimizers.learning_rate
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
        """Write the speed of this process's steps since the last row, if there were any; return it for the bar."""
        trainer, now = self.trainer, time.perf_counter()
        steps, seconds, self._steps, self._mark = self._steps, now - self._mark, 0, now
        if not steps:  # resumed, and stopped early before the first step
            return ""
        speed = steps * trainer.tokens_per_step / seconds
        memory = peak_memory_mb(trainer.hardware.device)
        self.runlog.write("speed", step=step, tokens_per_second=speed, memory_mb=memory)
        return f", {speed:,.0f} tokens/s"
