"""Arrays that grow at the end in amortised constant time, and ragged rows kept in one of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Column:
    """A growing array. ``view`` is the filled part: valid until the next ``extend``."""

    __slots__ = ("_data", "size")

    def __init__(self, dtype: DTypeLike, width: int | None = None) -> None:
        self._data: NDArray[Any] = np.empty(0 if width is None else (0, width), dtype)
        self.size = 0

    @property
    def view(self) -> NDArray[Any]:
        return self._data[: self.size]

    @property
    def nbytes(self) -> int:
        return self._data.nbytes

    def fill(self, values: NDArray[Any]) -> None:
        """Take over an array as the whole content."""
        self._data, self.size = values, len(values)

    def extend(self, values: NDArray[Any]) -> None:
        end = self.size + len(values)
        if end > len(self._data):
            # Growing by a quarter keeps the spare memory of a large scope small.
            room = max(end, len(self._data) + len(self._data) // 4, 64)
            grown = np.empty((room, *self._data.shape[1:]), self._data.dtype)
            grown[: self.size] = self.view
            self._data = grown
        self._data[self.size : end] = values
        self.size = end


def distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the first occurrence of each value, by value. For the few hundred values of a
    search this takes a tenth of the time of ``numpy.unique``."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    fresh = np.ones(len(values), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=fresh[1:])
    return order[fresh]


class Ragged:
    """Rows of varying length in flat columns. A row may be rewritten: its new values go to the
    end and the old ones stay behind, unreferenced, until the index is rebuilt."""

    def __init__(self, *values: Column) -> None:
        self.values = values
        self.start = Column(np.int64)
        self.count = Column(np.int32)

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for column in (*self.values, self.start, self.count))

    def append(self, counts: NDArray[np.integer[Any]], *values: NDArray[Any]) -> None:
        """Add rows of these lengths, whose values lie one after the other."""
        self.start.extend(self.values[0].size + np.cumsum(counts) - counts)
        self.count.extend(counts)
        for column, new in zip(self.values, values, strict=True):
            column.extend(new)

    def rewrite(self, row: int, *values: NDArray[Any]) -> None:
        self.start.view[row] = self.values[0].size
        self.count.view[row] = len(values[0])
        for column, new in zip(self.values, values, strict=True):
            column.extend(new)

    def slice(self, row: int) -> slice:
        start = int(self.start.view[row])
        return slice(start, start + int(self.count.view[row]))

    def gather(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(flat indices of the rows' values, for each the position in ``rows`` it belongs to)."""
        counts, start = self.count.view[rows], self.start.view[rows]
        owner = np.arange(len(rows))
        if (counts == 1).all():
            return start, owner
        before = np.cumsum(counts) - counts
        owner = np.repeat(owner, counts)
        return np.arange(len(owner)) + np.repeat(start - before, counts), owner


class LazyRows(Sequence[tuple[int, ...]]):
    """Tuples that are made when asked for: few of many candidates become hits."""

    @abstractmethod
    def made(self, row: int) -> tuple[int, ...]:
        """The tuple at ``row``, which counts from 0."""

    @overload
    def __getitem__(self, row: int) -> tuple[int, ...]: ...
    @overload
    def __getitem__(self, row: slice) -> list[tuple[int, ...]]: ...
    def __getitem__(self, row: int | slice) -> tuple[int, ...] | list[tuple[int, ...]]:
        rows = range(len(self))[row]
        return self.made(rows) if isinstance(rows, int) else [self.made(one) for one in rows]
