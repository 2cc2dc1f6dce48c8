"""A run that is interrupted, at any step and any number of times, writes the same bytes as one that is not."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.support import tiny
from tests.train.test_step import beside, hashes, make_trainer, run
from tinylm.base.errors import StoppedError, UserError
from tinylm.compute.device import has_bf16
from tinylm.tokens.store import TokenStore
from tinylm.train import loop
from tinylm.train.outputs import Folders
from tinylm.train.resume.snapshot import trainer_tensors
from tinylm.train.step import Trainer

STEPS = 30
SETTINGS: dict[str, Any] = {"steps": STEPS, "log_every": 4, "val_every": 6, "checkpoint_every": 7, "resume_every": 5}


class KilledError(BaseException):
    """Ends a run in a way that its code does not expect."""


def kept(folders: Folders, name: str) -> Folders:
    other = beside(folders, name)
    return replace(other, resume=other.model.parent / "resume" / "train-0")


def delete_outputs(folders: Folders) -> None:
    """Delete what DVC deletes before it runs a stage again."""
    for folder in (folders.model, folders.checkpoints, folders.metrics, folders.plots):
        shutil.rmtree(folder, ignore_errors=True)


def kill() -> None:
    raise KilledError


def break_and_go_on(
    folders: Folders, break_off: Callable[[int, Callable[[], object]], None], runtime: dict[str, Any], **settings: Any
) -> dict[str, Any]:
    """Check that a run killed after step 6 writes the bytes of an uninterrupted one; return the latter's metrics."""
    whole, interrupted = kept(folders, "whole"), kept(folders, "interrupted")
    metrics = run(whole, runtime, **settings)
    break_off(6, kill)  # the resume checkpoint has one step since the last row
    with pytest.raises(KilledError):
        run(interrupted, runtime, **settings)
    delete_outputs(interrupted)
    run(interrupted, runtime, **settings)
    assert files(interrupted) == files(whole)
    return metrics


def files(folders: Folders) -> dict[str, str]:
    root = folders.model.parent
    return {name.removeprefix(f"{root.name}/"): digest for name, digest in hashes(folders).items()}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "adamw"},
        {"architecture": "gpt2", "qk_norm": False, "dropout": 0.2},
        {"sequences": "strided", "steps": None, "epochs": 0.6},
        {"micro_batch_size": 2},
        {"precision": "bf16"},
        {"resume_every": 1},
        {"early_stop_evals": 2, "peak_lr": 1e-9, "muon_lr": 1e-9},
    ],
    ids=lambda changes: "-".join(changes) or "default",
)
def test_an_interrupted_run_writes_the_bytes_of_an_uninterrupted_one(
    folders: Folders, break_off: Callable[[int, Callable[[], object]], None], changes: dict[str, Any]
) -> None:
    if changes.get("precision") == "bf16" and not has_bf16(torch.device("cpu")):
        pytest.skip("this processor emulates bf16")
    settings = SETTINGS | changes
    whole, interrupted = kept(folders, "whole"), kept(folders, "interrupted")
    run(whole, **settings)
    for step in (3, 9, 10, 17, 18, 23, 29):  # before the first resume checkpoint, at one, at a row, in between
        break_off(step, kill)
        try:
            run(interrupted, **settings)
        except KilledError:
            delete_outputs(interrupted)
            continue
        break
    run(interrupted, **settings)
    assert files(interrupted) == files(whole)
    assert {"model/model.safetensors", "plots/train.csv", "checkpoints/step_000000/model.safetensors"} <= set(
        files(whole)
    )


def test_a_resume_checkpoint_does_not_change_with_later_steps(tiny_tokens: TokenStore) -> None:
    """It is written in the background during them."""
    trainer = make_trainer(tiny_tokens)
    trainer.train_step(0)
    trainer.best.update(1, tiny.validation(1.0), trainer.model)
    saved = trainer_tensors(trainer)
    before = {name: tensor.clone() for name, tensor in saved.items()}
    trainer.train_step(1)
    assert all(torch.equal(saved[name], tensor) for name, tensor in before.items())
    assert not torch.equal(trainer_tensors(trainer)["model.head.weight"], before["model.head.weight"])


