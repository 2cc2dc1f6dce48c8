"""Summarize a sweep as a table, best first, and as a plot: `sweeps/NAME.md` and `sweeps/NAME.png`."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.experiments.sweep.rows import Group, Row, as_text, collect, group_seeds

FOLDER = Path("sweeps")


def summarize(names: Sequence[str]) -> None:
    """Print and write the summary of sweeps, experiments and patterns; without names, of HEAD and its experiments."""
    from tinylm.experiments.sweep.picture import draw

    rows = _rows(names)
    text = table(rows)
    if groups := group_seeds(rows):
        text += "\n" + seeds_table(groups)
    print(text, end="")
    title = re.sub(r"[^\w-]+", "_", "+".join(names)).strip("_") or "experiments"
    picture = FOLDER / f"{title}.png"
    drawn = draw(rows, picture)
    atomic.write_text(
        FOLDER / f"{title}.md", text + (f"\n![Bits per byte by parameter]({picture.name})\n" if drawn else "")
    )
    print(f"\n{FOLDER / title}.md" + (f", {picture}" if drawn else ""))


def as_json(names: Sequence[str]) -> dict[str, Any]:
    """Return what `summarize` shows, for programs; nothing is written."""
    rows = _rows(names)
    return {
        "experiments": [
            {
                "name": row.name,
                "state": row.state,
                "bits_per_byte": row.bits,
                "low": row.low,
                "high": row.high,
                "settings": row.settings,
                "note": row.note,
            }
            for row in rows
        ],
        "means_over_seeds": [
            {
                "names": group.names,
                "bits_per_byte": group.score.value,
                "low": group.score.interval.low,
                "high": group.score.interval.high,
                "settings": group.settings,
            }
            for group in group_seeds(rows)
        ],
    }


def _rows(names: Sequence[str]) -> list[Row]:
    if rows := collect(names):
        return rows
    raise UserError("there are no experiments; run some: dvc exp run, or tinylm sweep")


def table(rows: Sequence[Row]) -> str:
    """Return a Markdown table of the experiments."""
    keys = list(dict.fromkeys(key for row in rows for key in row.settings))
    lines = [["experiment", *keys, "bits per byte", "95%", "state"]]
    for row in rows:
        interval = "" if row.low is None else f"{row.low:.4f} to {row.high:.4f}"
        bits = "" if row.bits is None else f"{row.bits:.4f}"
        state = f"{row.state}{': ' if row.state == 'failed' and row.note else ' '}{row.note}".strip()
        lines.append([row.name, *(as_text(row.settings.get(key)) for key in keys), bits, interval, state])
    return aligned(lines)


def seeds_table(groups: Sequence[Group]) -> str:
    """Return a Markdown table of the means over seeds; the Student's t interval covers the seeds, not the stories."""
    keys = list(groups[0].settings)
    lines = [["mean over seeds", *keys, "bits per byte", "95%"]]
    for group in groups:
        interval = group.score.interval
        values = [as_text(group.settings[key]) for key in keys]
        span = f"{interval.low:.4f} to {interval.high:.4f}"
        lines.append([" ".join(group.names), *values, f"{group.score.value:.4f}", span])
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns, readable on a terminal; the first line is the header."""
    lines = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    head, *body = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    return "\n".join([head, "|" + "|".join("-" * (width + 2) for width in widths) + "|", *body]) + "\n"
