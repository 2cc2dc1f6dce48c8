"""Mutation testing runs on source that is equivalent to the module itself, and shows every mutant that survived."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import mutants
from tools.mutants import covering_tests, show, undecorate

SOURCE = '''
import functools


def twice(times):
    def decorate(function):
        return lambda *arguments: times * function(*arguments)
    return decorate


class Shape:
    def __init__(self, side):
        self.side = side

    @property
    def area(self):
        """Also in a property."""
        return self.side**2

    @area.setter
    def area(self, value):
        self.side = value**0.5

    @classmethod
    def unit(cls):
        return cls(1)


@twice(2)
@twice(
    times=5,
)
def add(a, b):
    return a + b
'''


def test_an_undecorated_function_is_still_wrapped_by_its_decorators() -> None:
    source = undecorate(SOURCE)
    assert [line.strip() for line in source.splitlines() if line.strip().startswith("@")] == [
        "@area.setter",
        "@classmethod",
    ]
    names: dict[str, object] = {}
    exec(source, names)
    shape = names["Shape"].unit()  # type: ignore[attr-defined]
    shape.area = 9
    assert (shape.side, shape.area) == (3, 9)
    assert names["add"](1, 2) == 30  # type: ignore[operator]


def test_undecorating_twice_changes_nothing() -> None:
    source = (Path(__file__).parent.parent.parent / "tinylm/experiments/significance.py").read_text(encoding="utf-8")
    assert undecorate(undecorate(source)) == undecorate(source) != source


def test_the_tests_of_a_module_are_found() -> None:
    assert Path("tests/experiments/test_significance.py") in list(
        covering_tests(Path("tinylm/experiments/significance.py"))
    )
    assert Path("tests/pretokenize/test_encoding.py") in list(covering_tests(Path("tinylm/tokenizer/loading.py")))
    assert Path("tests/train/optim/test_muon.py") not in list(covering_tests(Path("tinylm/tokenizer/loading.py")))


RESULTS = """
    m.x_f__mutmut_1: killed
    m.x_f__mutmut_2: survived
    m.x_f__mutmut_3: timeout
    m.x_f__mutmut_4: no tests
"""


def test_the_mutants_that_no_test_detects_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def mutmut(copy: Path, *arguments: str, output: int) -> SimpleNamespace:
        printed = RESULTS if arguments[0] == "results" else f"the change of {arguments[1]}"
        return SimpleNamespace(communicate=lambda: (printed, None))

    monkeypatch.setattr(mutants, "mutmut", mutmut)
    show(Path(), [Path("m.py")])
    assert capsys.readouterr().out.splitlines() == [
        "the change of m.x_f__mutmut_2",
        "the change of m.x_f__mutmut_4",
        "m.py: 4 mutants (1 killed, 1 survived, 1 timeout, 1 no tests): 50.0% survived",
    ]
