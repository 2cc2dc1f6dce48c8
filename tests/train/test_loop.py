"""The order of events in a run, and what it records. Steps compute nothing here, and the clock is simulated.

A step takes 2 seconds, a validation 10, a checkpoint 5, a sample 3 and a resume checkpoint 7.
"""

import math
import signal
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support import tiny
from tests.train.test_step import make_trainer
from tinylm.base.errors import StoppedError, UserError
from tinylm.compute.signals import StopRequest
from tinylm.scoring.story_losses import StoryLosses
from tinylm.tokens.store import TokenStore
from tinylm.train import loop, meter
from tinylm.train.log.runlog import RunLog
from tinylm.train.loop import Hooks, TrainingLoop
from tinylm.train.optim.schedule import learning_rate_factor
from tinylm.train.resume.checkpoints import ResumeCheckpoint
from tinylm.train.resume.snapshot import restore

TOKENS_PER_STEP = 8 * 64


class Bar:
    """A fake of tqdm's bar."""

    shown: "Bar"
    lines: list[str]

    def __init__(self, total: int, initial: int, disable: bool | None, **options: Any):
        self.options = options
        self.total, self.at, self.disable, self.texts, self.unpaused = total, initial, disable, list[str](), list[int]()
        Bar.shown = self

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None: ...

    def update(self) -> None:
        self.at += 1

    def unpause(self) -> None:
        self.unpaused.append(self.at)

    def set_postfix_str(self, text: str, refresh: bool) -> None:
        assert refresh is False  # otherwise it would be drawn more often than once a second
        self.texts.append(text)

    @staticmethod
    def write(line: str) -> None:
        Bar.lines.append(line)


class Bench:
    """A loop whose parts record their calls in `events`."""

    def __init__(self, tokens: TokenStore, runtime: dict[str, Any] | None = None, resume: bool = True, **changes: Any):
        self.now, self.events, self.stop = 100.0, list[str](), StopRequest()
        self.losses, self.validations = (lambda step: torch.tensor(step + 1.0)), iter([4.0, 3.0, 2.0, 1.0, 0.5])
        self.saved = list[ResumeCheckpoint]()
        self.trainer: Any = make_trainer(tokens, **{"resume_every": 5, "log_every": 3, "val_every": 3} | changes)
        self.trainer.train_step, self.trainer.validate = self._train_step, self._validate
        self.trainer.world = SimpleNamespace(
            is_main=True, size=1, sum=lambda tensor: tensor, gather=lambda value: [value]
        )
        hooks = Hooks(
            lambda step: self._note(f"checkpoint {step}", 5),
            lambda step: self._note(f"sample {step}", 3),
            lambda loop: self._note(f"metrics {loop.trainer.step}", 0),
        )
        recorder: Any = SimpleNamespace(save=self._save, wait=lambda: self._note("wait", 0))
        runtime_params = tiny.runtime_params(**{"resume_minutes": 1e5} | (runtime or {}))
        self.loop = TrainingLoop(self.trainer, RunLog(None), hooks, recorder if resume else None, runtime_params)

    def _note(self, event: str, seconds: float) -> None:
        self.events.append(event)
        self.now += seconds

    def _train_step(self, step: int) -> tuple[Tensor, Tensor]:
        self._note(f"step {step}", 2)
        self.trainer.set_learning_rate(step)
        self.trainer.step = step + 1
        return self.losses(step), torch.tensor(step + 0.5)

    def _validate(self) -> StoryLosses:
        self._note("validate", 10)
        return tiny.validation(next(self.validations))

    def _save(self, checkpoint: ResumeCheckpoint) -> None:
        self._note(f"save {checkpoint.info['step']}", 7)
        self.saved.append(checkpoint)

    def run(self) -> None:
        self.loop.run(self.stop)

    def rows(self, name: str, column: str) -> list[float]:
        return [row[column] for row in self.loop.runlog.rows[name]]


MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(tiny_tokens: TokenStore, monkeypatch: pytest.MonkeyPatch) -> MakeBench:
    def make(*arguments: Any, **changes: Any) -> Bench:
        bench = Bench.__new__(Bench)
        clock = SimpleNamespace(monotonic=lambda: bench.now, perf_counter=lambda: bench.now)
        for module in (loop, meter):
            monkeypatch.setattr(module, "time", clock)
        monkeypatch.setattr(loop, "tqdm", Bar)
        bench.now, Bar.lines = 100.0, []
        bench.__init__(tiny_tokens, *arguments, **changes)  # type: ignore[misc]
        return bench

    return make


def bits(loss: float, tokens: TokenStore, name: str) -> float:
    info = getattr(tokens, name).info
    return loss * info.tokens / info.text_bytes / math.log(2)


