"""The log of a run: CSV rows, written one by one. While the disk is full, rows are kept in memory.

Figures that depend on the clock have a file of their own (`speed.csv`), so that the other files of two equal runs are
equal to the byte.
"""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tinylm.base.errors import FULL_DISK, UserError, quote_path

COLUMNS = {
    "train": ("step", "tokens", "loss", "bits_per_byte", "learning_rate", "grad_norm"),
    "val": ("step", "tokens", "loss", "bits_per_byte"),
    "speed": ("step", "tokens_per_second", "memory_mb"),
}

log = logging.getLogger("tinylm")


class Tracker(Protocol):
    """Another destination for the rows."""

    def write(self, name: str, row: Mapping[str, float]) -> None:
        """Add a row, which has a `step`."""

    def close(self) -> None:
        """Write what is pending."""


class _CsvFile:
    """A CSV file that is written row by row. A row that the full disk refuses is written with a later one."""

    def __init__(self, path: Path, columns: Sequence[str]):
        self.path, self.columns = path, columns
        if path.exists() and not path.is_file():  # opening a pipe would block
            raise UserError(f"{quote_path(path)}: expected a file or nothing, got something else; move it away")
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115 - `close` closes it
        self._waiting = b""
        self._full = False
        self._add(columns)

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row; floats have seven significant digits, the precision of float32."""
        figures = (row[column] for column in self.columns)
        self._add([f"{figure:.7g}" if isinstance(figure, float) else figure for figure in figures])

    def _add(self, cells: Sequence[Any]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        self._waiting += line.getvalue().encode()
        self._flush()

    def _flush(self) -> None:
        try:
            while self._waiting:
                self._waiting = self._waiting[self._file.write(self._waiting) :]
        except OSError as error:
            if error.errno not in FULL_DISK:
                raise OSError(error.errno, error.strerror, str(self.path)) from None
            if not self._full:
                log.warning("warning: %s: no space left on the disk; rows are kept in memory until there is", self.path)
            self._full = True
            return
        if self._full:
            log.info("%s: there is space again, and all rows are written", self.path)
        self._full = False

    def close(self) -> bool:
        """Write pending rows and close the file. Returns False if there is no space for them."""
        try:
            self._flush()
        finally:
            self._file.close()
        return not self._waiting


class RunLog:
    """`train.csv`, `val.csv` and `speed.csv` in a folder; `rows[name]` holds the rows written so far.

    Without a folder rows are only kept in memory, as in all processes but the main one.
    """

    def __init__(self, folder: Path | None, trackers: Sequence[Tracker] = ()):
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in COLUMNS}
        self._trackers = trackers
        self._files: dict[str, _CsvFile] = {}
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for name, columns in COLUMNS.items():
            self._files[name] = _CsvFile(folder / f"{name}.csv", columns)

    def write(self, name: str, **row: float | None) -> None:
        """Add a row to file `name`; None becomes an empty cell."""
        self._write_file(name, row)
        known = {key: value for key, value in row.items() if value is not None}
        for tracker in self._trackers:
            tracker.write(name, known)

    def restore(self, rows: Mapping[str, Sequence[dict[str, Any]]]) -> None:
        """Write the rows of a resume checkpoint again; trackers already have them."""
        for name, earlier in rows.items():
            for row in earlier:
                self._write_file(name, row)

    def _write_file(self, name: str, row: dict[str, Any]) -> None:
        self.rows[name].append(row)
        if self._files:
            self._files[name].write(row)

    def close(self) -> None:
        """Close files and trackers. Raises UserError if there is still no space for some rows."""
        unwritten = [file.path for file in self._files.values() if not file.close()]
        for tracker in self._trackers:
            tracker.close()
        if unwritten:
            raise UserError(
                f"{unwritten[0]}: no space left on the disk; free some, and the same command writes its rows"
            )

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.close()
        except UserError:
            if kind is None:  # else report what ended the run; its resume checkpoint has the rows
                raise
