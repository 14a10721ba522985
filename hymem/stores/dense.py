"""Nearest keys of one scope by cosine. An item has one key, several (a long turn) or none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hymem.stores.columns import Column, Ragged


class DenseIndex:
    """Rows are numbered by the scope's index; keys are unit vectors."""

    def __init__(self, dim: int) -> None:
        self._keys = Ragged(Column(np.float32, dim), Column(np.int64))  # vectors, owning rows

    def append(self, counts: NDArray[np.int32], vectors: NDArray[np.float32]) -> None:
        """Add the next rows: how many keys each has, and all keys one after the other."""
        first = self._keys.count.size
        owner = np.repeat(np.arange(first, first + len(counts)), counts)
        self._keys.append(counts, vectors, owner)

    def rewrite(self, row: int, vectors: NDArray[np.float32]) -> None:
        """Replace the keys of a row."""
        self._keys.values[1].view[self._keys.slice(row)] = -1
        self._keys.rewrite(row, vectors, np.full(len(vectors), row))

    def search(
        self, query: NDArray[np.float32], limit: int, allowed: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Up to ``limit`` of the ``allowed`` rows (``bool[rows]``) with the nearest keys."""
        vectors, owner = self._keys.values[0].view, self._keys.values[1].view
        key = np.flatnonzero((owner >= 0) & allowed[owner])
        scores = vectors @ query
        key = key[np.argsort(-scores[key], kind="stable")]
        _, first = np.unique(owner[key], return_index=True)
        rows: NDArray[np.int64] = owner[key[np.sort(first)[:limit]]]
        return rows

    def scores(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The best cosine over each row's keys, ``float32[len(rows)]``; 0 without a key."""
        flat, owner = self._keys.gather(rows)
        best = np.full(len(rows), -1.0, np.float32)
        np.maximum.at(best, owner, self._keys.values[0].view[flat] @ query)
        best[self._keys.count.view[rows] == 0] = 0.0
        return best

    def mean(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Mean of each row's keys, ``float32[len(rows), dim]``; zeros without a key."""
        flat, owner = self._keys.gather(rows)
        vectors = self._keys.values[0].view
        total = np.zeros((len(rows), vectors.shape[1]), np.float32)
        np.add.at(total, owner, vectors[flat])
        means: NDArray[np.float32] = total / np.maximum(self._keys.count.view[rows], 1)[:, None]
        return means
