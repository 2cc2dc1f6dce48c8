"""Write a Markdown report for the reviewer of a change: an experiment next to its baseline.

Reads both from git and DVC's cache; nothing is run. `review.md` fits into the description of a pull request, and
its chart (Mermaid) needs no hosted image; `loss.png` is written next to it.
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
LONGEST_STORY = 1500  # characters: the description of a pull request is limited to 65,536
MAIN = (  # key, name, and 1 if higher is better, else -1
    ("bits_per_byte", "bits per byte", -1),
    ("loss", "loss [nats per token]", -1),
    ("perplexity", "perplexity", -1),
    ("accuracy", "accuracy (top-1)", 1),
)


class StoryLine(TypedDict):
    """The fields of a line of `stories.jsonl` that the report shows."""

    prompt: str
    text: str
    ended: bool


@dataclass(frozen=True)
class Side:
    """One of the two runs: the baseline or the experiment."""

    name: str
    commit: str | None
    score: dict[str, Any]
    params: dict[str, dict[str, Any]]
    losses: list[dict[str, float]]  # rows of plots/val.csv


def read_side(name: str) -> Side:
    """Read a run. Raises UserError if the name is unknown or its commit has no results."""
    commit = resolve(name)
    losses = parse_numbers(
        read_file(commit, LOSSES), ("step", "loss"), f"{name}: {LOSSES}", "run the train stage again"
    )
    return Side(name, commit, read_score(commit), read_params_at(commit), losses)


def write_review(baseline: str, experiment: str, folder: Path) -> Path:
    """Write `review.md` and `loss.png` to `folder`; return the path of the former."""
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
    """Yield a table of the parameters that differ, except `runtime`, which changes no result."""
    flat = [
        {f"{section}.{key}": value for section, values in side.params.items() if section != "runtime"
         for key, value in values.items()}
        for side in (before, after)
    ]  # fmt: skip
    changed = [key for key in flat[0] | flat[1] if flat[0].get(key) != flat[1].get(key)]
    if not changed:
        yield "No parameters differ."
        return
    yield f"| parameter | {cell(before.name)} | {cell(after.name)} |"
    yield "|---|---|---|"
    for key in changed:
        yield f"| `{key}` | {cell(flat[0].get(key))} | {cell(flat[1].get(key))} |"


def metrics_table(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    """Yield a table of the main metrics, marked better or worse."""
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
    """Say whether the difference is significant; A is before, B is after."""
    try:
        lines = report([read_run(before.name)], [read_run(after.name)])
    except UserError as error:
        return f"Significance not tested: {error}."
    return "```\n" + "\n".join(lines) + "\n```"


def loss_chart(before: Side, after: Side) -> Iterator[str]:
    """Yield a Mermaid chart of both validation losses, at the steps that both runs have."""
    losses = [{row["step"]: row["loss"] for row in side.losses} for side in (before, after)]
    steps = [step for step in losses[0] if step in losses[1] and step > 0]
    if len(steps) < 2:
        yield "The two runs were validated at different steps: see `loss.png`."
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
    """Draw both validation loss curves to the PNG file `path`."""
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
    """Yield a table with the first story of each run for some prompts that both have."""
    try:
        generated = [_first_stories(read_cached(side.name, side.commit, STORIES)) for side in (before, after)]
    except UserError as error:
        yield f"No stories: {error}."
        return
    prompts = [prompt for prompt in generated[0] if prompt in generated[1]][:STORIES_SHOWN]
    if not prompts:
        yield "No stories: the two runs have no prompt in common."
        return
    yield f"| {cell(before.name)} | {cell(after.name)} |"
    yield "|---|---|"
    for prompt in prompts:
        yield f"| {cell(generated[0][prompt])} | {cell(generated[1][prompt])} |"


def _first_stories(lines: str) -> dict[str, str]:
    stories: dict[str, str] = {}
    for line in lines.split("\n"):
        if line:
            story = parse_as(StoryLine, line, STORIES, "run the generate stage again")
            stories.setdefault(story["prompt"], story["text"] + ("" if story["ended"] else " [...]"))
    return stories


def cell(value: object) -> str:
    """Format a value as a table cell: one line, with Markdown and HTML escaped, shortened if long."""
    text = "null" if value is None else str(value)
    text = text if len(text) <= LONGEST_STORY else text[:LONGEST_STORY] + " ..."
    escaped = "".join(f"\\{c}" if c in "\\`*_[]<>#|~@" else c for c in text)
    return "<br>".join(escaped.splitlines())


def _quoted(side: Side) -> str:
    return side.name.replace('"', "'")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
