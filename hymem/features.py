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
_STEPS = np.array([[step] for step in range(-RADIUS, RADIUS + 1) if step])
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
    near_dense, near_lexical = _take(dense, near, FLOOR), _take(lexical, near, 0.0)
    columns = [
        dense,
        lexical,
        found.lexical[rows] / max(found.lexical_max, 1e-6),
        _log_rank(dense),
        _log_rank(lexical),
        *near_dense,
        *near_lexical,
        *_session_best(np.array([dense, lexical]), session, np.array([[FLOOR], [0.0]])),
        unit >= 0,
        _take(all_dense, unit, FLOOR),
        _take(all_lexical, unit, 0.0),
        _log_rank(unit_match),
        _take(unit_match, near[RADIUS - 1 : RADIUS + 1], NO_MATCH).max(axis=0),
        np.maximum(nearness[rows], _take(nearness, unit, 0.0)),
        named[rows],
        np.log1p(found.tokens[rows]),
    ]
    leads = unit_match > match[rows]
    return Table(rows, unit, leads, np.array(columns, np.float64).T)


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


def _neighbours(session: Ints, position: Ints) -> Ints:
    """For each item (sorted by session and position), the index of the item two before, one before,
    one after and two after it in its session, or -1: ``int64[4, m]``."""
    place = session * (int(position.max(initial=0)) + 2 * RADIUS + 1) + position
    wanted = place + _STEPS
    found = np.minimum(np.searchsorted(place, wanted.ravel()), len(place) - 1)
    found = found.reshape(wanted.shape)
    return np.where(place[found] == wanted, found, -1)


def _take(values: Floats, at: Ints, missing: float) -> Floats:
    """``values[at]``, and ``missing`` where ``at`` is -1."""
    taken: Floats = np.append(values, missing)[at]
    return taken


def _log_rank(values: Floats) -> Floats:
    """-log(1 + rank), 0 for the best."""
    ranks = np.empty(len(values))
    ranks[np.argsort(-values, kind="stable")] = np.arange(len(values))
    return -np.log1p(ranks)


def _session_best(columns: Floats, session: Ints, missing: Floats) -> Floats:
    """For each item (sorted by session), the mean of the best ``SESSION_BEST`` values of its
    session; a session with fewer is filled up with ``missing``. ``columns``: ``float64[k, m]``;
    ``missing``: ``float64[k, 1]``."""
    first = np.flatnonzero(np.append(True, session[1:] != session[:-1]))
    size = np.diff(np.append(first, len(session)))
    place = np.arange(len(session))
    counts = place - np.repeat(first, size) < SESSION_BEST
    # Sessions lie further apart than values do, so one sort ranks the values of each.
    apart = 2 * np.ptp(columns) + 1
    keys = np.repeat(np.arange(len(first)), size) * apart - columns
    ranked = np.take_along_axis(columns, np.argsort(keys, axis=1, kind="stable"), axis=1)
    total = np.add.reduceat(np.where(counts, ranked, 0.0), first, axis=1)
    mean = (total + missing * np.maximum(SESSION_BEST - size, 0)) / SESSION_BEST
    spread: Floats = np.repeat(mean, size, axis=1)
    return spread
