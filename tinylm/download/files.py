"""The user's own text: .txt, .jsonl and .parquet files of any size, read in bounded memory."""

import itertools
import json
import os
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tinylm.base.atomic import sha256
from tinylm.base.errors import UserError, quote, quote_path
from tinylm.base.reading import check_file
from tinylm.base.stage import log
from tinylm.corpus.storage import BROKEN, one_line, read_column
from tinylm.download.plain_text import LONGEST_STORY, Separator, not_utf8, read_txt

ENDINGS = (".txt", ".jsonl", ".parquet")
KEYS_SHOWN = 5  # in the message for an object that lacks the expected one


@dataclass(frozen=True)
class TextFile:
    """A file of stories, with the name it has in messages and metrics."""

    name: str  # as given in the parameters
    path: Path


def find(paths: Sequence[str], root: Path, key: str) -> list[TextFile]:
    """Return the files at `paths`; a folder stands for all text files below it, sorted.

    Raises UserError, which names the parameter `key`, for a path without stories.
    """
    found: list[TextFile] = []
    for name in paths:
        path = root / _expand(name, key)
        if path.is_dir():
            found += _find_in_folder(name, path, key)
            continue
        size = check_file(path, f"fix {key}, whose paths are absolute or relative to the repository's root")
        if path.suffix.lower() not in ENDINGS:
            raise UserError(
                f"{key}: expected {', '.join(ENDINGS)} or a folder, got {quote_path(name)}; convert or rename it"
            )
        if not size:
            raise UserError(f"{key}: expected stories, but {quote_path(name)} is an empty file")
        found.append(TextFile(name, path))
    return found


def _expand(name: str, key: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise UserError(f"{key}: {quote_path(name)}: there is no such user; write the full path") from None


def _find_in_folder(name: str, folder: Path, key: str) -> list[TextFile]:
    """Return the non-empty text files below `folder`, sorted; log how many others there are."""
    every = sorted(path for path in _walk(folder) if path.is_file())
    texts = [path for path in every if path.suffix.lower() in ENDINGS and path.stat().st_size]
    shown = quote_path(name)
    if not texts:
        raise UserError(f"{key}: expected {', '.join(ENDINGS)} files in the folder {shown}, found none")
    if len(texts) < len(every):
        log.warning("warning: %s: skipped %d files that are empty or of another type", shown, len(every) - len(texts))
    for path in texts:
        if not _is_text(str(path)):
            raise UserError(f"{key}: expected file names in UTF-8, got {quote_path(path)}; rename it")
    return [TextFile(str(Path(name) / path.relative_to(folder)), path) for path in texts]


def _walk(folder: Path) -> Iterator[Path]:
    """Yield all files below `folder`. Raises OSError for an unreadable folder, which rglob() would skip silently."""

    def refuse(error: OSError) -> NoReturn:
        raise error

    for parent, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(parent, name) for name in names)


def _is_text(name: str) -> bool:
    """Return whether a file name is valid UTF-8, as required by metrics/download.json, which records it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def describe(files: Sequence[TextFile]) -> list[dict[str, Any]]:
    """Return path, size and SHA-256 of each file, for the metrics."""
    return [{"path": f.name, "bytes": f.path.stat().st_size, "sha256": sha256(f.path)} for f in files]


def read(files: Sequence[TextFile], separator: Separator, field: str) -> Iterator[str]:
    """Yield the uncleaned stories of all files in order. Raises UserError for a file that cannot be read."""
    for file in files:
        count = 0
        try:
            for story in _read_one(file, separator, field):
                count += 1
                yield story
        except OSError as error:
            raise UserError(f"{file.name}: cannot be read: {one_line(error)}") from error
        if not count:
            raise UserError(f"{file.name}: expected stories, found none; remove it from the paths")


def _read_one(file: TextFile, separator: Separator, field: str) -> Iterator[str]:
    """Return the reader for the type of `file`."""
    match file.path.suffix.lower():
        case ".txt":
            return read_txt(file.path, file.name, separator)
        case ".jsonl":
            return _read_jsonl(file, field)
        case _:
            return _read_parquet(file, field)


def _read_parquet(file: TextFile, field: str) -> Iterator[str]:
    """Yield the stories in column `field`; a null is an empty story."""
    try:
        for story in read_column(file.path, field, file.name, "set download.text_field"):
            if story and len(story) > LONGEST_STORY:
                raise UserError(
                    f"{file.name}: expected stories of at most {LONGEST_STORY >> 20} MB, found one of "
                    f"{len(story) >> 20} MB; split it into stories"
                )
            yield story or ""
    except BROKEN as error:
        raise UserError(f"{file.name}: expected a Parquet file of UTF-8 text, but {one_line(error)}") from error


def _read_jsonl(file: TextFile, field: str) -> Iterator[str]:
    """Yield the stories under the key `field`; blank lines are skipped."""
    with open(file.path, "rb") as source:
        if source.read(len(BOM_UTF8)) != BOM_UTF8:
            source.seek(0)
        for number in itertools.count(1):
            offset = source.tell()
            line = source.readline(LONGEST_STORY)
            if not line:
                return
            if len(line) == LONGEST_STORY:
                raise UserError(
                    f"{file.name}: line {number}: expected one JSON object per line, found more than "
                    f"{LONGEST_STORY >> 20} MB; write each story on its own line"
                )
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                raise not_utf8(source, file.name, offset + error.start, line[error.start]) from None
            if text.strip():
                yield _story(text, field, f"{file.name}: line {number}")


def _story(line: str, field: str, where: str) -> str:
    """Return the story in a line of JSON; null is an empty story."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{where}: expected a JSON object such as {{{json.dumps(field)}: ...}}, but {one_line(error)}"
        ) from None
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected a JSON object with the key {field!r}, found {type(value).__name__}")
    if field not in value:
        keys = ", ".join(map(quote, list(value)[:KEYS_SHOWN])) or "none"
        raise UserError(f"{where}: expected the key {field!r}, found {keys}; set download.text_field")
    story = value[field]
    if not isinstance(story, str | None):
        raise UserError(f"{where}: expected text under {field!r}, found {type(story).__name__}")
    try:
        (story or "").encode()
    except UnicodeEncodeError as error:  # JSON can escape a lone surrogate, which UTF-8 cannot encode
        raise UserError(f"{where}: expected Unicode text under {field!r}, but {error.reason}") from None
    return story or ""
