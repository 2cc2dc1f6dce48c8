"""Plot a sweep: bits per byte over each parameter that was varied."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from tinylm.base import atomic
from tinylm.experiments.sweep.rows import Row, as_text

# Of Okabe and Ito's palette, which colour-blind readers can tell apart; pruned trials have other marks, too.
COMPLETE, BEST, PRUNED = "#0072b2", "#d55e00", "#767676"
LOG_RATIO = 30.0  # largest / smallest value from which an axis is logarithmic
LOG_RATIO_SAMPLED = 4.0  # the same for values sampled on a logarithmic scale
COLUMNS = 3
HEADROOM = 0.15  # above the worst complete trial, as a fraction of the range; worse pruned trials are drawn at the edge


def draw(rows: Sequence[Row], path: Path) -> bool:
    """Draw a panel for each parameter with more than one value; return whether there was anything to draw."""
    rows = [row for row in rows if row.bits is not None and row.state in ("complete", "pruned")]
    keys = list(dict.fromkeys(key for row in rows for key in row.settings))
    keys = [key for key in keys if len({as_text(row.settings.get(key)) for row in rows}) > 1]
    if not keys:
        return False
    columns = 2 if len(keys) == 4 else min(COLUMNS, len(keys))
    lines = math.ceil(len(keys) / columns)
    figure, grid = plt.subplots(
        lines, columns, figsize=(1.5 + 3.6 * columns, 3.6 * lines), sharey=True, squeeze=False, layout="constrained"
    )
    for panel, axes in enumerate(grid.flat):
        if panel < len(keys):
            _panel(axes, rows, keys[panel])
            axes.set_ylabel("bits per byte" if panel % columns == 0 else "")
        else:
            axes.set_visible(False)
    _legend(grid[0][0], rows)
    with atomic.replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png", metadata={"Software": None})
    plt.close(figure)
    return True


def _panel(axes: Axes, rows: Sequence[Row], key: str) -> None:
    positions = _x_positions(axes, [row.settings.get(key) for row in rows], any(key in row.log for row in rows))
    top = _top(rows)
    for number, (row, x) in enumerate(zip(rows, positions, strict=True)):
        assert row.bits is not None
        if row.state == "pruned":
            axes.plot(x, min(row.bits, top), "x" if row.bits <= top else "^", color=PRUNED, ms=6, clip_on=False)
            continue
        color = BEST if number == 0 else COMPLETE
        if row.low is not None and row.high is not None:
            axes.plot([x, x], [row.low, row.high], color=color, lw=1, alpha=0.5)
        axes.plot(x, row.bits, "o", color=color, ms=7 if number == 0 else 5, alpha=0.9, zorder=3 if number == 0 else 2)
    axes.set_xlabel(key)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _top(rows: Sequence[Row]) -> float:
    """Return the upper limit of the y axis: one very bad trial must not squeeze all others together."""
    ends = [value for row in rows if row.state == "complete" for value in (row.bits, row.high) if value is not None]
    low = min((row.low if row.low is not None else row.bits or 0.0) for row in rows)
    if not ends:
        return max(row.bits or 0.0 for row in rows)
    return max(ends) + HEADROOM * (max(ends) - low)


def _x_positions(axes: Axes, values: Sequence[Any], log: bool) -> list[float]:
    """Set up the x axis and return each value's position on it: numbers to scale, other values as categories."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values):
        words = list(dict.fromkeys(map(as_text, sorted(values, key=as_text))))
        axes.set_xticks(range(len(words)), words)
        axes.margins(x=0.2)
        return [float(words.index(as_text(value))) for value in values]
    factor = max(numbers) / min(numbers) if min(numbers) > 0 else 1.0
    if factor >= (LOG_RATIO_SAMPLED if log else LOG_RATIO):
        axes.set_xscale("log")
        if factor < 100:  # too few powers of ten to label the axis
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif all(isinstance(number, int) for number in numbers) and len(set(numbers)) <= 8:
        axes.set_xticks(sorted(set(numbers)))
    return [float(number) for number in numbers]


def _legend(axes: Axes, rows: Sequence[Row]) -> None:
    if rows[0].state == "complete":
        axes.plot([], [], "o", color=BEST, label=f"best: {rows[0].name}")
    if any(row.state == "complete" for row in rows[1:]):
        axes.plot([], [], "o", color=COMPLETE, label="complete, with 95%")
    top = _top(rows)
    if any(row.state == "pruned" and (row.bits or 0) <= top for row in rows):
        axes.plot([], [], "x", color=PRUNED, label="pruned: last validation")
    if any(row.state == "pruned" and (row.bits or 0) > top for row in rows):
        axes.plot([], [], "^", color=PRUNED, label="pruned, off the scale")
    axes.legend(frameon=False, fontsize="small")
