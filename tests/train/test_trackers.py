"""TensorBoard and Weights & Biases get the rows if they are enabled, and are not imported otherwise."""

import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages import train
from tests.support import tiny
from tests.train.test_resuming import SETTINGS
from tests.train.test_step import run
from tinylm.base.errors import UserError
from tinylm.train.log.trackers import open_trackers
from tinylm.train.outputs import Folders


def test_neither_is_imported_when_off() -> None:
    code = (
        "import sys, tinylm.train.run, tinylm.train.log.trackers as t; from tests.support import tiny; "
        "assert t.open_trackers(tiny.runtime_params(), None, 'run', 0, {}) == []; "
        "assert not {'tensorboard', 'wandb', 'torch.utils.tensorboard'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tiny.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_the_rows(folders: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    copy = tmp_path / "copy"  # `dvc exp run --temp` runs in one and removes it
    copy.mkdir()
    monkeypatch.chdir(copy)
    run(replace(folders, trackers=tmp_path), {"tensorboard": True}, **SETTINGS)
    assert not list(copy.iterdir())
    events = EventAccumulator(str(tmp_path / "runs" / "train"))
    events.Reload()
    assert {"train/loss", "val/bits_per_byte", "speed/tokens_per_second"} <= set(events.Tags()["scalars"])
    rows = (folders.plots / "train.csv").read_text().splitlines()[1:]
    scalars = events.Scalars("train/loss")
    assert [event.step for event in scalars] == [int(row.split(",")[0]) for row in rows]
    assert [event.value for event in scalars] == pytest.approx([float(row.split(",")[2]) for row in rows])


def test_they_write_to_ignored_folders_of_the_original_repository(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = list[Folders]()
    monkeypatch.setattr(train, "run_training", lambda *arguments: given.append(arguments[-1]))
    monkeypatch.setattr(train, "run_key", lambda _: "0")
    monkeypatch.setattr(train, "vocabulary_size", lambda _: 300)
    monkeypatch.setattr(train, "check_tokens", lambda _: None)
    monkeypatch.setattr(train, "stop_with_parent", lambda: None)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    train.main(tiny.PARAMS)
    assert given[0].trackers == tmp_path
    for ignored in (".gitignore", ".dvcignore"):
        lines = (tiny.ROOT / ignored).read_text().replace("/\n", "\n").splitlines()
        assert {"/runs", "/wandb"} <= set(lines)


class FakeRun:
    """Records what it was given."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished = False

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished = True


def test_weights_and_biases_has_the_rows(folders: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake, options_given = FakeRun(), dict[str, Any]()

    def init(**options: Any) -> FakeRun:
        options_given.update(options)
        return fake

    module = types.ModuleType("wandb")
    module.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    run(replace(folders, trackers=tmp_path), {"wandb": "offline"}, **SETTINGS)
    assert options_given["dir"] == str(tmp_path)
    assert (options_given["mode"], options_given["resume"], options_given["project"]) == ("offline", "allow", "tinylm")
    assert options_given["config"]["train"]["steps"] == SETTINGS["steps"]
    assert [step for step, values in fake.logged if "train/loss" in values] == [1, *range(4, 30, 4), 30]
    assert fake.finished


@pytest.mark.parametrize(
    ("change", "hidden", "message"),
    [
        ({"tensorboard": True}, "torch.utils.tensorboard", r"runtime\.tensorboard: the package tensorboard is not"),
        ({"wandb": "offline"}, "wandb", r"runtime\.wandb: the package wandb is not installed; .*\[tracking\]"),
    ],
)
def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], hidden: str, message: str
) -> None:
    monkeypatch.setitem(sys.modules, hidden, None)
    with pytest.raises(UserError, match=message):
        open_trackers(tiny.runtime_params(**change), Path(), "run", 0, {})
