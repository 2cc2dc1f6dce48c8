"""Presets are complete parameter files, with the same keys as params.yaml, and their validations cost little."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.support.tiny import ROOT
from tinylm.base.params import read_params
from tinylm.model.params import ModelParams
from tinylm.tokens.description import SplitInfo
from tinylm.tokens.store import TokenSplit
from tinylm.train.params import TrainParams
from tinylm.train.validation import StorySample

FILES = ["params.yaml", *sorted(f"presets/{path.name}" for path in (ROOT / "presets").glob("*.yaml"))]
STORY_TOKENS = 230  # the mean is 220 in TinyStories and 198 in the sample, with 2,048 entries


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


@pytest.mark.parametrize("file", FILES)
def test_validation_takes_less_than_3_percent_of_the_training(file: str) -> None:
    """By arithmetic: a validation is a forward pass over its windows, a third of the work of a step on as many."""
    params = read_params(ROOT / file)
    p, context = params[TrainParams], params[ModelParams].context
    assert p.val_stories
    offsets = np.arange(20 * p.val_stories + 1, dtype="<u8") * np.uint64(STORY_TOKENS)
    tokens = int(offsets[-1])
    info = SplitInfo(tokens, len(offsets) - 1, 4 * tokens, "", "", "", lossless=True)
    split = TokenSplit("val", np.zeros(tokens, "<u2"), offsets, np.uint64(4) * offsets, info)
    windows = len(StorySample(split, 0, context, p.val_stories)._starts)
    assert windows / 3 < 0.03 * p.val_every * p.batch_size


def _keys(path: Path) -> list[tuple[str, list[str]]]:
    return [(name, list(section)) for name, section in yaml.safe_load(path.read_text(encoding="utf-8")).items()]
