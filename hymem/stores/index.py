"""One scope in memory: columns of every item, its lexical and its dense index.

A row is an item, in the order of ids, for as long as the index lives. Removed, superseded and
duplicate items stay as hidden rows.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hymem.stores.base import Candidates
from hymem.stores.columns import Column, Ragged
from hymem.stores.dense import DenseIndex
from hymem.stores.lexical import LexicalIndex


@dataclass(frozen=True, slots=True)
class Item:
    """What the index knows about a turn or unit. ``keys`` is ``float32[keys, dim]``, ``terms`` the
    hashes of its terms with repeats; ``shown`` tells whether searches may find it."""

    id: int
    is_unit: bool
    session: int
    position: int
    event: int
    seconds: float
    tokens: int
    shown: bool
    terms: NDArray[np.uint32]
    keys: NDArray[np.float32]
    sources: tuple[int, ...]


class ScopeIndex:
    """Not thread-safe by itself: hold ``lock``."""

    def __init__(self, dim: int) -> None:
        self.lock = threading.Lock()
        self.version = -1
        self.last_change = 0
        self.last_event = 0
        self._id = Column(np.int64)
        self._is_unit = Column(np.bool_)
        self._shown = Column(np.bool_)
        self._session = Column(np.int64)
        self._position = Column(np.int64)
        self._event = Column(np.int64)
        self._seconds = Column(np.float64)
        self._tokens = Column(np.int64)
        self._sources = Ragged(Column(np.int64))
        self._row_at = Column(np.int64)  # row of the turn at a position, -1 if it is gone
        self._dense = DenseIndex(dim)
        self._lexical = LexicalIndex()
        self._turns = 0

    @property
    def last_item(self) -> int:
        return int(self._id.view[-1]) if self._id.size else 0

    def append(self, items: Sequence[Item]) -> None:
        """Add items whose ids are greater than every id so far, in order."""
        if not items:
            return
        first = self._id.size
        for name in ("id", "is_unit", "shown", "session", "position", "event", "seconds", "tokens"):
            column: Column = getattr(self, f"_{name}")
            column.extend(np.array([getattr(item, name) for item in items]))
        self._sources.append(
            np.array([len(item.sources) for item in items], np.int32),
            np.array([turn for item in items for turn in item.sources], np.int64),
        )
        self._dense.append(
            np.array([len(item.keys) for item in items], np.int32),
            np.concatenate([item.keys for item in items]),
        )
        for row, item in enumerate(items, first):
            self._lexical.append(item.terms)
            if not item.shown:
                self._lexical.hide(row)
            if not item.is_unit:
                self._place(item.position, row)
                self._turns += 1

    def refresh(self, item_id: int, item: Item | None) -> None:
        """Take over an item's new state; ``None`` means that it was removed."""
        row = self._row(item_id)
        if row is None:
            return
        shown = item is not None and item.shown
        if bool(self._shown.view[row]) != shown:
            (self._lexical.show if shown else self._lexical.hide)(row)
            self._shown.view[row] = shown
        if item is None:
            self._drop_position(row)
            return
        for name in ("event", "seconds", "tokens"):
            getattr(self, f"_{name}").view[row] = getattr(item, name)
        self._dense.rewrite(row, item.keys)
        if shown:
            self._lexical.rewrite(row, item.terms)

    def set_events(self, pairs: Sequence[tuple[int, int]]) -> None:
        """(turn id, the event it now belongs to)."""
        for turn, event in pairs:
            row = self._row(turn)
            if row is not None:
                self._event.view[row] = event

    def turns_around(self, position: int, radius: int) -> NDArray[np.int64]:
        """Ids of the turns within ``radius`` of this position and in its session."""
        if not 0 <= position < self._row_at.size or self._row_at.view[position] < 0:
            return np.zeros(0, np.int64)
        rows = self._row_at.view[max(position - radius, 0) : position + radius + 1]
        rows = rows[rows >= 0]
        here = self._session.view[self._row_at.view[position]]
        ids: NDArray[np.int64] = self._id.view[rows[self._session.view[rows] == here]]
        return ids

    def allowed(
        self,
        *,
        kind: str | None = None,
        session: int | None = None,
        after: float | None = None,
        before: float | None = None,
        ids: Sequence[int] | None = None,
    ) -> NDArray[np.bool_]:
        """Which rows a search may return, ``bool[rows]``. Times are seconds since 1970."""
        mask: NDArray[np.bool_] = self._shown.view
        if kind is not None:
            mask = mask & (self._is_unit.view == (kind == "unit"))
        if session is not None:
            mask = mask & (self._session.view == session)
        if after is not None:
            mask = mask & (self._seconds.view >= after)
        if before is not None:
            mask = mask & (self._seconds.view <= before)
        if ids is not None:
            mask = mask & np.isin(self._id.view, np.array(ids, np.int64))
        return mask

    def candidates(
        self,
        vector: NDArray[np.float32] | None,
        query: NDArray[np.uint32],
        limit: int,
        radius: int,
        allowed: NDArray[np.bool_],
    ) -> Candidates:
        """``query`` holds the hashes of the question's distinct terms."""
        found = [np.zeros(0, np.int64)]
        if vector is not None and limit > 0:
            found.append(self._dense.search(vector, limit, allowed))
        if len(query) and limit > 0:
            found.append(self._lexical.search(query, limit, allowed))
        rows = np.unique(np.concatenate(found))
        if radius > 0:
            rows = self._with_neighbours(rows, radius, allowed)
        return self._describe(rows, vector, query)

    def _with_neighbours(
        self, rows: NDArray[np.int64], radius: int, allowed: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        turns = rows[~self._is_unit.view[rows]]
        steps = np.array([step for step in range(-radius, radius + 1) if step])
        places = (self._position.view[turns][:, None] + steps).ravel()
        sessions = np.repeat(self._session.view[turns], len(steps))
        inside = (places >= 0) & (places < self._row_at.size)
        near, sessions = self._row_at.view[places[inside]], sessions[inside]
        near = near[(near >= 0) & (self._session.view[near] == sessions) & allowed[near]]
        return np.unique(np.concatenate([rows, near]))

    def _describe(
        self,
        rows: NDArray[np.int64],
        vector: NDArray[np.float32] | None,
        query: NDArray[np.uint32],
    ) -> Candidates:
        nothing = np.zeros(len(rows), np.float32)
        flat, owner = self._sources.gather(rows)
        turns = self._sources.values[0].view[flat].tolist()
        ends = np.searchsorted(owner, np.arange(len(rows) + 1)).tolist()
        return Candidates(
            ids=self._id.view[rows],
            is_unit=self._is_unit.view[rows],
            dense=nothing if vector is None else self._dense.scores(vector, rows),
            lexical=self._lexical.scores(query, rows) if len(query) else nothing,
            time=self._seconds.view[rows],
            position=self._position.view[rows],
            session=self._session.view[rows],
            event=self._event.view[rows],
            tokens=self._tokens.view[rows],
            sources=[tuple(turns[ends[i] : ends[i + 1]]) for i in range(len(rows))],
            lexical_max=float(self._lexical.weights(query).sum()) if len(query) else 0.0,
            turns_total=self._turns,
        )

    def _row(self, item_id: int) -> int | None:
        row = int(np.searchsorted(self._id.view, item_id))
        return row if row < self._id.size and self._id.view[row] == item_id else None

    def _place(self, position: int, row: int) -> None:
        if position >= self._row_at.size:
            self._row_at.extend(np.full(position + 1 - self._row_at.size, -1))
        self._row_at.view[position] = row

    def _drop_position(self, row: int) -> None:
        position = int(self._position.view[row])
        if not self._is_unit.view[row] and self._row_at.view[position] == row:
            self._row_at.view[position] = -1
            self._turns -= 1
