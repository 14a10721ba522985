"""Dates in text: the committed table, absolute forms, and properties that hold for any text."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path
from time import thread_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hymem.dates import annotate, meet, named, occurrence, resolve

DATA = Path(__file__).parent / "data"
TABLE = json.loads((DATA / "relative_dates.json").read_text())
# Written before the rules that they test; the second table after them, as a check of the first.
PLANS = json.loads((DATA / "plan_dates.json").read_text())
PLANS_AFTER = json.loads((DATA / "plan_dates_after.json").read_text())
# By somebody who had not seen the rules, reworded; and new ones of the same kinds, written after
# the rules had been mended by the first.
CHECK = json.loads((DATA / "plan_dates_check.json").read_text())
FRESH = json.loads((DATA / "plan_dates_fresh.json").read_text())
MONDAY = datetime(2026, 3, 2, 9, 30)


def wrong(table: list[dict[str, Any]]) -> list[Any]:
    """The rows that do not resolve to the one stretch of days (``null``: to none) they give."""
    rows = []
    for row in table:
        spans = resolve(row["text"], datetime.fromisoformat(row["said"]))
        wanted = [(row["first"], row["last"])] if row["first"] else []
        if [(str(s.first), str(s.last)) for s in spans] != wanted:
            rows.append((row["text"], row["said"], [(s.text, s.first, s.last) for s in spans]))
    return rows


def test_all_of_the_200_relative_expressions_resolve_right() -> None:
    assert len(TABLE) == 200
    assert not wrong(TABLE)


def is_held_out(row: dict[str, Any]) -> bool:
    return sha256(row["text"].encode()).digest()[0] % 2 == 1


def test_97_percent_of_the_300_plans_and_past_events_resolve_right_in_either_half() -> None:
    """The rules were made on one half and on what they did to other chats' dates. Right at first
    sight of the rules (before any was mended): 131 of 143 and, held out, 149 of 157; now 141 and
    156. The rules of 0.1: 98 and 106."""
    assert len(PLANS) == 300
    for half in ([r for r in PLANS if not is_held_out(r)], [r for r in PLANS if is_held_out(r)]):
        assert len(wrong(half)) <= 0.03 * len(half), wrong(half)


def test_95_percent_of_60_sentences_written_after_the_rules_resolve_right() -> None:
    """57 of 60 when they were written; "march 14" in small letters has been a date since."""
    assert len(PLANS_AFTER) == 60
    assert len(wrong(PLANS_AFTER)) <= 3, wrong(PLANS_AFTER)


def misread(table: list[dict[str, Any]]) -> list[Any]:
    """The rows whose dates are none of the lists of stretches that are ``right``."""
    rows = []
    for row in table:
        spans = resolve(row["text"], datetime.fromisoformat(row["said"]))
        if [[str(s.first), str(s.last)] for s in spans] not in row["right"]:
            rows.append((row["text"], row["said"], [(s.text, s.first, s.last) for s in spans]))
    return rows


def test_97_percent_of_91_sentences_by_somebody_else_resolve_right() -> None:
    """At first sight 80 of 91 (88 %) did; then the rules were tuned on them."""
    assert len(CHECK) == 91
    assert len(misread(CHECK)) <= 0.03 * len(CHECK), misread(CHECK)


def test_40_sentences_written_after_the_tuning_resolve_right() -> None:
    """40 of 40 at first sight, by the author of the rules; 17 before the tuning."""
    assert len(FRESH) == 40
    assert not misread(FRESH)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("The lease I signed ended in January.", ["2026-01-01"]),  # the main verb is past too
        ("I heard that she made calls on February 20.", ["2026-02-20"]),  # no relative clause
        ("The day before yesterday I made calls on Friday.", ["2026-02-28", "2026-02-27"]),
        ("On February 20 she told me to leave.", ["2026-02-20"]),  # the telling is dated
        ("She told me to come in on February 25.", ["2026-02-25"]),  # just been
        ("She told me to come in on April 25.", ["2026-04-25"]),
        ("I lost my tickets for February 25.", ["2026-02-25"]),
        ("I bought a present for June.", []),  # a name
        ("Nothing is booked for June yet.", ["2026-06-01"]),
        ("We sat on the 3rd row.", []),
        # Verbs whose past looks like the present, and nouns that look like verbs.
        ("They let me go on January 15.", ["2026-01-15"]),
        ("The landlord let us in on February 3.", ["2026-02-03"]),
        ("She read the will aloud on February 9.", ["2026-02-09"]),
        ("The pipes burst on February 11.", ["2026-02-11"]),
        ("Please let us know by April 30.", ["2026-04-30"]),
        ("So let me know by April 30.", ["2026-04-30"]),
        ("They will let us know on April 9.", ["2026-04-09"]),
        ("I hope they let me go on April 15.", ["2026-04-15"]),
        ("My dad will be there on April 5.", ["2026-04-05"]),
        # What had been arranged, and what has been.
        ("I'd booked the hall for February 4 but it fell through.", ["2026-02-04"]),
        ("I'd booked the hall for April 4.", ["2026-04-04"]),
        ("We've booked the hall for April 4.", ["2026-04-04"]),
        # A holiday that tells which one, beside the date of it.
        ("The Christmas party was on December 19.", ["2025-12-19"]),
        ("We met at the Christmas party on December 19.", ["2025-12-19"]),
        ("On December 19 we had the office's Christmas party.", ["2025-12-19"]),
        ("Our New Year's party was on January 2.", ["2026-01-02"]),
        ("The Christmas party was fun.", ["2025-12-25"]),
        ("We were home at Christmas and left on January 3.", ["2025-12-25", "2026-01-03"]),
    ],
)
def test_which_verb_a_date_belongs_to(text: str, days: list[str]) -> None:
    assert [str(span.first) for span in resolve(text, MONDAY)] == days


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


@pytest.mark.parametrize(
    "text",
    [
        "Every March we clean the gutters.",
        "The shop is open Monday to Friday.",
        "My last day at school was a mess.",
        "I was born in June.",
        "The Christmas tree is in the cellar.",
        "summer-inspired flavours",
    ],
)
def test_where_nothing_tells_the_year_no_date_is_given(text: str) -> None:
    assert resolve(text, MONDAY) == []
    assert annotate(text, MONDAY) == text


def test_an_open_date_is_named_as_one() -> None:
    (span,) = named("I was born in June.", MONDAY)
    assert (span.text, span.bare, span.open) == ("June", True, True)
    (span,) = named("I moved last week.", MONDAY)
    assert (span.bare, span.open) == (False, False)


@pytest.mark.parametrize(
    ("text", "days", "found"),
    [
        ("I was born in June.", ("1990-06-11", "1990-06-11"), ("1990-06-01", "1990-06-30")),
        ("I was born in June.", ("1990-07-11", "1990-07-11"), None),
        ("We fly on July 10.", ("2019-07-10", "2019-07-10"), ("2019-07-10", "2019-07-10")),
        ("We fly on July 10.", ("2019-07-11", "2019-07-11"), ("2019-07-10", "2019-07-10")),
        ("We fly on July 10.", ("2019-07-01", "2019-07-31"), ("2019-07-10", "2019-07-10")),
        ("We fly on July 10.", ("2019-08-01", "2019-08-31"), None),
        ("We meet on Friday.", ("2026-03-27", "2026-03-27"), ("2026-03-27", "2026-03-27")),
        ("We meet on Friday.", ("2026-03-24", "2026-03-24"), None),
        ("Away from 3 to 9 June.", ("2024-06-05", "2024-06-05"), ("2024-06-03", "2024-06-09")),
        ("I moved last week.", ("2026-02-25", "2026-02-25"), ("2026-02-23", "2026-03-01")),
        ("I moved last week.", ("2025-02-25", "2025-02-25"), None),  # the words name one week
        ("We meet next Friday.", ("2026-03-13", "2026-03-13"), ("2026-03-13", "2026-03-13")),
        ("Away next weekend.", ("2026-03-07", "2026-03-08"), ("2026-03-07", "2026-03-08")),
        ("We wed next summer.", ("2027-07-01", "2027-07-01"), ("2027-06-01", "2027-08-31")),
        ("We wed next year.", ("2028-07-01", "2028-07-01"), None),
    ],
)
def test_an_occurrence_is_found_where_the_words_allow_the_days(
    text: str, days: tuple[str, str], found: tuple[str, str] | None
) -> None:
    (span,) = named(text, MONDAY)
    stretch = date.fromisoformat(days[0]), date.fromisoformat(days[1])
    got = occurrence(text, span, stretch, MONDAY)
    assert (got and (str(got.first), str(got.last))) == found


def test_annotate_takes_the_days_that_the_caller_knows() -> None:
    day = date(2028, 6, 30)
    assert annotate("My lease ends June 30.", MONDAY) == "My lease ends June 30 (30 June 2026)."
    assert annotate("My lease ends June 30.", MONDAY, (day, day)) == (
        "My lease ends June 30 (30 June 2028)."
    )
    assert annotate("Born on June 30.", MONDAY, (day, day)) == "Born on June 30 (30 June 2028)."
    # "Since" reaches up to the day of saying, whatever year it began in.
    may = (date(2024, 5, 1), date(2024, 5, 31))
    assert annotate("Here since May.", MONDAY, may) == "Here since May (1 May 2025–2 March 2026)."


@pytest.mark.parametrize(
    "unit",
    ["On May 3 we met, ", "the end of ", "the first week of ", "from May to ", "in the ", "May 3–"],
)
def test_the_time_to_read_a_text_grows_with_its_length_alone(unit: str) -> None:
    """0.1 took a minute for 80 kB of the first, and RecursionError ended the second."""

    def seconds(length: int) -> float:
        text, start = unit * (length // len(unit)), thread_time()
        resolve(text, MONDAY)
        return thread_time() - start

    assert seconds(20_000) < 10 * seconds(5_000) + 0.5


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
        "Christmas 3rd 31 30 2019 will was every born my 's remember to for tickets booked moved "
        " 99999 0 two few several before after from to since until end "
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
    for span in named(text, anchor):
        found = occurrence(text, span, (anchor.date(), anchor.date()), anchor)
        assert found is None or meet((anchor.date(), anchor.date()), found.days)
    annotate(text, anchor, (anchor.date(), anchor.date()))
