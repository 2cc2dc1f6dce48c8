"""The model whose stories the pages of these tests show."""

from pathlib import Path

import pytest

from tinylm.sampling.streaming import TextGenerator, open_generator


@pytest.fixture(scope="module")
def generator(tiny_model: Path) -> TextGenerator:
    return open_generator(tiny_model)
