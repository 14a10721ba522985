"""BM25 over one scope: statistics of that scope alone.

Okapi BM25 (Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond")
with the non-negative idf of Lucene. Terms are 32-bit hashes, so the index holds no words.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from hymem.stores.columns import Column, Ragged

K1 = 1.2
B = 0.75
# Postings read for one query. Rare terms come first, so what is left unread once this is spent
# are words of little weight; they still count when the best rows are scored in full.
POSTINGS_BUDGET = 40_000
# Rows scored in full for each one asked for.
OVERFETCH = 8


def term_hash(term: str) -> int:
    return zlib.crc32(term.encode("utf-8", "surrogatepass"))


def hash_terms(words: Iterable[str]) -> NDArray[np.uint32]:
    return np.array([term_hash(word) for word in words], np.uint32)


class LexicalIndex:
    """Rows are numbered by the scope's index. A hidden row counts in no statistic."""

    def __init__(self) -> None:
        self._terms = Ragged(Column(np.uint32), Column(np.uint8))  # distinct hashes, frequencies
        self._length = Column(np.float32)
        self._rows: dict[int, array[int]] = {}
        self._frequencies: dict[int, array[int]] = {}
        self._stale: dict[int, int] = {}  # hash -> postings of it that do not count
        self._shown = 0
        self._total_length = 0.0
        self._sum = np.zeros(0, np.float32)

    def append(self, hashes: NDArray[np.uint32]) -> None:
        """Add the next row, shown, from its terms' hashes (repeats included)."""
        distinct, frequencies = _count(hashes)
        row = self._length.size
        self._terms.append(np.array([len(distinct)], np.int32), distinct, frequencies)
        self._length.extend(np.array([len(hashes)], np.float32))
        self._post(row, distinct, frequencies)
        self._shown += 1
        self._total_length += len(hashes)

    def hide(self, row: int) -> None:
        self._count_row(row, -1)

    def show(self, row: int) -> None:
        self._count_row(row, 1)

    def rewrite(self, row: int, hashes: NDArray[np.uint32]) -> None:
        """Replace the terms of a shown row."""
        self.hide(row)
        distinct, frequencies = _count(hashes)
        self._terms.rewrite(row, distinct, frequencies)
        self._length.view[row] = len(hashes)
        self._post(row, distinct, frequencies)
        self._shown += 1
        self._total_length += len(hashes)

    def weights(self, query: NDArray[np.uint32]) -> NDArray[np.float32]:
        """The idf of each query term."""
        found = np.array([self._document_frequency(int(term)) for term in query], np.float32)
        return np.log1p((self._shown - found + 0.5) / (found + 0.5)).astype(np.float32)

    def search(
        self, query: NDArray[np.uint32], limit: int, allowed: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Up to ``limit`` of the ``allowed`` rows (``bool[rows]``) that match best."""
        rows = self._gather(query, limit * OVERFETCH, allowed)
        if len(rows) <= limit:
            return rows
        scores = self.scores(query, rows)
        return rows[np.argpartition(-scores, limit)[:limit]]

    def scores(self, query: NDArray[np.uint32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """BM25 of each of these rows for distinct query terms, ``float32[len(rows)]``."""
        order = np.sort(query)
        flat, owner = self._terms.gather(rows)
        terms = self._terms.values[0].view[flat]
        place = np.minimum(np.searchsorted(order, terms), len(order) - 1)
        hit = order[place] == terms
        owner, place = owner[hit], place[hit]
        frequency = self._terms.values[1].view[flat[hit]].astype(np.float32)
        gained = self.weights(order)[place] * _saturate(frequency, self._norm(rows)[owner])
        return np.bincount(owner, gained, len(rows)).astype(np.float32)

    def _gather(
        self, query: NDArray[np.uint32], limit: int, allowed: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """The rows with the best scores over the rarest query terms."""
        if len(self._sum) < self._length.size:
            self._sum = np.zeros(self._length.size + self._length.size // 4, np.float32)
        total, found, read = self._sum, [np.zeros(0, np.int64)], 0
        terms = sorted(query.tolist(), key=self._document_frequency)
        for term, weight in zip(terms, self.weights(np.array(terms, np.uint32)), strict=True):
            rows, frequencies = self._postings(term)
            if read and read + len(rows) > POSTINGS_BUDGET:
                break
            read += len(rows)
            found.append(rows[total[rows] == 0])
            total[rows] += weight * _saturate(frequencies.astype(np.float32), self._norm(rows))
        rows = np.concatenate(found)
        sums = total[rows]
        total[rows] = 0
        sums, rows = sums[allowed[rows]], rows[allowed[rows]]
        if len(rows) > limit:
            rows = rows[np.argpartition(-sums, limit)[:limit]]
        return np.unique(rows)

    def _postings(self, term: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        if term not in self._rows:
            return np.zeros(0, np.int64), np.zeros(0, np.uint8)
        rows = np.frombuffer(self._rows[term], np.uint32).astype(np.int64)
        return rows, np.frombuffer(self._frequencies[term], np.uint8).copy()

    def _post(self, row: int, distinct: NDArray[np.uint32], frequencies: NDArray[np.uint8]) -> None:
        for term, frequency in zip(distinct.tolist(), frequencies.tolist(), strict=True):
            if term not in self._rows:
                self._rows[term], self._frequencies[term] = array("I"), array("B")
            self._rows[term].append(row)
            self._frequencies[term].append(frequency)

    def _document_frequency(self, term: int) -> int:
        return len(self._rows.get(term, ())) - self._stale.get(term, 0)

    def _norm(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        mean = max(self._total_length, 1.0) / max(self._shown, 1)
        lengths: NDArray[np.float32] = self._length.view[rows]
        return lengths * np.float32(K1 * B / mean) + np.float32(K1 * (1 - B))

    def _count_row(self, row: int, sign: int) -> None:
        for term in self._terms.values[0].view[self._terms.slice(row)].tolist():
            self._stale[term] = self._stale.get(term, 0) - sign
        self._shown += sign
        self._total_length += sign * float(self._length.view[row])


def _count(hashes: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    distinct, counts = np.unique(hashes, return_counts=True)
    return distinct, np.minimum(counts, 255).astype(np.uint8)


def _saturate(frequency: NDArray[np.float32], norm: NDArray[np.float32]) -> NDArray[np.float32]:
    gained: NDArray[np.float32] = frequency * (K1 + 1) / (frequency + norm)
    return gained
