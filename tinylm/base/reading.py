"""Read text, JSON and CSV from files we may not have written; any problem is reported in one line."""

import csv
import json
import os
import stat
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from tinylm.base.errors import UserError, quote, quote_path
from tinylm.base.mistakes import describe

LARGEST_FILE = 1 << 30  # bytes; our own files are far smaller
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
T = TypeVar("T")


def check_file(path: str | os.PathLike[str], remedy: str) -> int:
    """Return the size of the file at `path` in bytes. Raises UserError if it is missing or not a regular file.

    Call this before opening a file: opening a pipe may block forever. Raises OSError if the path may not be accessed.
    """
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{quote_path(path)}: not found; {remedy}") from None
    except ValueError:  # a path with a NUL
        raise UserError(f"{quote_path(path)}: expected the path of a file; {remedy}") from None
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise UserError(f"{quote_path(path)}: expected a file, got {kind}; {remedy}")
    return found.st_size


def read_text(path: str | os.PathLike[str], remedy: str, largest: int = LARGEST_FILE, encoding: str = "utf-8") -> str:
    """Return the text of a file. Raises UserError if it is missing, larger than `largest` bytes, or not UTF-8."""
    size = check_file(path, remedy)
    if size > largest:
        raise UserError(f"{quote_path(path)}: expected at most {largest:,} bytes, got {size:,}; {remedy}")
    try:
        return Path(path).read_text(encoding=encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{quote_path(path)}: not UTF-8 at byte {error.start}; {remedy}") from None


def read_object(path: str | os.PathLike[str], remedy: str) -> dict[str, Any]:
    """Return the JSON object in a file. Raises UserError if the file is missing or holds anything else."""
    found = parse_json(read_text(path, remedy), quote_path(path), remedy)
    if not isinstance(found, dict):
        raise UserError(f"{quote_path(path)}: expected a JSON object, got {type(found).__name__}; {remedy}")
    return found


def read_as(kind: type[T], path: str | os.PathLike[str], remedy: str) -> T:
    """Return the JSON in a file as a `kind`, such as a dataclass or dict[str, str]. Raises UserError on a mismatch."""
    return parse_as(kind, read_text(path, remedy), quote_path(path), remedy)


def parse_as(kind: type[T], text: str, name: str, remedy: str) -> T:
    """Parse JSON as a `kind`; `name` is used in messages. Raises UserError if it does not fit."""
    try:
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        mistake = error.errors()[0]
        if mistake["type"] == "json_invalid":
            reason = mistake["ctx"]["error"]
            raise UserError(f"{name}: not valid JSON ({reason}); {remedy}") from None
        where = f"{quote_path('.'.join(map(str, mistake['loc'])))}: " if mistake["loc"] else ""
        raise UserError(f"{name}: {where}{describe(mistake)}; {remedy}") from None


def parse_json(text: str, name: str, remedy: str) -> Any:
    """Parse JSON; `name` is used in messages. Raises UserError if it is not valid."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name}: not valid JSON ({error}); {remedy}") from None


def parse_numbers(text: str, columns: Sequence[str], name: str, remedy: str) -> list[dict[str, float]]:
    """Parse CSV; return `columns` of each row as floats. Raises UserError for a missing column or other values."""
    rows = []
    try:
        for number, row in enumerate(csv.DictReader(StringIO(text)), start=2):
            if missing := [column for column in columns if column not in row]:
                raise UserError(f"{name}: expected a column {missing[0]}, found none; {remedy}")
            try:
                rows.append({column: float(row[column]) for column in columns})
            except (TypeError, ValueError):
                found = quote([row[column] for column in columns])
                raise UserError(f"{name}: row {number}: expected numbers, got {found}; {remedy}") from None
    except csv.Error as error:
        raise UserError(f"{name}: not valid CSV ({error}); {remedy}") from None
    return rows
