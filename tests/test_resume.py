"""States on the disk: whole or not there, two of a run, one trainer at a time."""

import errno
import multiprocessing
import os
import shutil
from pathlib import Path

import pytest
import torch

from tinylm import atomic, resume
from tinylm.errors import UserError
from tinylm.resume import State, States, open_states


def make_state(step: int) -> State:
    tensors = {"model.weight": torch.full((100, 3), float(step)), "optimizer.0.1.step": torch.tensor(float(step))}
    return State(tensors, {"step": step, "loss": 0.1 + step, "rows": {"train": [{"step": 1, "loss": 1 / 3}]}})


def save(folder: Path, *steps: int) -> None:
    with open_states(folder) as states:
        for step in steps:
            states.save(make_state(step))


def newest(folder: Path) -> State | None:
    with open_states(folder) as states:
        return states.newest()


def names(folder: Path) -> list[str]:
    return sorted(path.name.split("-")[0] for path in folder.glob("step_*"))


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    save(tmp_path / "train-a", 7)
    state = newest(tmp_path / "train-a")
    assert state
    expected = make_state(7)
    assert state.info == expected.info
    assert state.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(state.tensors[name], tensor) for name, tensor in expected.tensors.items())
    assert newest(tmp_path / "train-b") is None


def test_the_two_newest_are_kept(tmp_path: Path) -> None:
    save(tmp_path / "train-a", 1, 2, 30, 200)
    assert names(tmp_path / "train-a") == ["step_00000030", "step_00000200"]
    state = newest(tmp_path / "train-a")
    assert state
    assert state.info["step"] == 200


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_state_is_skipped_for_the_one_before(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "train-a", 1, 2)
    path = next((tmp_path / "train-a").glob("step_00000002*"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes({"cut": content[:500], "flip": content, "empty": b""}[damage])
    state = newest(tmp_path / "train-a")
    assert state
    assert state.info["step"] == 1
    assert f"warning: {path} is torn or altered and is skipped" in caplog.text


def test_when_all_are_damaged_the_run_begins_anew(tmp_path: Path) -> None:
    save(tmp_path / "train-a", 1, 2)
    for path in (tmp_path / "train-a").glob("step_*"):
        path.write_bytes(b"x")
    assert newest(tmp_path / "train-a") is None


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    save(tmp_path / "train-a", 1)
    left = tmp_path / "train-a" / ".step_00000002-0123456789abcdef.safetensors.99.tmp"
    left.write_bytes(b"half")
    assert newest(tmp_path / "train-a")
    assert not left.exists()


def test_a_second_trainer_is_refused(tmp_path: Path) -> None:
    with open_states(tmp_path / "train-a"):
        with (
            pytest.raises(UserError, match=rf"another trainer works on this run \(process {os.getpid()} on"),
            open_states(tmp_path / "train-a"),
        ):
            pass
        with open_states(tmp_path / "train-b"):
            pass
    with open_states(tmp_path / "train-a"):
        pass


def hold(folder: Path, ready: object) -> None:
    with open_states(folder):
        ready.set()  # type: ignore[attr-defined]
        multiprocessing.Event().wait()


def test_the_lock_of_a_killed_trainer_is_free(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    other = context.Process(target=hold, args=(tmp_path / "train-a", ready))
    other.start()
    assert ready.wait(60)
    with pytest.raises(UserError, match=f"process {other.pid} on"), open_states(tmp_path / "train-a"):
        pass
    other.kill()
    other.join()
    with open_states(tmp_path / "train-a"):
        pass


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(resume.fcntl, "flock", refuse)
    save(tmp_path / "train-a", 1)
    assert "cannot be locked ([Errno 95] Operation not supported): start no second trainer" in caplog.text
    assert newest(tmp_path / "train-a")


def test_only_the_newest_other_runs_are_kept(tmp_path: Path) -> None:
    for number in range(resume.KEPT_RUNS + 3):
        folder = tmp_path / f"train-{number}"
        save(folder, 1)
        for path in [*folder.iterdir(), folder]:
            os.utime(path, (number, number))
    with open_states(tmp_path / "train-0"):  # at work, and the oldest
        save(tmp_path / "train-new", 1)
    left = {path.name for path in tmp_path.iterdir()}
    newest_others = {f"train-{number}" for number in range(3, resume.KEPT_RUNS + 3)}
    assert newest_others - left <= {"train-3"}  # the one at work counts among them
    assert {"train-0", "train-new"} <= left
    assert not {"train-1", "train-2"} & left


def test_a_fresh_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "train-a", 1)
    (tmp_path / "train-a" / "milestones" / "step_000000").mkdir(parents=True)
    monkeypatch.setenv("TINYLM_FRESH", "0")
    assert newest(tmp_path / "train-a")
    monkeypatch.setenv("TINYLM_FRESH", "1")
    assert newest(tmp_path / "train-a") is None
    assert [path.name for path in (tmp_path / "train-a").iterdir()] == ["lock"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = "states cannot be kept in .* set TINYLM_RESUME"
    with pytest.raises(UserError, match=message), open_states(tmp_path / "file/a"):
        pass


def test_a_disk_without_room_costs_a_state_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if "step_00000002" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(atomic.os, "replace", full)
    save(tmp_path / "train-a", 1, 2)
    assert "the state at step 2 is not saved, training goes on" in caplog.text
    assert names(tmp_path / "train-a") == ["step_00000001"]
    save(tmp_path / "train-a", 3)
    assert names(tmp_path / "train-a") == ["step_00000001", "step_00000003"]


def test_a_disk_that_goes_away_costs_a_state_and_not_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_states(tmp_path / "train-a") as states:
        states.save(make_state(1))
        states.wait()
        shutil.rmtree(tmp_path / "train-a")
        (tmp_path / "train-a").write_text("")
        states.save(make_state(2))
    assert "the state at step 2 is not saved, training goes on" in caplog.text


def test_reading_another_process_state(tmp_path: Path) -> None:
    save(tmp_path / "train-a", 1, 2)
    assert States(tmp_path / "train-a").at(1).info["step"] == 1
