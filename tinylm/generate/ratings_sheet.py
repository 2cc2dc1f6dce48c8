"""A sheet of stories for blind human ratings."""

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path

from tinylm.base import atomic

CRITERIA = ("grammar", "coherence", "fun")
FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@＝＋－＠]")  # start of a cell that a spreadsheet may evaluate as a formula
BYTE_ORDER_MARK = "\ufeff"  # tells spreadsheets that the file is UTF-8


def write_sheet(folder: Path, sources: Mapping[str, Sequence[str]]) -> None:
    """Write the stories of all sources to `ratings.csv`, and the source of each to `ratings_key.json`.

    The id of a story is a hash of its text: sorting by it hides the sources, and a sheet filled in for other stories
    is recognized.
    """
    key = {_id(text): source for source, texts in sources.items() for text in texts}
    texts = {_id(text): text for texts in sources.values() for text in texts}
    sheet = StringIO(newline="")
    writer = csv.writer(sheet)
    writer.writerow(["id", *CRITERIA, "story"])
    for id_ in sorted(key):
        writer.writerow([id_, *[""] * len(CRITERIA), _guarded(texts[id_])])
    atomic.write_text(folder / "ratings.csv", BYTE_ORDER_MARK + sheet.getvalue())
    atomic.write_json(folder / "ratings_key.json", dict(sorted(key.items())))


def _id(text: str) -> str:
    """Hash the text. The id starts with a letter, or spreadsheets would reformat ids such as 12e5 as numbers."""
    return "s" + hashlib.sha256(text.encode()).hexdigest()[:10]


def _guarded(text: str) -> str:
    """Escape text that a spreadsheet would evaluate as a formula; a model may generate any text."""
    return f"'{text}" if FORMULA.match(text) else text