def test_temporary_files_of_a_killed_process_among_the_outputs_are_removed(folders: Folders) -> None:
    place = kept(folders, "torn")
    for folder in (place.checkpoints / "step_000007", place.model):
        folder.mkdir(parents=True)
        (folder / ".config.json.99.tmp").write_text("half")
    run(place, **SETTINGS)
    assert not [name for name in files(place) if name.endswith(".tmp")]
    assert place.resume
    assert not list(place.resume.rglob("*.tmp"))


def test_resume_checkpoints_change_no_byte(folders: Folders) -> None:
    run(beside(folders, "without"), **SETTINGS)
    run(kept(folders, "with"), **SETTINGS)
    assert files(beside(folders, "with")) == files(beside(folders, "without"))


def test_a_finished_run_does_not_run_again(folders: Folders, caplog: pytest.LogCaptureFixture) -> None:
    run(kept(folders, "once"), **SETTINGS)
    before = files(beside(folders, "once"))
    caplog.set_level("INFO")
    run(kept(folders, "once"), **SETTINGS)
    assert f"continuing after step {STEPS} of {STEPS}" in caplog.text
    assert "TINYLM_FRESH=1 starts over" in caplog.text
    assert files(beside(folders, "once")) == before


def test_no_row_is_duplicated_or_missing(
    folders: Folders, break_off: Callable[[int, Callable[[], object]], None]
) -> None:
    break_off(17, kill)
    with pytest.raises(KilledError):
        run(kept(folders, "interrupted"), **SETTINGS)
    run(kept(folders, "interrupted"), **SETTINGS)
    for name in ("train", "speed"):
        rows = (beside(folders, "interrupted").plots / f"{name}.csv").read_text().splitlines()[1:]
        assert [int(row.split(",")[0]) for row in rows] == [1, *range(4, STEPS, 4), STEPS]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_its_step_and_the_same_command_continues(
    folders: Folders, break_off: Callable[[int, Callable[[], object]], None], number: signal.Signals
) -> None:
    run(kept(folders, "whole"), **SETTINGS)
    stopped = kept(folders, "stopped")
    handler = signal.getsignal(number)
    break_off(13, lambda: os.kill(os.getpid(), number))
    with pytest.raises(StoppedError, match=f"stopped at step 13 of {STEPS}; the same command continues") as caught:
        run(stopped, **SETTINGS)
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) == handler
    assert not stopped.model.exists()
    assert any(path.name.startswith("step_00000013") for path in stopped.resume.iterdir())  # type: ignore[union-attr]
    run(stopped, **SETTINGS)
    assert files(stopped) == files(kept(folders, "whole"))


def test_a_second_signal_ends_the_run_at_once(
    folders: Folders, break_off: Callable[[int, Callable[[], object]], None]
) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    break_off(13, twice)
    with pytest.raises(KeyboardInterrupt):
        run(kept(folders, "stopped"), **SETTINGS)


def test_resume_checkpoints_are_saved_by_time_too(
    folders: Folders, break_off: Callable[[int, Callable[[], object]], None]
) -> None:
    place = kept(folders, "timed")
    break_off(13, kill)
    with pytest.raises(KilledError):
        run(place, {"resume_minutes": 1e-9}, **SETTINGS | {"resume_every": None})
    assert place.resume
    assert {path.name[:13] for path in place.resume.glob("step_*")} == {"step_00000011", "step_00000012"}


