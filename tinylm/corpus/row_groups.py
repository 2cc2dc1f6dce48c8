"""Work on the row groups of a split, in order."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeVar

from tinylm.corpus.storage import RowGroup, row_groups
from tinylm.workers.workers import Workers

Result = TypeVar("Result")
ROW_GROUPS_PER_WORKER = 8  # at least; a second or two of work, while a process takes almost a second to start
MAX_WORKERS = 8  # the process that takes the results cannot keep up with more


def map_row_groups(
    corpus: Path, make_work: Callable[[], Callable[[RowGroup], Result]], workers: Workers
) -> Generator[Result, None, None]:
    """Yield the result of work on each row group of a split, in order; see `Workers.map`.

    Uses few processes if more would not be faster. Raises UserError for a damaged corpus too.
    """
    groups = row_groups(corpus)
    yield from workers.map(make_work, groups, most=min(MAX_WORKERS, len(groups) // ROW_GROUPS_PER_WORKER))
