"""Where the pipeline is, and how long the rest takes."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support import fork_server, tiny
from tinylm.base import durations
from tinylm.base.durations import FILE, SPEED, Duration, describe, read_durations, record, show

PIPELINE = "stages:\n  download: {}\n  train: {}\n  evaluate: {}\n"
LOCK = "stages:\n  train:\n    params:\n      params.yaml:\n        train:\n          steps: 9\n          lr: 1e-3\n"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(PIPELINE)
    return tmp_path


def lasted(**seconds: float) -> dict[str, Duration]:
    return {stage: Duration(seconds=duration, params="a") for stage, duration in seconds.items()}


def test_the_time_left_is_that_of_the_remaining_stages_in_the_last_run() -> None:
    known = lasted(download=1000, train=110.0, evaluate=9.0)
    assert describe("train", known, "a") == "stage 2 of 3: train, about 2 min left"
    assert describe("evaluate", known, "a") == "stage 3 of 3: evaluate, about 9 s left"


def test_with_other_parameters_the_last_run_is_no_estimate() -> None:
    known = lasted(download=5, train=30.0) | {"evaluate": Duration(seconds=9, params="b")}
    expected = "stage 2 of 3: train (with other parameters, the last run took 39 s from here)"
    assert describe("train", known, "a") == expected


def test_a_stage_that_never_ran_leaves_the_time_unknown() -> None:
    assert describe("train", lasted(train=30.0), "a") == "stage 2 of 3: train"


def test_before_the_first_run_the_recorded_one_says_how_long_training_takes() -> None:
    SPEED.parent.mkdir()
    SPEED.write_text('{"tokens_per_second": 1.5, "seconds": 87.4}')
    assert describe("download", {}, "a") == "stage 1 of 3: download"  # nothing says with which parameters
    Path("dvc.lock").write_text(LOCK)
    Path("params.yaml").write_text("train:\n  steps: 9\n  lr: 0.001\ngenerate: {}\n")
    expected = "stage 1 of 3: download (in the recorded run, training took 87 s)"
    assert describe("download", {}, "a") == expected
    assert describe("evaluate", {}, "a") == "stage 3 of 3: evaluate"
    Path("params.yaml").write_text("train:\n  steps: 10\n  lr: 0.001\n")
    assert describe("download", {}, "a") == "stage 1 of 3: download"


@pytest.mark.parametrize("text", [None, "stages:\n  other: {}\n", "stages: 3\n", "- 1\n", "a: [\n"])
def test_a_strange_dvc_yaml_is_no_error(text: str | None) -> None:
    Path("dvc.yaml").unlink()
    if text:
        Path("dvc.yaml").write_text(text)
    assert describe("train", lasted(train=3), "a") == "stage train"


def test_durations_are_recorded(root: Path) -> None:
    assert read_durations(root) == {}
    record(root, "train", Duration(seconds=3.0, params="a"))
    record(root, "evaluate", Duration(seconds=2.0, params="b"))
    record(root, "train", Duration(seconds=4.0, params="b"))
    assert {stage: known["seconds"] for stage, known in read_durations(root).items()} == {"train": 4, "evaluate": 2}


def test_a_resumed_run_took_as_long_as_all_its_processes(root: Path) -> None:
    (root / "speed.json").write_text('{"seconds": 100.5}')
    record(root, "train", Duration(seconds=3.0, params="a"), root / "speed.json")
    assert read_durations(root)["train"]["seconds"] == 100.5
    record(root, "train", Duration(seconds=300.0, params="a"), root / "speed.json")
    assert read_durations(root)["train"]["seconds"] == 300


@pytest.mark.parametrize("text", ["{", '{"train": 3}', "[]"])
def test_a_damaged_file_counts_as_none(root: Path, text: str) -> None:
    (root / FILE).parent.mkdir(parents=True)
    (root / FILE).write_text(text)
    assert read_durations(root) == {}
    record(root, "train", Duration(seconds=3.0, params="a"))
    assert read_durations(root) == {"train": {"seconds": 3, "params": "a"}}


def test_a_disk_that_takes_no_file_is_no_error(root: Path) -> None:
    (root / ".dvc").write_text("not a folder")
    record(root, "train", Duration(seconds=3.0, params="a"))
    assert read_durations(root) == {}


def test_the_digest_is_of_the_values_and_not_of_their_order() -> None:
    first = durations.digest({"train": {"steps": 3, "lr": 0.1}, "model": {}})
    assert first == durations.digest({"model": {}, "train": {"lr": 0.1, "steps": 3}})
    assert first != durations.digest({"model": {}, "train": {"lr": 0.1, "steps": 4}})


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.01, "1 s"),
        (44.6, "45 s"),
        (89, "89 s"),
        (90, "2 min"),
        (5399, "90 min"),
        (5400, "1.5 h"),
        (360_000, "100.0 h"),
    ],
)
def test_durations_are_short(seconds: float, shown: str) -> None:
    assert show(seconds) == shown


STAGE = "from tinylm.base.stage import run; run(lambda params: None)"


def run_stage(**environ: str) -> str:
    """Run a stage that does nothing, as DVC would in the current folder; return its output."""
    Path("params.yaml").write_bytes((tiny.ROOT / "params.yaml").read_bytes())
    environ = {"PYTHONPATH": str(tiny.ROOT), "PATH": os.environ["PATH"]} | environ
    command = [fork_server.python(), "-c", STAGE]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout


def test_a_stage_under_dvc_says_where_the_pipeline_is_and_records_its_duration(root: Path) -> None:
    assert run_stage(DVC_STAGE="../dvc.yaml:train", DVC_ROOT=str(root)).splitlines()[0] == "stage 2 of 3: train"
    assert list(json.loads((root / FILE).read_text())) == ["train"]
    run_stage(DVC_STAGE="evaluate", DVC_ROOT=str(root))
    assert ", about 1 s left" in run_stage(DVC_STAGE="train", DVC_ROOT=str(root)).splitlines()[0]


@pytest.mark.parametrize("environ", [{}, {"DVC_STAGE": "train", "WORLD_SIZE": "2"}])
def test_alone_or_in_one_of_several_processes_a_stage_says_and_records_nothing(
    root: Path, environ: dict[str, str]
) -> None:
    assert "stage" not in run_stage(DVC_ROOT=str(root), **environ)
    assert not (root / FILE).exists()
