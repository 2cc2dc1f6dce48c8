"""Changed parameter files keep their comments, and the words of a command mean the same."""

import shlex

import pytest
import yaml

from tests.support.planning import QUICK
from tests.support.tiny import ROOT
from tinylm.base import yaml12
from tinylm.base.errors import UserError
from tinylm.planning.parameter_file import apply, differences, replace_values, words, written

TEXT = (ROOT / "presets/quick.yaml").read_text(encoding="utf-8")
CHANGES = {"train.steps": 7, "train.peak_lr": 0.0011, "download.max_stories": None, "model.tie_embeddings": False}


def test_only_the_values_and_the_header_change() -> None:
    changed = replace_values(TEXT, CHANGES, "One.\nTwo.")
    assert yaml.safe_load(changed) == apply(QUICK, CHANGES)
    before, after = TEXT.splitlines(), changed.splitlines()
    assert after[:2] == ["# One.", "# Two."]
    differing = [(a, b) for a, b in zip(before[2:], after[2:], strict=True) if a != b]
    assert differing[2][:1] == ("  steps: 3000 # optimizer steps; null: as many as `epochs` needs",)
    assert differing[2][1] == "  steps: 7 # optimizer steps; null: as many as `epochs` needs"
    assert len(differing) == len(CHANGES)


def test_every_parameter_on_a_line_can_be_replaced() -> None:
    for path in sorted((ROOT / "presets").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        values = yaml12.parse(text, "")
        same = {f"{s}.{k}": v for s, keys in values.items() for k, v in keys.items() if k != "prompts"}
        assert yaml12.parse(replace_values(text, same, "x"), "") == values


@pytest.mark.parametrize("text", ["train: {steps: 3}\n", "train:\n  steps:\n    3\n", "train:\n  stepz: 3\n"])
def test_a_value_that_is_not_on_a_line_of_its_own(text: str) -> None:
    with pytest.raises(UserError, match=r"^the recipe: expected each value on a line of its own"):
        replace_values(text, {"train.steps": 4}, "x")


def test_the_words_of_a_command() -> None:
    changes = {"train.steps": 7, "train.epochs": None, "download.source": "tinystories", "generate.x": ["a b", 0.5]}
    said = shlex.split(words(changes))
    assert said[:3] == ["dvc", "exp", "run"]
    assert said[3::2] == ["--set-param"] * 4
    pairs = dict(word.split("=", 1) for word in said[4::2])
    assert {key: yaml12.parse(value, "") for key, value in pairs.items()} == changes


@pytest.mark.parametrize("value", ["null", "true", "a: b", "1", "", "sample", "x.y/z", None, True, 1e-5, [0.4, 1.0]])
def test_a_written_value_is_read_back(value: object) -> None:
    assert yaml12.parse(written(value), "") == value


def test_differences_leave_out_what_changes_no_result() -> None:
    before = {"train": {"steps": 1, "seed": 2}, "runtime": {"device": "cpu"}}
    after = {"train": {"steps": 3, "seed": 2}, "model": {"width": 4}, "runtime": {"device": "cuda"}}
    assert differences(before, after) == {"train.steps": 3, "model.width": 4}