def test_the_order_of_events(make_bench: MakeBench) -> None:
    bench = make_bench({"sample_every": 4}, steps=7, checkpoint_every=2)
    bench.run()
    assert bench.events == [
        *("validate", "metrics 0", "checkpoint 0", "sample 0", "step 0", "step 1"),
        *("checkpoint 2", "step 2"),
        *("validate", "metrics 3", "step 3"),
        *("checkpoint 4", "sample 4", "step 4", "save 5", "step 5"),
        *("validate", "metrics 6", "checkpoint 6", "step 6"),
        *("validate", "metrics 7", "checkpoint 7", "sample 7", "save 7"),
    ]
    assert bench.loop.finished
    assert [checkpoint.info["finished"] for checkpoint in bench.saved] == [False, True]
    bench.events.clear()
    bench.run()
    assert bench.events == []


def test_without_checkpoints_samples_and_resume_checkpoints_in_between(make_bench: MakeBench) -> None:
    bench = make_bench(steps=2, checkpoint_every=None, resume_every=None)
    bench.run()
    first, last = ["validate", "metrics 0", "checkpoint 0"], ["validate", "metrics 2", "checkpoint 2", "save 2"]
    assert bench.events == [*first, "step 0", "step 1", *last]


def test_the_rows_of_a_run(make_bench: MakeBench, tiny_tokens: TokenStore) -> None:
    """The loss is the mean since the row before, the norm that of the last step, the speed that of the steps alone."""
    schedule = {"peak_lr": 0.01, "warmup_steps": 2, "decay": "linear", "final_lr_fraction": 0.0}
    bench = make_bench({"sample_every": 4}, steps=7, checkpoint_every=2, **schedule)
    bench.run()
    train, val = ({name: bench.rows(kind, name) for name in ("step", "tokens", "loss")} for kind in ("train", "val"))
    assert train == {"step": [1, 3, 6, 7], "tokens": [512, 1536, 3072, 3584], "loss": [1, 2.5, 5, 7]}
    assert val == {"step": [0, 3, 6, 7], "tokens": [0, 1536, 3072, 3584], "loss": [4, 3, 2, 1]}
    expected = [bits(loss, tiny_tokens, "train") for loss in train["loss"]]
    assert bench.rows("train", "bits_per_byte") == pytest.approx(expected, rel=1e-12)
    expected = [loss / math.log(2) / 4 for loss in val["loss"]]  # of the scored stories
    assert bench.rows("val", "bits_per_byte") == pytest.approx(expected, rel=1e-12)
    assert bench.rows("train", "grad_norm") == [0.5, 2.5, 5.5, 6.5]
    rates = [0.01 * learning_rate_factor(step, 7, 2, 0.0, "linear") for step in (0, 2, 5, 6)]
    assert bench.rows("train", "learning_rate") == rates
    assert bench.rows("speed", "step") == [1, 3, 6, 7]
    assert bench.rows("speed", "tokens_per_second") == [TOKENS_PER_STEP / 2] * 4
    assert min(bench.rows("speed", "memory_mb")) > 0
    assert (Bar.shown.total, Bar.shown.at) == (7, 7)
    assert Bar.shown.options == {"bar_format": loop.BAR, "mininterval": 1.0, "dynamic_ncols": True, "leave": False}
    assert Bar.shown.unpaused == [0]  # the time left does not count compilation, a part of the first step
    assert Bar.shown.texts[1] == f"loss 2.500, lr {rates[1]:.2e}, 256 tokens/s"
    first, last = (f"{loss / math.log(2) / 4:.4f} bits per byte" for loss in (4, 1))
    assert Bar.lines[0] == f"step 0/7: validation loss 4.0000, {first}"
    assert Bar.lines[1].endswith(", 256 tokens/s, 8 s left")  # four steps
    assert Bar.lines[3] == f"step 7/7: validation loss 1.0000, {last}, 256 tokens/s"


def test_a_run_with_a_lossy_tokenizer_shows_no_bits_per_byte(make_bench: MakeBench) -> None:
    bench = make_bench(steps=2)
    bench.trainer.validate = lambda: replace(tiny.validation(4.0), text_bytes=None)
    bench.run()
    assert Bar.lines[0] == "step 0/2: validation loss 4.0000"
    assert bench.loop.runlog.rows["val"][0]["bits_per_byte"] is None


def test_the_speed_shown_is_the_median_of_the_last_ten_rows(make_bench: MakeBench) -> None:
    bench = make_bench(steps=12, log_every=1, val_every=100)
    seconds = iter([1, 1, 8, 8, 8, 8, 4, 4, 4, 4, 4, 8])  # the first two rows are too old to count
    step = bench.trainer.train_step

    def train_step(at: int) -> tuple[Tensor, Tensor]:
        bench.now += next(seconds) - 2
        return step(at)

    bench.losses = lambda step: torch.tensor(1.0)
    bench.trainer.train_step = train_step
    bench.run()
    assert Bar.lines[-1].endswith(f", {512 * (1 / 4 + 1 / 8) / 2:,.0f} tokens/s")


