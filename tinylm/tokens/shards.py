"""An array in several files, the shards, which is read as one."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.unsignedinteger)


class ShardedArray:
    """A one-dimensional array of unsigned integers in shards, each of which is opened when it is first read.

    Like an array of numpy, it takes integers, arrays of integers, and slices without a step: a slice is a view that
    reads nothing, and `np.asarray` reads all of it.
    """

    def __init__(
        self,
        dtype: np.dtype,
        lengths: Sequence[int],
        open_shard: Callable[[int], NDArray[Any]],
        added: Sequence[int] | None = None,
    ):
        """`open_shard(index)` returns at least `lengths[index]` numbers; `added[index]` is added to each of them."""
        self.dtype = dtype
        self._open, self._added = open_shard, None if added is None else np.array(added, dtype)
        self._starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])  # of the shards, then the total
        self._opened: dict[int, NDArray[Any]] = {}
        self._first, self._length = 0, int(self._starts[-1])  # of this view

    def __len__(self) -> int:
        return self._length

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self._length * self.itemsize

    @overload
    def __getitem__(self, index: slice) -> "ShardedArray": ...

    @overload
    def __getitem__(self, index: int | np.integer) -> np.unsignedinteger: ...

    @overload
    def __getitem__(self, index: NDArray[np.integer]) -> NDArray[np.unsignedinteger]: ...

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._view(index)
        places = np.asarray(index).astype(np.int64)
        places = np.where(places < 0, places + self._length, places)
        if places.size and not 0 <= places.min() <= places.max() < self._length:
            raise IndexError(f"expected indices of an array of {self._length} numbers, got {index}")
        return self._gather(places.ravel() + self._first).reshape(places.shape)[()]

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> NDArray[Any]:
        parts, place, end = [np.zeros(0, self.dtype)], self._first, self._first + self._length
        while place < end:
            shard = int(np.searchsorted(self._starts, place, side="right")) - 1
            until = min(end, int(self._starts[shard + 1]))
            parts.append(self._read(shard, slice(place - int(self._starts[shard]), until - int(self._starts[shard]))))
            place = until
        return np.concatenate(parts).astype(dtype or self.dtype, copy=False)

    def _view(self, index: slice) -> "ShardedArray":
        first, stop, step = index.indices(self._length)
        if step != 1:
            raise IndexError(f"expected a slice without a step, got {index}")
        view = copy.copy(self)
        view._first, view._length = self._first + first, max(0, stop - first)
        return view

    def _gather(self, places: NDArray[np.int64]) -> NDArray[Any]:
        """Return the numbers at `places`, (places,). Neighbours in one shard are read at once."""
        shards = np.searchsorted(self._starts, places, side="right") - 1
        found = np.empty(len(places), self.dtype)
        borders = np.flatnonzero(np.diff(shards)) + 1
        for first, stop in zip([0, *borders.tolist()], [*borders.tolist(), len(places)], strict=True):
            if first < stop:
                shard = int(shards[first])
                found[first:stop] = self._read(shard, places[first:stop] - self._starts[shard])
        return found

    def _read(self, shard: int, index: Any) -> NDArray[Any]:
        if shard not in self._opened:
            self._opened[shard] = np.asarray(self._open(shard))
        numbers = self._opened[shard][index]
        return numbers if self._added is None else numbers + self._added[shard]


Ids = NDArray[np.unsignedinteger] | ShardedArray
Offsets = NDArray[np.uint64] | ShardedArray
