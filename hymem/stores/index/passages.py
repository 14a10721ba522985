"""The passages of one scope's items: what is matched by meaning, by words and token by token.

Most items are one passage; a long turn is many. Passages are numbered as they are added. One that
is replaced keeps its number and belongs to no row any more, until the index is built anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hymem.stores.base import AskedTokens
from hymem.stores.index.columns import Column, LazyRows, Ragged, distinct
from hymem.stores.index.dense import DenseIndex
from hymem.stores.index.lexical import OVERFETCH, LexicalIndex, Query, best_of
from hymem.stores.index.maxsim import TokenIndex, best_matches, weighted

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Passages of one item that a search looks at: the best by either match, or else the first.
LOOKED_AT = 8
# So many passages per row asked for, of too few rows, are a crowd; a search looks past some.
CROWDED = 16
CROWDS = 3


@dataclass(frozen=True, slots=True)
class NewPassages:
    """Passages of some items, those of an item together. ``terms`` (hashes, repeats included) and
    ``token_ids`` lie one after the other, as many as counted."""

    counts: Ints  # [items]
    tokens: Ints  # [passages] length of the text
    term_counts: Ints  # [passages]
    terms: NDArray[np.uint32]
    keys: Floats  # [passages, dim], zeros where there is no vector
    id_counts: Ints  # [passages]
    token_ids: NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, as far as it is to be matched."""

    vector: Floats | None  # [dim]
    words: Query | None
    tokens: AskedTokens | None


@dataclass(frozen=True, slots=True)
class Matches:
    """How well some items match, each by its best passage; columns aligned, 0 without a match."""

    dense: Floats  # [items]
    lexical: Floats  # [items]
    tokens: Floats  # [question tokens, items] best match of each token, in one passage
    length: Ints  # [items] tokens of the best passage
    weights: Floats  # [question tokens]
    passages: BestPassages


class BestPassages(LazyRows):
    """Of each item the passages that were looked at, best first, numbered within the item; empty
    for an item of one passage."""

    def __init__(self, items: Ints, owner: Ints, place: Ints, counts: Ints, scores: Floats) -> None:
        self._items = items  # the item that each of these is
        self._owner, self._place, self._scores = owner, place, scores  # by passage looked at
        self._counts = counts  # passages of each item

    def __len__(self) -> int:
        return len(self._items)

    def made(self, row: int) -> tuple[int, ...]:
        item = int(self._items[row])
        if self._counts[item] < 2:
            return ()
        start, end = np.searchsorted(self._owner, (item, item + 1))
        order = np.argsort(-self._scores[start:end], kind="stable")
        return tuple(self._place[start:end][order].tolist())

    def take(self, rows: Ints) -> BestPassages:
        """Those of these rows, in this order."""
        return BestPassages(self._items[rows], self._owner, self._place, self._counts, self._scores)


