"""Draw the learning curves of two models, A and B, as a picture with a panel for steps, tokens and seconds each."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FormatStrFormatter, LogLocator, MaxNLocator, NullFormatter

from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.experiments.curves import AXES, MEASURES, Curve, Row, cautions, choose_measure, place, read_curve

# Of Okabe and Ito's palette, which colour-blind readers can tell apart; B is dashed, too.
COLOURS, DASHES = ("#0072b2", "#d55e00"), ("-", "--")
LABELS = {"step": "steps", "tokens": "tokens", "seconds": "seconds of training, without validation and saving"}


@dataclass(frozen=True)
class Mean:
    """The mean over the runs of a model, with its range, at the rows that all of them have."""

    axes: dict[str, list[float]]  # the values on each x axis; the seconds are a mean, too
    loss: list[float]
    low: list[float]
    high: list[float]


def write_picture(a: Sequence[str], b: Sequence[str]) -> list[str]:
    """Draw the runs of A and B; return lines that say where the picture is, and why its curves are not comparable.

    If a run lacks its curve, the line says so instead: the picture only accompanies a comparison.
    """
    path = place([a[0], b[0]], ".png")
    try:
        groups = [[read_curve(name) for name in names] for names in (a, b)]
        figure = make_figure(*groups)
    except UserError as error:
        return [f"no picture of the learning curves: {error}"]
    with atomic.replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png", metadata={"Software": None})
    plt.close(figure)
    return [*cautions([*groups[0], *groups[1]]), f"learning curves: {path}"]


def make_figure(a: Sequence[Curve], b: Sequence[Curve]) -> Figure:
    """Return the picture. Raises UserError if the losses of the runs cannot be compared."""
    key = choose_measure([*a, *b])
    figure, panels = plt.subplots(1, len(AXES), figsize=(13, 4.2), sharey=True, layout="constrained")
    for axes, axis in zip(panels, AXES, strict=True):
        for letter, runs, colour, dash in zip("AB", (a, b), COLOURS, DASHES, strict=True):
            _line(axes, axis, mean_over_runs([run.train for run in runs], key), colour, "-", None)
            _line(axes, axis, mean_over_runs([run.val for run in runs], key), colour, dash, _label(letter, runs))
        axes.set_xlabel(LABELS[axis])
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set(ylabel=f"{MEASURES[key]}, logarithmic", yscale="log")
    panels[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panels[0].yaxis.set_major_formatter(FormatStrFormatter("%g"))
    panels[0].yaxis.set_minor_formatter(NullFormatter())
    panels[AXES.index("tokens")].xaxis.set_major_formatter(EngFormatter(sep=""))
    handles, labels = panels[0].get_legend_handles_labels()
    thin = Line2D([], [], color="#595959", lw=0.8)
    figure.legend([*handles, thin], [*labels, "thin: training loss"], frameon=False, loc="outside upper left", ncols=3)
    return figure


def _line(axes: Axes, axis: str, mean: Mean, colour: str, dash: str, label: str | None) -> None:
    """Draw a mean and its range; without a label it is a training loss, which is thin and has no band."""
    x = mean.axes[axis]
    if label is None:
        axes.plot(x, mean.loss, color=colour, lw=0.8, alpha=0.4)
        return
    axes.plot(x, mean.loss, color=colour, ls=dash, lw=2, label=label)
    if mean.low != mean.high:
        axes.fill_between(x, mean.low, mean.high, color=colour, alpha=0.2, lw=0)


def _label(letter: str, runs: Sequence[Curve]) -> str:
    several = f" and {len(runs) - 1} more seeds, their mean and range" if len(runs) > 1 else ""
    return f"{letter}: {runs[0].name}{several}"


def mean_over_runs(runs: Sequence[Sequence[Row]], key: str) -> Mean:
    """Average the rows of runs by step; steps that one of the runs lacks, as after an early stop, are left out."""
    by_step = [{row["step"]: row for row in rows} for rows in runs]
    shared = [[rows[step] for rows in by_step] for step in by_step[0] if all(step in rows for rows in by_step)]
    axes = {axis: [sum(row[axis] for row in rows) / len(rows) for rows in shared] for axis in AXES}
    losses = [[row[key] for row in rows] for rows in shared]
    means = [sum(values) / len(values) for values in losses]
    return Mean(axes, means, [min(values) for values in losses], [max(values) for values in losses])
