"""Resume checkpoints on the disk: whole or absent, two per run, one trainer at a time."""

import errno
import fcntl
import multiprocessing
import os
import shutil
from pathlib import Path

import pytest
import torch
from filelock import UnixFileLock

from tests.support import windows
from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.train.resume.checkpoints import ResumeCheckpoint, ResumeCheckpoints, open_resume_checkpoints, parse
from tinylm.train.resume.lock import LOCK
from tinylm.train.resume.pruning import KEPT_RUNS, find, remove


def make_checkpoint(step: int, finished: bool = False) -> ResumeCheckpoint:
    tensors = {"model.weight": torch.full((100, 3), float(step)), "optimizer.0.1.step": torch.tensor(float(step))}
    return ResumeCheckpoint(
        tensors,
        {"step": step, "loss": 0.1 + step, "rows": {"train": [{"step": 1, "loss": 1 / 3}]}, "finished": finished},
    )


def save(folder: Path, *steps: int) -> None:
    with open_resume_checkpoints(folder) as resume:
        for step in steps:
            resume.save(make_checkpoint(step))


def newest(folder: Path) -> ResumeCheckpoint | None:
    with open_resume_checkpoints(folder) as resume:
        return resume.newest()


def names(folder: Path) -> list[str]:
    return sorted(path.name.split("-")[0] for path in folder.glob("step_*"))


def test_a_resume_checkpoint_is_read_back_unchanged(tmp_path: Path) -> None:
    save(tmp_path / "train-a", 7)
    found = newest(tmp_path / "train-a")
    assert found
    expected = make_checkpoint(7)
    assert found.info == expected.info
    assert found.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in expected.tensors.items())
    assert newest(tmp_path / "train-b") is None


