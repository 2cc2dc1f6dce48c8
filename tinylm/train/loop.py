"""The training loop: a run from its first step, or from where it was interrupted, to its last.

`TrainingLoop.run` reads in the order of a run: for each step validate, save a checkpoint, train, log, save a resume
checkpoint. What a step computes is in step.py.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import NoReturn

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from tinylm.base.durations import show
from tinylm.base.errors import StoppedError
from tinylm.base.runtime import RuntimeParams
from tinylm.compute.distributed import Agreement
from tinylm.compute.signals import StopRequest
from tinylm.train.log.runlog import RunLog
from tinylm.train.meter import Meter
from tinylm.train.resume.checkpoints import ResumeCheckpoints
from tinylm.train.resume.snapshot import take
from tinylm.train.step import Trainer

SPEEDS_SHOWN = 10  # rows of the log whose median speed is shown at a validation
BAR = "{percentage:3.0f}%|{bar}| step {n_fmt}/{total_fmt}, {remaining} left{postfix}"

log = logging.getLogger("tinylm")


@dataclass(frozen=True)
class Hooks:
    """Called by the loop with the steps done, to save a checkpoint or show a sample; or to write the metrics so far."""

    save_checkpoint: Callable[[int], None]
    show_sample: Callable[[int], None]
    write_metrics: Callable[["TrainingLoop"], None]


class TrainingLoop:
    """A run: its trainer, its log and its resume checkpoints (None: none are saved)."""

    def __init__(
        self, trainer: Trainer, runlog: RunLog, hooks: Hooks, resume: ResumeCheckpoints | None, runtime: RuntimeParams
    ):
        self.trainer, self.runlog, self.hooks, self.resume, self.runtime = trainer, runlog, hooks, resume, runtime
        self.meter = Meter(trainer, runlog)
        self._agreement = Agreement(trainer.world)
        self.finished = False  # all steps, the last validation and the last checkpoint are done
        self.seconds_before = 0.0  # spent on this run by earlier, interrupted processes
        self._started = self._saved_at = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time spent on this run, including the processes that were interrupted [s]."""
        return self.seconds_before + time.monotonic() - self._started

    @property
    def waiting_share(self) -> float:
        """Fraction of this process's time that was spent reading sequences."""
        return self.trainer.waited / (time.monotonic() - self._started)

    def run(self, stop: StopRequest) -> None:
        """Run the steps that remain.

        A row at step N describes the weights after N steps; its training loss is the mean since the row before.
        Raises UserError for a loss that is not finite or explodes, StoppedError after a signal.
        """
        if self.finished:
            return
        p, trainer = self.trainer.p, self.trainer
        first = trainer.step
        with logging_redirect_tqdm(), self._progress_bar() as bar:
            trainer.model.train()
            for step in range(first, trainer.steps):
                with self.meter.paused():
                    self._between_steps(step)
                if self.stopped_early:
                    break
                self.meter.add(*trainer.train_step(step))
                if step == first:
                    bar.unpause()  # compilation is part of this step, and not of the time that is left
                if (step + 1) % p.log_every == 0 or step == 0:
                    bar.set_postfix_str(self.meter.write_row(step + 1), refresh=False)
                bar.update()
                with self.meter.paused():
                    self._save_or_stop(stop)
            self._finish()

    def _progress_bar(self) -> "tqdm[NoReturn]":
        """Return the progress line, which goes when the run ends. There is none without a terminal (`disable=None`)."""
        trainer = self.trainer
        return tqdm(
            total=trainer.steps,
            initial=trainer.step,
            disable=None if self.runtime.progress and trainer.world.is_main else True,
            bar_format=BAR,
            mininterval=1.0,
            dynamic_ncols=True,
            leave=False,
        )

    @property
    def stopped_early(self) -> bool:
        """Whether the last `train.early_stop_evals` validations brought no improvement."""
        return self.trainer.best.should_stop(self.trainer.p.early_stop_evals)

    def _between_steps(self, step: int) -> None:
        """Validate, save a checkpoint and show a sample, each if it is due after `step` steps."""
        p, sample_every = self.trainer.p, self.runtime.sample_every
        if step % p.val_every == 0:
            self._validate(step)
        if step == 0 or (p.checkpoint_every and step % p.checkpoint_every == 0):
            self.hooks.save_checkpoint(step)
        if sample_every and step % sample_every == 0:
            self.hooks.show_sample(step)

    def _finish(self) -> None:
        step = self.trainer.step
        if self.meter.pending:
            self.meter.write_row(step)
        if self.stopped_early:
            log.info("stopped early: no improvement in the last %d validations", self.trainer.best.evals_since)
        else:
            self._validate(step)
        self.hooks.save_checkpoint(step)
        if self.runtime.sample_every:
            self.hooks.show_sample(step)
        self.finished = True
        self._save_resume_checkpoint()

    def _validate(self, step: int) -> None:
        trainer = self.trainer
        validation = trainer.validate()
        trainer.best.update(step, validation, trainer.model)
        loss, bits = validation.loss, validation.bits_per_byte
        self.runlog.write("val", step=step, tokens=step * trainer.tokens_per_step, loss=loss, bits_per_byte=bits)
        if trainer.world.is_main:
            known = "" if bits is None else f", {bits:.4f} bits per byte"
            tqdm.write(f"step {step}/{trainer.steps}: validation loss {loss:.4f}{known}{self._speed(step)}")
            self.hooks.write_metrics(self)

    def _speed(self, step: int) -> str:
        """Return the speed of the last rows and how long the remaining steps take at it; empty before the first row."""
        speeds = [row["tokens_per_second"] for row in self.runlog.rows["speed"][-SPEEDS_SHOWN:]]
        if not speeds:
            return ""
        speed, left = median(speeds), self.trainer.steps - step
        ending = f", {show(left * self.trainer.tokens_per_step / speed)} left" if left else ""
        return f", {speed:,.0f} tokens/s{ending}"

    def _save_or_stop(self, stop: StopRequest) -> None:
        """Save a resume checkpoint if one is due; stop the run if any of its processes has received a signal."""
        trainer = self.trainer
        overdue = time.monotonic() - self._saved_at >= 60 * self.runtime.resume_minutes
        stopping, overdue = self._agreement.ask(bool(stop), overdue)
        if stopping:
            self._save_resume_checkpoint()
            if self.resume:
                self.resume.wait()
            saved = any(trainer.world.gather(self.resume is not None))
            end = "the same command continues" if saved else "nothing is saved"
            raise StoppedError(f"stopped at step {trainer.step} of {trainer.steps}; {end}", stop.signal or 15)
        every = trainer.p.resume_every
        if overdue or (every and trainer.step % every == 0):
            self._save_resume_checkpoint()

    def _save_resume_checkpoint(self) -> None:
        """Save a resume checkpoint, but never of weights that diverged. All processes call this at the same step."""
        self._saved_at = time.monotonic()
        self.meter.check()
        if self.resume:
            self.resume.save(take(self))
            self.meter.saved_step = self.trainer.step

    def resume_hint(self) -> str:
        """The end of an error message: after which step the same command resumes; empty if it starts over."""
        step = self.meter.saved_step
        return "" if step is None else f"; the same command resumes after step {step}"