@pytest.mark.parametrize(
    ("progress", "is_main", "disable"), [(True, True, None), (False, True, True), (True, False, True)]
)
def test_only_the_main_process_shows_a_bar_if_it_is_enabled(
    make_bench: MakeBench, progress: bool, is_main: bool, disable: bool | None
) -> None:
    bench = make_bench({"progress": progress}, steps=2)
    bench.trainer.world.is_main = is_main
    bench.run()
    assert Bar.shown.disable is disable
    assert bool(Bar.lines) == is_main


def test_losses_of_several_processes_are_averaged(make_bench: MakeBench) -> None:
    bench = make_bench(steps=2)
    bench.trainer.world = SimpleNamespace(is_main=True, size=2, sum=lambda tensor: tensor + 3)  # the other's losses
    bench.run()
    assert bench.rows("train", "loss") == [2.0, 2.5]


def test_a_resume_checkpoint_is_saved_when_its_time_has_come(make_bench: MakeBench) -> None:
    """Nine seconds after the last one began, and not sooner: a step takes 2 seconds, a resume checkpoint 7."""
    bench = make_bench({"resume_minutes": 9 / 60}, steps=8, val_every=100, checkpoint_every=None, resume_every=None)
    bench.run()
    saves = [event for event in bench.events if event.startswith("save")]
    assert saves == ["save 1", "save 2", "save 3", "save 4", "save 5", "save 6", "save 7", "save 8", "save 8"]
    bench = make_bench({"resume_minutes": 10 / 60}, steps=8, val_every=100, checkpoint_every=None, resume_every=None)
    bench.run()
    saves = [event for event in bench.events if event.startswith("save")]
    assert saves == ["save 1", "save 3", "save 5", "save 7", "save 8"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (None, 143)]
)  # None: the signal came to another process
def test_a_run_that_receives_a_signal(make_bench: MakeBench, number: signal.Signals | None, code: int) -> None:
    bench = make_bench(steps=7, val_every=100, checkpoint_every=None)
    bench.stop.signal = number
    answers = iter([False, False, True])
    bench.loop._agreement.ask = lambda mine, overdue: (next(answers), overdue)  # type: ignore[method-assign]
    with pytest.raises(StoppedError, match="^stopped at step 3 of 7; the same command continues$") as caught:
        bench.run()
    assert caught.value.exit_code == code
    assert bench.events[-3:] == ["step 2", "save 3", "wait"]
    assert not bench.loop.finished


def test_a_run_without_resume_checkpoints_that_receives_a_signal(make_bench: MakeBench) -> None:
    bench = make_bench(resume=False, steps=7)
    bench.stop.signal = signal.SIGINT
    with pytest.raises(StoppedError, match="^stopped at step 1 of 7; nothing is saved$"):
        bench.run()


