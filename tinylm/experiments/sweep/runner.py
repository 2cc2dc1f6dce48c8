"""Run a sweep: several trials in parallel, each watched, until the requested number have ended."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinylm.base import params
from tinylm.base.errors import StoppedError, UserError
from tinylm.compute.signals import StopRequest, listening
from tinylm.experiments.history import Experiment, find_experiment, read_params_at, read_score
from tinylm.experiments.sweep.space import parsed
from tinylm.experiments.sweep.study import SweepStudy
from tinylm.experiments.sweep.trial import ThisMachine
from tinylm.experiments.sweep.watched import Place, Trial

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial

POLL_EVERY = 0.5  # seconds
MAX_STARTS = 3  # of one trial that keeps being killed from outside


@dataclass(frozen=True)
class Options:
    """How to run a sweep."""

    trials: int
    jobs: int
    startup: int  # random trials before guided search starts, and finished trials before any is pruned
    pruner: "BasePruner | None"
    targets: list[str]  # of `dvc exp run`


class Runner:
    """Runs the trials of one sweep in `jobs` slots.

    On this machine they are started one at a time: DVC passes an experiment to its process through one shared
    location, so of two trials that start at the same moment one may take the other's experiment.
    """

    def __init__(self, study: SweepStudy, options: Options, place: Place | None = None):
        self.study, self.options, self.place = study, options, place or ThisMachine(options.jobs)
        self.running: dict[int, tuple[FrozenTrial, Trial]] = {}  # by slot
        self.waiting = study.unfinished()  # trials to start again before new ones
        self.starts: dict[int, int] = {}

    def run(self) -> None:
        """Run until all trials have ended. Raises StoppedError after a signal; running trials can be resumed."""
        with listening() as stop:
            try:
                while self._step(stop):
                    time.sleep(POLL_EVERY)
            finally:
                self._end_all()
        if stop.signal:
            raise StoppedError(f"the sweep {self.study.name} has stopped; the same command continues", stop.signal)

    def _step(self, stop: StopRequest) -> bool:
        """Check the running trials and start a new one if a slot is free; return whether there is more to do."""
        for slot, (trial, process) in list(self.running.items()):
            ended = process.poll() is not None
            self._watch(trial, process)
            if ended:
                del self.running[slot]
                self._finish(trial, process)
        if stop:
            return False
        if not self.place.one_at_a_time or all(
            process.prepared or process.seen for _, process in self.running.values()
        ):
            self._start_one()
        return bool(self.running or self._more())

    def _more(self) -> bool:
        return bool(self.waiting or self.study.queued) or self.study.started < self.options.trials

    def _start_one(self) -> None:
        free = [slot for slot in range(self.options.jobs) if slot not in self.running]
        if not free or not self._more():
            return
        self.study.plan.check_base(read_params_at(None))
        if self.waiting:
            if self.place.one_at_a_time and self.running and self.starts.get(self.waiting[0].number):
                return  # a running trial's process took this experiment by mistake, and will run it next
            trial = self.study.resume(self.waiting.pop(0))
        else:
            trial = self.study.begin(self.options.startup)
        name, settings = self.study.experiment(trial), self.study.settings(trial)
        words = " ".join(f"{key}={value}" for key, value in settings.items())
        if found := find_experiment(name):
            self._adopt(trial, found)
        elif conflict := find_conflict(settings):
            print(f"{name}: {words}: invalid combination: {conflict}", flush=True)
            self.study.give_up(trial, conflict)
        else:
            print(f"{name}: {words}", flush=True)
            self.starts[trial.number] = self.starts.get(trial.number, 0) + 1
            process = self.place.start(name, settings, self.options.targets, free[0])
            self.running[free[0]] = (trial, process)

    def _adopt(self, trial: "FrozenTrial", found: Experiment) -> None:
        """Record an existing experiment of the trial's name: the sweep was killed before it saw the trial's end."""
        existing = read_params_at(found.commit)
        for key, value in self.study.settings(trial).items():
            section, name = key.split(".")
            if existing[section][name] != parsed(value):
                raise UserError(
                    f"the experiment {found.name} already exists with {key}={existing[section][name]} instead of "
                    f"{value}; remove it (dvc exp remove {found.name}) or use another --name for the sweep"
                )
        self._record(trial, found)

    def _record(self, trial: "FrozenTrial", found: Experiment) -> None:
        value = read_score(found.commit)["bits_per_byte"]
        if value is None:
            raise UserError(
                f"{found.name}: expected bits per byte, by which a sweep compares trials, found none, because the "
                "tokenizer is lossy; use a lossless one (pretokenize.lossy: false)"
            )
        self.study.complete(trial, value)
        print(f"{found.name}: {value:.4f} bits per byte", flush=True)

    def _watch(self, trial: "FrozenTrial", process: Trial) -> None:
        for row in process.new_losses():
            prune = self.study.report(trial, row, self.options.pruner)
            if prune and not process.pruned and row["step"] != _last_step(self.study.settings(trial)):
                print(f"{process.name}: pruned at step {row['step']:.0f}, loss {row['loss']:.4f}", flush=True)
                process.pruned = True
                process.interrupt()

    def _finish(self, trial: "FrozenTrial", process: Trial) -> None:
        """Record the outcome of a trial whose process has ended, or queue it again if it was killed."""
        if found := find_experiment(process.name):
            self._record(trial, found)
        elif process.pruned:
            self.study.give_up(trial)
        elif process.stopped:
            return  # the next run of the sweep resumes it
        elif process.was_killed and self.starts[trial.number] < MAX_STARTS:
            if process.lost:
                print(f"{process.name}: lost ({process.lost}), starts again", flush=True)
            self.waiting.append(trial)
        elif process.was_killed:
            print(
                f"{process.name}: killed {MAX_STARTS} times; the next run of the sweep resumes it ({process.log})",
                flush=True,
            )
        else:
            error = process.error()
            print(f"{process.name}: failed: {error} ({process.log})", flush=True)
            self.study.give_up(trial, error)

    def _end_all(self) -> None:
        """Stop all trials; each saves a resume checkpoint, from which it continues another time."""
        for _, process in self.running.values():
            process.stopped = True
            process.interrupt()
        for trial, process in self.running.values():
            process.wait()
            self._finish(trial, process)


def _last_step(settings: dict[str, str]) -> object:
    """Return the last step of a trial, at which pruning would save nothing."""
    return parsed(settings["train.steps"]) if "train.steps" in settings else read_params_at(None)["train"]["steps"]


def find_conflict(settings: dict[str, str]) -> str | None:
    """Return the validation error of params.yaml with these settings, or None if they are valid together."""
    values = read_params_at(None)
    for key, text in settings.items():
        section, name = key.split(".")
        values[section] = {**values[section], name: parsed(text)}
    try:
        params.check(values, params.PARAMS_FILE)
    except UserError as error:
        return str(error)
    return None
