"""A sheet of stories to rate without knowing who wrote them."""

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path

from tinylm.base import atomic

CRITERIA = ("grammar", "coherence", "fun")
FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@＝＋－＠]")  # how a cell begins that a spreadsheet may compute
BYTE_ORDER_MARK = "\ufeff"  # by which spreadsheets know UTF-8


def write_sheet(folder: Path, sources: Mapping[str, Sequence[str]]) -> None:
    """`ratings.csv` with the stories of all sources in an order that tells nothing, and `ratings_key.json` apart.

    A story's id comes of its text, so that a sheet that was filled in for other stories is known.
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
    """A letter first: a spreadsheet takes digits alone, or with an e among them, for a number and writes another."""
    return "s" + hashlib.sha256(text.encode()).hexdigest()[:10]


def _guarded(text: str) -> str:
    """`text` as no formula to a spreadsheet: what a model wrote is not to be computed where the sheet is opened."""
    return f"'{text}" if FORMULA.match(text) else text
