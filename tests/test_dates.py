"""Dates in text: the committed table, absolute forms, and properties that hold for any text."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hymem.dates import annotate, resolve

TABLE = json.loads((Path(__file__).parent / "data" / "relative_dates.json").read_text())
MONDAY = datetime(2026, 3, 2, 9, 30)


def test_at_least_95_percent_of_the_200_relative_expressions_resolve_right() -> None:
    wrong = []
    for row in TABLE:
        spans = resolve(row["text"], datetime.fromisoformat(row["said"]))
        if [(str(s.first), str(s.last)) for s in spans] != [(row["first"], row["last"])]:
            wrong.append((row["text"], row["said"], [(s.text, s.first, s.last) for s in spans]))
    assert len(TABLE) == 200
    assert len(wrong) <= 0.05 * len(TABLE), wrong


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("3 May 2024", date(2024, 5, 3), date(2024, 5, 3)),
        ("May 3rd, 2024", date(2024, 5, 3), date(2024, 5, 3)),
        ("2024-02-29", date(2024, 2, 29), date(2024, 2, 29)),
        ("May 2024", date(2024, 5, 1), date(2024, 5, 31)),
        ("Christmas 2019", date(2019, 12, 25), date(2019, 12, 25)),
        ("the 1990s", date(1990, 1, 1), date(1999, 12, 31)),
        ("March 3-5, 2024", date(2024, 3, 3), date(2024, 3, 5)),
    ],
)
def test_absolute_dates_are_marked_so(text: str, first: date, last: date) -> None:
    (span,) = resolve(text, MONDAY)
    assert (span.first, span.last, span.absolute) == (first, last, True)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("My sister is getting married in June.", date(2026, 6, 1)),
        ("My sister got married in June.", date(2025, 6, 1)),
        ("The wedding is on Friday.", date(2026, 3, 6)),
        ("We met on Friday.", date(2026, 2, 27)),
        ("My birthday is in June.", date(2026, 6, 1)),
        ("Our flight leaves on the 9th.", date(2026, 3, 9)),
        ("School starts in September.", date(2026, 9, 1)),
        ("See you in May!", date(2026, 5, 1)),
        ("Let's meet on Saturday.", date(2026, 3, 7)),
    ],
)
def test_a_plan_in_the_present_tense_lies_ahead(text: str, first: date) -> None:
    (span,) = resolve(text, MONDAY)
    assert span.first == first


@pytest.mark.parametrize(
    "text",
    [
        "I may go for a march.",
        "It was the second time in a row.",
        "June 31, 2024 and February 30, 2023 never came.",
        "We won 3 to 5 and paid $2020.",
        "The summer collection of 12 shirts.",
        "On Fridays we dance.",
        "Ceramics on Wednesday evenings.",
    ],
)
def test_what_is_no_date_is_left_alone(text: str) -> None:
    assert resolve(text, MONDAY) == []


def test_several_dates_of_one_text_come_in_order() -> None:
    spans = resolve("Yesterday I packed, tomorrow I fly, and in May I'll be back.", MONDAY)
    assert [span.text.lower() for span in spans] == ["yesterday", "tomorrow", "may"]
    assert [span.first.month for span in spans] == [3, 3, 5]


def test_annotate_appends_the_calendar_date_to_relative_ones_only() -> None:
    assert annotate("I went to the clinic last week.", MONDAY) == (
        "I went to the clinic last week (23 February–1 March 2026)."
    )
    assert annotate("Born on 3 May 1990, moved in May.", MONDAY) == (
        "Born on 3 May 1990, moved in May (May 2025)."
    )


def test_the_anchors_own_calendar_day_counts() -> None:
    late = datetime(2026, 3, 2, 23, 59, tzinfo=UTC)
    assert resolve("today", late)[0].first == date(2026, 3, 2)
    assert resolve("ten minutes ago", datetime(2026, 3, 2, 0, 5))[0].first == date(2026, 3, 1)


WORDS = st.sampled_from(
    re.findall(
        r"\S+",
        "last next the in on at of ago back week weekend month year Monday March may summer "
        "Christmas 3rd 31 30 2019 99999 0 two few several before after from to since until end "
        "early mid- and half a yesterday tomorrow 1/2/2020 29 February decade 's , .",
    )
)


@given(
    text=st.one_of(st.text(), st.lists(WORDS, max_size=12).map(" ".join)),
    anchor=st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)),
)
def test_any_text_at_any_time_gives_ordered_spans_inside_the_text(
    text: str, anchor: datetime
) -> None:
    position = 0
    for span in resolve(text, anchor):
        assert position <= span.start_char < span.end_char <= len(text)
        assert text[span.start_char : span.end_char] == span.text
        assert span.first <= span.last
        position = span.end_char
    annotate(text, anchor)
