"""A sweep at work: some trials at a time, each watched, until as many have ended as were asked for."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinylm.base import params
from tinylm.base.errors import StoppedError, UserError
from tinylm.compute.signals import StopRequest, listening
from tinylm.experiments.history import Experiment, find_experiment, read_params_at, read_score
from tinylm.experiments.sweep.space import parsed
from tinylm.experiments.sweep.study import FOLDER, SweepStudy
from tinylm.experiments.sweep.trial import TrialProcess, start

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial

POLL_EVERY = 0.5  # seconds
STARTS = 3  # of one trial that something else ends


@dataclass(frozen=True)
class Options:
    trials: int
    jobs: int
    startup: int  # trials at random before a guided search is guided, and finished ones before any is pruned
    pruner: "BasePruner | None"
    targets: list[str]  # of `dvc exp run`


class Runner:
    """Trials of one sweep in `jobs` slots.

    They are started one after the other: DVC hands an experiment to its process through one place for
    all, so that of two which begin in the same moment one may take the other's.
    """

    def __init__(self, study: SweepStudy, options: Options):
        self.study, self.options = study, options
        self.running: dict[int, tuple[FrozenTrial, TrialProcess]] = {}  # by slot
        self.waiting = study.broken()  # trials to start (again) before new ones
        self.starts: dict[int, int] = {}

    def run(self) -> None:
        """Raises StoppedError after a signal; then nothing is lost."""
        with listening() as stop:
            try:
                while self._step(stop):
                    time.sleep(POLL_EVERY)
            finally:
                self._end_all()
        if stop.signal:
            raise StoppedError(f"the sweep {self.study.name} has stopped; the same command continues", stop.signal)

    def _step(self, stop: StopRequest) -> bool:
        """Look after what runs and start what can be; gives whether there is more to do."""
        for slot, (trial, process) in list(self.running.items()):
            ended = process.poll() is not None
            self._watch(trial, process)
            if ended:
                del self.running[slot]
                self._judge(trial, process)
        if stop:
            return False
        if all(process.prepared or process.seen for _, process in self.running.values()):
            self._start_one()
        return bool(self.running or self._more())

    def _more(self) -> bool:
        return bool(self.waiting or self.study.queued) or self.study.begun < self.options.trials

    def _start_one(self) -> None:
        free = [slot for slot in range(self.options.jobs) if slot not in self.running]
        if not free or not self._more():
            return
        self.study.plan.check_base(read_params_at(None))
        if self.waiting:
            if self.running and self.starts.get(self.waiting[0].number):
                return  # one of those that run has taken it, and will run it next
            trial = self.study.resume(self.waiting.pop(0))
        else:
            trial = self.study.begin(self.options.startup)
        name, settings = self.study.experiment(trial), self.study.settings(trial)
        words = " ".join(f"{key}={value}" for key, value in settings.items())
        if found := find_experiment(name):
            self._adopt(trial, found)
        elif conflict := find_conflict(settings):
            print(f"{name}: {words}: cannot be: {conflict}", flush=True)
            self.study.give_up(trial, conflict)
        else:
            print(f"{name}: {words}", flush=True)
            self.starts[trial.number] = self.starts.get(trial.number, 0) + 1
            process = start(name, settings, self.options.targets, FOLDER, free[0], self.options.jobs)
            self.running[free[0]] = (trial, process)

    def _adopt(self, trial: "FrozenTrial", found: Experiment) -> None:
        """Count an experiment of the trial's name that is there already: its sweep was killed before it saw the end."""
        there = read_params_at(found.commit)
        for key, value in self.study.settings(trial).items():
            section, name = key.split(".")
            if there[section][name] != parsed(value):
                raise UserError(
                    f"the experiment {found.name} is there already, with {key}={there[section][name]} and not {value}; "
                    f"remove it (dvc exp remove {found.name}) or give the sweep another --name"
                )
        self._count(trial, found)

    def _count(self, trial: "FrozenTrial", found: Experiment) -> None:
        value = read_score(found.commit)["bits_per_byte"]
        if value is None:
            raise UserError(
                f"{found.name} has no bits per byte, by which a sweep compares: its tokenizer does not give the text "
                "back; take a lossless one (pretokenize.lossy: false)"
            )
        self.study.complete(trial, value)
        print(f"{found.name}: {value:.4f} bits per byte", flush=True)

    def _watch(self, trial: "FrozenTrial", process: TrialProcess) -> None:
        for row in process.new_losses():
            hopeless = self.study.report(trial, row, self.options.pruner)
            if hopeless and not process.hopeless and row["step"] != _steps(self.study.settings(trial)):
                print(f"{process.name}: ended at step {row['step']:.0f}, loss {row['loss']:.4f}: hopeless", flush=True)
                process.hopeless = True
                process.interrupt()

    def _judge(self, trial: "FrozenTrial", process: TrialProcess) -> None:
        """What became of a trial whose process ended."""
        if found := find_experiment(process.name):
            self._count(trial, found)
        elif process.hopeless:
            self.study.give_up(trial)
        elif process.stopped:
            return  # it is for the next time
        elif process.broken_off and self.starts[trial.number] < STARTS:
            self.waiting.append(trial)
        elif process.broken_off:
            print(
                f"{process.name}: was ended {STARTS} times, and is left for the next time ({process.log})", flush=True
            )
        else:
            why = process.why()
            print(f"{process.name}: failed: {why} ({process.log})", flush=True)
            self.study.give_up(trial, why)

    def _end_all(self) -> None:
        """Have all trials stop with their states saved, to go on another time."""
        for _, process in self.running.values():
            process.stopped = True
            process.interrupt()
        for trial, process in self.running.values():
            process.process.wait()
            self._judge(trial, process)


def _steps(settings: dict[str, str]) -> object:
    """The last step of a trial, at which nothing is spared by ending it."""
    return parsed(settings["train.steps"]) if "train.steps" in settings else read_params_at(None)["train"]["steps"]


def find_conflict(settings: dict[str, str]) -> str | None:
    """What params.yaml would say of these values together."""
    values = read_params_at(None)
    for key, text in settings.items():
        section, name = key.split(".")
        values[section] = {**values[section], name: parsed(text)}
    try:
        params.check(values, params.PARAMS_FILE)
    except UserError as error:
        return str(error)
    return None
