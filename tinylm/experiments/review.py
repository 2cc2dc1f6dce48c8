"""What a reviewer of a change wants to see, as Markdown: an experiment beside what it is to replace.

Made of what git and DVC's cache hold of both; nothing is run. `review.md` fits into the text of a pull request,
which shows its chart (Mermaid) without an image that would have to be kept somewhere; `loss.png` lies beside it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.base.reading import parse_as, parse_numbers
from tinylm.experiments.compare import read_run, report
from tinylm.experiments.history import read_cached, read_file, read_params_at, read_score, resolve

STORIES, LOSSES = "artifacts/stories/stories.jsonl", "plots/val.csv"
STORIES_SHOWN = 3
LONGEST_STORY = 1500  # characters: a pull request's text ends at 65,536
MAIN = (  # key, name, and whether more is better
    ("bits_per_byte", "bits per byte", -1),
    ("loss", "loss [nats per token]", -1),
    ("perplexity", "perplexity", -1),
    ("accuracy", "accuracy (top-1)", 1),
)


class StoryLine(TypedDict):
    """Of a line of `stories.jsonl`, what is shown."""

    prompt: str
    text: str
    ended: bool


@dataclass(frozen=True)
class Side:
    """One of the two runs."""

    name: str
    commit: str | None
    score: dict[str, Any]
    params: dict[str, dict[str, Any]]
    losses: list[dict[str, float]]  # rows of plots/val.csv


def read_side(name: str) -> Side:
    """Raises UserError for a name that is none, or a commit without a run."""
    commit = resolve(name)
    losses = parse_numbers(
        read_file(commit, LOSSES), ("step", "loss"), f"{name}: {LOSSES}", "run its stage train again"
    )
    return Side(name, commit, read_score(commit), read_params_at(commit), losses)


def write_review(baseline: str, experiment: str, folder: Path) -> Path:
    """Write `review.md` and `loss.png`; gives the former."""
    before, after = read_side(baseline), read_side(experiment)
    parts = [
        f"# {after.name} against {before.name}",
        "\n".join(changed_parameters(before, after)),
        "\n".join(metrics_table(before.score, after.score)),
        verdict(before, after),
        "\n".join(loss_chart(before, after)),
        "\n".join(stories_side_by_side(before, after)),
    ]
    draw_losses(before, after, folder / "loss.png")
    path = folder / "review.md"
    atomic.write_text(path, "\n\n".join(parts) + "\n")
    return path


def changed_parameters(before: Side, after: Side) -> Iterator[str]:
    """A table of what is set otherwise; `runtime` changes no result and is left out."""
    flat = [
        {f"{section}.{key}": value for section, values in side.params.items() if section != "runtime"
         for key, value in values.items()}
        for side in (before, after)
    ]  # fmt: skip
    changed = [key for key in flat[0] | flat[1] if flat[0].get(key) != flat[1].get(key)]
    if not changed:
        yield "No parameter differs."
        return
    yield f"| parameter | {cell(before.name)} | {cell(after.name)} |"
    yield "|---|---|---|"
    for key in changed:
        yield f"| `{key}` | {cell(flat[0].get(key))} | {cell(flat[1].get(key))} |"


def metrics_table(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    yield "| | before | after | change |"
    yield "|---|---:|---:|---:|"
    for key, name, better in MAIN:
        old, new = before.get(key), after.get(key)
        if old is None or new is None:
            yield f"| {name} | {_number(old)} | {_number(new)} | |"
            continue
        word = "" if round(new - old, 4) == 0 else " better" if (new - old) * better > 0 else " worse"
        yield f"| {name} | {_number(old)} | {_number(new)} | {new - old:+.4f}{word} |"


def verdict(before: Side, after: Side) -> str:
    """Whether the difference is more than chance; A is before, B is after."""
    try:
        lines = report([read_run(before.name)], [read_run(after.name)])
    except UserError as error:
        return f"Whether that is more than chance cannot be told: {error}."
    return "```\n" + "\n".join(lines) + "\n```"


def loss_chart(before: Side, after: Side) -> Iterator[str]:
    """The validation losses over each other, at the steps that both have."""
    losses = [{row["step"]: row["loss"] for row in side.losses} for side in (before, after)]
    steps = [step for step in losses[0] if step in losses[1] and step > 0]
    if len(steps) < 2:
        yield "The two were validated at other steps: see `loss.png`."
        return
    values = [[loss[step] for step in steps] for loss in losses]
    yield "```mermaid"
    yield "xychart-beta"
    yield f'    title "validation loss: {_quoted(before)} and {_quoted(after)}"'
    yield f'    x-axis "step" [{", ".join(f"{step:g}" for step in steps)}]'
    yield f'    y-axis "nats per token" {min(map(min, values)):.3f} --> {max(map(max, values)):.3f}'
    for line in values:
        yield f"    line [{', '.join(f'{value:.4f}' for value in line)}]"
    yield "```"


def draw_losses(before: Side, after: Side, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for side, style in ((before, {"color": "#888888", "ls": "--"}), (after, {"color": "#c0392b", "marker": "o"})):
        steps, losses = ([row[key] for row in side.losses] for key in ("step", "loss"))
        axes.plot(steps, losses, label=side.name, ms=4, **style)  # type: ignore[arg-type]
    axes.set(xlabel="step", ylabel="validation loss [nats per token], logarithmic", yscale="log")
    axes.grid(alpha=0.25, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with atomic.replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png", metadata={"Software": None})
    plt.close(figure)


def stories_side_by_side(before: Side, after: Side) -> Iterator[str]:
    """The first story of each of some prompts that both were given."""
    try:
        told = [_first_stories(read_cached(side.name, side.commit, STORIES)) for side in (before, after)]
    except UserError as error:
        yield f"No stories: {error}."
        return
    prompts = [prompt for prompt in told[0] if prompt in told[1]][:STORIES_SHOWN]
    if not prompts:
        yield "No stories: the two have no prompt in common."
        return
    yield f"| {cell(before.name)} | {cell(after.name)} |"
    yield "|---|---|"
    for prompt in prompts:
        yield f"| {cell(told[0][prompt])} | {cell(told[1][prompt])} |"


def _first_stories(lines: str) -> dict[str, str]:
    stories: dict[str, str] = {}
    for line in lines.split("\n"):
        if line:
            story = parse_as(StoryLine, line, STORIES, "run its stage generate again")
            stories.setdefault(story["prompt"], story["text"] + ("" if story["ended"] else " [...]"))
    return stories


def cell(value: object) -> str:
    """A value in a table: on one line, and neither Markdown nor HTML whatever it holds."""
    text = "null" if value is None else str(value)
    text = text if len(text) <= LONGEST_STORY else text[:LONGEST_STORY] + " ..."
    escaped = "".join(f"\\{c}" if c in "\\`*_[]<>#|~@" else c for c in text)
    return "<br>".join(escaped.splitlines())


def _quoted(side: Side) -> str:
    return side.name.replace('"', "'")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
