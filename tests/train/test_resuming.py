"""A run that was broken off, wherever and however often, leaves the bytes of one that was not."""

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
    """Ends a run as nothing in it expects."""


def kept(folders: Folders, name: str) -> Folders:
    other = beside(folders, name)
    return replace(other, resume=other.model.parent / "states" / "train-0")


def delete_outputs(folders: Folders) -> None:
    """As DVC does before it runs a stage again."""
    for folder in (folders.model, folders.checkpoints, folders.metrics, folders.plots):
        shutil.rmtree(folder, ignore_errors=True)


def kill() -> None:
    raise KilledError


def break_and_go_on(
    folders: Folders, break_off: Callable[[int, Callable[[], object]], None], runtime: dict[str, Any], **settings: Any
) -> dict[str, Any]:
    """See that a run killed after step 6 ends with the bytes of one left alone; gives the metrics of the latter."""
    whole, broken = kept(folders, "whole"), kept(folders, "broken")
    metrics = run(whole, runtime, **settings)
    break_off(6, kill)  # of the steps since the last row the state holds one
    with pytest.raises(KilledError):
        run(broken, runtime, **settings)
    delete_outputs(broken)
    run(broken, runtime, **settings)
    assert files(broken) == files(whole)
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
        {"early_stop_evals": 1, "peak_lr": 1e-9, "muon_lr": 1e-9},
    ],
    ids=lambda changes: "-".join(changes) or "default",
)
def test_a_broken_run_leaves_the_bytes_of_an_unbroken_one(
    folders: Folders, break_off: Callable[[int, Callable[[], object]], None], changes: dict[str, Any]
) -> None:
    if changes.get("precision") == "bf16" and not has_bf16(torch.device("cpu")):
        pytest.skip("this processor emulates bf16")
    settings = SETTINGS | changes
    whole, broken = kept(folders, "whole"), kept(folders, "broken")
    run(whole, **settings)
    for step in (3, 9, 10, 17, 18, 23, 29):  # some before the first state, on a state, on a row, between them
        break_off(step, kill)
        try:
            run(broken, **settings)
        except KilledError:
            delete_outputs(broken)
            continue
        break
    run(broken, **settings)
    assert files(broken) == files(whole)
    assert {"model/model.safetensors", "plots/train.csv", "checkpoints/step_000000/model.safetensors"} <= set(
        files(whole)
    )


def test_a_state_does_not_change_with_the_steps_after_it(tiny_tokens: TokenStore) -> None:
    """It is written in the background while they run."""
    trainer = make_trainer(tiny_tokens)
    trainer.train_step(0)
    trainer.keep_best(1, tiny.validation(1.0))
    state = trainer_tensors(trainer)
    before = {name: tensor.clone() for name, tensor in state.items()}
    trainer.train_step(1)
    assert all(torch.equal(state[name], tensor) for name, tensor in before.items())
    assert not torch.equal(trainer_tensors(trainer)["model.head.weight"], before["model.head.weight"])


def test_what_a_killed_writer_left_among_the_outputs_is_removed(folders: Folders) -> None:
    place = kept(folders, "torn")
    for folder in (place.checkpoints / "step_000007", place.model):
        folder.mkdir(parents=True)
        (folder / ".config.json.99.tmp").write_text("half")
    run(place, **SETTINGS)
    assert not [name for name in files(place) if name.endswith(".tmp")]
    assert place.resume
    assert not list(place.resume.rglob("*.tmp"))


def test_states_change_no_byte(folders: Folders) -> None:
    run(beside(folders, "without"), **SETTINGS)
    run(kept(folders, "with"), **SETTINGS)
    assert files(beside(folders, "with")) == files(beside(folders, "without"))


def test_a_finished_run_is_not_run_again(folders: Folders, caplog: pytest.LogCaptureFixture) -> None:
    run(kept(folders, "once"), **SETTINGS)
    before = files(beside(folders, "once"))
    caplog.set_level("INFO")
    run(kept(folders, "once"), **SETTINGS)
    assert f"continuing after step {STEPS} of {STEPS}" in caplog.text
    assert "TINYLM_FRESH=1 starts anew" in caplog.text
    assert files(beside(folders, "once")) == before


def test_no_row_is_doubled_and_none_is_missing(
    folders: Folders, break_off: Callable[[int, Callable[[], object]], None]
) -> None:
    break_off(17, kill)
    with pytest.raises(KilledError):
        run(kept(folders, "broken"), **SETTINGS)
    run(kept(folders, "broken"), **SETTINGS)
    for name in ("train", "speed"):
        rows = (beside(folders, "broken").plots / f"{name}.csv").read_text().splitlines()[1:]
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


