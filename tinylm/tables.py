"""Tables on the disk, as CSV."""

import csv
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from tinylm import atomic


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A table with the columns of its first row; numbers with seven digits, None as nothing."""
    rows = [{name: f"{x:.7g}" if isinstance(x, float) else x for name, x in row.items()} for row in rows]
    text = StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic.write_text(path, text.getvalue())
