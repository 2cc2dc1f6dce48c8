"""What people's ratings come to: filled-in sheets to means with intervals."""

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

BEST = 5.0  # 0 is the worst mark


@dataclass(frozen=True)
class Mean:
    mean: float
    interval: Interval
    stories: int
    marks: int


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
