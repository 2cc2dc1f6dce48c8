"""What a run writes down as it goes: CSV rows, flushed one by one.

What depends on the clock stands in a file of its own (`speed.csv`), so that the other files of two
equal runs are equal to the byte.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

COLUMNS = {
    "train": ("step", "tokens", "loss", "bits_per_byte", "learning_rate", "grad_norm"),
    "val": ("step", "tokens", "loss", "bits_per_byte"),
    "speed": ("step", "tokens_per_second", "memory_mb"),
}


class Tracker(Protocol):
    """Another place that rows go to."""

    def write(self, name: str, row: Mapping[str, float]) -> None:
        """Add a row, which has a step."""

    def close(self) -> None:
        """Write what is pending."""


class RunLog:
    """`train.csv`, `val.csv` and `speed.csv` in a folder; `rows[name]` holds what was written.

    Without a folder the rows are kept in memory alone, as the processes do that do not lead.
    """

    def __init__(self, folder: Path | None, trackers: Sequence[Tracker] = ()):
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in COLUMNS}
        self._trackers = trackers
        self._files: dict[str, IO[str]] = {}
        self._writers: dict[str, csv.DictWriter[str]] = {}
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for name, columns in COLUMNS.items():
            file = open(folder / f"{name}.csv", "w", encoding="utf-8", newline="")  # noqa: SIM115 - closed in close()
            self._files[name] = file
            self._writers[name] = csv.DictWriter(file, columns, lineterminator="\n")
            self._writers[name].writeheader()

    def write(self, name: str, **row: float) -> None:
        """Add a row; figures have seven significant digits, which is what float32 holds."""
        self._write_file(name, row)
        for tracker in self._trackers:
            tracker.write(name, row)

    def restore(self, rows: Mapping[str, Sequence[dict[str, Any]]]) -> None:
        """Write again what was written up to a state; trackers keep their own."""
        for name, earlier in rows.items():
            for row in earlier:
                self._write_file(name, row)

    def _write_file(self, name: str, row: dict[str, Any]) -> None:
        self.rows[name].append(row)
        if self._files:
            self._writers[name].writerow(
                {key: f"{value:.7g}" if isinstance(value, float) else value for key, value in row.items()}
            )
            self._files[name].flush()

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        for tracker in self._trackers:
            tracker.close()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
