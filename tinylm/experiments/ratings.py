"""Aggregate human ratings: from filled-in sheets to means with intervals."""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from tinylm.base.errors import UserError
from tinylm.base.reading import read_as, read_text
from tinylm.generate.ratings_sheet import CRITERIA
from tinylm.scoring.bootstrap import Interval, ratio_interval

BEST = 5.0  # the highest mark; 0 is the lowest


@dataclass(frozen=True)
class Mean:
    """A mean mark with its 95% interval, and the numbers of stories and marks behind it."""

    mean: float
    interval: Interval
    stories: int
    marks: int


def read_sheets(sheets: Sequence[Path], key_file: Path) -> dict[str, dict[str, Mean]]:
    """Return the mean marks of one or more filled-in sheets, by source and criterion. Empty fields are skipped.

    Raises UserError for a file that is not a rating sheet, a story of another run, or an invalid mark.
    """
    key = read_as(dict[str, str], key_file, "run the generate stage, which writes it, or pass its path with --key")
    marks: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for sheet in sheets:
        for line, row in _rows(sheet):
            if row["id"] not in key:
                raise UserError(
                    f"{sheet}, line {line}: expected a story of {key_file}, got {row['id']!r} of another run; "
                    "pass its key with --key"
                )
            for criterion in CRITERIA:
                if field := (row[criterion] or "").strip():
                    marks[key[row["id"]], criterion][row["id"]].append(_mark(field, sheet, line, criterion))
    if not marks:
        raise UserError(f"{', '.join(map(str, sheets))}: no marks; fill in {', '.join(CRITERIA)} with 0 to {BEST:g}")
    return {
        source: {c: _mean(marks[source, c]) for c in CRITERIA if (source, c) in marks}
        for source in dict.fromkeys(key.values())
    }


def _rows(sheet: Path) -> list[tuple[int, dict[str, Any]]]:
    text = read_text(sheet, "pass a copy of ratings.csv, saved as CSV in UTF-8", encoding="utf-8-sig")
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
    """Compute the mean with an interval over stories: the marks that one story got are not independent."""
    sums, counts = [sum(marks) for marks in stories.values()], [len(marks) for marks in stories.values()]
    return Mean(sum(sums) / sum(counts), ratio_interval(sums, counts), len(stories), sum(counts))
