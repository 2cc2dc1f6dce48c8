"""The corpus on disk: Parquet with one string column, one row a story, a few thousand stories in memory at once."""

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
BYTES_PER_ROW_GROUP = 64 << 20  # for stories that are books
STORIES_PER_READ = 1024
COLUMNS_SHOWN = 5  # of a file that lacks the right one
REMEDY = "run `dvc repro download` to write it anew"
BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)  # what pyarrow raises for a file that is damaged


class StoryWriter:
    """Collects stories to row groups; counts stories and their bytes in UTF-8."""

    def __init__(self, parquet: pq.ParquetWriter):
        self._parquet = parquet
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self.stories = 0
        self.bytes = 0

    def write(self, story: bytes) -> None:
        """Add a story in UTF-8."""
        self._pending.append(story)
        self._pending_bytes += len(story)
        self.stories += 1
        self.bytes += len(story)
        if len(self._pending) == STORIES_PER_ROW_GROUP or self._pending_bytes >= BYTES_PER_ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write what is pending. Made of buffers, since `pyarrow.array` imports pandas and encodes again."""
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
    """A writer for `path`, which appears when the block ends well, and is the same bytes for the same stories."""
    with (
        replacing(path) as temporary,
        open(temporary, "wb") as file,  # not pyarrow's own file: a full disk is then an OSError with its errno
        pq.ParquetWriter(file, SCHEMA, compression="zstd", use_dictionary=False, write_statistics=False) as parquet,
    ):
        writer = StoryWriter(parquet)
        yield writer
        writer.flush()


def read_stories(path: str | Path) -> Iterator[str]:
    """Yield the stories of a corpus file in order. Raises UserError when it is missing, empty or damaged."""
    count = 0
    with _explaining(path):
        for story in read_column(path, COLUMN, str(path), REMEDY):
            count += 1
            yield story or ""
    if not count:
        raise UserError(f"{path}: holds no story; {REMEDY}")


def count_row_groups(path: str | Path) -> int:
    """Row groups of a corpus file. Raises UserError as `read_stories` does."""
    with _explaining(path), pq.ParquetFile(path) as file:
        if not file.metadata.num_rows:
            raise UserError(f"{path}: holds no story; {REMEDY}")
        return int(file.num_row_groups)


def read_row_group(path: str | Path, index: int) -> list[bytes]:
    """The stories of one row group in UTF-8, not checked to be that. Raises UserError as `read_stories` does."""
    with _explaining(path), pq.ParquetFile(path, pre_buffer=False) as file:
        _check_column(file.schema_arrow, COLUMN, str(path), REMEDY)
        texts = file.read_row_group(index, columns=[COLUMN], use_threads=False).column(0)
        return [story or b"" for story in texts.cast(pa.binary()).to_pylist()]


@contextlib.contextmanager
def _explaining(path: str | Path) -> Iterator[None]:
    """Raise what goes wrong with the corpus file at `path` as UserError."""
    check_file(path, REMEDY)  # pyarrow would wait for a pipe for ever, and no signal ends that
    try:
        yield
    except BROKEN as error:
        raise UserError(f"{path}: expected a Parquet file, but {one_line(error)}; {REMEDY}") from error


def read_column(source: str | Path | IO[bytes], column: str, name: str, remedy: str) -> Iterator[str | None]:
    """Yield a text column, row by row; `name` and `remedy` are for messages.

    Reads in the caller's thread and page by page, so that memory stays bounded even where the
    whole file is one row group. Raises UserError for a column that is missing or not text, and
    leaves what is in `BROKEN`, and the errors of reading `source`, to the caller.
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
    """The first sentence of a library's message, for one of ours."""
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
