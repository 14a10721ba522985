"""What is known of each candidate before its text is read: a row of numbers per candidate.

A match is told as what it is above chance: above the mean of turns that lie evenly in the scope,
once what length alone brings is taken off. So it means the same for short and long texts, and for
a scope of ten turns and one of a million.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hymem.read.calibration import DENSE_MEAN, DENSE_SPREAD, LATE_MEAN
from hymem.read.query import RADIUS
from hymem.stores.base import Candidates

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Turns that stand for the scope in every search: enough for a mean and a spread.
SAMPLE = 64
# What is known from other scopes counts as much as so many turns of this one.
PRIOR_TURNS = 8
# A session is judged by its best few turns.
SESSION_BEST = 3
# Late interaction varies by tenths.
LATE_SCALE = 10.0
# A length in tokens below which texts count as equally short.
SHORT = 5
_STEPS = np.array([[sign * step] for sign in (-1, 1) for step in range(1, RADIUS + 1)])

# Those of the text itself, not of what stands around it.
OWN = [0, 1, 3]
# A plain sum of them, to compare the keys of one turn: coverage is a share, the others some units.
OWN_WEIGHTS = np.array([[1.0], [1.0], [4.0]])
# By so much a unit must match better than its turn to stand for it: what was said is worth more.
LEAD = 0.5

NAMES = (
    "dense",
    "late",
    "late_window",
    "coverage",
    "session_late",
    "coverage_window",
    "named",
    "time",
)


@dataclass(frozen=True, slots=True)
class Table:
    """The scored items of a ``Candidates``, by session and position.

    ``rows``: ``int64[m]``, rows of the candidates: the turns, and the units of which no source turn
    is a candidate. ``unit``: ``int64[m]``, the row of the best matching unit that rests on the
    turn, or -1. ``unit_leads``: ``bool[m]``, whether that unit matches better than the turn.
    ``near``: ``int64[2 * RADIUS, m]``, the items 1, 2, … before it, then 1, 2, … after it in its
    session, as indices into this table, or -1. ``values``: ``float64[m, len(NAMES)]``.
    """

    rows: Ints
    unit: Ints
    unit_leads: NDArray[np.bool_]
    near: Ints
    values: Floats


def table(found: Candidates, named: NDArray[np.bool_], nearness: Floats) -> Table:
    """The features of ``found``. ``named``: ``bool[n]``, whether the question names who speaks;
    ``nearness``: ``float64[n]``, 0 to 1, how well an item's time fits the question's."""
    if not len(found.ids):
        nothing = np.zeros(0, np.int64)
        near = np.zeros((2 * RADIUS, 0), np.int64)
        return Table(nothing, nothing, nothing.astype(bool), near, np.zeros((0, len(NAMES))))
    units, turns = _links(found)
    orphan = found.is_unit.copy()
    orphan[units] = False
    rows = np.flatnonzero(~found.is_unit | orphan)
    rows = rows[np.lexsort((found.position[rows], found.session[rows]))]

    coverage = found.lexical / max(found.lexical_max, 1e-6)
    keys = np.vstack([above_chance(found), coverage])
    match = (OWN_WEIGHTS * keys[OWN]).sum(axis=0)
    unit, unit_match = _best_unit(match, units, turns)
    unit, leads = unit[rows], unit_match[rows] > match[rows] + LEAD
    near = _neighbours(found.session[rows], found.position[rows])
    # A unit is one more key of the turn that it rests on; the window is the turn's.
    has = unit >= 0
    unit_keys = keys[:, unit]
    keys = keys[:, rows]
    keys[OWN] = np.where(has, np.maximum(keys[OWN], unit_keys[OWN]), keys[OWN])
    next_to = np.append(keys[-1], 0.0)[near[[0, RADIUS]]]
    columns = [
        *keys,
        _session_best(keys[1], found.session[rows]),
        np.maximum(keys[-1], next_to.max(axis=0)),
        named[rows],
        np.where(has, np.maximum(nearness[rows], nearness[unit]), nearness[rows]),
    ]
    return Table(rows, unit, leads, near, np.array(columns, np.float64).T)


def above_chance(found: Candidates) -> Floats:
    """``float64[3, n]``: dense and late match of the item, and late match of its window, above what
    chance brings; of a long text, by its best passage. Cosines, which lie differently for each
    encoder, in standard deviations of the scope's; late interaction in tenths. Zeros where the
    question was not matched so."""
    length = np.log(found.passage_tokens + SHORT)
    dense, spread = _residual(found.dense, length, found.sample, DENSE_MEAN, DENSE_SPREAD)
    late, _ = _residual(found.late, length, found.sample, LATE_MEAN, 0.0)
    window, _ = _residual(found.late_window, length, found.sample, LATE_MEAN, 0.0)
    return np.array([dense / spread, late * LATE_SCALE, window * LATE_SCALE])


def _residual(
    values: NDArray[np.float32],
    length: Floats,
    sample: NDArray[np.bool_],
    mean: float,
    spread: float,
) -> tuple[Floats, float]:
    """``values`` less what a text of this ``length`` has by chance, told by the scope's ``sample``,
    and the standard deviation of what is left there. ``mean`` and ``spread`` are those of other
    scopes: a small sample says little."""
    known = values != 0  # what still waits for its vector is as good as any
    if not known.any():
        return np.zeros(len(values)), 1.0
    sample = sample & known
    here, long = values[sample].astype(np.float64), length[sample]
    count = len(here) + PRIOR_TURNS
    centre = (here.sum() + PRIOR_TURNS * mean) / count
    middle = long.mean() if len(long) else 0.0
    off = long - middle
    slope = float((off * (here - centre)).sum() / ((off**2).sum() + PRIOR_TURNS))
    chance = centre + slope * (length - middle)
    left = here - chance[sample]
    variance = (float((left**2).sum()) + PRIOR_TURNS * spread**2) / count
    return np.where(known, values - chance, 0.0), max(math.sqrt(variance), 1e-6)


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
    best, row = np.full(len(match), -np.inf), np.full(len(match), -1)
    order = np.argsort(match[units], kind="stable")
    row[turns[order]] = units[order]  # the last assignment, which is the best, stays
    best[turns[order]] = match[units[order]]
    return row, best


def _session_best(values: Floats, session: Ints) -> Floats:
    """For each item (sorted by session), the mean of the best ``SESSION_BEST`` values of its
    session; one with fewer is filled up with 0, which is chance."""
    first = np.flatnonzero(np.append(True, session[1:] != session[:-1]))
    size = np.diff(np.append(first, len(session)))
    number = np.repeat(np.arange(len(first)), size)
    ranked = values[np.lexsort((-values, number))]
    place = np.arange(len(session)) - np.repeat(first, size)
    total = np.add.reduceat(np.where(place < SESSION_BEST, ranked, 0.0), first)
    spread: Floats = (total / SESSION_BEST)[number]
    return spread


def _neighbours(session: Ints, position: Ints) -> Ints:
    """For each item (sorted by session and position), the index of the item one before, two before,
    …, then one after, two after, … it in its session, or -1: ``int64[2 * RADIUS, m]``."""
    place = session * (int(position.max(initial=0)) + 2 * RADIUS + 1) + position
    wanted = place + _STEPS
    found = np.minimum(np.searchsorted(place, wanted.ravel()), len(place) - 1)
    found = found.reshape(wanted.shape)
    return np.where(place[found] == wanted, found, -1)
