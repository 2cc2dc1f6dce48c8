"""Fixtures shared by several tests: a tiny corpus with its token store and model, and clones that ran the pipeline."""

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.support import tiny
from tests.support.browser import LOOKS, Browser, open_browser
from tests.support.clone import Clone
from tinylm.tokens.store import TokenStore, open_tokens
from tinylm.train.outputs import Folders
from tinylm.train.step import Trainer

# A shell that starts the tests in the background makes them, and all processes they start, ignore Ctrl-C.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow files first, so that no worker starts one when the others are done.

    Of these, first the ones that do not need the clone that ran the pipeline, so that one worker creates it while
    the other is busy.
    """
    items.sort(key=lambda item: (item.get_closest_marker("slow") is None, "ran" in getattr(item, "fixturenames", ())))


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the `tokens/` and `tokenizer.json` of the tiny corpus."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny.write_store(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_tokens(tiny_store: Path) -> TokenStore:
    return open_tokens(tiny_store / "tokens", tiny_store / "tokenizer.json")


@pytest.fixture(scope="session")
def tiny_model(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained model, as written by `train`; it generates random bytes, rarely valid UTF-8."""
    folder = tmp_path_factory.mktemp("model")
    tiny.write_model(folder, tiny_store / "tokenizer.json")
    return folder


@pytest.fixture
def folders(tiny_store: Path, tmp_path: Path) -> Folders:
    """A run's folders: it reads the tiny store and writes below `tmp_path`."""
    return Folders(
        tokens=tiny_store / "tokens",
        tokenizer=tiny_store / "tokenizer.json",
        model=tmp_path / "model",
        checkpoints=tmp_path / "checkpoints",
        metrics=tmp_path / "metrics",
        plots=tmp_path / "plots",
    )


@pytest.fixture
def break_off(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], None]:
    """Return a function that arranges for a callable to be called after a training step."""

    def arrange(step: int, happen: Callable[[], object]) -> None:
        train_step = Trainer.train_step

        def breaking(self: Trainer, at: int) -> Any:
            done = train_step(self, at)
            if at + 1 == step:
                monkeypatch.setattr(Trainer, "train_step", train_step)
                happen()
            return done

        monkeypatch.setattr(Trainer, "train_step", breaking)

    return arrange


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for the pages of a test file; without one on this machine, its tests are skipped."""
    with open_browser() as opened:
        yield opened


@pytest.fixture(params=LOOKS)
def look(request: pytest.FixtureRequest) -> tuple[int, int, bool]:
    """Width and height of the window, and whether its reader prefers a dark page."""
    return LOOKS[request.param]


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Clone:
    """A clone in which the pipeline ran and was committed, for tests that copy it and do not change it.

    It is created once for all workers.
    """
    folder = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        folder = folder.parent
    root, made = folder / "ran", folder / "ran.made"
    with FileLock(folder / "ran.lock"):
        if made.exists():
            return Clone.at(root)
        clone = Clone(root)
        clone.dvc("repro")
        clone.commit("the pipeline ran")
        made.touch()
        return clone


@pytest.fixture(scope="session")
def used(ran: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A copy of `ran`, with its cache, for tests that run experiments in it."""
    return ran.copy(tmp_path_factory.mktemp("used") / "clone")


@pytest.fixture
def ran_clone(used: Clone) -> Clone:
    """The copy `used`, reset to the committed state; experiments of other tests remain."""
    used.git("checkout", "--quiet", "--force", "main")
    used.dvc("checkout", "--quiet")
    return used
