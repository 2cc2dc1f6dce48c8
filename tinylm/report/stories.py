"""The stories of a page, as data for its scripts, and their figures as a table."""

from html import escape
from itertools import groupby
from operator import itemgetter
from typing import Any

from tinylm.report.inputs import Row
from tinylm.report.meanings import MEANINGS
from tinylm.report.numbers import is_number, label, number


def checkpoints(progress: list[dict[str, Any]], val_rows: list[Row]) -> list[dict[str, Any]]:
    """For each prompt its first story of every checkpoint, by step, with the validation loss there if it was taken."""
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


def figures_table(figures: dict[str, Any]) -> str:
    """Every figure of the stories, beside that of human stories where there is one."""
    human = figures.get("human") or {}
    shown = [key for key, value in figures.items() if is_number(value) or key in human]
    columns = ["", "model", *(["human"] if human else [])]
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(label(key))}{_meaning(key)}</th><td>{number(figures[key])}</td>'
        + (f"<td>{number(human.get(key))}</td>" if human else "")
        + "</tr>"
        for key in shown
    )
    return f'<div class="wide"><table class="figures"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _meaning(key: str) -> str:
    return f'<span class="meaning">{escape(MEANINGS[key])}</span>' if key in MEANINGS else ""
