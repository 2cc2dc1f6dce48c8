"""Training on a disk without room: a small file system of its own, really full."""

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
from tinylm.train.log.runlog import RunLog
from tinylm.train.outputs import Folders


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root, and a container that allows it")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"), open(disk / "filler", "ab", buffering=0) as file:
        while True:
            file.write(b"x" * 65536)


def test_rows_wait_for_room(disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    rows = [{"step": step, "tokens_per_second": step / 3, "memory_mb": 1.0} for step in range(3000)]
    with RunLog(beside_disk := disk.parent / "plots") as log:
        for row in rows:
            log.write("speed", **row)
    fill(disk)
    os.truncate(disk / "filler", (disk / "filler").stat().st_size - 4 * 4096)  # room for the first rows
    with RunLog(disk / "plots") as log:
        for row in rows[:2000]:
            log.write("speed", **row)
        assert caplog.text.count("its rows wait in memory for room") == 1
        (disk / "filler").unlink()
        for row in rows[2000:]:
            log.write("speed", **row)
    assert "there is room again, and all rows are written" in caplog.text
    assert (disk / "plots/speed.csv").read_bytes() == (beside_disk / "speed.csv").read_bytes()


def test_training_that_fills_the_disk_ends_in_one_line_and_goes_on(
    folders: Folders, disk: Path, break_off: Callable[[int, Callable[[], object]], None]
) -> None:
    run(beside(folders, "whole"), **SETTINGS)
    outputs = {key: disk / "out" / key for key in ("model", "checkpoints", "metrics", "plots")}
    place = replace(folders, resume=disk / "states/train-0", **outputs)
    break_off(15, lambda: fill(disk))
    with pytest.raises(UserError, match="no space left|No space left") as caught:
        run(place, **SETTINGS)
    assert len(str(caught.value)) <= 300
    delete_outputs(place)
    (disk / "filler").unlink()
    run(place, **SETTINGS)
    assert files(place) == files(beside(folders, "whole"))


def test_a_disk_full_of_other_things_is_told_at_the_start(folders: Folders, disk: Path) -> None:
    """The lock is held without a note in it; rows and states wait; the checkpoint ends the run."""
    place = replace(kept(folders, "start"), resume=disk / "states/train-0")
    fill(disk)
    with pytest.raises(UserError, match="no space left|No space left"):
        run(place, **SETTINGS)
    (disk / "filler").unlink()
    run(place, **SETTINGS)
    assert json.loads((place.metrics / "train.json").read_text())["steps"] == SETTINGS["steps"]
