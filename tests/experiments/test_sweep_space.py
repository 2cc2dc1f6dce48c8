"""The search space of a sweep is parsed, or refused in one line."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tiny import ROOT
from tinylm.base import yaml12
from tinylm.base.errors import UserError
from tinylm.experiments.sweep.space import Choices, Range, check_space, grid, parse_space, parse_values, parsed, written

PARAMS = yaml12.parse((ROOT / "params.yaml").read_text(encoding="utf-8"), "params.yaml")


def test_the_examples_of_the_readme() -> None:
    assert parse_space(["train.peak_lr=log(1e-4,1e-2)", "train.batch_size=8,16,32", "model.layers=int(2,6)"]) == {
        "train.peak_lr": Range(1e-4, 1e-2, log=True, whole=False),
        "train.batch_size": Choices(("8", "16", "32")),
        "model.layers": Range(2, 6, log=False, whole=True),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.peak_lr", "expected section.parameter=values"),
        ("peak_lr=1", "expected section.parameter=values"),
        ("train.peak_lr=", "expected values between commas"),
        ("train.peak_lr=1,,2", "expected values between commas"),
        ("train.peak_lr=1,2,1", "expected different values, got one twice in 1,2,1"),
        ("train.peak_lr=normal(1,2)", "expected a list or a known distribution, got normal(1,2); use values"),
        ("train.peak_lr=log(1)", "expected two numbers"),
        ("train.peak_lr=log(a,b)", "expected two numbers"),
        ("train.peak_lr=log(0,1)", "expected a logarithmic range above 0, got log(0,1)"),
        ("train.peak_lr=uniform(2,1)", "expected the lower number first"),
        ("train.peak_lr=uniform(1,inf)", "expected the lower number first"),
        ("model.layers=int(1.5,3)", "expected whole numbers"),
    ],
)
def test_invalid_syntax_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_space([text])
    assert message in str(refused.value)


def test_a_parameter_is_given_once() -> None:
    with pytest.raises(UserError, match=r"train.seed: given twice"):
        parse_space(["train.seed=1", "train.seed=2"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.learning=1,2", "train.learning: not in params.yaml"),
        ("trian.seed=1,2", "trian.seed: not in params.yaml"),
        ("train.batch_size=8,many", "train.batch_size: expected a whole number, got 'many'"),
        ("model.layers=int(-2,2)", "model.layers: expected more than 0, got -2"),
        ("train.batch_size=uniform(8,16)", "train.batch_size: expected a whole number, got 8.0"),
    ],
)
def test_values_are_checked_before_any_trial(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_space(parse_space([text]), PARAMS)


def test_combinations_of_values_are_checked_by_the_trial() -> None:
    check_space(parse_space(["model.heads=3,4", "generate.other_temperatures=[0.4,1.0],[0.5]"]), PARAMS)


def test_commas_in_brackets_and_quotes_do_not_split() -> None:
    assert parse_values("a.b", "[0.4,1.0],[0.5]") == Choices(("[0.4,1.0]", "[0.5]"))
    assert parse_values("a.b", "'x,y',z") == Choices(("'x,y'", "z"))


def test_a_grid_has_every_combination() -> None:
    space = parse_space(["train.seed=1,2", "model.layers=int(2,4)"])
    assert grid(space) == [{"train.seed": seed, "model.layers": n} for seed in "12" for n in "234"]
    with pytest.raises(UserError, match="a grid needs listed values"):
        grid(parse_space(["train.peak_lr=log(1e-4,1e-2)"]))


@given(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9), st.sampled_from(["uniform", "log"]))
def test_a_range_is_parsed(low: float, high: float, kind: str) -> None:
    if low < high:
        values = parse_values("a.b", f"{kind}({low!r}, {high!r})")
        assert isinstance(values, Range)
        assert (values.low, values.high, values.log) == (low, high, kind == "log")


@given(st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x == 0 or 1e-300 < abs(x) < 1e300))
def test_a_drawn_number_is_written_as_params_yaml_reads_it(value: float) -> None:
    read = parsed(written(value))
    assert isinstance(read, float)
    assert math.isclose(read, value, rel_tol=1e-3)
    assert written(read) == written(value)


@given(st.lists(st.text("abc123.-", min_size=1), min_size=1, unique=True))
def test_listed_values_stay_as_they_were_typed(values: list[str]) -> None:
    assert parse_values("a.b", ",".join(values)) == Choices(tuple(values))
