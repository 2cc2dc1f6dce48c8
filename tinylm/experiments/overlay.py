"""Write a copy of the workspace's page with the learning curves of other runs over its own."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinylm.base import atomic
from tinylm.base.errors import UserError
from tinylm.base.params import PARAMS_FILE, section_classes
from tinylm.experiments.committed import read_lock
from tinylm.experiments.curves import AXES, MEASURES, Curve, Row, cautions, choose_measure, place, read_curve
from tinylm.experiments.history import WORKSPACE
from tinylm.report.charts import Chart, line, switched
from tinylm.report.run import SECTIONS, page_of_run

THIS = "this run"
MOST_RUNS = 8  # page.css has so many pairs of a colour and a dash pattern
NAMES = {"step": "steps"}  # of the x axes that are not called by their label
SHOWN = (
    "Strong lines are the validation loss, thin ones the training loss. Seconds are those of training on each run’s "
    "machine: compilation is part of them, validation and saving are not."
)


def write_overlay(others: Sequence[str]) -> Path:
    """Write the page of the workspace's run with the curves of `others`, experiments or git revisions.

    Returns its path; DVC's own page stays as it is. Raises UserError if a name is unknown, a run has no curve, the
    curves are not comparable, or the workspace has no complete run.
    """
    others = list(dict.fromkeys(others))
    if WORKSPACE in others:
        raise UserError(f"{WORKSPACE}: expected other runs, got the one that the page shows anyway; leave it out")
    if len(others) >= MOST_RUNS:
        raise UserError(f"expected at most {MOST_RUNS - 1} runs to overlay, got {len(others)}; leave some out")
    parameters = _parameters()
    curves = [replace(read_curve(WORKSPACE), name=THIS), *map(read_curve, others)]
    path = place([WORKSPACE, *others], ".html")
    atomic.write_text(path, page_of_run(Path(), parameters, learning_curves(curves)))
    return path


def _parameters() -> dict[str, Any]:
    """Return the parameters that the page of the run shows: those of dvc.lock, because params.yaml may have changed."""
    try:
        made, classes = read_lock(None)["report"]["params"][PARAMS_FILE], section_classes()
        return {name: classes[name].model_validate(made[name]).model_dump(mode="json") for name in SECTIONS}
    except (LookupError, TypeError, ValueError):  # no run, only a part of one, or one by other code
        raise UserError("dvc.lock: expected a complete run, found none; run the pipeline: make repro") from None


def learning_curves(curves: Sequence[Curve]) -> Chart:
    """Return the chart of several runs, with its notes. Raises UserError if their losses cannot be compared."""
    key = choose_measure(curves)
    views = {NAMES.get(axis, axis): (axis, _lines(curves, axis, key)) for axis in AXES}
    scales = ["logarithmic", "linear"]
    notes = [SHOWN, *cautions(curves)]
    return switched("Learning curves", MEASURES[key], views, scales=scales, tall=True, dots=False, notes=notes)


def _lines(curves: Sequence[Curve], axis: str, key: str) -> list[dict[str, Any]]:
    """Return the training losses, which the legend leaves out, and the validation losses above them."""
    numbered = list(enumerate(curves))
    thin = [_line(curve.name, "thin", curve.train, axis, key) | {"run": n, "quiet": True} for n, curve in numbered]
    return thin + [_line(curve.name, "strong", curve.val, axis, key) | {"run": n} for n, curve in numbered]


def _line(name: str, style: str, rows: Sequence[Row], x: str, y: str) -> dict[str, Any]:
    return line(name, style, [{x: _short(row[x]), y: _short(row[y])} for row in rows], x, y)


def _short(value: float) -> float | None:
    """Return a number with the seven digits of plots/; None if it is not finite, which JSON cannot express."""
    if not math.isfinite(value):
        return None
    return int(value) if value == int(value) else float(f"{value:.7g}")
