"""BM25 over one scope: statistics of that scope alone.

Okapi BM25 (Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond")
with the non-negative idf of Lucene. Terms are 32-bit hashes, so the index holds no words.

A posting is one 64-bit number: term (32 bits), row (24), frequency (8). Postings lie in a few
sorted runs whose sizes grow geometrically, as in a log-structured merge tree, so that adding costs
the same however many there are.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hymem.stores.index.columns import Column, Ragged

K1 = 1.2
B = 0.75
MAX_ROWS = 1 << 24
# Postings read for one query. Rare terms come first, so what is left unread once this is spent
# are words of little weight; they still count when the best rows are scored in full.
POSTINGS_BUDGET = 80_000
# Rows scored in full for each one asked for.
OVERFETCH = 8
_TAIL = 4096
_FANOUT = 4


@dataclass(frozen=True, slots=True)
class Query:
    """Distinct terms with their idf and where each run holds their postings."""

    terms: NDArray[np.uint32]  # [terms], sorted
    weights: NDArray[np.float32]  # [terms]
    found: NDArray[np.int64]  # [terms] rows that hold the term
    spans: tuple[tuple[NDArray[np.uint64], NDArray[np.int64]], ...]  # run, its bounds [terms, 2]


def hash_terms(words: Iterable[str]) -> NDArray[np.uint32]:
    return np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words], "u4")


class LexicalIndex:
    """Rows are passages, numbered as they are added. A hidden row counts in no statistic."""

    def __init__(self) -> None:
        self.terms = Ragged(Column(np.uint32), Column(np.uint8))  # distinct hashes, frequencies
        self.length = Column(np.float32)
        self.runs: list[NDArray[np.uint64]] = []
        self.stale: dict[int, int] = {}  # term -> postings of it that do not count
        self._tail = Column(np.uint64)
        self.shown = 0
        self.total_length = 0.0
        self._sum = np.zeros(0, np.float32)

    @property
    def nbytes(self) -> int:
        runs = sum(run.nbytes for run in self.runs)
        return self.terms.nbytes + self.length.nbytes + runs + self._tail.nbytes + self._sum.nbytes

    def append(self, counts: NDArray[np.int64], hashes: NDArray[np.uint32]) -> None:
        """Add the next rows, shown: their lengths in terms and all their terms' hashes."""
        first = self.length.size
        if first + len(counts) > MAX_ROWS:
            raise OverflowError(f"a scope holds at most {MAX_ROWS} items")
        distinct, frequency, rows = _count(counts, hashes)
        self.terms.append(np.bincount(rows, minlength=len(counts)), distinct, frequency)
        self.length.extend(counts)
        self._post(distinct, first + rows, frequency)
        self.shown += len(counts)
        self.total_length += len(hashes)

    def hide(self, rows: NDArray[np.int64]) -> None:
        self._count_rows(rows, -1)

    def show(self, rows: NDArray[np.int64]) -> None:
        self._count_rows(rows, 1)

    def holds(
        self, rows: NDArray[np.int64], counts: NDArray[np.int64], hashes: NDArray[np.uint32]
    ) -> bool:
        """Whether these rows have these terms."""
        distinct, frequency, owner = _count(counts, hashes)
        flat, old = self.terms.gather(rows)
        return (
            np.array_equal(self.terms.values[0].view[flat], distinct)
            and np.array_equal(self.terms.values[1].view[flat], frequency)
            and np.array_equal(old, owner)
        )

    def postings(self) -> NDArray[np.uint64]:
        return np.concatenate([*self.runs, self._tail.view])

    def prepare(self, hashes: NDArray[np.uint32]) -> Query:
        terms = np.unique(hashes)
        bounds = np.stack([terms, terms + np.uint64(1)], axis=1).astype(np.uint64) << np.uint64(32)
        bounds[:, 1] -= np.uint64(1)
        runs = [*self.runs, np.sort(self._tail.view)] if self._tail.size else self.runs
        spans = tuple((run, np.searchsorted(run, bounds)) for run in runs)
        found = np.zeros(len(terms), np.int64)
        for _, place in spans:
            found += place[:, 1] - place[:, 0]
        if self.stale:
            found -= np.array([self.stale.get(term, 0) for term in terms.tolist()], np.int64)
        weights = np.log1p((self.shown - found + 0.5) / (found + 0.5)).astype(np.float32)
        return Query(terms, weights, found, spans)

    def scores(self, query: Query, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """BM25 of each of these rows, ``float32[len(rows)]``."""
        flat, owner = self.terms.gather(rows)
        terms = self.terms.values[0].view[flat]
        place = np.minimum(np.searchsorted(query.terms, terms), len(query.terms) - 1)
        hit = np.flatnonzero(query.terms[place] == terms)
        owner, place = owner[hit], place[hit]
        frequency = self.terms.values[1].view[flat[hit]].astype(np.float32)
        gained = query.weights[place] * _saturate(frequency, self._norm(rows)[owner])
        return np.bincount(owner, gained, len(rows)).astype(np.float32)

    def gather(self, query: Query) -> tuple[NDArray[np.int64], NDArray[np.float32], bool]:
        """Rows that hold query terms, the sums of their scores over the rarest of these terms, and
        whether those are all the terms. Hidden rows are among them."""
        if len(self._sum) < self.length.size:
            self._sum = np.zeros(self.length.size + self.length.size // 4, np.float32)
        total, found, read = self._sum, [np.zeros(0, np.int64)], 0
        complete = True
        for term in np.argsort(query.found, kind="stable").tolist():
            postings = _postings(query, term)
            if read and read + len(postings) > POSTINGS_BUDGET:
                complete = False
                break
            read += len(postings)
            lower = postings.astype(np.uint32)
            rows = (lower >> np.uint32(8)).astype(np.int64)
            frequency = (lower & np.uint32(0xFF)).astype(np.float32)
            found.append(rows[total[rows] == 0])
            total[rows] += query.weights[term] * _saturate(frequency, self._norm(rows))
        rows = np.concatenate(found)
        sums = total[rows]
        total[rows] = 0
        return rows, sums, complete

    def _post(
        self, terms: NDArray[np.uint32], rows: NDArray[np.int64], frequency: NDArray[np.uint8]
    ) -> None:
        packed = terms.astype(np.uint64) << np.uint64(32)
        packed |= rows.astype(np.uint64) << np.uint64(8)
        packed |= frequency
        self._tail.extend(packed)
        if self._tail.size <= _TAIL:
            return
        run = np.sort(self._tail.view)
        self._tail = Column(np.uint64)
        while self.runs and len(self.runs[-1]) < _FANOUT * len(run):
            run = np.sort(np.concatenate([self.runs.pop(), run]))
        self.runs.append(run)

    def _norm(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        mean = max(self.total_length, 1.0) / max(self.shown, 1)
        lengths: NDArray[np.float32] = self.length.view[rows]
        return lengths * np.float32(K1 * B / mean) + np.float32(K1 * (1 - B))

    def _count_rows(self, rows: NDArray[np.int64], sign: int) -> None:
        flat, _ = self.terms.gather(rows)
        terms, times = np.unique(self.terms.values[0].view[flat], return_counts=True)
        for term, count in zip(terms.tolist(), times.tolist(), strict=True):
            self.stale[term] = self.stale.get(term, 0) - sign * count
        self.shown += sign * len(rows)
        self.total_length += sign * float(self.length.view[rows].sum())


def _postings(query: Query, term: int) -> NDArray[np.uint64]:
    parts = [run[bounds[term, 0] : bounds[term, 1]] for run, bounds in query.spans]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def best_of(rows: NDArray[np.int64], scores: NDArray[np.float32], limit: int) -> NDArray[np.int64]:
    """Places of the rows with the best scores; of equal ones the newest, however they were
    indexed."""
    if len(rows) <= limit:
        return np.arange(len(rows))
    least = np.partition(scores, -limit)[-limit]
    above, equal = np.flatnonzero(scores > least), np.flatnonzero(scores == least)
    equal = equal[np.argsort(rows[equal])]
    return np.concatenate([above, equal[len(above) - limit :]])


def _count(
    counts: NDArray[np.int64], hashes: NDArray[np.uint32]
) -> tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.int64]]:
    """Distinct terms of each row, their frequencies (at most 255) and the rows, by row."""
    row = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
    pairs, times = np.unique(row << np.uint64(32) | hashes, return_counts=True)
    distinct = (pairs & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    return distinct, np.minimum(times, 255).astype("u1"), (pairs >> np.uint64(32)).astype(np.int64)


def _saturate(frequency: NDArray[np.float32], norm: NDArray[np.float32]) -> NDArray[np.float32]:
    return frequency * np.float32(K1 + 1) / (frequency + norm)
