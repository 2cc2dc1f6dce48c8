"""What works on items: `open_workers` returns what `runtime` asks for."""

from collections.abc import Callable, Generator, Sequence
from typing import Protocol, TypeVar

from tinylm.base.cores import usable_cores
from tinylm.base.runtime import RuntimeParams
from tinylm.workers.processes import LocalWorkers

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers(Protocol):
    """Processes that work on items; the results depend on the items alone."""

    def map(
        self, make_work: Callable[[], Callable[[Item], Result]], items: Sequence[Item], most: int | None = None
    ) -> Generator[Result, None, None]:
        """Yield the result of work on each item, in order, from at most `most` processes.

        `make_work` is called once in every process and returns the function of an item; both are pickled, with all that
        they hold. Raises UserError for workers that died, and what the work raises.
        """


def open_workers(params: RuntimeParams) -> Workers:
    """Return the workers that `params` specify. Raises UserError if there is no Ray cluster to work on."""
    if params.engine == "processes":
        return LocalWorkers(params.workers or usable_cores())
    from tinylm.workers.ray import RayWorkers

    return RayWorkers(params.workers)
