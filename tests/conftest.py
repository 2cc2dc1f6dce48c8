"""What several tests stand on: a tiny corpus made in the process, and its token store."""

from pathlib import Path

import pytest

from tests import tiny
from tests.clone import Clone
from tinylm.tokens import TokenStore, open_tokens
from tinylm.train_run import Folders


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `tokens/` and `tokenizer.json` of the tiny corpus."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny.write_store(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_tokens(tiny_store: Path) -> TokenStore:
    return open_tokens(tiny_store / "tokens", tiny_store / "tokenizer.json")


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


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the pipeline ran and was committed, for tests that clone it further and leave it as it is."""
    clone = Clone(tmp_path_factory.mktemp("ran"))
    clone.dvc("repro")
    clone.commit("the pipeline ran")
    return clone
