"""A run can be watched: its rows and metrics are in the files as they are made, and DVC shows them."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.clone import Clone
from tests.train.test_step import rows, run
from tinylm.base.errors import UserError
from tinylm.train.outputs import Folders

SETTINGS = {"steps": 18, "log_every": 4, "val_every": 6}


def steps(path: Path) -> list[float]:
    return [row["step"] for row in rows(path)]


def test_rows_and_metrics_appear_while_the_model_trains(
    folders: Folders, break_off: Callable[[int, Callable[[], object]], None]
) -> None:
    seen = {}

    def look() -> None:
        seen["train"], seen["val"] = steps(folders.plots / "train.csv"), steps(folders.plots / "val.csv")
        seen["metrics"] = json.loads((folders.metrics / "train.json").read_text())

    break_off(14, look)
    metrics = run(folders, **SETTINGS)
    assert seen["train"] == [1, 4, 8, 12]
    assert seen["val"] == [0, 6, 12]
    assert list(seen["metrics"]) == list(metrics)
    assert seen["metrics"]["steps"] == 12
    assert seen["metrics"]["val_loss"] == pytest.approx(rows(folders.plots / "val.csv")[2]["loss"])
    assert metrics["steps"] == 18


def test_metrics_that_cannot_be_written_do_not_stop_the_run(folders: Folders) -> None:
    """They are written at the end, and only then is it an error."""
    (folders.metrics / "train.json").mkdir(parents=True)
    with pytest.raises((OSError, UserError)):
        run(folders, **SETTINGS)
    assert steps(folders.plots / "val.csv") == [0, 6, 12, 18]


@pytest.mark.torture
def test_dvc_shows_the_curves_and_metrics_of_a_run_that_is_not_over(ran: Clone, tmp_path: Path) -> None:
    clone = ran.copy(tmp_path / "clone").real()
    clone.set_params({"train.steps": 100_000, "train.log_every": 5, "train.val_every": 10, "runtime.compile": "false"})
    dvc = shutil.which("dvc", path=clone.environ["PATH"])
    assert dvc
    with subprocess.Popen(
        [dvc, "repro", "train"],
        cwd=clone.root,
        env=clone.environ,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            metrics = clone.root / "metrics/train.json"
            deadline = time.monotonic() + 120
            while not metrics.exists() or json.loads(metrics.read_text())["steps"] < 20:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            shown = json.loads(clone.dvc("plots", "show", "--json", "plots/val.csv"))["data"]["plots/val.csv"]
            measured = json.loads(clone.dvc("metrics", "show", "--json", "metrics/train.json"))
        finally:
            os.killpg(process.pid, signal.SIGINT)
    assert process.returncode != 0
    points = shown[0]["content"]["data"]["values"]
    assert [point["step"] for point in points[:3]] == ["0", "10", "20"]
    assert measured[""]["data"]["metrics/train.json"]["data"]["steps"] >= 20
