"""Calibrated scores: how relevant each candidate is, whether anything is found at all, and whether
the best few turns suffice. Three small logistic models; constants in `hymem.calibration`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hymem.calibration import (
    FOUND,
    RELEVANCE,
    RELEVANCE_NAMED,
    SUFFICIENT,
)
from hymem.features import NAMES, Table
from hymem.stores.base import Candidates

Floats = NDArray[np.float64]

# Matches within this many logits of the best count as equal, and the newer ones are preferred.
NEWER = 2.5
# The more turns there are, the better some turn matches a question by chance alone: each time their
# number grows e-fold, what 85 % of foreign questions stay below rises by so much cosine (.057 to
# .062, from 1 to 550 turns: LOCOMO, development half; set by hand). FOUND was fitted on scopes of
# 550 turns.
CHANCE = 0.059
CALIBRATED_TURNS = 550
# So few turns take less to read than they may hold: all of them bear on any question.
FEW_TURNS = 12
# From where on one match alone finds something: without a vector, the share of a full lexical
# match; without words, the cosine, below which 82 % of foreign questions stay (LOCOMO, development
# half).
WORDS_ALONE = 0.5
DENSE_ALONE = 0.52
# Ranks that the light tier holds as a rule, and how far down the tail is looked at.
LIGHT_RANKS = 30
TAIL_RANKS = 100


def logits(items: Table) -> Floats:
    """Log-odds, ``float64[m]``, that each scored item holds part of the answer.

    Questions that name a speaker ("What did Ana say?") are told from first-person ones ("What did I
    buy?"): among several people it matters who said a thing, and the weights differ.
    """
    model = RELEVANCE_NAMED if _names_someone(items) else RELEVANCE
    result: Floats = items.values @ np.array([model[name] for name in NAMES]) + model["bias"]
    return result


def lexical_logits(items: Table) -> Floats:
    """The same from words in common alone, where the question has no vector; uncalibrated."""
    share = np.clip(items.values[:, NAMES.index("coverage")], 1e-6, 1 - 1e-6)
    result: Floats = np.log(share / (1 - share))
    return result


def prefer_newer(scores: Floats, times: Floats, share: float) -> Floats:
    """``scores`` with a bonus for the newer ones among the best matches: up to ``NEWER`` times
    ``share`` for the newest of those within ``NEWER`` of the best. Unknown times (nan) get none."""
    top = np.flatnonzero((scores >= scores.max() - NEWER) & ~np.isnan(times))
    if not share or len(top) < 2:
        return scores
    distinct, rank = np.unique(times[top], return_inverse=True)
    raised = scores.copy()
    raised[top] += NEWER * share * rank / max(len(distinct) - 1, 1)
    return raised


def probability(scores: Floats) -> Floats:
    """Log-odds to probabilities."""
    result: Floats = 1 / (1 + np.exp(-scores))
    return result


def is_found(found: Candidates, items: Table) -> bool:
    """Whether memory holds anything on the question."""
    if found.turns_total <= FEW_TURNS:
        return True
    known = presence(found, items)
    if not found.dense.any():  # the question has no vector
        return known["coverage"] >= WORDS_ALONE
    if not found.lexical_max:  # it has no words, or they are not looked at
        return known["dense"] >= DENSE_ALONE
    return _combine(FOUND, **known) >= 0


def presence(found: Candidates, items: Table) -> dict[str, float]:
    """What tells whether memory holds anything on the question: the best cosine, the best lexical
    match as a share of that of a text with every word of the question, and whether the question
    names someone who speaks in this memory."""
    return {
        "dense": float(found.dense.max()) - chance(found.turns_total),
        "coverage": float(found.lexical.max(initial=0.0)) / max(found.lexical_max, 1e-6),
        "named": float(_names_someone(items)),
    }


def chance(turns: int) -> float:
    """How much higher than in a scope of ``CALIBRATED_TURNS`` the best cosine of ``turns`` turns is
    by chance alone: among many, some turn is always a little like the question."""
    return CHANCE * math.log(max(turns, 1) / CALIBRATED_TURNS)


def confidence(scores: Floats) -> float:
    """The probability that the light tier holds all the evidence."""
    return 1 / (1 + math.exp(-_combine(SUFFICIENT, **sufficiency(scores))))


def sufficiency(scores: Floats) -> dict[str, float]:
    """What tells whether the light tier suffices: the best probability, and how much is left over
    beyond that tier, as logarithms."""
    ranked = np.sort(probability(scores))[::-1]
    tail = float(ranked[LIGHT_RANKS:TAIL_RANKS].sum())
    return {"top": float(np.log(ranked[0])), "tail": float(np.log(tail + 1e-4))}


def _names_someone(items: Table) -> bool:
    return bool(items.values[:, NAMES.index("named")].any())


def _combine(weights: dict[str, float], **values: float) -> float:
    return weights["bias"] + sum(weights[name] * value for name, value in values.items())
