"""A run from its first step, or from where it was left, to its last.

`TrainingLoop.run` reads as the run does: for each step validate, save a milestone, step, log, keep
the state. What a step computes is in trainer.py.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from tinylm.base.errors import StoppedError, UserError
from tinylm.base.runtime import RuntimeParams
from tinylm.compute.device import peak_memory_mb
from tinylm.compute.distributed import Agreement
from tinylm.compute.signals import StopRequest
from tinylm.scoring.bits_per_byte import bits_per_byte
from tinylm.train.log.runlog import RunLog
from tinylm.train.resume.states import State, States
from tinylm.train.step import Trainer

SPEEDS_SHOWN = 10  # rows of the log whose median speed is told at a validation
EXPLODED = 2.0  # times the loss of guessing

log = logging.getLogger("tinylm")


@dataclass(frozen=True)
class Hooks:
    """What the loop calls and does not know: saving a milestone, showing a sample."""

    save_milestone: Callable[[int], None]
    show_sample: Callable[[int], None]


class TrainingLoop:
    """The run: its trainer, what it writes down, and the states it can go on from."""

    def __init__(self, trainer: Trainer, runlog: RunLog, hooks: Hooks, states: States | None, runtime: RuntimeParams):
        self.trainer, self.runlog, self.hooks, self.states, self.runtime = trainer, runlog, hooks, states, runtime
        self.meter = Meter(trainer, runlog)
        self._agreement = Agreement(trainer.world)
        self.environment: dict[str, Any] = {}  # of this process, kept with the states
        self.finished = False  # all steps, the last validation and the last milestone are done
        self._seconds_before = 0.0  # of the processes that worked on this run before
        self._started = self._saved_at = time.monotonic()

    @property
    def seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._started

    @property
    def waiting_share(self) -> float:
        """Part of this process's time that went into reading windows."""
        return self.trainer.waited / (time.monotonic() - self._started)

    def run(self, stop: StopRequest) -> None:
        """A row at step N is about the weights after N steps (the loss: mean of the steps up to it).

        Raises UserError for a loss that is no number or explodes, StoppedError after a signal.
        """
        if self.finished:
            return
        p, trainer = self.trainer.p, self.trainer
        steps = trainer.steps
        silent = not (self.runtime.progress and trainer.world.leads)
        with tqdm(total=steps, initial=trainer.step, unit="step", disable=silent or None, mininterval=1.0) as bar:
            trainer.model.train()
            for step in range(trainer.step, steps):
                with self.meter.paused():
                    self._between_steps(step)
                if self.stopped_early:
                    break
                self.meter.add(*trainer.train_step(step))
                if (step + 1) % p.log_every == 0 or step in (0, steps - 1):
                    bar.set_postfix_str(self.meter.write_row(step + 1), refresh=False)
                bar.update()
                with self.meter.paused():
                    self._keep_state(stop)
            self._finish()

    @property
    def stopped_early(self) -> bool:
        """Whether validation has not gained for `train.early_stop_evals` times."""
        patience = self.trainer.p.early_stop_evals
        return patience is not None and self.trainer.evals_without_gain >= patience

    def _between_steps(self, step: int) -> None:
        p, sample_every = self.trainer.p, self.runtime.sample_every
        if step % p.val_every == 0:
            self._validate(step)
        if step == 0 or (p.save_every and step % p.save_every == 0):
            self.hooks.save_milestone(step)
        if sample_every and step % sample_every == 0:
            self.hooks.show_sample(step)

    def _finish(self) -> None:
        step = self.trainer.step
        if self.meter.pending:
            self.meter.write_row(step)
        if self.stopped_early:
            log.info("stopped early: validation has not gained for %d times", self.trainer.evals_without_gain)
        else:
            self._validate(step)
        self.hooks.save_milestone(step)
        if self.runtime.sample_every:
            self.hooks.show_sample(step)
        self.finished = True
        self._save_state()

    def _validate(self, step: int) -> None:
        trainer = self.trainer
        validation = trainer.validate()
        trainer.keep_best(step, validation)
        loss, bits = validation.loss, validation.bits_per_byte
        self.runlog.write("val", step=step, tokens=step * trainer.tokens_per_step, loss=loss, bits_per_byte=bits)
        speeds = [row["tokens_per_second"] for row in self.runlog.rows["speed"][-SPEEDS_SHOWN:]]
        speed = f", {median(speeds):,.0f} tokens/s" if speeds else ""
        if trainer.world.leads:
            known = "" if bits is None else f", {bits:.4f} bits per byte"
            tqdm.write(f"step {step}/{trainer.steps}: validation loss {loss:.4f}{known}{speed}")

    def _keep_state(self, stop: StopRequest) -> None:
        """Save the state when it is time to, and end the run when a signal came to any of its processes."""
        trainer = self.trainer
        overdue = time.monotonic() - self._saved_at >= 60 * self.runtime.checkpoint_minutes
        stopping, overdue = self._agreement.ask(bool(stop), overdue)
        if stopping:
            self._save_state()
            if self.states:
                self.states.wait()
            end = "the same command continues" if self.states else "nothing is kept"
            raise StoppedError(f"stopped at step {trainer.step} of {trainer.steps}; {end}", stop.signal or 15)
        every = trainer.p.checkpoint_every
        if overdue or (every and trainer.step % every == 0):
            self._save_state()

    def _save_state(self) -> None:
        """A state is never of weights that are no numbers. All processes come here at the same step."""
        self._saved_at = time.monotonic()
        self.meter.check()
        if self.states:
            self.states.save(self.state())
            self.meter.saved_step = self.trainer.step

    def what_is_saved(self) -> str:
        """For the end of a message: from where the same command goes on."""
        step = self.meter.saved_step
        return "" if step is None else f"; the same command goes on after step {step}"

    def state(self) -> State:
        """Everything that the rest of the run depends on."""
        tensors, info = self.trainer.state()
        info |= {
            "rows": {name: list(rows) for name, rows in self.runlog.rows.items()},
            "pending": list(self.meter.checked),
            "seconds": self.seconds,
            "finished": self.finished,
            "environment": self.environment,
        }
        return State(tensors, info)

    def restore(self, state: State) -> None:
        """Go on from `state`, which a loop of the same run made."""
        self.trainer.restore(state.tensors, state.info)
        self.runlog.restore(state.info["rows"])
        self.meter.checked = [tuple(step) for step in state.info["pending"]]
        self._seconds_before = state.info["seconds"]
        self.finished, self.meter.saved_step = state.info["finished"], state.info["step"]


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
