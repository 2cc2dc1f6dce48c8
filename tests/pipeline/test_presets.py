"""Presets are complete parameter files, with the same keys as params.yaml."""

from pathlib import Path

import pytest
import yaml

from tests.support.tiny import ROOT
from tinylm.base.params import read_params


@pytest.mark.parametrize("preset", sorted(path.name for path in (ROOT / "presets").glob("*.yaml")))
def test_presets_are_complete_parameter_files(preset: str) -> None:
    read_params(ROOT / "presets" / preset)
    assert _keys(ROOT / "presets" / preset) == _keys(ROOT / "params.yaml")


def test_the_presets_of_the_design_are_there() -> None:
    assert {path.stem for path in (ROOT / "presets").glob("*.yaml")} >= {"four_hour", "walkthrough", "frontier"}


def test_every_parameter_has_a_comment() -> None:
    for file in [ROOT / "params.yaml", *(ROOT / "presets").glob("*.yaml")]:
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("  ") and not line.startswith("  -"):
                assert "#" in line, f"{file.name}: {line}"


def _keys(path: Path) -> list[tuple[str, list[str]]]:
    return [(name, list(section)) for name, section in yaml.safe_load(path.read_text(encoding="utf-8")).items()]
