"""Stories on the disk: JSON lines for programs, Markdown for people, tables of what they are worth."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tinylm.base import atomic
from tinylm.generate.metrics.lexical import Figures
from tinylm.generate.ratings_sheet import write_sheet
from tinylm.generate.run import StoryRun
from tinylm.generate.stories import Story


def write_all(run: StoryRun, root: Path) -> None:
    """Everything that the stage leaves, below `root`."""
    folder = root / "artifacts/stories"
    write_jsonl(folder / "stories.jsonl", run.stories)
    write_jsonl(folder / "progress.jsonl", run.progress)
    write_stories(folder / "stories.md", run.stories)
    write_progress(folder / "progress.md", run.progress)
    write_probabilities(folder / "probabilities.json", run)
    write_sheet(folder, run.rated)
    atomic.write_json(root / "metrics/generate.json", run.metrics())
    by_step = [_beside({"step": step}, figures, run) for step, figures in run.step_figures.items()]
    by_temperature = [_beside({"temperature": t}, figures, run) for t, figures in sorted(run.figures.items())]
    atomic.write_csv(root / "plots/stories_by_step.csv", by_step or [_beside({"step": None}, {}, run)])
    atomic.write_csv(root / "plots/stories_by_temperature.csv", by_temperature)


def _beside(place: Mapping[str, float | None], figures: Figures, run: StoryRun) -> dict[str, float | None]:
    """A row of a table: the model's figures, and people's in columns of their own."""
    names = run.human_figures
    return {**place, **{n: figures.get(n) for n in names}, **{f"human_{n}": names[n] for n in names}}


def write_probabilities(path: Path, run: StoryRun) -> None:
    read = [
        {"prompt": story.prompt, "step": story.step, "tokens": [asdict(token) for token in tokens]}
        for story, tokens in run.read
    ]
    atomic.write_text(path, json.dumps(read, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, stories: Sequence[Story]) -> None:
    atomic.write_text(path, "".join(json.dumps(asdict(story), ensure_ascii=False) + "\n" for story in stories))


def write_stories(path: Path, stories: Sequence[Story]) -> None:
    """Markdown: every prompt with the stories that begin with it, by temperature."""
    lines = ["# Stories", "", f"By the weights of step {stories[0].step}."]
    for prompt in dict.fromkeys(story.prompt for story in stories):
        lines += ["", f"## {_escape(prompt)} ..."]
        own = [story for story in stories if story.prompt == prompt]
        for temperature in dict.fromkeys(story.temperature for story in own):
            lines += ["", f"### Temperature {temperature:g}"]
            for story in own:
                if story.temperature == temperature:
                    lines += ["", _quote(story)]
    atomic.write_text(path, "\n".join(lines) + "\n")


def write_progress(path: Path, stories: Sequence[Story]) -> None:
    """Markdown: for every prompt, one story of each checkpoint, from noise to story."""
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