def test_the_two_newest_are_kept(tmp_path: Path) -> None:
    save(tmp_path / "train-a", 1, 2, 30, 200)
    assert names(tmp_path / "train-a") == ["step_00000030", "step_00000200"]
    found = newest(tmp_path / "train-a")
    assert found
    assert found.info["step"] == 200


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_resume_checkpoint_is_skipped_for_the_one_before(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "train-a", 1, 2)
    path = next((tmp_path / "train-a").glob("step_00000002*"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes({"cut": content[:500], "flip": content, "empty": b""}[damage])
    found = newest(tmp_path / "train-a")
    assert found
    assert found.info["step"] == 1
    assert f"warning: {path} is truncated or corrupted and is skipped" in caplog.text


def test_if_all_are_damaged_the_run_starts_over(tmp_path: Path) -> None:
    save(tmp_path / "train-a", 1, 2)
    for path in (tmp_path / "train-a").glob("step_*"):
        path.write_bytes(b"x")
    assert newest(tmp_path / "train-a") is None


def test_temporary_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    save(tmp_path / "train-a", 1)
    left = tmp_path / "train-a" / ".step_00000002-0123456789abcdef.safetensors.99.tmp"
    left.write_bytes(b"half")
    assert newest(tmp_path / "train-a")
    assert not left.exists()


def test_a_second_trainer_is_refused(tmp_path: Path) -> None:
    with open_resume_checkpoints(tmp_path / "train-a"):
        with (
            pytest.raises(UserError, match=rf"another process is training this run \(process {os.getpid()} on"),
            open_resume_checkpoints(tmp_path / "train-a"),
        ):
            pass
        with open_resume_checkpoints(tmp_path / "train-b"):
            pass
    with open_resume_checkpoints(tmp_path / "train-a"):
        pass


def hold(folder: Path, ready: object) -> None:
    with open_resume_checkpoints(folder):
        ready.set()  # type: ignore[attr-defined]
        multiprocessing.Event().wait()


def test_the_lock_of_a_killed_trainer_is_free_and_the_kill_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    other = context.Process(target=hold, args=(tmp_path / "train-a", ready))
    other.start()
    assert ready.wait(60)
    with pytest.raises(UserError, match=f"process {other.pid} on"), open_resume_checkpoints(tmp_path / "train-a"):
        pass
    other.kill()
    other.join()
    with open_resume_checkpoints(tmp_path / "train-a") as resume:
        resume.save(make_checkpoint(7))
    assert f"the last attempt (process {other.pid} on" in caplog.text
    assert "was killed before it saved a resume checkpoint" in caplog.text
    caplog.clear()
    with open_resume_checkpoints(tmp_path / "train-a"):
        (tmp_path / "train-a/holder").write_text("process 1 on host")  # as a killed process leaves it
        shutil.copytree(tmp_path / "train-a", tmp_path / "train-b")
    assert not caplog.messages  # the process before was not killed
    with open_resume_checkpoints(tmp_path / "train-b"):
        pass
    (message,) = caplog.messages
    assert "the last attempt (process 1 on host) was killed at step 7 or later" in message
    assert "lower train.micro_batch_size" in message
    assert len(message) < 300


def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    save(tmp_path / "train-a", 1)
    assert "cannot be locked ([Errno 95] Operation not supported): do not start a second trainer" in caplog.text
    assert newest(tmp_path / "train-a")


def other_run(folder: Path, age: int, finished: bool) -> None:
    """Another run, last changed `age` seconds after 1970."""
    with open_resume_checkpoints(folder) as resume:
        resume.save(make_checkpoint(5, finished=finished))
    for path in [*folder.iterdir(), folder]:
        os.utime(path, (age, age))


def left(tmp_path: Path) -> set[str]:
    return {path.name for path in tmp_path.iterdir()}


def test_only_the_newest_finished_runs_are_kept(tmp_path: Path) -> None:
    for number in range(KEPT_RUNS + 3):
        other_run(tmp_path / f"train-{number}", number, finished=True)
    with open_resume_checkpoints(tmp_path / "train-0"):  # in use, and the oldest
        save(tmp_path / "train-new", 1)
    newest_others = {f"train-{number}" for number in range(3, KEPT_RUNS + 3)}
    assert newest_others - left(tmp_path) <= {"train-3"}  # the one in use counts among them
    assert {"train-0", "train-new"} <= left(tmp_path)
    assert not {"train-1", "train-2"} & left(tmp_path)


def test_an_unfinished_run_outlives_any_number_of_finished_ones(tmp_path: Path) -> None:
    other_run(tmp_path / "train-long", 1, finished=False)
    for number in range(KEPT_RUNS + 3):
        other_run(tmp_path / f"train-{number}", 10 + number, finished=True)
    save(tmp_path / "train-new", 1)
    assert "train-long" in left(tmp_path)
    assert newest(tmp_path / "train-long")


def test_an_interrupted_run_of_other_code_is_reported_by_a_run_that_starts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other_run(tmp_path / "train-finished", 2, finished=True)
    caplog.set_level("INFO")
    with open_resume_checkpoints(tmp_path / "train-new"):
        assert not caplog.messages
    other_run(tmp_path / "train-old", 1, finished=False)
    caplog.clear()
    with open_resume_checkpoints(tmp_path / "train-new") as resume:
        (message,) = caplog.messages
        assert message.startswith(f"starting at step 0: 1 interrupted runs in {tmp_path} have other parameters, code")
        assert "the last one at step 5" in message
        resume.save(make_checkpoint(1))
    caplog.clear()
    with open_resume_checkpoints(tmp_path / "train-new"):
        assert not caplog.messages  # it resumes


def test_a_limit_removes_finished_runs_first_and_names_unfinished_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for age, (name, finished) in enumerate([("old", False), ("young", False), ("finished", True)]):
        other_run(tmp_path / f"train-{name}", age, finished)
    size = sum(path.stat().st_size for path in (tmp_path / "train-old").iterdir())
    with open_resume_checkpoints(tmp_path / "train-new", limit_gb=2.5 * size / 1e9):
        assert left(tmp_path) == {"train-old", "train-young", "train-new"}
    assert not caplog.messages
    with open_resume_checkpoints(tmp_path / "train-new", limit_gb=1.5 * size / 1e9):
        assert left(tmp_path) == {"train-young", "train-new"}
    (message,) = caplog.messages
    assert f"removed {tmp_path / 'train-old'}, the resume checkpoints of a run interrupted at step 5" in message
    with (
        open_resume_checkpoints(tmp_path / "train-young"),
        open_resume_checkpoints(tmp_path / "train-new", limit_gb=size / 2e9),
    ):
        assert left(tmp_path) == {"train-young", "train-new"}
    assert "those left are in use" in caplog.messages[-1]


def test_a_finished_run_that_continues_is_unfinished_again(tmp_path: Path) -> None:
    with open_resume_checkpoints(tmp_path / "train-a") as resume:
        resume.save(make_checkpoint(5, finished=True))
        resume.wait()
        assert find(tmp_path)[0].finished
        resume.save(make_checkpoint(6))
    assert not find(tmp_path)[0].finished


def test_an_old_run_is_removed_although_its_lock_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows keeps the file of the lock until filelock has released it, and then filelock removes it."""
    other_run(tmp_path / "train-old", 1, finished=True)
    (tmp_path / "train-old" / LOCK).touch()
    windows.keep_files_in_use(tmp_path, lambda name, function: monkeypatch.setattr(os, name, function))
    release = UnixFileLock._release

    def release_as_on_windows(lock: UnixFileLock) -> None:
        release(lock)
        os.unlink(lock.lock_file)

    monkeypatch.setattr(UnixFileLock, "_release", release_as_on_windows)
    [run] = find(tmp_path)
    assert remove(run)
    assert list(tmp_path.iterdir()) == []


def test_folders_of_other_users_and_folders_that_vanish_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("theirs", "gone", "shrinking", "mine"):
        other_run(tmp_path / f"train-{name}", 1, finished=True)
    stat, remove = Path.stat, shutil.rmtree

    def refuse(path: Path, **options: bool) -> os.stat_result:
        if path.name == "train-theirs":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        if path.name == "train-gone":
            remove(path, ignore_errors=True)
        if path.parent.name == "train-shrinking" and path.name.startswith("step_"):
            os.remove(path)
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    with open_resume_checkpoints(tmp_path / "train-new", limit_gb=1e-9):
        assert {name for name in os.listdir(tmp_path) if "new" not in name} == {"train-theirs"}


@pytest.mark.parametrize("refused", ["open", "unlink"])
def test_a_run_of_another_user_that_cannot_be_removed_is_not_reported_as_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, refused: str
) -> None:
    """This user may not open its lock, or may not delete its files."""
    other_run(tmp_path / "train-theirs", 1, finished=False)
    allowed = getattr(os, refused)

    def refuse(path: str, *arguments: object, **options: object) -> object:
        if "theirs" in str(path) or "step_" in str(path):  # rmtree deletes the files by their names alone
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return allowed(path, *arguments, **options)

    monkeypatch.setattr(os, refused, refuse)
    with open_resume_checkpoints(tmp_path / "train-new", limit_gb=1e-9):
        assert names(tmp_path / "train-theirs") == ["step_00000005"]
    (message,) = caplog.messages
    assert "those left are in use or cannot be removed" in message


def test_a_folder_removed_just_before_it_is_locked_is_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, removals = fcntl.flock, [1]

    def late(descriptor: int, operation: int) -> None:
        if removals:
            removals.pop()
            shutil.rmtree(tmp_path / "train-a")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with (
        open_resume_checkpoints(tmp_path / "train-a"),
        pytest.raises(UserError, match="another process is training this run"),
        open_resume_checkpoints(tmp_path / "train-a"),
    ):
        pass


def test_a_fresh_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "train-a", 1)
    (tmp_path / "train-a" / "checkpoints" / "step_000000").mkdir(parents=True)
    monkeypatch.setenv("TINYLM_FRESH", "0")
    assert newest(tmp_path / "train-a")
    monkeypatch.setenv("TINYLM_FRESH", "1")
    assert newest(tmp_path / "train-a") is None
    assert [path.name for path in (tmp_path / "train-a").iterdir()] == ["lock"]


def test_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    message = "cannot hold resume checkpoints .* set TINYLM_RESUME"
    with pytest.raises(UserError, match=message), open_resume_checkpoints(tmp_path / "file/a"):
        pass


def test_a_full_disk_costs_a_resume_checkpoint_but_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if "step_00000002" in str(target):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(atomic.os, "replace", full)
    save(tmp_path / "train-a", 1, 2)
    assert "the resume checkpoint of step 2 is not saved, training continues" in caplog.text
    assert names(tmp_path / "train-a") == ["step_00000001"]
    save(tmp_path / "train-a", 3)
    assert names(tmp_path / "train-a") == ["step_00000001", "step_00000003"]


def test_a_disk_that_vanishes_costs_a_resume_checkpoint_but_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_resume_checkpoints(tmp_path / "train-a") as resume:
        resume.save(make_checkpoint(1))
        resume.wait()
        shutil.rmtree(tmp_path / "train-a")
        (tmp_path / "train-a").write_text("")
        resume.save(make_checkpoint(2))
    assert "the resume checkpoint of step 2 is not saved, training continues" in caplog.text


def test_a_resume_checkpoint_of_another_machine_is_read_as_one_of_this(tmp_path: Path) -> None:
    save(tmp_path / "train-a", 1, 2)
    path = ResumeCheckpoints(tmp_path / "train-a").path(1)
    assert parse(path.name, path.read_bytes()).info["step"] == 1
    with open_resume_checkpoints(tmp_path / "train-b") as resume:
        resume.receive(path.name, path.read_bytes())
    newest = ResumeCheckpoints(tmp_path / "train-b").newest()
    assert newest
    assert newest.info["step"] == 1


def test_a_folder_that_is_not_there_has_no_resume_checkpoint(tmp_path: Path) -> None:
    assert ResumeCheckpoints(tmp_path / "train-a").newest() is None
