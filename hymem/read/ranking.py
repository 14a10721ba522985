"""Scores: how relevant each candidate is, whether anything is found at all, and whether the best
few turns suffice. Small linear models on few features; constants in `hymem.read.calibration`."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hymem.read import calibration
from hymem.read.features import LATE_SCALE, NAMES, PRIOR_TURNS, Table
from hymem.stores.base import Candidates

Floats = NDArray[np.float64]

MEASURES = ("late", "dense", "coverage")
# Ranks that the light tier holds as a rule, and how far down the tail is looked at.
LIGHT_RANKS = 15
TAIL_RANKS = 100


def scores(items: Table) -> Floats:
    """``float64[m]``: log-odds, up to a constant, that each item holds part of the answer."""
    return items.values @ _weights(_model(items))


def _model(items: Table) -> Mapping[str, float]:
    if items.values[:, NAMES.index("late")].any():
        return calibration.LATE_NAMED if _names_someone(items) else calibration.LATE
    # Without a vector the words in common are all there is, and the same weights order them.
    return calibration.PLAIN


def _names_someone(items: Table) -> bool:
    """Whether the question names someone who speaks: then it is asked of a conversation between
    people, where it matters who said a thing, and what session it was said in; else it is one's own
    message."""
    return bool(items.values[:, NAMES.index("named")].any())


def _weights(model: Mapping[str, float]) -> Floats:
    return np.array([model[name] for name in NAMES])


def around(scores: Floats, items: Table) -> Floats:
    """``scores`` with each turn at least as good as a neighbour of it, less ``STEP`` per step: what
    is said around a good match often holds the rest of the answer."""
    best = scores.copy()
    padded = np.append(scores, -np.inf)
    half = len(items.near) // 2
    for at, near in enumerate(items.near):
        np.maximum(best, padded[near] - calibration.STEP * (at % half + 1), out=best)
    return best


# What is said at one time is mostly said of several things: the later gains but a part of a step.
TIE = 0.5


def prefer_newer(scores: Floats, times: Floats, share: float) -> Floats:
    """``scores`` with a bonus for the newer ones among the best matches: up to ``NEWER`` times
    ``share`` for the newest of those within ``NEWER_WITHIN`` of the best. Of one time the later in
    the table, which is the later said, is newer, by less than a step to the next time. Unknown
    times (nan) get none."""
    near = scores >= scores.max() - calibration.NEWER_WITHIN
    top = np.flatnonzero(near & ~np.isnan(times))
    if not share or len(top) < 2:
        return scores
    _, group, size = np.unique(times[top], return_inverse=True, return_counts=True)
    place = np.argsort(np.argsort(group, kind="stable"), kind="stable")
    rank = group + TIE * (place - (np.cumsum(size) - size)[group]) / size[group]
    raised = scores.copy()
    raised[top] += calibration.NEWER * share * rank / max(rank.max(), 1.0)
    return raised


def confidence(found: Candidates, items: Table) -> float:
    """The probability that memory holds anything on the question: that its best match does, or,
    where it is all about one thing, so that none stands out, that its mean turn does."""
    known = presence(found, items)
    sure = confidence_of(known)
    return max(sure, confidence_of(everywhere(found))) if "late" in known else sure


def confidence_of(known: Mapping[str, float]) -> float:
    """The same from what ``presence`` told."""
    measured = "+".join(name for name in MEASURES if name in known)
    return _logistic(_combine(calibration.FOUND[measured], known)) if measured else 0.0


def presence(found: Candidates, items: Table) -> dict[str, float]:
    """What tells whether memory holds anything on the question: the best match by each measure
    that there is, whether the question names someone who speaks in this memory, and how many turns
    there are: among many, some turn is always a little like the question."""
    best = dict(zip(NAMES, items.values.max(axis=0), strict=True))
    there = {"late": found.late.any(), "dense": found.dense.any(), "coverage": found.lexical_max}
    known = {name: float(best[name]) for name in MEASURES if there[name]}
    if "dense" not in known:  # without a vector, words alone
        known.pop("late", None)
    turns = math.log(max(found.turns_total, 1))
    return known | {"named": float(best["named"]), "turns": turns}


def everywhere(found: Candidates) -> dict[str, float]:
    """As ``presence``, of the scope's mean turn against what is chance in other scopes, as one of
    ``PRIOR_TURNS``. For encoders with token codes alone: cosines lie differently for each."""
    sample = found.sample & (found.late != 0)
    if not sample.any():
        return {}
    late = (float(found.late[sample].mean()) - calibration.LATE_MEAN) * LATE_SCALE
    dense = (float(found.dense[sample].mean()) - calibration.DENSE_MEAN) / calibration.DENSE_SPREAD
    known = {"late": late, "dense": dense, "named": 0.0, "turns": math.log(PRIOR_TURNS)}
    return known | ({"coverage": 0.0} if found.lexical_max else {})


def relevance(scores: Floats, confidence: float) -> Floats:
    """The probability, ``float64[m]``, that each item is evidence: by its share among all."""
    model = calibration.RELEVANT
    odds = model["bias"] + model["share"] * log_share(scores) + model["found"] * logit(confidence)
    return probability(odds)


def log_share(scores: Floats) -> Floats:
    """Logarithm of each item's share of all, by softmax."""
    shifted = scores - scores.max()
    result: Floats = shifted - math.log(float(np.exp(shifted).sum()))
    return result


def probability(logits: Floats) -> Floats:
    """Log-odds to probabilities."""
    result: Floats = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
    return result


def sufficient(chances: Floats) -> float:
    """The probability that the light tier holds all the evidence. ``chances``: ``relevance``."""
    return _logistic(_combine(calibration.SUFFICIENT, sufficiency(chances)))


def sufficiency(chances: Floats) -> dict[str, float]:
    """What tells whether the light tier suffices: the best probability, and how much is left over
    beyond that tier, as logarithms."""
    ranked = np.sort(chances)[::-1]
    tail = float(ranked[LIGHT_RANKS:TAIL_RANKS].sum())
    return {"top": math.log(max(float(ranked[0]), 1e-6)), "tail": math.log(tail + 1e-4)}


def _combine(weights: Mapping[str, float], values: Mapping[str, float]) -> float:
    return sum(weight * values.get(name, 1.0) for name, weight in weights.items())


def _logistic(logit: float) -> float:
    return 1 / (1 + math.exp(-max(min(logit, 50.0), -50.0)))


def logit(chance: float) -> float:
    """Log-odds of a probability."""
    chance = min(max(chance, 1e-6), 1 - 1e-6)
    return math.log(chance / (1 - chance))
