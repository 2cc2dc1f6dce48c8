"""The main metrics as cards: the value, its interval, and the change since the previous run."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

from tinylm.report.baseline import Baseline
from tinylm.report.numbers import NOTHING, is_number, minus, number

HASH_SHOWN = 10  # characters of a commit's hash


@dataclass(frozen=True)
class Metric:
    """How a metric is shown."""

    key: str  # in metrics/evaluate.json
    name: str
    unit: str
    lower_is_better: bool
    digits: int  # after the decimal point
    percent: bool = False  # whether to show it as a percentage


METRICS = (
    Metric("loss", "Loss", "nats per token", True, 4),
    Metric("perplexity", "Perplexity", "equally likely tokens", True, 3),
    Metric("bits_per_byte", "Bits per byte", "comparable across tokenizers", True, 4),
    Metric("accuracy", "Accuracy", "of tokens predicted first (top-1)", False, 2, percent=True),
)


def cards(metrics: dict[str, Any], baseline: Baseline | None) -> str:
    """Return the HTML of a card for each main metric that the run has."""
    shown = (metric for metric in METRICS if is_number(metrics.get(metric.key)))
    return '<div class="cards">' + "".join(_card(metric, metrics, baseline) for metric in shown) + "</div>"


def _card(metric: Metric, metrics: dict[str, Any], baseline: Baseline | None) -> str:
    return (
        f'<div class="card" data-metric="{metric.key}"><h3>{metric.name}</h3>'
        f'<p class="value">{_shown(metric, metrics[metric.key])}</p><p class="unit">{metric.unit}</p>'
        f"{_interval(metric, metrics)}{_change(metric, metrics[metric.key], baseline)}</div>"
    )


def _shown(metric: Metric, value: float) -> str:
    return minus(f"{value:,.{metric.digits}{'%' if metric.percent else 'f'}}")


def _interval(metric: Metric, metrics: dict[str, Any]) -> str:
    intervals = metrics.get("range95") or {}
    if metric.key == "perplexity" and "loss" in intervals:
        low, high = (math.exp(intervals["loss"][end]) for end in ("low", "high"))
    elif metric.key in intervals:
        low, high = (intervals[metric.key][end] for end in ("low", "high"))
    else:
        return ""
    return f'<p class="interval">95%: {_shown(metric, low)} to {_shown(metric, high)}</p>'


def _change(metric: Metric, value: float, baseline: Baseline | None) -> str:
    if baseline is None:
        return ""
    before = baseline.metrics.get(metric.key)
    if not is_number(before):
        return '<p class="change">new: not in the previous run</p>'
    difference = value - before
    size = _shown(metric, abs(difference))
    if size == _shown(metric, 0):
        return f'<p class="change">unchanged, was {_shown(metric, before)}</p>'
    word = "better" if (difference < 0) == metric.lower_is_better else "worse"
    if metric.percent:
        size = size.replace("%", " points")  # a difference of percentages is in percentage points
    sign, arrow = ("\u2212", "▼") if difference < 0 else ("+", "▲")
    return (
        f'<p class="change"><b class="{word}">{arrow} {sign}{size} {word}</b>'
        f" <span>was {_shown(metric, before)}</span></p>"
    )


def comparison(metrics: dict[str, Any], baseline: Baseline | None) -> str:
    """Return an HTML note on what the cards compare with, and on what is not comparable."""
    if baseline is None:
        return '<p class="note">There is no earlier committed run to compare with.</p>'
    subject = f" “{escape(baseline.subject)}”" if baseline.subject else ""
    line = (
        f"Changes are relative to commit <code>{baseline.commit[:HASH_SHOWN]}</code>{subject}, the last committed "
        "run whose score differs."
    )
    return f'<p class="note">{" ".join([line, *_caveats(metrics, baseline.metrics)])}</p>'


def _caveats(now: dict[str, Any], before: dict[str, Any]) -> Iterator[str]:
    now, before = (values.get("split") or {} for values in (now, before))
    keys = ("text_bytes", "tokens")
    if not all(is_number(values.get(key)) for values in (now, before) for key in keys):
        return
    if now["text_bytes"] != before["text_bytes"]:
        yield (
            f"Caution: that run was scored on different text ({number(before['text_bytes'])} bytes, "
            f"here {number(now['text_bytes'])})."
        )
    elif now["tokens"] != before["tokens"]:
        yield (
            f"Caution: that run split the same text into {number(before['tokens'])} tokens, this one into "
            f"{number(now['tokens'])}; of these metrics only bits per byte is comparable."
        )


def scored_on(metrics: dict[str, Any]) -> str:
    """Return an HTML note on the size of the validation text, and on the calibration error."""
    split = metrics.get("split") or {}
    line = f"Scored on all {number(split.get('tokens'))} held-out tokens ({number(split.get('text_bytes'))} bytes)."
    error = (metrics.get("reliability") or {}).get("calibration_error")
    if error is not None:
        line += f" Calibration error {number(error)}: the mean difference between probability and accuracy."
    return f'<p class="note">{line}</p>'


def kinds_table(kinds: dict[str, dict[str, Any]]) -> str:
    """Return an HTML table of loss and accuracy by kind of token, with each kind's share of tokens and of loss."""
    total = sum(kind["tokens"] for kind in kinds.values()) or 1
    whole = sum(kind["tokens"] * (kind["loss"] or 0) for kind in kinds.values()) or 1
    rows = "".join(
        f'<tr><th scope="row">{escape(name.replace("_", " "))}</th>'
        f"{_share(kind['tokens'] / total)}{_share(kind['tokens'] * (kind['loss'] or 0) / whole)}"
        f"<td>{number(kind['loss'])}</td><td>{_percent(kind['accuracy'])}</td></tr>"
        for name, kind in kinds.items()
    )
    return (
        '<div class="wide"><table class="kinds"><thead><tr><th scope="col">Kind of token</th>'
        '<th scope="col">share of tokens</th><th scope="col">share of loss</th>'
        '<th scope="col">loss</th><th scope="col">accuracy</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _share(share: float) -> str:
    """Return a table cell with the share as a bar and a percentage."""
    return (
        f'<td class="share"><svg class="bar" aria-hidden="true"><rect width="{share:.1%}" height="100%"/></svg>'
        f"{_percent(share)}</td>"
    )


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.1%}"
