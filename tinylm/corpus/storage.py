"""Corpus files: Parquet with one string column and one story per row, streamed a few thousand stories at a time."""

import contextlib
from array import array
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from tinylm.base.atomic import replacing
from tinylm.base.errors import UserError, quote
from tinylm.base.reading import check_file

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


def read_stories(path: str | Path) -> Iterator[str]:
    """Yield the stories of a corpus file in order. Raises UserError if it is missing, empty or damaged."""
    count = 0
    with _explaining(path):
        for story in read_column(path, COLUMN, str(path), REMEDY):
            count += 1
            yield story or ""
    if not count:
        raise UserError(f"{path}: holds no stories; {REMEDY}")


def count_row_groups(path: str | Path) -> int:
    """Return the number of row groups of a corpus file. Raises UserError as `read_stories` does."""
    with _explaining(path), pq.ParquetFile(path) as file:
        if not file.metadata.num_rows:
            raise UserError(f"{path}: holds no stories; {REMEDY}")
        return int(file.num_row_groups)


def read_row_group(path: str | Path, index: int) -> list[bytes]:
    """Return the stories of one row group as UTF-8, which is not validated. Raises UserError as `read_stories` does."""
    with _explaining(path), pq.ParquetFile(path, pre_buffer=False) as file:
        _check_column(file.schema_arrow, COLUMN, str(path), REMEDY)
        texts = file.read_row_group(index, columns=[COLUMN], use_threads=False).column(0)
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
