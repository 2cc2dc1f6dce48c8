"""Training on a disk that is really full: a small file system of its own."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.train.test_resuming import SETTINGS, delete_outputs, files, kept
from tests.train.test_step import beside, run
from tinylm.base.errors import UserError
from tinylm.model.folder import load_model, save_weights
from tinylm.train.log.runlog import RunLog
from tinylm.train.outputs import Folders


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    root = tmp_path / "disk"
    root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(root)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root, and a container that allows it")
    yield root
    subprocess.run(["umount", "--lazy", str(root)], check=True)


def fill(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"), open(disk / "filler", "ab", buffering=0) as file:
        while True:
            file.write(b"x" * 65536)


def test_rows_wait_for_space(disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    rows = [{"step": step, "tokens_per_second": step / 3, "memory_mb": 1.0} for step in range(3000)]
    with RunLog(beside_disk := disk.parent / "plots") as log:
        for row in rows:
            log.write("speed", **row)
    fill(disk)
    os.truncate(disk / "filler", (disk / "filler").stat().st_size - 4 * 4096)  # space for the first rows
    with RunLog(disk / "plots") as log:
        for row in rows[:2000]:
            log.write("speed", **row)
        assert caplog.text.count("rows are kept in memory until there is") == 1
        (disk / "filler").unlink()
        for row in rows[2000:]:
            log.write("speed", **row)
    assert "there is space again, and all rows are written" in caplog.text
    assert (disk / "plots/speed.csv").read_bytes() == (beside_disk / "speed.csv").read_bytes()


def test_rows_that_find_no_space_end_the_run_unless_it_ended_by_something_else(disk: Path) -> None:
    def write_rows(then: BaseException | None = None) -> None:
        with RunLog(disk / "plots") as log:
            fill(disk)
            for step in range(1000):  # more than a page of the file system
                log.write("speed", step=step, tokens_per_second=1.0, memory_mb=1.0)
            if then:
                raise then

    (disk / "plots").mkdir()
    with pytest.raises(UserError, match=r"\.csv: no space left on the disk; free some, and the same command writes"):
        write_rows()
    (disk / "filler").unlink()
    with pytest.raises(UserError, match="the loss is not finite"):
        write_rows(UserError("the loss is not finite"))


def test_training_that_fills_the_disk_ends_in_one_line_and_resumes(
    folders: Folders, disk: Path, break_off: Callable[[int, Callable[[], object]], None]
) -> None:
    run(beside(folders, "whole"), **SETTINGS)
    outputs = {key: disk / "out" / key for key in ("model", "checkpoints", "metrics", "plots")}
    full = replace(folders, resume=disk / "resume/train-0", **outputs)
    break_off(15, lambda: fill(disk))
    with pytest.raises(UserError, match="no space left|No space left") as caught:
        run(full, **SETTINGS)
    assert len(str(caught.value)) <= 300
    delete_outputs(full)
    (disk / "filler").unlink()
    run(full, **SETTINGS)
    assert files(full) == files(beside(folders, "whole"))


def test_a_disk_full_of_other_files_is_reported_at_the_start(folders: Folders, disk: Path) -> None:
    """The lock works without its note, rows and resume checkpoints wait, and the checkpoint ends the run."""
    full = replace(kept(folders, "start"), resume=disk / "resume/train-0")
    fill(disk)
    with pytest.raises(UserError, match="no space left|No space left"):
        run(full, **SETTINGS)
    (disk / "filler").unlink()
    run(full, **SETTINGS)
    assert json.loads((full.metrics / "train.json").read_text())["steps"] == SETTINGS["steps"]


def test_weights_that_find_no_space_are_reported_in_one_line(disk: Path, tiny_model: Path) -> None:
    model = load_model(tiny_model)
    fill(disk)
    os.truncate(disk / "filler", (disk / "filler").stat().st_size - 4 * 4096)  # space for config.json
    with pytest.raises(UserError, match=r"model\.safetensors: no space left on the disk; free some and run the same"):
        save_weights(disk / "model", model.state_dict(), model.params, model.vocab_size, 0)
    assert os.listdir(disk / "model") == ["config.json"]
