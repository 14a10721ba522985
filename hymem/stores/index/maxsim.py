"""Late interaction: a question is matched token by token, not as one vector.

``MaxSim(q, d) = sum_i idf_i * max(0, max_j <z_qi, z_dj>) / sum_i idf_i`` over the question's tokens
i and the text's tokens j (Khattab and Zaharia 2020, "ColBERT", with the weights of Lucene's BM25).
A token's code z depends on its id alone, so an index holds ids, two bytes a token, and a search
looks up each distinct code once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hymem.stores.index.columns import Column, Ragged

Floats = NDArray[np.float32]
Ids = NDArray[np.uint16]
# Multiplications up to which OpenBLAS wakes no other thread.
_ONE_THREAD = 1 << 18
# Codes looked up at a time.
_CACHED = 512


def idf(found: NDArray[np.integer], total: int) -> Floats:
    """Weights, ``float32[n]``, of tokens that ``found`` of ``total`` texts hold."""
    return np.log1p((total - found + 0.5) / (found + 0.5)).astype(np.float32)


def best_matches(
    asked: Ids, texts: Ids, counts: NDArray[np.integer], codes: Callable[[Ids], Floats]
) -> Floats:
    """``max(0, max_j <z_qi, z_dj>)`` of each question token in each text,
    ``float32[len(asked), len(counts)]``.

    ``texts`` holds the tokens of all texts one after the other, ``counts`` how many each has.
    ``codes`` gives ``float32[n, d]``, unit rows, for ``uint16[n]``.
    """
    best = np.zeros((len(asked), len(counts)), np.float32)
    filled = np.flatnonzero(counts)
    if not len(asked) or not len(filled):
        return best
    place = np.zeros(int(texts.max()) + 1, np.intp)
    place[texts] = 1
    distinct = np.flatnonzero(place)
    place[distinct] = np.arange(len(distinct))
    similar = _similarities(distinct.astype(np.uint16), codes(asked), codes)
    starts = (np.cumsum(counts) - counts)[filled]
    every = similar.take(place[texts], axis=0)
    best[:, filled] = np.maximum.reduceat(every, starts, axis=0).T
    return np.maximum(best, 0, out=best)


def _similarities(tokens: Ids, asked: Floats, codes: Callable[[Ids], Floats]) -> Floats:
    """``codes(tokens) @ asked.T``, piece by piece: no more codes at a time than a processor's cache
    holds, and all on the calling thread, since waiting for others takes twenty times as long on a
    busy machine."""
    columns = np.ascontiguousarray(asked.T)
    step = max(_ONE_THREAD // max(columns.size, 1), 1)
    out = np.empty((len(tokens), len(asked)), np.float32)
    for first in range(0, len(tokens), _CACHED):
        rows = codes(tokens[first : first + _CACHED])
        for start in range(0, len(rows), step):
            end = min(start + step, len(rows))
            np.dot(rows[start:end], columns, out=out[first + start : first + end])
    return out


def weighted(best: Floats, weights: Floats) -> Floats:
    """MaxSim of each text, ``float32[texts]``: the mean over the question's tokens of
    ``best_matches``, ``float32[tokens, texts]``, by ``weights``, ``float32[tokens]``."""
    scores: Floats = weights @ best / max(float(weights.sum()), 1e-9)
    return scores


class TokenIndex:
    """The tokens of one scope, by key (a passage), and how many turns hold each token."""

    def __init__(self) -> None:
        self.ids = Ragged(Column(np.uint16))
        self.found = Column(np.int32)  # [token id] turns that hold it
        self.turns = 0  # turns that hold any

    @property
    def nbytes(self) -> int:
        return self.ids.nbytes + self.found.nbytes

    def append(self, counts: NDArray[np.integer], ids: Ids) -> None:
        """Add the next keys: how many tokens each has, and all tokens one after the other."""
        self.ids.append(counts, ids)

    def holds(self, keys: NDArray[np.int64], counts: NDArray[np.integer], ids: Ids) -> bool:
        """Whether the keys with these numbers have these tokens."""
        old_counts, old_ids = self.of(keys)
        return np.array_equal(old_counts, counts) and np.array_equal(old_ids, ids)

    def count(self, turns: NDArray[np.integer], ids: Ids, sign: int) -> None:
        """Enter the tokens of some turns into the statistics (``sign`` 1) or take them out (-1).
        ``turns``: the number of the turn that each of ``ids`` belongs to."""
        if not len(ids):
            return
        pairs = np.unique(turns.astype(np.int64) << 16 | ids)
        tokens = np.bincount(pairs & 0xFFFF)
        missing = len(tokens) - self.found.size
        if missing > 0:
            self.found.extend(np.zeros(missing, np.int32))
        self.found.view[: len(tokens)] += sign * tokens.astype(np.int32)
        self.turns += sign * len(np.unique(pairs >> 16))

    def of(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.int32], Ids]:
        """(how many tokens each of these keys has, all of them)."""
        flat, _ = self.ids.gather(keys)
        counts: NDArray[np.int32] = self.ids.count.view[keys]
        return counts, self.ids.values[0].view[flat]

    def weights(self, asked: Ids) -> Floats:
        """idf of each of these tokens, ``float32[len(asked)]``."""
        found = np.zeros(len(asked), np.int64)
        known = asked < self.found.size
        found[known] = self.found.view[asked[known]]
        return idf(found, self.turns)
