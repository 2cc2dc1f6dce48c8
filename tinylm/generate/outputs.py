"""Files written by the stage generate: stories as JSON Lines and Markdown, and tables of their metrics."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tinylm.base import atomic
from tinylm.generate.metrics.lexical import Metrics
from tinylm.generate.pictures import draw_stories
from tinylm.generate.ratings_sheet import write_sheet
from tinylm.generate.run import StoryRun
from tinylm.generate.stories import Story


def write_all(run: StoryRun, root: Path) -> None:
    """Write all outputs of the stage below `root`."""
    folder = root / "artifacts/stories"
    write_jsonl(folder / "stories.jsonl", run.stories)
    write_jsonl(folder / "progress.jsonl", run.progress)
    write_stories(folder / "stories.md", run.stories)
    write_progress(folder / "progress.md", run.progress)
    write_probabilities(folder / "probabilities.json", run)
    write_sheet(folder, run.rated)
    atomic.write_json(root / "metrics/generate.json", run.metrics())
    by_step = [_row({"step": step}, metrics, run) for step, metrics in run.metrics_by_step.items()]
    by_temperature = [
        _row({"temperature": t}, metrics, run) for t, metrics in sorted(run.metrics_by_temperature.items())
    ]
    atomic.write_csv(root / "plots/stories_by_step.csv", by_step or [_row({"step": None}, {}, run)])
    atomic.write_csv(root / "plots/stories_by_temperature.csv", by_temperature)
    draw_stories(run.progress or [story for story, _ in run.scored], root / "plots/stories")


def _row(key: Mapping[str, float | None], metrics: Metrics, run: StoryRun) -> dict[str, float | None]:
    """Return a row of a table: the model's metrics, and those of human stories in columns of their own."""
    human = run.human_metrics
    return {**key, **{name: metrics.get(name) for name in human}, **{f"human_{name}": human[name] for name in human}}


def write_probabilities(path: Path, run: StoryRun) -> None:
    """Write JSON: the first story of each prompt, with the probability of each token and its alternatives."""
    scored = [
        {"prompt": story.prompt, "step": story.step, "tokens": [asdict(token) for token in tokens]}
        for story, tokens in run.scored
    ]
    atomic.write_text(path, json.dumps(scored, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, stories: Sequence[Story]) -> None:
    """Write one JSON object per line and story."""
    atomic.write_text(path, "".join(json.dumps(asdict(story), ensure_ascii=False) + "\n" for story in stories))


def write_stories(path: Path, stories: Sequence[Story]) -> None:
    """Write Markdown: the stories by prompt and temperature."""
    lines = ["# Stories", "", f"By the weights of step {stories[0].step}."]
    for prompt in dict.fromkeys(story.prompt for story in stories):
        lines += ["", f"## {_escape(prompt)} ..."]
        continuations = [story for story in stories if story.prompt == prompt]
        for temperature in dict.fromkeys(story.temperature for story in continuations):
            lines += ["", f"### Temperature {temperature:g}"]
            for story in continuations:
                if story.temperature == temperature:
                    lines += ["", _quote(story)]
    atomic.write_text(path, "\n".join(lines) + "\n")


def write_progress(path: Path, stories: Sequence[Story]) -> None:
    """Write Markdown: for each prompt, its story by each checkpoint."""
    lines = ["# The same prompts at each checkpoint"]
    for prompt in dict.fromkeys(story.prompt for story in stories):
        lines += ["", f"## {_escape(prompt)} ..."]
        for story in sorted((s for s in stories if s.prompt == prompt), key=lambda s: s.step):
            lines += ["", f"### Step {story.step}", "", _quote(story)]
    atomic.write_text(path, "\n".join(lines) + "\n")


def _quote(story: Story) -> str:
    text = story.text if story.ended else story.text + " [...]"
    return "\n".join(f"> {_escape(line)}".rstrip() + "  " for line in text.splitlines())


def _escape(text: str) -> str:
    """Escape Markdown and HTML; an untrained model may generate any text."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|~" else c for c in text)
