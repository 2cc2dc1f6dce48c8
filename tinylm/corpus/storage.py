"""Corpus files: Parquet with one string column and one story per row, streamed a few thousand stories at a time.

A split of the corpus is one file, `train.parquet`, or shards, `train-00000-of-00012.parquet` and so on, which are read
as one. Both are named by the path of the one file.
"""

import contextlib
import os
import re
from array import array
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import IO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tinylm.base.atomic import replacing
from tinylm.base.errors import UserError, quote
from tinylm.base.reading import check_file
from tinylm.base.shards import shard_name

COLUMN = "text"
SCHEMA = pa.schema([(COLUMN, pa.string())])
STORIES_PER_ROW_GROUP = 4096
BYTES_PER_ROW_GROUP = 64 << 20  # also ends a row group, in case the stories are whole books
STORIES_PER_READ = 1024
COLUMNS_SHOWN = 5  # in the message for a file that lacks the expected one
REMEDY = "run `dvc repro download` to write it again"
BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)  # what pyarrow raises for a damaged file


class StoryWriter:
    """Writes stories in row groups; counts the stories and their UTF-8 bytes."""

    def __init__(self, parquet: pq.ParquetWriter):
        self._parquet = parquet
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self.stories = 0
        self.bytes = 0

    def write(self, story: bytes) -> None:
        """Add a story, encoded as UTF-8."""
        self._pending.append(story)
        self._pending_bytes += len(story)
        self.stories += 1
        self.bytes += len(story)
        if len(self._pending) == STORIES_PER_ROW_GROUP or self._pending_bytes >= BYTES_PER_ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write the pending stories as a row group.

        The array is built from buffers: `pyarrow.array` would import pandas and encode the text again.
        """
        if not self._pending:
            return
        offsets = array("i", accumulate(map(len, self._pending), initial=0))
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(self._pending))]
        texts = pa.Array.from_buffers(SCHEMA.field(COLUMN).type, len(self._pending), buffers)
        self._parquet.write_batch(pa.RecordBatch.from_arrays([texts], schema=SCHEMA))
        self._pending.clear()
        self._pending_bytes = 0


@contextlib.contextmanager
def writing_stories(path: Path) -> Iterator[StoryWriter]:
    """Yield a writer for `path`. The file appears if the block succeeds; equal stories give equal bytes."""
    with (
        replacing(path) as temporary,
        open(temporary, "wb") as file,  # not pyarrow's own file object: on a full disk this raises OSError with errno
        pq.ParquetWriter(file, SCHEMA, compression="zstd", use_dictionary=False, write_statistics=False) as parquet,
    ):
        writer = StoryWriter(parquet)
        yield writer
        writer.flush()


def place_split(corpus: Path, files: Sequence[Path]) -> None:
    """Move files to where `shards` finds them, in this order, and remove those of an earlier run."""
    names = [shard_name(corpus.stem, index, len(files)) for index in range(len(files))]
    placed = [corpus.with_name(name + corpus.suffix) for name in names] if len(files) > 1 else [corpus]
    for file, path in zip(files, placed, strict=True):
        os.replace(file, path)
    remove_others(corpus, placed)


def remove_others(corpus: Path, kept: Collection[Path]) -> None:
    """Remove the files of a split that are not among `kept`."""
    for path in [corpus, *(corpus.with_name(name) for name in _numbered(corpus))]:
        if path not in kept:
            path.unlink(missing_ok=True)


class RowGroup(NamedTuple):
    """A part of a corpus file, a few thousand stories."""

    path: Path
    number: int  # in the file
    stories: int


def shards(corpus: Path) -> list[Path]:
    """Return the files of a split in their order, without a look inside. Raises UserError if a shard is missing."""
    found = {} if corpus.exists() else _numbered(corpus)
    if not found:
        return [corpus]
    count = max(found.values())
    files = [corpus.with_name(shard_name(corpus.stem, index, count) + corpus.suffix) for index in range(count)]
    if missing := [file.name for file in files if file.name not in found]:
        raise UserError(f"{corpus.parent}: expected {count} shards of {corpus.stem}, {missing[0]} is missing; {REMEDY}")
    return files


def _numbered(corpus: Path) -> dict[str, int]:
    """Return the names of the shards of a split that are there, each with the number of shards that it tells of."""
    name = re.compile(rf"{re.escape(corpus.stem)}-\d{{5,}}-of-(\d{{5,}}){re.escape(corpus.suffix)}")
    matches = (name.fullmatch(path.name) for path in corpus.parent.glob(f"{corpus.stem}-*"))
    return {match[0]: int(match[1]) for match in matches if match}


def read_stories(corpus: Path) -> Iterator[str]:
    """Yield the stories of a split in order. Raises UserError if a file is missing, empty or damaged."""
    for path in shards(corpus):
        count = 0
        with _explaining(path):
            for story in read_column(path, COLUMN, str(path), REMEDY):
                count += 1
                yield story or ""
        if not count:
            raise UserError(f"{path}: holds no stories; {REMEDY}")


def row_groups(corpus: Path) -> list[RowGroup]:
    """Return the row groups of a split in order. Raises UserError as `read_stories` does."""
    return [group for path in shards(corpus) for group in _row_groups_of(path)]


def _row_groups_of(path: Path) -> list[RowGroup]:
    with _explaining(path), pq.ParquetFile(path) as file:
        metadata = file.metadata
        if not metadata.num_rows:
            raise UserError(f"{path}: holds no stories; {REMEDY}")
        rows = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    return [RowGroup(path, number, stories) for number, stories in enumerate(rows)]


def read_row_group(group: RowGroup) -> list[bytes]:
    """Return the stories of a row group as UTF-8, which is not validated. Raises UserError as `read_stories` does."""
    with _explaining(group.path), pq.ParquetFile(group.path, pre_buffer=False) as file:
        _check_column(file.schema_arrow, COLUMN, str(group.path), REMEDY)
        texts = file.read_row_group(group.number, columns=[COLUMN], use_threads=False).column(0)
        return [story or b"" for story in texts.cast(pa.binary()).to_pylist()]


def not_utf8(path: str | Path, error: UnicodeDecodeError) -> UserError:
    """Return the error for a story that `read_row_group` returned and that is not UTF-8."""
    return UserError(f"{path}: expected UTF-8, but {error}; run `dvc repro -f download`")


@contextlib.contextmanager
def _explaining(path: str | Path) -> Iterator[None]:
    """Turn errors of reading the corpus file at `path` into UserError."""
    check_file(path, REMEDY)  # pyarrow would block on a pipe forever, and ignore signals
    try:
        yield
    except BROKEN as error:
        raise UserError(f"{path}: expected a Parquet file, but {one_line(error)}; {REMEDY}") from error


def read_column(source: str | Path | IO[bytes], column: str, name: str, remedy: str) -> Iterator[str | None]:
    """Yield the rows of a text column; `name` and `remedy` are used in messages.

    Reads in the caller's thread, page by page, so that memory stays bounded even if the whole file is one row group.
    Raises UserError for a column that is missing or not text. Errors in `BROKEN`, and those of reading `source`, are
    left to the caller.
    """
    with pq.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20) as file:
        _check_column(file.schema_arrow, column, name, remedy)
        for batch in file.iter_batches(STORIES_PER_READ, columns=[column], use_threads=False):
            yield from batch.column(0).to_pylist()


def _check_column(schema: pa.Schema, column: str, name: str, remedy: str) -> None:
    if column not in schema.names:
        found = ", ".join(map(quote, schema.names[:COLUMNS_SHOWN])) or "none"
        raise UserError(f"{name}: expected a column {column!r}, found {found}; {remedy}")
    if (count := schema.names.count(column)) > 1:
        raise UserError(f"{name}: expected one column {column!r}, found {count} of that name; rename them")
    kind = schema.field(column).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise UserError(f"{name}: expected text in column {column!r}, found {schema.field(column).type}; {remedy}")


def one_line(error: BaseException) -> str:
    """Return the first line of another library's error message, to quote in one of ours."""
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