class PassageIndex:
    """Rows are numbered by the scope's index. ``allowed``: ``bool[rows]``, ``None`` for all."""

    def __init__(self, dim: int) -> None:
        self.of = Ragged(Column(np.int64))  # each row's passages; the row of each, -1 if replaced
        self.replaced = 0
        self.length = Column(np.int32)  # tokens of each passage
        self.dense = DenseIndex(dim)
        self.lexical = LexicalIndex()
        self.late = TokenIndex()

    @property
    def nbytes(self) -> int:
        parts = (self.of, self.length, self.dense, self.lexical, self.late)
        return sum(int(part.nbytes) for part in parts)

    @property
    def wasted(self) -> float:
        """Share of the passages that belong to no row any more."""
        return self.replaced / max(self.of.values[0].size, 1)

    def append(self, new: NewPassages, is_turn: Mask) -> None:
        """Add the passages of the next rows. Tokens weigh by how many turns hold them."""
        first = self.of.count.size
        rows = np.arange(first, first + len(new.counts))
        self.of.append(new.counts, np.repeat(rows, new.counts))
        self._add(new)
        self._count_tokens(rows[is_turn], 1)

    def rewrite(self, row: int, new: NewPassages, is_turn: bool) -> None:
        """Replace the passages of a shown row, if they are not the same."""
        old = self._numbers(row)
        if (
            len(old) == len(new.keys)
            and self.dense.holds(old, new.keys)
            and self.late.holds(old, new.id_counts, new.token_ids)
            and self.lexical.holds(old, new.term_counts, new.terms)
        ):
            return
        self.remove(row, is_turn)
        self.of.rewrite(row, np.full(len(new.keys), row))
        self._add(new)
        self._count_tokens(np.array([row] * is_turn, np.int64), 1)

    def remove(self, row: int, is_turn: bool) -> None:
        """Take the passages of a shown row away."""
        self._count_tokens(np.array([row] * is_turn, np.int64), -1)
        old = self._numbers(row)
        self.lexical.hide(old)
        self.of.values[0].view[old] = -1
        self.of.count.view[row] = 0
        self.replaced += len(old)

    def show(self, row: int) -> None:
        self.lexical.show(self._numbers(row))

    def hide(self, row: int) -> None:
        """Have a row's words count in no statistic."""
        self.lexical.hide(self._numbers(row))

    def rows(self, numbers: Ints) -> Ints:
        """The rows of these passages, each once, sorted."""
        found: Ints = self.of.values[0].view[numbers]
        return found[distinct(found)]

    def search(self, asked: Asked, limit: int, allowed: Mask | None) -> Ints:
        """Numbers of the passages that match best by meaning and by words, each of up to ``limit``
        rows, sorted."""
        found = [np.zeros(0, np.int64)]
        if asked.vector is not None and limit > 0:
            found.append(self.nearest(asked.vector, limit, allowed))
        if asked.words is not None and limit > 0:
            found.append(self._by_words(asked.words, limit, allowed))
        numbers = np.concatenate(found)
        return numbers[distinct(numbers)]

    def nearest(self, vector: Floats, limit: int, allowed: Mask | None) -> Ints:
        """Numbers of the nearest passages, nearest first, of up to ``limit`` rows."""
        share = 1.0 if allowed is None else np.count_nonzero(allowed) / max(len(allowed), 1)
        # Where few rows are allowed, looking at just those beats looking for them among all.
        if allowed is not None and share < self.dense.few:
            return self._nearest_of(vector, limit, allowed)
        return self._nearest(vector, limit, allowed, None, share)

    def _nearest_of(self, vector: Floats, limit: int, allowed: Mask, rounds: int = CROWDS) -> Ints:
        owner = self.of.values[0].view
        chosen = (owner >= 0) & allowed[owner]
        return self._nearest(vector, limit, allowed, chosen, 1.0, rounds)

    def _nearest(
        self,
        vector: Floats,
        limit: int,
        allowed: Mask | None,
        chosen: Mask | None,
        share: float,
        rounds: int = CROWDS,
    ) -> Ints:
        """``chosen``: the passages to look at, ``bool[passages]``; ``share``: how many of those are
        allowed; ``rounds``: how many crowds to look past."""
        total = self.dense.size
        wanted = min(int(1.5 * limit / share), total) if share else 0
        while wanted:
            numbers = self.dense.nearest(vector, wanted, chosen)
            kept = numbers[self._fits(numbers, allowed)]
            rows = self.rows(kept)
            if len(rows) >= limit or len(numbers) < wanted or wanted == total:
                return self._of_first_rows(kept, limit)
            if len(kept) >= CROWDED * limit:
                found = self._of_first_rows(kept, limit)
                if not rounds:
                    return found
                # Few rows have all the nearest passages: look past them.
                others = (
                    np.ones(self.of.count.size, np.bool_) if allowed is None else allowed.copy()
                )
                others[rows] = False
                rest = self._nearest_of(vector, limit - len(rows), others, rounds - 1)
                return np.concatenate([found, rest])
            wanted = min(wanted * 4, total)
        return np.zeros(0, np.int64)

    def match(self, rows: Ints, found: Ints, asked: Asked, beside: Mask | None = None) -> Matches:
        """How well these rows match, looking at the passages in ``found`` (sorted) and at some
        more where a row has none there. Of those that only stand ``beside`` others
        (``bool[rows]``) the tokens alone are matched."""
        numbers, owner = self._looked_at(rows, found)
        some = slice(None) if beside is None else np.flatnonzero(~beside[owner])
        dense, words = np.zeros((2, len(numbers)), np.float32)
        best, weights = np.zeros((0, len(rows)), np.float32), np.zeros(0, np.float32)
        total = np.zeros(len(numbers), np.float32)
        if asked.vector is not None:
            dense[some] = self.dense.scores(asked.vector, numbers[some])
            total += dense
        if asked.words is not None:
            words[some] = self.lexical.scores(asked.words, numbers[some])
            total += words / max(float(asked.words.weights.sum()), 1e-6)
        if asked.tokens is not None:
            weights = self.late.weights(asked.tokens.ids) * asked.tokens.weights
            counts, ids = self.late.of(numbers)
            best = best_matches(asked.tokens.ids, ids, counts, asked.tokens.codes)
            late = weighted(best, weights)
            total += late
            best = _of_best(best, late, owner, len(rows))
        length = _of_best(self.length.view[numbers][None], total, owner, len(rows))
        of_each = self.of.count.view[rows]
        place = numbers - self.of.start.view[rows][owner]
        return Matches(
            _highest(dense, owner, len(rows)),
            _highest(words, owner, len(rows)),
            best,
            length[0].astype(np.int64),
            weights,
            BestPassages(np.arange(len(rows)), owner, place, of_each, total),
        )

    def _by_words(self, query: Query, limit: int, allowed: Mask | None) -> Ints:
        numbers, sums, complete = self.lexical.gather(query)
        fits = self._fits(numbers, allowed)
        numbers, sums = numbers[fits], sums[fits]
        if not complete:
            numbers = self._of_best_rows(numbers, sums, limit * OVERFETCH)
            sums = self.lexical.scores(query, numbers)
        return self._of_best_rows(numbers, sums, limit)

    def _of_best_rows(self, numbers: Ints, scores: Floats, limit: int) -> Ints:
        """The passages with the best scores, the newest of equal ones, of up to ``limit`` rows."""
        some = best_of(numbers, scores, limit)
        if len(some) < len(numbers) and len(self.rows(numbers[some])) < limit:
            some = best_of(numbers, scores, CROWDED * limit)
        if len(some) < len(numbers) and len(self.rows(numbers[some])) < limit:
            some = np.arange(len(numbers))  # few rows have the best of them
        some = some[np.lexsort((-numbers[some], -scores[some]))]
        return self._of_first_rows(numbers[some], limit)

    def _of_first_rows(self, numbers: Ints, limit: int) -> Ints:
        """Of these passages, best first, the first few of the first ``limit`` rows."""
        rows = self.of.values[0].view[numbers]
        first = distinct(rows)
        if len(first) == len(rows):
            return numbers[:limit]
        kept = np.isin(rows, rows[np.sort(first)[:limit]])
        numbers, rows = numbers[kept], rows[kept]
        order = np.argsort(rows, kind="stable")
        starts = np.flatnonzero(np.diff(rows[order], prepend=-1))
        rank = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
        result: Ints = numbers[np.sort(order[rank < LOOKED_AT])]
        return result

    def _looked_at(self, rows: Ints, found: Ints) -> tuple[Ints, Ints]:
        """(numbers of the passages of ``rows``, for each the place in ``rows`` it belongs to): all
        of a row of few; of others those that were found, or else the first."""
        counts = self.of.count.view[rows]
        numbers, owner = self.of.gather(rows)
        if not (counts > LOOKED_AT).any():
            return numbers, owner
        kept = np.arange(len(numbers)) - np.repeat(np.cumsum(counts) - counts, counts) < LOOKED_AT
        known = np.isin(numbers, found)
        some = np.bincount(owner[known], minlength=len(rows)) > 0
        long = counts > LOOKED_AT
        kept = np.where((long & some)[owner], known, kept)
        return numbers[kept], owner[kept]

    def _fits(self, numbers: Ints, allowed: Mask | None) -> Mask | slice:
        """Which of these passages are of an allowed row."""
        if allowed is None and not self.replaced:
            return slice(None)
        owner = self.of.values[0].view[numbers]
        return owner >= 0 if allowed is None else (owner >= 0) & allowed[owner]

    def _add(self, new: NewPassages) -> None:
        self.length.extend(new.tokens)
        self.dense.append(new.keys)
        self.late.append(new.id_counts, new.token_ids)
        self.lexical.append(new.term_counts, new.terms)

    def _numbers(self, row: int) -> Ints:
        here = self.of.slice(row)
        return np.arange(here.start, here.stop)

    def _count_tokens(self, turns: Ints, sign: int) -> None:
        numbers, owner = self.of.gather(turns)
        counts, ids = self.late.of(numbers)
        self.late.count(np.repeat(owner, counts), ids, sign)


def _highest(values: Floats, owner: Ints, rows: int) -> Floats:
    """The highest of each row's values, ``float32[rows]``; 0 for a row without any."""
    if len(values) == rows == len(distinct(owner)):
        return values
    best = np.full(rows, -np.inf, np.float32)
    np.maximum.at(best, owner, values)
    best[np.isneginf(best)] = 0.0
    return best


def _of_best(values: NDArray[Any], scores: Floats, owner: Ints, rows: int) -> NDArray[Any]:
    """``values``, ``[n, passages]``, of each row's passage with the best score, ``[n, rows]``."""
    if len(scores) == rows == len(distinct(owner)):
        return values
    order = np.lexsort((scores, owner))
    last = order[np.flatnonzero(np.diff(owner[order], append=-1))]
    result = np.zeros((len(values), rows), values.dtype)
    result[:, owner[last]] = values[:, last]
    return result
