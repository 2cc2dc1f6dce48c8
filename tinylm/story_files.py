"""Stories on the disk: JSON lines for programs, Markdown for people."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tinylm import atomic
from tinylm.stories import Story


def write_jsonl(path: Path, stories: Sequence[Story]) -> None:
    atomic.write_text(path, "".join(json.dumps(asdict(story), ensure_ascii=False) + "\n" for story in stories))


def read_jsonl(path: Path) -> list[Story]:
    return [Story(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def write_stories(path: Path, stories: Sequence[Story]) -> None:
    """Markdown: every prompt with the stories that begin with it."""
    lines = [
        "# Stories",
        "",
        f"Written at temperature {stories[0].temperature:g}, by the weights of step {stories[0].step}.",
    ]
    for prompt in dict.fromkeys(story.prompt for story in stories):
        lines += ["", f"## {_escape(prompt)} ..."]
        for story in stories:
            if story.prompt == prompt:
                lines += ["", _quote(story)]
    atomic.write_text(path, "\n".join(lines) + "\n")


def write_progress(path: Path, stories: Sequence[Story]) -> None:
    """Markdown: for every prompt, one story of each milestone, from noise to story."""
    lines = ["# The same beginnings, along the training"]
    for prompt in dict.fromkeys(story.prompt for story in stories):
        lines += ["", f"## {_escape(prompt)} ..."]
        for story in sorted((s for s in stories if s.prompt == prompt), key=lambda s: s.step):
            lines += ["", f"### Step {story.step}", "", _quote(story)]
    atomic.write_text(path, "\n".join(lines) + "\n")


def _quote(story: Story) -> str:
    text = story.text if story.ended else story.text + " [...]"
    return "\n".join(f"> {_escape(line)}".rstrip() + "  " for line in text.splitlines())


def _escape(text: str) -> str:
    """Untrained models write anything: keep it from being read as Markdown or HTML."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|~" else c for c in text)
