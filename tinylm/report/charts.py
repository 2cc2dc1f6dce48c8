"""The data of the charts, which charts.js draws."""

from typing import Any

from tinylm.report.inputs import Row, RunFiles
from tinylm.report.numbers import label, number

Chart = dict[str, Any]

MOST_POINTS = 2000  # per line; a longer line keeps every n-th point and the last


def line(name: str, style: str, rows: list[Row], x: str, y: str) -> dict[str, Any]:
    """Return a line through the rows; `style`: thin, strong (with dots) or dashed."""
    step = -(-len(rows) // MOST_POINTS) or 1
    kept = rows[::step] + (rows[-1:] if (len(rows) - 1) % step else [])
    return {"name": name, "style": style, "points": [[row[x], row[y]] for row in kept if row[x] is not None]}


def level(name: str, y: float, rows: list[Row], x: str) -> dict[str, Any]:
    """Return a horizontal line at `y` over the range of the rows."""
    return {"name": name, "style": "dashed", "points": [[rows[0][x], y], [rows[-1][x], y]] if rows else []}


def chart(title: str, x: str, y: str, lines: list[dict[str, Any]], **options: Any) -> Chart:
    """Return a chart; `x` and `y` are the axis labels with their units."""
    return {"title": title, "x": x, "y": y, "lines": lines, "scales": ["linear"]} | options


def switched(title: str, y: str, views: dict[str, tuple[str, list[dict[str, Any]]]], **options: Any) -> Chart:
    """Return a chart with a choice of x axes; `views` has for each, by its name in the choice, its label and lines."""
    drawn = [{"name": name, "x": x, "lines": lines} for name, (x, lines) in views.items()]
    return {"title": title, "y": y, "views": drawn, "scales": ["linear"]} | options


def curves(run: RunFiles) -> dict[str, Chart]:
    """Return the charts of the training: loss, learning rate and gradient norm."""
    train = run.train_rows
    views = {name: (x, _losses(run, x)) for name, x in (("steps", "step"), ("tokens", "tokens"))}
    rate = [line("learning rate", "strong", train, "step", "learning_rate")]
    norm = [line("norm", "thin", train, "step", "grad_norm")]
    return {
        "loss": switched("Loss", "nats per token", views, scales=["logarithmic", "linear"], tall=True),
        "rate": chart("Learning rate", "step", "AdamW’s learning rate", rate, zero=True, dots=False),
        "norm": chart("Gradient norm", "step", "norm before clipping", norm, zero=True),
    }


def _losses(run: RunFiles, x: str) -> list[dict[str, Any]]:
    lines = [
        line("training", "thin", run.train_rows, x, "loss"),
        line("validation", "strong", run.val_rows, x, "loss"),
    ]
    return [*lines, level("uniform guess", run.train["guess_loss"], run.train_rows, x)]


def loss_breakdown(run: RunFiles) -> dict[str, Chart]:
    """Return the charts of loss by position and of calibration, as far as the run has their data."""
    charts = {}
    if run.by_position:
        lines = [line("loss", "strong", run.by_position, "position", "loss")]
        charts["position"] = chart("Loss by position", "tokens of context in the window", "nats per token", lines)
    if run.calibration:
        points = [row for row in run.calibration if row["confidence"] is not None and row["accuracy"] is not None]
        model = line("model", "strong", points, "confidence", "accuracy")
        model["notes"] = [f"{number(row['tokens'])} tokens" for row in points]
        diagonal = {"name": "well calibrated", "style": "dashed", "points": [[0, 0], [1, 1]]}
        charts["calibration"] = chart(
            "Calibration", "probability of the top prediction", "accuracy", [model, diagonal], zero=True
        )
    return charts


def story_charts(rows: list[Row], x: str) -> list[Chart]:
    """Return a small chart for each metric of the stories, over `x`, with the value of human stories as a line."""
    if not rows:
        return []
    charts = []
    for key in rows[0]:
        if key == x or key.startswith("human_") or all(row[key] is None for row in rows):
            continue
        lines = [line("model", "strong", rows, x, key)]
        human = f"human_{key}"
        if human in rows[0] and any(row[human] is not None for row in rows):
            lines.append(line("human", "dashed", rows, x, human))
        charts.append(chart(label(key), x, "", lines))
    return charts
