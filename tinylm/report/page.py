"""Build the report: the template, style and scripts in static/ with a run's data, forbidden to load anything else."""

import base64
import hashlib
import json
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from tinylm.report import charts, metrics, origin, stories
from tinylm.report.baseline import Baseline
from tinylm.report.charts import Chart
from tinylm.report.inputs import RunFiles
from tinylm.report.origin import Parameters

STATIC = Path(__file__).parent / "static"
SCRIPTS = ("elements.js", "scales.js", "charts.js", "checkpoints.js", "tokens.js", "page.js")


def build_page(run: RunFiles, parameters: Parameters, baseline: Baseline | None, learning: Chart | None = None) -> str:
    """Return the HTML of the report: the same bytes for the same run, parameters and baseline.

    `learning` is a chart of the learning curves of several runs, with its `notes`.
    """
    style = _read("page.css")
    script = '"use strict";\n' + "".join(map(_read, SCRIPTS))
    data, static = _data(run, learning), _static(run, parameters, baseline)
    return Template(_read("page.html")).substitute(
        static | _chart_elements(data["charts"]) | _optional(data),
        policy=_policy(style, script),
        style=style,
        script=script,
        data=embed(data),
    )


def _read(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return a Content-Security-Policy that allows this style and script, by checksum, inline images, and no URLs."""
    return (
        f"default-src 'none'; style-src '{_checksum(style)}'; script-src '{_checksum(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _checksum(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def embed(data: Any) -> str:
    """Return JSON that cannot close the HTML element that contains it, whatever a story contains."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(run: RunFiles, learning: Chart | None) -> dict[str, Any]:
    """Return the data for the scripts."""
    small = {"by_step": (run.by_step, "step"), "by_temperature": (run.by_temperature, "temperature")}
    return {
        "charts": ({"learning": learning} if learning else {})
        | charts.curves(run)
        | charts.loss_breakdown(run)
        | {
            f"{name}_{n}": chart
            for name, (rows, x) in small.items()
            for n, chart in enumerate(charts.story_charts(rows, x))
        },
        "checkpoints": stories.checkpoints(run.progress, run.val_rows),
        "probabilities": run.probabilities,
    }


def _static(run: RunFiles, parameters: Parameters, baseline: Baseline | None) -> dict[str, str]:
    """Return the parts of the page that need no script."""
    kinds = run.evaluate.get("token_kinds")
    return {
        "title": origin.title(run),
        "glance": origin.glance(run),
        "facts": origin.facts(run),
        "cards": metrics.cards(run.evaluate, baseline),
        "comparison": metrics.comparison(run.evaluate, baseline),
        "scored_on": metrics.scored_on(run.evaluate),
        "kinds": metrics.kinds_table(kinds) if kinds else "",
        "figures": stories.metrics_table(run.generate),
        "diagnosis": origin.diagnosis(run.train["diagnosis"]),
        "parameters": origin.parameters(parameters),
        "versions": origin.versions(run.training),
    }


def _chart_elements(drawn: dict[str, Any]) -> dict[str, str]:
    """Return the elements that charts.js fills, by section of the page."""
    frames = {
        name: f'<figure class="chart" data-chart="{name}"><figcaption>{escape(chart["title"])}</figcaption></figure>'
        for name, chart in drawn.items()
    }
    groups = {"by_step": "by_step_", "by_temperature": "by_temperature_"}
    joined = {
        group: "".join(frame for name, frame in frames.items() if name.startswith(prefix))
        or _absent("This run has no such metrics.")
        for group, prefix in groups.items()
    }
    where = "".join(frames[name] for name in ("position", "calibration") if name in frames)
    return joined | {
        "curves": _learning(frames, drawn) + frames["loss"],
        "small_curves": frames["rate"] + frames["norm"],
        "where": where or _absent("This run has no data for these charts."),
    }


def _learning(frames: dict[str, str], drawn: dict[str, Any]) -> str:
    """Return the element of the chart that compares runs, and its notes; nothing if there is none."""
    if "learning" not in drawn:
        return ""
    return frames["learning"] + "".join(f'<p class="note">{escape(note)}</p>' for note in drawn["learning"]["notes"])


def _optional(data: dict[str, Any]) -> dict[str, str]:
    """Return the elements for data that only some runs have."""
    checkpoints = '<div id="checkpoints"></div>' if data["checkpoints"] else ""
    tokens = '<div id="tokens"></div>' if data["probabilities"] else ""
    return {
        "checkpoints": checkpoints or _absent("This run has no stories of its checkpoints (generate.checkpoints)."),
        "tokens": tokens or _absent("This run has no token probabilities."),
    }


def _absent(text: str) -> str:
    return f'<p class="absent">{text}</p>'
