"""The table of what the preset's choices are worth: its commands can be run, and its numbers are the comparison's."""

import shlex
from typing import Any

import pytest

from tinylm.base import atomic, yaml12
from tinylm.base.errors import UserError
from tinylm.base.params import PARAMS_FILE, check
from tinylm.experiments.sweep.space import parse_space
from tinylm.train.params import TrainParams
from tools import ablations
from tools.ablations import BUDGETS, CHANGES, PRESET, PRESET_ITSELF, Change, check_params, page, sweep

COMPARED = {
    "a": {"runs": ["a-000"], "bits_per_byte": 0.8, "low": 0.79, "high": 0.81},
    "b": {"runs": ["b-000"], "bits_per_byte": 0.82, "low": 0.81, "high": 0.83},
    "difference": {"bits_per_byte": 0.02, "low": 0.01, "high": 0.03},
}


def changed(words: list[str], seed: str = "1") -> dict[str, Any]:
    """The preset with the parameters of a sweep's arguments."""
    values = yaml12.read(PRESET, "")
    space = parse_space([word for word in words[3:] if "=" in word])
    assert space.pop("train.seed").values == ("1", "2", "3")
    for name, choices in space.items():
        section, key = name.split(".")
        (text,) = choices.values
        values[section][key] = yaml12.parse(text, name)
    return values


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("change", [PRESET_ITSELF, *CHANGES], ids=lambda change: change.name)
def test_each_row_is_a_valid_change_of_the_preset_with_the_tokens_of_its_budget(budget: str, change: Change) -> None:
    words = sweep(budget, change)
    values = changed(words)
    params = check(values, PARAMS_FILE)
    tokens = params[TrainParams].steps * values["train"]["batch_size"] * values["model"]["context"]
    assert BUDGETS[budget] * 0.99 < tokens <= BUDGETS[budget]
    preset = yaml12.read(PRESET, "")
    different = {
        f"{section}.{key}"
        for section in values
        for key in values[section]
        if values[section][key] != preset[section][key]
    }
    named = {setting.split("=")[0] for setting in change.settings}
    assert named <= different <= named | {"download.source", "download.paths", "train.steps"}


def test_the_page_has_each_comparison_and_its_commands() -> None:
    text = page({"4M": {CHANGES[0].name: COMPARED}, "20M": {}})
    assert f"| {CHANGES[0].title} | 0.8200 | +0.0200 (+0.0100 to +0.0300) |" in text
    assert "| the preset | 0.8000 |  |" in text
    for change in (PRESET_ITSELF, CHANGES[0]):
        assert "\ntinylm " + shlex.join(sweep("4M", change)) + "\n" in text
    assert "20M" not in text


def test_the_committed_page_is_made_of_the_committed_results() -> None:
    assert ablations.PAGE.read_text() == page(ablations.read_results())


def test_other_parameters_than_the_presets_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(ablations, "ROOT", tmp_path)
    monkeypatch.setattr(ablations, "PRESET", tmp_path / "presets/quick.yaml")
    (tmp_path / "presets").mkdir()
    for path in (tmp_path / PARAMS_FILE, tmp_path / "presets/quick.yaml"):
        atomic.write_text(path, PRESET.read_text())
    check_params()
    atomic.write_text(tmp_path / PARAMS_FILE, PRESET.read_text().replace("batch_size: 8", "batch_size: 16"))
    with pytest.raises(UserError, match="expected the preset; copy it: cp presets/quick.yaml params.yaml"):
        check_params()
