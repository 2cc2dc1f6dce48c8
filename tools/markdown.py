"""Markdown as the generated pages need it."""

from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return [_row(head), _row(["---"] * len(head)), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def generated(source: str, lines: Sequence[str]) -> str:
    """Return the text of a page that is generated from `source`."""
    return "\n".join([f"<!-- tools/reference.py writes this page (make docs) from {source}. -->", "", *lines, ""])
