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

from hymem.stores.base import AskedTokens, Candidates
from hymem.stores.index.columns import Column, LazyRows, Ragged, distinct
from hymem.stores.index.maxsim import weighted
from hymem.stores.index.metadata import MetadataIndex
from hymem.stores.index.passages import Asked, NewPassages, PassageIndex


@dataclass(frozen=True, slots=True)
class Batch:
    """What the index knows about some turns and units, one row each, by id. ``sources`` lie one
    after the other, as many as counted."""

    id: NDArray[np.int64]
    is_unit: NDArray[np.bool_]
    shown: NDArray[np.bool_]  # searches may find it
    session: NDArray[np.int64]
    speaker: NDArray[np.int64]  # id in the database, 0 for a unit
    position: NDArray[np.int64]
    event: NDArray[np.int64]
    seconds: NDArray[np.float64]
    tokens: NDArray[np.int64]
    source_counts: NDArray[np.int64]
    sources: NDArray[np.int64]
    passages: NewPassages


class Sources(LazyRows):
    """Tuples of turn ids."""

    def __init__(self, turns: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        self._turns = turns
        self._ends = ends

    def __len__(self) -> int:
        return len(self._ends)

    def made(self, row: int) -> tuple[int, ...]:
        start = self._ends[row - 1] if row else 0
        return tuple(self._turns[start : self._ends[row]].tolist())


COLUMNS = ("id", "is_unit", "shown", "session", "speaker", "position", "event", "seconds", "tokens")


class ScopeIndex:
    """Not thread-safe by itself: hold ``lock``."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.lock = threading.Lock()
        self.version = -1  # of the scope, when the index last caught up with it
        self.saved = 0  # rows in the snapshot on disk
        self.last_change = 0
        self.last_event = 0
        self.id = Column(np.int64)
        self.is_unit = Column(np.bool_)
        self.shown = Column(np.bool_)
        self.session = Column(np.int32)
        self.speaker = Column(np.int32)  # place in the scope's speakers, -1 for a unit
        self.position = Column(np.int32)
        self.event = Column(np.int64)
        self.seconds = Column(np.float64)
        self.tokens = Column(np.int32)
        self.sources = Ragged(Column(np.int64))
        self.row_at = Column(np.int32)  # row of the turn at a position, -1 if it is gone
        self.passages = PassageIndex(dim)
        self.metadata: MetadataIndex | None = None
        self.turns_total = 0
        self._speakers: NDArray[np.int64] = np.zeros(0, np.int64)
        self._names: tuple[str, ...] = ()
        self.hidden = 0

    @property
    def nbytes(self) -> int:
        """Bytes of memory, but for a few thousand of overhead."""
        names = (*COLUMNS, "row_at", "sources", "passages")
        size = sum(int(getattr(self, name).nbytes) for name in names)
        return size + (self.metadata.nbytes if self.metadata is not None else 0)

    @property
    def last_item(self) -> int:
        return int(self.id.view[-1]) if self.id.size else 0

    def append(self, batch: Batch) -> None:
        """Add items whose ids are greater than every id so far."""
        first = self.id.size
        for name in COLUMNS:
            if name != "speaker":
                getattr(self, name).extend(getattr(batch, name))
        places = np.searchsorted(self._speakers, batch.speaker)
        self.speaker.extend(np.where(batch.is_unit, -1, places))
        self.sources.append(batch.source_counts, batch.sources)
        self.passages.append(batch.passages, ~batch.is_unit)
        for hidden in np.flatnonzero(~batch.shown).tolist():
            self.passages.hide(first + hidden)
        self.hidden += int(np.count_nonzero(~batch.shown))
        turns = np.flatnonzero(~batch.is_unit)
        self._place(batch.position[turns], first + turns)
        self.turns_total += len(turns)

    def refresh(self, item_id: int, batch: Batch | None) -> None:
        """Take over an item's new state, a batch of one; ``None`` means that it was removed."""
        row = self._row(item_id)
        if row is None:
            return
        shown = batch is not None and bool(batch.shown[0])
        if not self.shown.view[row]:
            self.passages.show(row)
        self.hidden += int(self.shown.view[row]) - int(shown)
        self.shown.view[row] = shown
        is_turn = not self.is_unit.view[row]
        if batch is None:
            self.metadata = None  # it may hold texts of the removed item
            self._drop_position(row)
            self.passages.remove(row, is_turn)
            return
        for name in ("event", "seconds", "tokens"):
            getattr(self, name).view[row] = getattr(batch, name)[0]
        self.passages.rewrite(row, batch.passages, is_turn)
        if not shown:
            self.passages.hide(row)

    def name_speakers(self, speakers: Sequence[tuple[int, str]]) -> None:
        """All speakers of the scope, (id, name) by id."""
        if len(speakers) != len(self._names):
            self._speakers = np.array([speaker for speaker, _ in speakers], np.int64)
            self._names = tuple(name for _, name in speakers)

    def set_events(self, pairs: Sequence[tuple[int, int]]) -> None:
        """(turn id, the event it now belongs to)."""
        for turn, event in pairs:
            row = self._row(turn)
            if row is not None:
                self.event.view[row] = event

    def turns_around(
        self, position: int, radius: int, allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """Ids of the ``allowed`` turns within ``radius`` of this position and in its session."""
        if not 0 <= position < self.row_at.size or self.row_at.view[position] < 0:
            return np.zeros(0, np.int64)
        rows = self.row_at.view[max(position - radius, 0) : position + radius + 1]
        rows = rows[rows >= 0]
        if allowed is not None:
            rows = rows[allowed[rows]]
        here = self.session.view[self.row_at.view[position]]
        ids: NDArray[np.int64] = self.id.view[rows[self.session.view[rows] == here]]
        return ids

    def allowed(
        self,
        *,
        kind: str | None = None,
        sessions: Sequence[int] | None = None,
        after: float | None = None,
        before: float | None = None,
        ids: Sequence[int] | None = None,
        metadata: NDArray[np.bool_] | None = None,
        hidden: bool = False,
    ) -> NDArray[np.bool_] | None:
        """Which rows a search may return, ``bool[rows]``; ``None`` if all. Times are seconds since
        1970. With ``hidden``, superseded and duplicate items too."""
        tests = []
        if self.hidden and not hidden:
            tests.append(self.shown.view)
        if kind is not None:
            tests.append(self.is_unit.view == (kind == "unit"))
        if sessions is not None:
            tests.append(np.isin(self.session.view, np.array(sessions, np.int32)))
        if after is not None:
            tests.append(self.seconds.view >= after)
        if before is not None:
            tests.append(self.seconds.view <= before)
        if ids is not None:
            tests.append(np.isin(self.id.view, np.array(ids, np.int64)))
        if metadata is not None:
            tests.append(metadata)
        return np.logical_and.reduce(tests) if tests else None

    def candidates(
        self,
        vector: NDArray[np.float32] | None,
        query: NDArray[np.uint32],
        limit: int,
        radius: int,
        allowed: NDArray[np.bool_] | None,
        tokens: AskedTokens | None,
        sample: int,
    ) -> Candidates:
        """``query`` holds the hashes of the question's distinct terms."""
        words = self.passages.lexical.prepare(query) if len(query) else None
        asked = Asked(vector, words, tokens)
        found = self.passages.search(asked, limit, allowed)
        rows = self.passages.rows(found)
        if len(rows):
            rows = self._with_neighbours(rows, radius, allowed)
        drawn = self._sample(sample, allowed)
        rows = _sorted(np.concatenate([rows, drawn]))
        return self._describe(rows, self._window(rows, allowed), found, asked, drawn)

    def nearest(
        self, vector: NDArray[np.float32], limit: int, allowed: NDArray[np.bool_] | None
    ) -> list[tuple[int, float]]:
        """(id, cosine) of the ``limit`` allowed items with the nearest keys."""
        found = self.passages.nearest(vector, limit, allowed)
        rows = self.passages.rows(found)
        scores = self.passages.match(rows, np.sort(found), Asked(vector, None, None)).dense
        return list(zip(self.id.view[rows].tolist(), scores.tolist(), strict=True))

    def _with_neighbours(
        self, rows: NDArray[np.int64], radius: int, allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        turns = self._turns_behind(rows)
        steps = np.arange(-radius, radius + 1)
        places = (self.position.view[turns][:, None] + steps).ravel()
        sessions = np.repeat(self.session.view[turns], len(steps))
        inside = (places >= 0) & (places < self.row_at.size)
        near, sessions = self.row_at.view[places[inside]], sessions[inside]
        near = near[(near >= 0) & (self.session.view[near] == sessions)]
        if allowed is not None:
            near = near[allowed[near]]
        return _sorted(np.concatenate([rows, near]))

    def _turns_behind(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of these turns and of the turns that these units rest on."""
        units = self.is_unit.view[rows]
        if not units.any():
            return rows
        return _sorted(np.concatenate([rows[~units], self.source_rows(rows[units])[0]]))

    def source_rows(self, units: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(rows of the turns that these rows of units rest on, for each the position in ``units``
        that it belongs to)."""
        flat, owner = self.sources.gather(units)
        ids = self.sources.values[0].view[flat]
        found = np.minimum(np.searchsorted(self.id.view, ids), self.id.size - 1)
        there = self.id.view[found] == ids if len(ids) else np.zeros(0, np.bool_)
        return found[there], owner[there]

    def _sample(self, count: int, allowed: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        """Up to ``count`` turns that lie evenly in the scope."""
        turns = self.row_at.view[_evenly(self.row_at.size, count)].astype(np.int64)
        turns = turns[turns >= 0]
        if allowed is None:
            return turns
        turns = turns[allowed[turns]]
        if len(turns) < count // 2:  # the filter lets few through: look for them
            turns = np.flatnonzero(allowed & ~self.is_unit.view)
            turns = turns[_evenly(len(turns), count)]
        return turns

    def _window(
        self, rows: NDArray[np.int64], allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        """The turns one before, at and one after each row's position, ``int64[rows, 3]``; -1 where
        there is none in its session."""
        places = self.position.view[rows][:, None] + np.arange(-1, 2)
        inside = (places >= 0) & (places < self.row_at.size)
        near = np.full(places.shape, -1, np.int64)
        near[inside] = self.row_at.view[places[inside]]
        fits = (near >= 0) & (self.session.view[near] == self.session.view[rows][:, None])
        if allowed is not None:
            fits &= allowed[near]
        return np.where(fits, near, -1)

    def _describe(
        self,
        rows: NDArray[np.int64],
        near: NDArray[np.int64],
        found: NDArray[np.int64],
        asked: Asked,
        drawn: NDArray[np.int64],
    ) -> Candidates:
        """``near``: the rows' windows; ``found``: numbers of the passages that were found;
        ``drawn``: the rows of the sample."""
        every = _sorted(np.concatenate([rows, near[near >= 0]]))
        place = np.searchsorted(every, rows)
        beside = np.ones(len(every), np.bool_)
        beside[place] = False
        matches = self.passages.match(every, found, asked, beside)
        sample = np.zeros(len(rows), np.bool_)
        sample[np.searchsorted(rows, drawn)] = True
        around = np.where(near >= 0, np.searchsorted(every, near), place[:, None])
        window = matches.tokens[:, place]
        for turns in around.T:
            window = np.maximum(window, matches.tokens[:, turns])
        flat, _ = self.sources.gather(rows)
        ends = np.cumsum(self.sources.count.view[rows])
        return Candidates(
            ids=self.id.view[rows],
            is_unit=self.is_unit.view[rows],
            dense=matches.dense[place],
            lexical=matches.lexical[place],
            late=weighted(matches.tokens[:, place], matches.weights),
            late_window=weighted(window, matches.weights),
            time=self.seconds.view[rows],
            position=self.position.view[rows].astype(np.int64),
            session=self.session.view[rows].astype(np.int64),
            event=self.event.view[rows],
            tokens=self.tokens.view[rows].astype(np.int64),
            passage_tokens=matches.length[place],
            speaker=self.speaker.view[rows],
            speakers=self._names,
            sources=Sources(self.sources.values[0].view[flat], ends),
            passages=matches.passages.take(place),
            lexical_max=0.0 if asked.words is None else float(asked.words.weights.sum()),
            turns_total=self.turns_total,
            sample=sample,
        )

    def _row(self, item_id: int) -> int | None:
        row = int(np.searchsorted(self.id.view, item_id))
        return row if row < self.id.size and self.id.view[row] == item_id else None

    def _place(self, positions: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        missing = int(positions.max(initial=-1)) + 1 - self.row_at.size
        if missing > 0:
            self.row_at.extend(np.full(missing, -1, np.int32))
        self.row_at.view[positions] = rows

    def _drop_position(self, row: int) -> None:
        position = int(self.position.view[row])
        if not self.is_unit.view[row] and self.row_at.view[position] == row:
            self.row_at.view[position] = -1
            self.turns_total -= 1


def _evenly(size: int, count: int) -> NDArray[np.int64]:
    """Up to ``count`` places that lie evenly among ``size``."""
    return np.arange(size) if size <= count else np.arange(count) * size // count


def _sorted(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return rows[distinct(rows)]
