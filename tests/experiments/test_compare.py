"""What `compare` refuses, and its notes on seeds."""

import json

import numpy as np
import pytest

from tinylm.base.errors import UserError
from tinylm.experiments.compare import ONE_RUN_EACH, Run, as_json, report

BYTES = np.array([300.0, 500.0, 400.0, 600.0])


def run(name: str, bits: float, text_bytes: np.ndarray = BYTES) -> Run:
    return Run(name, name, bits * text_bytes * np.log(2), text_bytes)


@pytest.mark.parametrize("other", [BYTES[:3], BYTES + 1])
def test_different_validation_stories_are_refused(other: np.ndarray) -> None:
    with pytest.raises(UserError, match="a and b were scored on different validation stories"):
        report([run("a", 1.0)], [run("b", 1.0, other)])


def test_notes_on_seeds() -> None:
    a, b = [run("a1", 1.0), run("a2", 1.1)], [run("b1", 0.5), run("b2", 0.6)]
    assert report(a[:1], b[:1])[-1] == ONE_RUN_EACH
    assert report(a, b[:1])[-1].startswith("B has one run: ")
    assert report(a[:1], b)[-1].startswith("A has one run: ")
    lines = report(a, b)
    assert lines[0].startswith("A: 1.0500 bits per byte (95%: ")
    assert lines[0].endswith("a1 a2")
    assert lines[-1] == "B is better on 100% of 4 validation stories"


def test_the_comparison_as_json() -> None:
    a, b = [run("a1", 1.0), run("a2", 1.1)], [run("b1", 0.5), run("b2", 0.6)]
    shown = json.loads(json.dumps(as_json(a, b)))
    assert (shown["a"]["runs"], shown["b"]["runs"]) == (["a1", "a2"], ["b1", "b2"])
    assert shown["a"]["bits_per_byte"] == pytest.approx(1.05)
    assert shown["a"]["low"] < 1.05 < shown["a"]["high"]
    assert shown["difference"]["bits_per_byte"] == pytest.approx(-0.5)
    assert (shown["better"], shown["stories"], shown["stories_better_in_b"], shown["notes"]) == ("b", 4, 1.0, [])
    assert shown["verdict"] == report(a, b)[2]
    assert as_json(b, a)["better"] == "a"
    assert as_json(a[:1], a[:1])["better"] is None
    assert as_json(a[:1], b[:1])["notes"] == [ONE_RUN_EACH]
    with pytest.raises(UserError, match="different validation stories"):
        as_json(a[:1], [run("b", 1.0, BYTES + 1)])