def test_a_run_stops_early_without_improvement(make_bench: MakeBench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    bench = make_bench(steps=100, val_every=2, checkpoint_every=None, early_stop_evals=2, log_every=100)
    bench.losses, bench.validations = (lambda step: torch.tensor(2.0)), iter([4.0, 3.0, 3.5, 3.0])
    bench.run()
    assert bench.events[-5:] == ["step 5", "validate", "metrics 6", "checkpoint 6", "save 6"]
    assert bench.rows("train", "step") == [1, 6]  # the last row covers the steps since the one before
    assert bench.loop.stopped_early
    assert caplog.messages == ["stopped early: no improvement in the last 2 validations"]
    assert (bench.trainer.best.loss, bench.trainer.best.step) == (3.0, 2)


def test_a_restored_loop_continues_from_the_resume_checkpoint(make_bench: MakeBench) -> None:
    first = make_bench(steps=7, val_every=100, checkpoint_every=None)
    first.trainer.waited = 6.0
    first.loop._agreement.ask = lambda *_: (first.trainer.step == 5, False)  # type: ignore[method-assign]
    with pytest.raises(StoppedError):
        first.run()
    assert first.loop.waiting_share == 6 / (first.now - 100)
    saved = first.saved[0]
    assert saved.info["rows"]["train"] == first.loop.runlog.rows["train"]
    assert saved.info["pending"] == [(4.0, 3.5), (5.0, 4.5)]  # losses and norms
    assert not saved.info["finished"]
    assert saved.info["environment"] == {
        "device": tiny.FP32_ON_CPU.name,
        "precision": "fp32",
        "threads": 1,
        "processes": 1,
        "sharded": False,
        "compiled": False,
        "attention": "plain",
        "torch": torch.__version__,
    }
    assert saved.info["seconds"] == 10 + 5 + 5 * 2  # until it began to be saved
    second = make_bench(steps=7, val_every=100, checkpoint_every=None)
    restore(second.loop, saved)
    assert second.loop.seconds == 25
    assert second.loop.meter.saved_step == 5
    second.run()
    assert second.events[0] == "step 5"
    assert second.rows("train", "step") == [1, 3, 6, 7]
    assert second.rows("train", "loss") == [1, 2.5, 5, 7]
    assert second.rows("speed", "tokens_per_second") == [256] * 4  # of this process's steps
    assert second.loop.seconds == 25 + (second.now - 100)
    third = make_bench(steps=7)
    restore(third.loop, second.saved[-1])
    third.run()
    assert third.events == []  # that run was finished


def test_each_process_continues_with_the_losses_of_all(make_bench: MakeBench) -> None:
    """A resume checkpoint has means over the processes, which no process takes for its own losses after resuming."""
    settings: dict[str, Any] = {
        "steps": 4,
        "log_every": 4,
        "val_every": 100,
        "checkpoint_every": None,
        "resume_every": 3,
    }

    def world() -> Any:
        return SimpleNamespace(is_main=True, size=2, sum=lambda losses: 2 * losses + 0.5)  # the other's are 0.5 higher

    whole = make_bench(**settings)
    whole.trainer.world, whole.loop._agreement.ask = world(), lambda *flags: flags  # type: ignore[assignment]
    whole.run()
    assert whole.rows("train", "loss") == [1.25, 3.25]
    resumed = make_bench(**settings)
    restore(resumed.loop, whole.saved[0])
    resumed.trainer.world, resumed.loop._agreement.ask = world(), lambda *flags: flags  # type: ignore[assignment]
    resumed.run()
    assert resumed.loop.runlog.rows["train"] == whole.loop.runlog.rows["train"]


def test_a_run_that_stops_early_right_after_resuming(make_bench: MakeBench) -> None:
    """Its last row then covers steps of an earlier process."""
    settings: dict[str, Any] = {"steps": 9, "val_every": 2, "early_stop_evals": 1, "log_every": 100, "decay": "linear"}
    first = make_bench(**settings, resume_every=4)
    first.validations = iter([4.0, 3.0, 2.0, 1.0, 0.5, 0.4])
    first.run()
    second = make_bench(**settings)
    restore(second.loop, first.saved[0])
    second.validations = iter([5.0])
    second.run()
    assert second.rows("train", "step") == [1, 4]
    assert second.rows("train", "loss") == [1, 3]
    assert second.rows("train", "grad_norm") == [0.5, 3.5]
    p = second.trainer.p
    rates = [p.peak_lr * learning_rate_factor(step, 9, 2, p.final_lr_fraction, "linear") for step in (0, 3)]
    assert second.rows("train", "learning_rate") == rates


GUESSING = r"where a uniform guess has 5\.704; lower train\.peak_lr and train\.muon_lr, or lengthen train\.warmup_steps"


def test_the_first_loss_that_diverged_is_named(make_bench: MakeBench) -> None:
    bench = make_bench(steps=7, resume_every=100)
    bench.losses = lambda step: torch.tensor(
        math.inf if step in (4, 5) else 1.0
    )  # the second and third of three that are looked at
    message = rf"^the loss is inf at step 5 \(gradient norm 4\.5\), {GUESSING} \(last resume checkpoint: none\)$"
    with pytest.raises(UserError, match=message):
        bench.run()
    assert bench.rows("train", "step") == [1, 3]


def test_divergence_is_detected_before_a_resume_checkpoint_is_saved(make_bench: MakeBench) -> None:
    bench = make_bench(steps=12, resume_every=2, log_every=100)
    bench.losses = lambda step: torch.tensor(math.nan if step == 4 else 1.0)
    with pytest.raises(UserError, match=rf"^the loss is nan at step 5 .*{GUESSING} \(last resume checkpoint: step 4\)"):
        bench.run()
    assert [event for event in bench.events if event.startswith("save")] == ["save 2", "save 4"]


@pytest.mark.parametrize("scaled", [True, False])
def test_only_the_scaler_handles_a_gradient_that_overflows(make_bench: MakeBench, scaled: bool) -> None:
    bench = make_bench(steps=12)
    bench.trainer.scaler = SimpleNamespace(is_enabled=lambda: scaled)
    bench.loop.meter.checked, bench.trainer.step = [(1.0, 0.5)], 4
    bench.loop.meter.add(torch.tensor(1.5), torch.tensor(math.inf))
    if scaled:
        bench.loop.meter.check()
    else:
        with pytest.raises(UserError, match=r"^the loss is 1.5 at step 4 \(gradient norm inf\)"):
            bench.loop.meter.check()
