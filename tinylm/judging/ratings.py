"""Marks by people who do not know who wrote what: a sheet to fill in, and what the marks come to."""

import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from tinylm import atomic
from tinylm.bootstrap import Interval, ratio_interval
from tinylm.errors import UserError
from tinylm.reading import read_as, read_text

CRITERIA = ("grammar", "coherence", "fun")
BEST = 5.0  # 0 is the worst mark
FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@＝＋－＠]")  # how a cell begins that a spreadsheet may compute
BYTE_ORDER_MARK = "\ufeff"  # by which spreadsheets know UTF-8


@dataclass(frozen=True)
class Mean:
    mean: float
    interval: Interval
    stories: int
    marks: int


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


def read_sheets(sheets: Sequence[Path], key_file: Path) -> dict[str, dict[str, Mean]]:
    """By source and criterion, the means of one or more filled sheets. A field left empty is no mark.

    Raises UserError for a file that is no such sheet, a story of another run, or a mark that is none.
    """
    key = read_as(dict[str, str], key_file, "the generate stage writes it; or name it with --key")
    marks: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for sheet in sheets:
        for line, row in _rows(sheet):
            if row["id"] not in key:
                raise UserError(f"{sheet}, line {line}: story {row['id']!r} is of another run than {key_file}")
            for criterion in CRITERIA:
                if field := (row[criterion] or "").strip():
                    marks[key[row["id"]], criterion][row["id"]].append(_mark(field, sheet, line, criterion))
    if not marks:
        raise UserError(f"{', '.join(map(str, sheets))}: no marks; fill in {', '.join(CRITERIA)} from 0 to {BEST:g}")
    return {
        source: {c: _mean(marks[source, c]) for c in CRITERIA if (source, c) in marks}
        for source in dict.fromkeys(key.values())
    }


def _rows(sheet: Path) -> list[tuple[int, dict[str, Any]]]:
    text = read_text(sheet, "name a copy of ratings.csv, saved as CSV in UTF-8", encoding="utf-8-sig")
    first = text.split("\n", 1)[0]
    reader = csv.DictReader(StringIO(text, newline=""), delimiter=";" if first.count(";") > first.count(",") else ",")
    try:
        if missing := [name for name in ("id", *CRITERIA) if name not in (reader.fieldnames or ())]:
            raise UserError(f"{sheet}: expected the columns of ratings.csv, found no {', '.join(missing)}")
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UserError(f"{sheet}: not valid CSV ({error}); save it as CSV in UTF-8") from None


def _mark(field: str, sheet: Path, line: int, criterion: str) -> float:
    try:
        mark = float(field.replace(",", "."))
    except ValueError:
        mark = -1.0
    if not 0 <= mark <= BEST:
        raise UserError(f"{sheet}, line {line}: {criterion}: expected a number from 0 to {BEST:g}, got {field!r}")
    return mark


def _mean(stories: Mapping[str, Sequence[float]]) -> Mean:
    """The interval is over stories: several people's marks of one story go together."""
    sums, counts = [sum(marks) for marks in stories.values()], [len(marks) for marks in stories.values()]
    return Mean(sum(sums) / sum(counts), ratio_interval(sums, counts), len(stories), sum(counts))
