"""The score gate and the calibrated scores behind it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hymem import ranking
from hymem.gate import GateDecision, decide
from hymem.retrieve import Retrieval


@pytest.mark.parametrize(
    ("confidence", "found", "tier"),
    [(0.9, True, "light"), (0.5, True, "light"), (0.49, True, "deep"), (0.9, False, "none")],
)
def test_tier_by_confidence(confidence: float, found: bool, tier: str) -> None:
    decision = decide(Retrieval((), confidence, found, None), threshold=0.5)
    assert decision == GateDecision(tier, confidence, 0.5)  # type: ignore[arg-type]


def test_one_clear_match_is_sufficient_and_many_equal_ones_are_not() -> None:
    clear = np.full(100, -9.0)
    clear[0] = 1.0
    crowded = np.full(100, -2.0)
    assert ranking.confidence(clear) > ranking.confidence(crowded)
    assert 0 < ranking.confidence(crowded) < 1


def test_the_newer_of_equal_matches_is_preferred() -> None:
    scores = np.array([0.0, 0.0, -9.0])
    times = np.array([10.0, 20.0, 30.0])
    raised = ranking.prefer_newer(scores, times, 1.0)
    assert raised.tolist() == [0.0, ranking.NEWER, -9.0]  # the third is no match, however new
    assert ranking.prefer_newer(scores, times, 0.5)[1] == ranking.NEWER / 2


def test_no_preference_without_a_share_or_without_times() -> None:
    scores = np.array([0.0, -1.0])
    assert ranking.prefer_newer(scores, np.array([1.0, 2.0]), 0.0).tolist() == [0.0, -1.0]
    assert ranking.prefer_newer(scores, np.array([math.nan, math.nan]), 1.0).tolist() == [0.0, -1.0]


def test_items_of_one_time_get_the_same_bonus() -> None:
    raised = ranking.prefer_newer(np.zeros(3), np.array([5.0, 7.0, 7.0]), 1.0)
    assert raised.tolist() == [0.0, ranking.NEWER, ranking.NEWER]
