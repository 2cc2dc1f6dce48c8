"""Pictures of the stories, one for each checkpoint and named by its step: `dvc plots diff` shows runs side by side."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.font_manager import findfont, get_font

from tinylm.base import atomic
from tinylm.generate.stories import Story

FONT = "DejaVu Sans"  # part of matplotlib, so the same everywhere
COLUMNS, LINES = 104, 6  # characters per line, and lines per story
MORE = " ..."
LINE_HEIGHT, WIDTH, MARGIN = 0.2, 8.2, 0.3  # inches
DPI = 100


def draw_stories(stories: Sequence[Story], folder: Path) -> None:
    """Write `folder`/STEP.png with the stories of each step; pictures that an earlier run has left are removed."""
    by_step: dict[int, list[Story]] = {}
    for story in stories:
        by_step.setdefault(story.step, []).append(story)
    blocks = {step: [_lines(story) for story in of_step] for step, of_step in by_step.items()}
    lines = max(sum(len(block) + 1 for block in of_step) for of_step in blocks.values())
    for step, of_step in blocks.items():
        _draw(f"step {step}", of_step, lines, folder / f"{step:06d}.png")
    for path in folder.glob("*.png"):
        if path.stem not in {f"{step:06d}" for step in blocks}:
            path.unlink()


def _draw(title: str, blocks: Sequence[Sequence[str]], lines: int, path: Path) -> None:
    """Write the blocks, with a line between them, to a picture that has room for `lines` lines."""
    height = 2 * MARGIN + (lines + 2) * LINE_HEIGHT
    figure = plt.figure(figsize=(WIDTH, height))
    text: dict[str, Any] = {"family": FONT, "va": "baseline", "parse_math": False}
    figure.text(MARGIN / WIDTH, 1 - MARGIN / height, title, size=11, weight="bold", **text)
    down = MARGIN + 2 * LINE_HEIGHT
    for block in blocks:
        for line in block:
            figure.text(MARGIN / WIDTH, 1 - down / height, line, size=9, **text)
            down += LINE_HEIGHT
        down += LINE_HEIGHT
    with atomic.replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png", metadata={"Software": None})
    plt.close(figure)


def _lines(story: Story) -> list[str]:
    """Return a story as lines; the last one says when there is more of it."""
    lines = textwrap.wrap(_printable(story.text), COLUMNS) or [""]
    if len(lines) <= LINES and story.ended:
        return lines
    lines = lines[:LINES]
    return [*lines[:-1], lines[-1][: COLUMNS - len(MORE)] + MORE]


def _printable(text: str) -> str:
    """Replace the characters that the font does not have; an untrained model generates any."""
    known = get_font(findfont(FONT)).get_char_index
    return "".join(" " if c.isspace() else c if c.isprintable() and known(ord(c)) else "\ufffd" for c in text)
