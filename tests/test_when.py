"""The time a question is about."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime

import numpy as np
import pytest

from hymem.read import calibration
from hymem.read.question_time import nearness, newer_weight, periods

NOW = datetime(2026, 3, 31, 12)


def seconds(*days: str) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() for day in days])


def test_a_named_day_fits_itself_best() -> None:
    fit = nearness(seconds("2026-03-02", "2026-03-04", "2025-03-02"), periods("on 2 March?", NOW))
    assert fit[0] == 1
    assert 1 > fit[1] > fit[2]
    assert fit[2] < 0.01


def test_what_is_long_ago_is_remembered_vaguely() -> None:
    recent = nearness(seconds("2026-03-27"), periods("What did I do on 29 March 2026?", NOW))
    old = nearness(seconds("2024-03-27"), periods("What did I do on 29 March 2024?", NOW))
    assert old[0] > recent[0]


def test_without_a_date_all_times_fit_alike() -> None:
    assert periods("Where does Ana live?", NOW) == []
    assert nearness(np.array([1.0, np.nan]), []).tolist() == [0, 0]


def test_unknown_times_fit_no_date() -> None:
    assert nearness(np.array([np.nan]), periods("last week", NOW)).tolist() == [0]


def test_of_a_long_question_the_dates_at_both_ends_are_read() -> None:
    pasted = "the 5th of May 2021, " * 4_000
    long = f"What did I do on 2 March 2026? {pasted} Or on 4 March 2026?"
    started = time.process_time()
    found = periods(long, NOW)
    assert time.process_time() - started < 2
    assert len(found) < 200
    days = [datetime.fromtimestamp(one.start, UTC).date() for one in (found[0], found[-1])]
    assert days == [date(2026, 3, 2), date(2026, 3, 4)]


@pytest.mark.parametrize(
    ("question", "weight"),
    [
        ("Where does Ana live?", 1),
        ("Which flat is Ana currently in?", 1),
        ("How many stamps have I collected?", 1),
        ("Where did Ana live before Lyon?", 0),
        ("What was my previous goal?", 0),
        ("Where did I originally keep it?", 0),
        ("Who came to the party?", calibration.NEWER_OTHERWISE),
        ("What did Ana do last week?", 0),  # about that week, not about now
        ("Who is on the list of 3 March 2026?", 0),
        ("What is Ana doing today?", 1),
        ("Is Ana still ill, as she was last week?", 1),
        ("Where are we going next week?", 1),
    ],
)
def test_preference_for_the_newer(question: str, weight: float) -> None:
    assert newer_weight(question, NOW) == weight