def test_a_run_keeps_to_the_limit_that_the_user_set(
    folders: Folders, break_off: Callable[[int, Callable[[], object]], None], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = kept(folders, "first"), kept(folders, "second")
    second = replace(second, resume=first.resume.with_name("train-1"))  # type: ignore[union-attr]
    for place, limit in ((first, None), (second, 1e-9)):
        break_off(8, kill)
        with pytest.raises(KilledError):
            run(place, {"resume_gb": limit}, **SETTINGS)
        assert first.resume is not None
        assert first.resume.exists() == (limit is None)
    assert f"removed {first.resume}, the resume checkpoints of a run interrupted at step 5" in caplog.text
    assert "those of all runs exceeded runtime.resume_gb = 1e-09" in caplog.text


def test_another_number_of_threads_gives_a_warning(
    folders: Folders, break_off: Callable[[int, Callable[[], object]], None], caplog: pytest.LogCaptureFixture
) -> None:
    break_off(13, kill)
    with pytest.raises(KilledError):
        run(kept(folders, "moved"), {"threads": 1}, **SETTINGS)
    run(kept(folders, "moved"), {"threads": 2}, **SETTINGS)
    torch.set_num_threads(1)
    assert "warning: threads was 1 and is now 2: results differ in the last bits" in caplog.text


def test_early_stopping(folders: Folders, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    metrics = run(
        folders,
        **SETTINGS | {"early_stop_evals": 2, "peak_lr": 1e-9, "muon_lr": 1e-9, "steps": 300, "warmup_steps": 300},
    )
    val = (folders.plots / "val.csv").read_text().splitlines()[1:]
    best = metrics["best_step"] // 6
    assert len(val) == best + 3
    assert metrics["steps"] == 6 * (best + 2) < 300
    assert metrics["stopped_early"]
    assert "stopped early: no improvement in the last 2 validations" in caplog.text
    assert (folders.plots / "train.csv").read_text().splitlines()[-1].split(",")[0] == str(metrics["steps"])


@pytest.mark.parametrize(("step", "saved"), [(3, "none"), (14, "step 10")])
@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 50.0])
def test_a_diverged_loss_names_step_norm_and_last_resume_checkpoint(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, step: int, saved: str, loss: float
) -> None:
    train_step = Trainer.train_step

    def diverging(self: Trainer, at: int) -> Any:
        good, _ = train_step(self, at)
        return (torch.tensor(loss) if at + 1 == step else good), torch.tensor(2.5)

    monkeypatch.setattr(Trainer, "train_step", diverging)
    with pytest.raises(UserError, match=rf"at step {step} \(gradient norm 2.5\), .*last resume checkpoint: {saved}\)"):
        run(kept(folders, "diverging"), **SETTINGS)


def test_a_gradient_that_is_not_finite_ends_the_run_before_a_resume_checkpoint_is_saved(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_step = Trainer.train_step

    def diverging(self: Trainer, at: int) -> Any:
        loss, norm = train_step(self, at)
        return loss, norm * float("nan") if at == 9 else norm

    monkeypatch.setattr(Trainer, "train_step", diverging)
    with pytest.raises(UserError, match=r"at step 10 \(gradient norm nan\).*last resume checkpoint: step 5\)"):
        run(kept(folders, "diverging"), **SETTINGS)


def test_the_seconds_of_a_run_include_interrupted_processes(
    folders: Folders, break_off: Callable[[int, Callable[[], object]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a clock that advances 100 seconds per step and stands still in between."""
    now = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    train_step = Trainer.train_step

    def step_of_100_seconds(self: Trainer, at: int) -> Any:
        now[0] += 100
        return train_step(self, at)

    monkeypatch.setattr(Trainer, "train_step", step_of_100_seconds)
    place, never = kept(folders, "parts"), {"resume_minutes": 1e5}
    for step in (13, 22):  # resume checkpoints at steps 10 and 20: later steps are repeated and not counted twice
        break_off(step, kill)
        with pytest.raises(KilledError):
            run(place, never, **SETTINGS)
    run(place, never, **SETTINGS)
    assert json.loads((place.metrics / "speed.json").read_text())["seconds"] == 100 * STEPS


def test_a_resume_checkpoint_agrees_with_the_metrics(folders: Folders) -> None:
    place = kept(folders, "once")
    run(place, **SETTINGS)
    assert place.resume
    newest = max(place.resume.glob("step_*"), key=lambda path: path.stat().st_mtime_ns).read_bytes()
    header = json.loads(newest[8 : 8 + int.from_bytes(newest[:8], "little")])
    info = json.loads(header["__metadata__"]["tinylm"])
    assert info["step"] == STEPS
    assert info["finished"]
    metrics = json.loads((place.metrics / "train.json").read_text())
    assert info["best_step"] == metrics["best_step"]
    assert {name.split(".")[0] for name in header} == {"__metadata__", "model", "optimizer", "best", "best_nats"}


def test_a_checkpoint_that_cannot_be_copied(folders: Folders) -> None:
    place = kept(folders, "full")
    assert place.resume
    place.resume.mkdir(parents=True)
    (place.resume / "checkpoints").write_text("in the way")
    with pytest.raises(UserError, match="cannot be copied to .* the same command continues"):
        run(place, **SETTINGS)