def test_a_second_signal_is_obeyed_at_once(
    folders: Folders, break_off: Callable[[int, Callable[[], object]], None]
) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    break_off(13, twice)
    with pytest.raises(KeyboardInterrupt):
        run(kept(folders, "stopped"), **SETTINGS)


def test_time_alone_saves_states_too(folders: Folders, break_off: Callable[[int, Callable[[], object]], None]) -> None:
    place = kept(folders, "timed")
    break_off(13, kill)
    with pytest.raises(KilledError):
        run(place, {"resume_minutes": 1e-9}, **SETTINGS | {"resume_every": None})
    assert place.resume
    assert {path.name[:13] for path in place.resume.glob("step_*")} == {"step_00000011", "step_00000012"}


def test_another_number_of_threads_is_told(
    folders: Folders, break_off: Callable[[int, Callable[[], object]], None], caplog: pytest.LogCaptureFixture
) -> None:
    break_off(13, kill)
    with pytest.raises(KilledError):
        run(kept(folders, "moved"), {"threads": 1}, **SETTINGS)
    run(kept(folders, "moved"), {"threads": 2}, **SETTINGS)
    torch.set_num_threads(1)
    assert "warning: threads was 1 and is 2: the rest differs in the last bits" in caplog.text


def test_early_stopping(folders: Folders, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    metrics = run(folders, **SETTINGS | {"early_stop_evals": 2, "peak_lr": 1e-9, "muon_lr": 1e-9, "steps": 300})
    val = (folders.plots / "val.csv").read_text().splitlines()[1:]
    best = metrics["best_step"] // 6
    assert len(val) == best + 3
    assert metrics["steps"] == 6 * (best + 2) < 300
    assert metrics["stopped_early"]
    assert "stopped early: validation has not gained for 2 times" in caplog.text
    assert (folders.plots / "train.csv").read_text().splitlines()[-1].split(",")[0] == str(metrics["steps"])


@pytest.mark.parametrize(("step", "saved"), [(3, "there is none"), (14, "it is of step 10")])
@pytest.mark.parametrize("loss", [float("nan"), float("inf"), 50.0])
def test_a_loss_in_trouble_names_step_norm_and_last_good_state(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, step: int, saved: str, loss: float
) -> None:
    train_step = Trainer.train_step

    def troubled(self: Trainer, at: int) -> Any:
        good, _ = train_step(self, at)
        return (torch.tensor(loss) if at + 1 == step else good), torch.tensor(2.5)

    monkeypatch.setattr(Trainer, "train_step", troubled)
    with pytest.raises(UserError, match=rf"at step {step} \(gradient norm 2.5\), .*last good state: {saved}"):
        run(kept(folders, "troubled"), **SETTINGS)


def test_a_gradient_that_is_no_number_is_trouble_before_the_state_is_saved(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_step = Trainer.train_step

    def troubled(self: Trainer, at: int) -> Any:
        loss, norm = train_step(self, at)
        return loss, norm * float("nan") if at == 9 else norm

    monkeypatch.setattr(Trainer, "train_step", troubled)
    with pytest.raises(UserError, match=r"at step 10 \(gradient norm nan\).*it is of step 5"):
        run(kept(folders, "troubled"), **SETTINGS)


def test_the_seconds_of_a_run_are_those_of_all_its_parts(
    folders: Folders, break_off: Callable[[int, Callable[[], object]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that goes on 100 seconds with every step, and stands still between them."""
    now = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    train_step = Trainer.train_step

    def step_of_100_seconds(self: Trainer, at: int) -> Any:
        now[0] += 100
        return train_step(self, at)

    monkeypatch.setattr(Trainer, "train_step", step_of_100_seconds)
    place, never = kept(folders, "parts"), {"resume_minutes": 1e5}
    for step in (13, 22):  # states at steps 10 and 20: what was done behind them is done again, and not counted
        break_off(step, kill)
        with pytest.raises(KilledError):
            run(place, never, **SETTINGS)
    run(place, never, **SETTINGS)
    assert json.loads((place.metrics / "speed.json").read_text())["seconds"] == 100 * STEPS


def test_a_state_holds_what_the_metrics_hold(folders: Folders) -> None:
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


def test_a_checkpoint_that_cannot_be_kept(folders: Folders) -> None:
    place = kept(folders, "full")
    assert place.resume
    place.resume.mkdir(parents=True)
    (place.resume / "checkpoints").write_text("in the way")
    with pytest.raises(UserError, match="cannot be copied to .* the same command continues"):
        run(place, **SETTINGS)
