"""The stories of the report, as data for its scripts, and their metrics as a table."""

from html import escape
from itertools import groupby
from operator import itemgetter
from typing import Any

from tinylm.report.inputs import Row
from tinylm.report.meanings import MEANINGS
from tinylm.report.numbers import is_number, label, number


def checkpoints(progress: list[dict[str, Any]], val_rows: list[Row]) -> list[dict[str, Any]]:
    """Return for each prompt the first story of every checkpoint, by step, with the validation loss if known."""
    losses = {row["step"]: row["loss"] for row in val_rows}
    prompts = dict.fromkeys(story["prompt"] for story in progress)
    found = []
    for prompt in prompts:
        of_prompt = sorted((story for story in progress if story["prompt"] == prompt), key=itemgetter("step"))
        firsts = [next(stories) for _, stories in groupby(of_prompt, key=itemgetter("step"))]
        stories = [
            {"step": story["step"], "text": story["text"], "ended": story["ended"], "loss": losses.get(story["step"])}
            for story in firsts
        ]
        found.append({"prompt": prompt, "stories": stories})
    return found


def metrics_table(metrics: dict[str, Any]) -> str:
    """Return an HTML table of every metric of the stories, next to its value for human stories if there is one."""
    human = metrics.get("human") or {}
    shown = [key for key, value in metrics.items() if is_number(value) or key in human]
    columns = ["metric", "model", *(["human"] if human else [])]
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(label(key))}{_meaning(key)}</th><td>{number(metrics[key])}</td>'
        + (f"<td>{number(human.get(key))}</td>" if human else "")
        + "</tr>"
        for key in shown
    )
    return f'<div class="wide"><table class="figures"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _meaning(key: str) -> str:
    return f'<span class="meaning">{escape(MEANINGS[key])}</span>' if key in MEANINGS else ""
