"""Shapes of models: valid, growing, and the preset's own among them."""

from typing import Any

import pytest

from tests.support.planning import QUICK, quick
from tests.support.tiny import model_params
from tinylm.base.errors import UserError
from tinylm.base.params import check
from tinylm.model.params import ModelParams
from tinylm.planning.parameter_file import apply
from tinylm.planning.shapes import FURTHEST, nearest, shape, shapes
from tinylm.planning.sizes import count_parameters

GPT2 = {"model.architecture": "gpt2", "model.qk_norm": False}


@pytest.mark.parametrize("changes", [{}, GPT2])
def test_every_shape_is_a_valid_model_larger_than_the_one_before(changes: dict[str, Any]) -> None:
    base = check(apply(QUICK, changes), "")[ModelParams]
    before = 0
    for model in shapes(base):
        check(apply(QUICK, changes | {f"model.{key}": value for key, value in model.model_dump().items()}), "")
        total = count_parameters(model, 4096).total
        assert total > before
        assert model.layers == max(2, round(model.width / 32))
        assert 32 <= model.width / model.heads <= 128 or model.heads == 1
        if model.width % 64 == 0:
            assert model.width == 64 * model.heads
        before = total
    assert before > 1e9


def test_the_shape_of_the_preset_is_among_them() -> None:
    assert shape(128, "llama") == {key: QUICK["model"][key] for key in ("layers", "heads", "width", "mlp_width")}
    assert shape(128, "gpt2")["mlp_width"] == 512


@pytest.mark.parametrize("size", [2e5, 5e5, 1.3e6, 3e6, 1e7, 1.2e8])
def test_the_nearest_shape(size: float) -> None:
    base = quick()[ModelParams]
    found = nearest(base, 4096, size)
    total = count_parameters(base.model_copy(update=found), 4096).total
    assert max(total / size, size / total) < FURTHEST
    for other in shapes(base):
        there = count_parameters(other, 4096).total
        assert max(there / size, size / there) >= max(total / size, size / total)


@pytest.mark.parametrize("size", [1.0, 1e13])
def test_a_size_that_no_shape_has(size: float) -> None:
    with pytest.raises(UserError, match=r"^--sizes: no model has about [\d,]+ parameters with 300 .*; the nearest has"):
        nearest(model_params(), 300, size)
