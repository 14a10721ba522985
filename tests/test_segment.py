"""Segmentation: every turn is covered, and events end at silences, topic shifts and limits."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hymem.types import Turn
from hymem.write.segment import TopicSegmenter

START = datetime(2026, 3, 2, 9)


def turns_of(minutes: list[float], text: str = "word") -> list[Turn]:
    return [
        Turn(id=i, role="user", speaker="a", text=text, time=START + timedelta(minutes=minute))
        for i, minute in enumerate(minutes)
    ]


def topic_vectors(topics: list[int], noise: float = 0.2) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    vectors = np.eye(8)[topics] + noise * rng.standard_normal((len(topics), 8))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(unit, dtype=np.float32)


def test_a_topic_shift_ends_an_event() -> None:
    ranges = TopicSegmenter(overlap=0).segment(
        turns_of(list(range(18))), topic_vectors([0] * 6 + [1] * 6 + [2] * 6)
    )
    assert ranges == [(0, 6), (6, 12), (12, 18)]


def test_neighbours_share_a_turn_at_a_topic_shift_but_not_across_a_silence() -> None:
    vectors = topic_vectors([0] * 6 + [1] * 6 + [1] * 6)
    minutes = [float(i) for i in range(12)] + [200.0 + i for i in range(6)]
    ranges = TopicSegmenter(overlap=1).segment(turns_of(minutes), vectors)
    assert ranges == [(0, 6), (5, 12), (12, 18)]


def test_a_history_added_backwards_is_cut_where_one_added_in_order_is() -> None:
    backwards = turns_of([400.0, 200.0, 0.0])
    vectors = topic_vectors([0, 0, 0])
    assert TopicSegmenter().segment(backwards, vectors) == [(0, 1), (1, 2), (2, 3)]


def test_one_topic_stays_one_event_up_to_the_limit() -> None:
    vectors = np.tile(topic_vectors([0], noise=0), (40, 1))
    ranges = TopicSegmenter(max_turns=16, overlap=0).segment(turns_of(list(range(40))), vectors)
    assert ranges == [(0, 16), (16, 32), (32, 40)]


def test_long_texts_end_an_event_early_and_a_huge_turn_stands_alone() -> None:
    turns = turns_of([0, 1, 2, 3], text="x" * 50)
    huge = Turn(id=9, role="user", speaker="a", text="y" * 500, time=START)
    vectors = np.tile(topic_vectors([0], noise=0), (5, 1))
    ranges = TopicSegmenter(max_chars=120, overlap=1).segment([*turns[:3], huge, turns[3]], vectors)
    assert ranges == [(0, 2), (1, 3), (3, 4), (4, 5)]


def test_turns_without_times_and_mixed_time_zones_are_accepted() -> None:
    from datetime import UTC

    turns = [
        Turn(id=0, role="user", speaker="a", text="x"),
        Turn(id=1, role="user", speaker="a", text="x", time=START),
        Turn(id=2, role="user", speaker="a", text="x", time=START.replace(tzinfo=UTC)),
    ]
    assert TopicSegmenter().segment(turns, topic_vectors([0, 0, 0])) == [(0, 3)]


def test_the_number_of_vectors_must_match() -> None:
    with pytest.raises(ValueError, match="3 turns"):
        TopicSegmenter().segment(turns_of([0, 1, 2]), topic_vectors([0]))
    assert TopicSegmenter().segment([], topic_vectors([0])[:0]) == []


@given(
    topics=st.lists(st.integers(0, 7), min_size=1, max_size=60),
    gaps=st.lists(st.floats(-10, 300), min_size=60, max_size=60),
    overlap=st.integers(0, 2),
    max_turns=st.integers(5, 20),
)
def test_ranges_cover_all_turns_in_order(
    topics: list[int], gaps: list[float], overlap: int, max_turns: int
) -> None:
    minutes = np.cumsum(gaps)[: len(topics)].tolist()
    segmenter = TopicSegmenter(overlap=overlap, max_turns=max_turns)
    ranges = segmenter.segment(turns_of(minutes), topic_vectors(topics))
    assert ranges[0][0] == 0
    assert ranges[-1][1] == len(topics)
    for (first, end), (following, following_end) in pairwise(ranges):
        assert end - overlap <= following <= end
        assert first < following
        assert end < following_end
    assert all(0 < end - first <= max_turns for first, end in ranges)
