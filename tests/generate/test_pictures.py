"""Pictures of the stories by step."""

import warnings
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from tests.generate.test_stories import STORY
from tinylm.generate import pictures
from tinylm.generate.pictures import draw_stories

STORIES = [replace(STORY, step=step, text=f"Once, at step {step}.") for step in (0, 250, 1000)]


def test_each_step_has_a_picture(tmp_path: Path) -> None:
    draw_stories(STORIES, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000.png", "000250.png", "001000.png"]


def test_pictures_of_equal_stories_are_equal(tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw_stories([*STORIES, replace(STORY, step=0, text="Another one.")], tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert (tmp_path / "a/000000.png").read_bytes() != (tmp_path / "a/000250.png").read_bytes()


def test_all_have_the_size_of_the_longest(tmp_path: Path) -> None:
    longer = [replace(STORY, step=0, text="word " * 80), replace(STORY, step=0)]
    draw_stories(STORIES, tmp_path / "short")
    draw_stories([*STORIES, *longer], tmp_path / "long")
    (short,), (long,) = (
        {plt.imread(path).shape[0] for path in (tmp_path / name).iterdir()} for name in ("short", "long")
    )
    assert long - short == 7 * 20  # lines: a gap, four, a gap, one


def test_pictures_of_other_steps_are_removed(tmp_path: Path) -> None:
    draw_stories(STORIES, tmp_path)
    draw_stories(STORIES[1:], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000250.png", "001000.png"]


@pytest.mark.parametrize(
    ("text", "ended", "lines"),
    [
        ("Short.", True, ["Short."]),
        ("Cut", False, ["Cut ..."]),
        ("", True, [""]),
        ("x" * 104, False, ["x" * 100 + " ..."]),
        ("x" * 104 * 6, True, ["x" * 104] * 6),
        ("x" * 104 * 7, True, ["x" * 104] * 5 + ["x" * 100 + " ..."]),
        ("a\n\n\tb\x1dc", True, ["a   b c"]),
    ],
)
def test_a_story_is_cut_to_six_lines(text: str, ended: bool, lines: list[str]) -> None:
    assert pictures._lines(replace(STORY, text=text, ended=ended)) == lines


def test_what_an_untrained_model_writes_can_be_drawn(tmp_path: Path) -> None:
    """Characters that the font lacks would be a warning each; a dollar sign would begin a formula."""
    odd = "$a_{ \\x $ \x00\x1b[31m 😀 漢字 \u202e \ud7ff {} <b>"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_stories([replace(STORY, text=odd), replace(STORY, text="$")], tmp_path)
    assert pictures._printable("a漢\x00é\n") == "a\ufffd\ufffdé "
