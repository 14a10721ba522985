"""What is known of each candidate before its text is read: a row of numbers per candidate.

Matches are relative to the question's best match, so they mean the same in a scope of ten turns and
of a million, and with encoders whose cosines lie differently.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hymem.stores.base import Candidates

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# A cosine this far below the best one says nothing any more; it also stands for "no such key".
FLOOR = -0.6
# A plain sum of both matches, to compare the units of one turn.
DENSE_WEIGHT = 4.0
NO_MATCH = DENSE_WEIGHT * FLOOR
# Turns on either side of a turn whose match counts for it: an answer follows its question.
RADIUS = 2
# A session is judged by its best few turns.
SESSION_BEST = 3

NAMES = (
    "dense",
    "lexical",
    "coverage",
    "dense_rank",
    "lexical_rank",
    "dense_2_before",
    "dense_before",
    "dense_after",
    "dense_2_after",
    "lexical_2_before",
    "lexical_before",
    "lexical_after",
    "lexical_2_after",
    "session_dense",
    "session_lexical",
    "has_unit",
    "unit_dense",
    "unit_lexical",
    "unit_rank",
    "unit_nearby",
    "time",
    "named",
    "length",
)


@dataclass(frozen=True, slots=True)
class Table:
    """The scored items of a ``Candidates``, by session and position.

    ``rows``: ``int64[m]``, rows of the candidates: the turns, and the units of which no source turn
    is a candidate. ``unit``: ``int64[m]``, the row of the best matching unit that rests on the
    turn, or -1. ``unit_leads``: ``bool[m]``, whether that unit matches better than the turn.
    ``values``: ``float64[m, len(NAMES)]``.
    """

    rows: Ints
    unit: Ints
    unit_leads: NDArray[np.bool_]
    values: Floats


def table(found: Candidates, named: NDArray[np.bool_], nearness: Floats) -> Table:
    """The features of ``found``. ``named``: ``bool[n]``, whether the question names who speaks;
    ``nearness``: ``float64[n]``, 0 to 1, how well an item's time fits the question's."""
    if not len(found.ids):
        nothing = np.zeros(0, np.int64)
        return Table(nothing, nothing, nothing.astype(bool), np.zeros((0, len(NAMES))))
    units, turns = _links(found)
    orphan = found.is_unit.copy()
    orphan[units] = False
    rows = np.flatnonzero(~found.is_unit | orphan)
    rows = rows[np.lexsort((found.position[rows], found.session[rows]))]

    all_dense = np.maximum(found.dense - found.dense.max(initial=-1.0), FLOOR).astype(np.float64)
    best_lexical = max(float(found.lexical.max(initial=0.0)), 1e-6)
    all_lexical = found.lexical.astype(np.float64) / best_lexical
    match = DENSE_WEIGHT * all_dense + all_lexical
    unit, unit_match = _best_unit(match, units, turns)
    dense, lexical = all_dense[rows], all_lexical[rows]
    unit, unit_match = unit[rows], unit_match[rows]
    session, position = found.session[rows], found.position[rows]
    near = _neighbours(session, position)
    columns = [
        dense,
        lexical,
        found.lexical[rows] / max(found.lexical_max, 1e-6),
        _log_rank(dense),
        _log_rank(lexical),
        *(_take(dense, at, FLOOR) for at in near),
        *(_take(lexical, at, 0.0) for at in near),
        _session_best(dense, session, FLOOR),
        _session_best(lexical, session, 0.0),
        unit >= 0,
        np.where(unit >= 0, all_dense[unit], FLOOR),
        np.where(unit >= 0, all_lexical[unit], 0.0),
        _log_rank(unit_match),
        np.maximum(_take(unit_match, near[1], NO_MATCH), _take(unit_match, near[2], NO_MATCH)),
        np.maximum(nearness[rows], np.where(unit >= 0, nearness[unit], 0.0)),
        named[rows],
        np.log1p(found.tokens[rows]),
    ]
    leads = unit_match > match[rows]
    return Table(rows, unit, leads, np.column_stack(columns).astype(np.float64))


def _links(found: Candidates) -> tuple[Ints, Ints]:
    """(rows of units, rows of their source turns), one pair per link between candidates."""
    units = np.flatnonzero(found.is_unit)
    sources = [found.sources[row] for row in units.tolist()]
    owners = np.repeat(units, [len(ids) for ids in sources])
    wanted = np.fromiter((item for ids in sources for item in ids), np.int64, len(owners))
    order = np.argsort(found.ids)
    at = order[np.minimum(np.searchsorted(found.ids, wanted, sorter=order), len(order) - 1)]
    known = found.ids[at] == wanted
    return owners[known], at[known]


def _best_unit(match: Floats, units: Ints, turns: Ints) -> tuple[Ints, Floats]:
    """For each row, the row of the unit that rests on it and matches best (or -1), its match."""
    best, row = np.full(len(match), NO_MATCH), np.full(len(match), -1)
    order = np.argsort(match[units], kind="stable")
    row[turns[order]] = units[order]  # the last assignment, which is the best, stays
    best[turns[order]] = match[units[order]]
    return row, best


def _neighbours(session: Ints, position: Ints) -> list[Ints]:
    """For each item (sorted by session and position), the index of the item two before, one before,
    one after and two after it in its session, or -1."""
    place = session * (int(position.max(initial=0)) + 2 * RADIUS + 1) + position
    wanted = [place + step for step in range(-RADIUS, RADIUS + 1) if step]
    found = np.searchsorted(place, np.concatenate(wanted)).reshape(len(wanted), -1)
    found = np.minimum(found, len(place) - 1)
    return [np.where(place[at] == aim, at, -1) for at, aim in zip(found, wanted, strict=True)]


def _take(values: Floats, at: Ints, missing: float) -> Floats:
    return np.where(at >= 0, values[at], missing)


def _log_rank(values: Floats) -> Floats:
    """-log(1 + rank), 0 for the best."""
    ranks = np.empty(len(values))
    ranks[np.argsort(-values, kind="stable")] = np.arange(len(values))
    return -np.log1p(ranks)


def _session_best(values: Floats, session: Ints, missing: float) -> Floats:
    """For each item, the mean of the best ``SESSION_BEST`` values of its session."""
    order = np.lexsort((-values, session))
    ranked, owner = values[order], session[order]
    first = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    size = np.diff(np.r_[first, len(owner)])
    rank = np.arange(len(owner)) - np.repeat(first, size)
    total = np.add.reduceat(np.where(rank < SESSION_BEST, ranked, 0.0), first)
    mean = (total + missing * np.maximum(SESSION_BEST - size, 0)) / SESSION_BEST
    spread = np.empty(len(values))
    spread[order] = np.repeat(mean, size)
    return spread
