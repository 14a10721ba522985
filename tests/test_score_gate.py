"""The score gate and the calibrated scores behind it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hymem.read import calibration, ranking
from hymem.read.gate import GateDecision, decide, needed
from hymem.read.retrieve import Retrieval


@pytest.mark.parametrize(
    ("sufficient", "tier"), [(0.9, "light"), (0.5, "light"), (0.49, "deep"), (0.0, "deep")]
)
def test_tier_by_sufficiency(sufficient: float, tier: str) -> None:
    decision = decide(Retrieval((), 0.7, True, sufficient, None), threshold=0.5)
    assert decision == GateDecision(tier, sufficient, 0.5)  # type: ignore[arg-type]


def test_one_clear_match_is_sufficient_and_many_equal_ones_are_not() -> None:
    clear = np.full(100, -9.0)
    clear[0] = 1.0
    clear, crowded = (ranking.relevance(scores, 0.9) for scores in (clear, np.full(100, -2.0)))
    assert ranking.sufficient(clear) > ranking.sufficient(crowded)
    assert 0 < ranking.sufficient(crowded) < 1


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=60), st.floats(0, 1))
def test_chances_are_probabilities_in_the_order_of_scores(
    scores: list[float], confidence: float
) -> None:
    chances = ranking.relevance(np.array(scores), confidence)
    assert ((chances >= 0) & (chances <= 1)).all()
    assert (np.diff(chances[np.argsort(scores)]) >= 0).all()


def test_what_is_needed_is_one_line_where_one_stands_out() -> None:
    assert needed([0.9, *[0.00001] * 50]) == 1
    assert needed([0.3] * 10) > 5
    assert needed([]) == 0
    assert needed([0.0]) == 1


@given(st.lists(st.floats(0, 1), max_size=30), st.lists(st.floats(0, 1), max_size=30))
def test_more_lines_never_need_fewer(chances: list[float], more: list[float]) -> None:
    assert needed(chances) <= needed([*chances, *more])


def test_the_newer_of_equal_matches_is_preferred() -> None:
    scores = np.array([0.0, 0.0, -9.0])
    times = np.array([10.0, 20.0, 30.0])
    raised = ranking.prefer_newer(scores, times, 1.0)
    assert raised.tolist() == [0.0, calibration.NEWER, -9.0]  # the third is no match, however new
    assert ranking.prefer_newer(scores, times, 0.5)[1] == calibration.NEWER / 2


def test_no_preference_without_a_share_or_without_times() -> None:
    scores = np.array([0.0, -1.0])
    assert ranking.prefer_newer(scores, np.array([1.0, 2.0]), 0.0).tolist() == [0.0, -1.0]
    assert ranking.prefer_newer(scores, np.array([math.nan, math.nan]), 1.0).tolist() == [0.0, -1.0]


def test_of_items_of_one_time_the_later_said_is_newer() -> None:
    raised = ranking.prefer_newer(np.zeros(3), np.array([7.0, 5.0, 7.0]), 1.0)
    assert raised.argsort().tolist() == [1, 0, 2]
    assert raised[2] == calibration.NEWER
    alone = ranking.prefer_newer(np.zeros(2), np.array([7.0, 7.0]), 1.0)
    assert 0 == alone[0] < alone[1] < calibration.NEWER
