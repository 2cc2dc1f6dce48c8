"""Plot a scaling law with its runs: bits per byte over tokens and over parameters."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from tinylm.base import atomic
from tinylm.planning.fit import Fit, Point

# Of Okabe and Ito's palette, which colour-blind readers can tell apart; each line has a mark of its own, too.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#767676")
MARKS = ("o", "s", "^", "D", "v")
SHORT = EngFormatter(sep="")
MARGIN = 1.4  # the curves go on beyond the runs by this factor


def draw(points: Sequence[Point], found: Fit, path: Path) -> None:
    """Draw the runs of each size over tokens and of each budget over parameters, with the law as curves."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.2), sharey=True, layout="constrained")

    def size(point: Point) -> int:
        return point.counted(found.counts)

    def tokens(point: Point) -> int:
        return point.tokens

    law = found.law
    _panel(left, points, tokens, size, lambda d, n: law.predict(n, d))
    _panel(right, points, size, tokens, law.predict)
    parameters = "parameters" if found.counts == "all" else "parameters of the blocks"
    left.set(xlabel="training tokens", ylabel="bits per byte")
    right.set(xlabel=parameters)
    titles = (parameters, "training tokens")
    held_out = next(point for point in points if point.name == found.held_out.name)
    for axes, x, title in zip((left, right), (tokens, size), titles, strict=True):
        axes.plot(x(held_out), found.held_out.predicted, "x", color="black", ms=8, label="largest, from the others")
        axes.legend(title=title, frameon=False, fontsize="small", title_fontsize="small")
    with atomic.replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png", metadata={"Software": None})
    plt.close(figure)


def _panel(
    axes: Axes,
    points: Sequence[Point],
    x: Callable[[Point], int],
    group: Callable[[Point], int],
    predict: Callable[[float, float], float],
) -> None:
    """Draw the runs over `x`, with a curve of `predict(x, group)` for each value of `group`."""
    ends = min(map(x, points)) / MARGIN, max(map(x, points)) * MARGIN
    curve = np.geomspace(*ends, 60)
    for number, value in enumerate(sorted(set(map(group, points)))):
        color, mark = COLORS[number % len(COLORS)], MARKS[number % len(MARKS)]
        of = [point for point in points if group(point) == value]
        axes.plot(curve, [predict(at, value) for at in curve], color=color, lw=1, alpha=0.7)
        axes.plot([x(p) for p in of], [p.bits for p in of], mark, color=color, ms=5, label=_short(value))
    axes.set_xscale("log")
    ticks = sorted(set(map(x, points)))
    axes.set_xticks(ticks, [_short(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _short(count: float) -> str:
    """Return a count with two digits and a metric prefix, such as 250k or 1.3M."""
    return SHORT(float(f"{count:.2g}"))
