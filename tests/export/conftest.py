"""Models of each layout to export, with a tokenizer of the tiny corpus."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import tiny
from tinylm.export.source import Source, read_source

LAYOUTS: dict[str, dict[str, Any]] = {
    "llama": {"architecture": "llama", "qk_norm": False, "tie_embeddings": False},
    "llama-tied": {"architecture": "llama", "qk_norm": False, "tie_embeddings": True},
    "qwen3": {"architecture": "llama", "qk_norm": True, "tie_embeddings": True},
    "qwen3-untied": {"architecture": "llama", "qk_norm": True, "tie_embeddings": False},
    "gpt2": {"architecture": "gpt2", "qk_norm": False, "qkv_bias": True, "tie_embeddings": True},
}


@pytest.fixture(scope="session")
def make_source(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Source]:
    """Return a function that writes a model of a layout, with changes to its parameters, and reads it."""

    def make(layout: str, **changes: Any) -> Source:
        folder = tmp_path_factory.mktemp(layout) / "model"
        tiny.write_model(folder, tiny_store / "tokenizer.json", **LAYOUTS[layout] | changes)
        return read_source(folder)

    return make
