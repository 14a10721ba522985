"""Dates in English text, resolved against the time at which the text was said.

Where English is ambiguous: weeks start on Monday and "N weeks ago" is a whole calendar week; "next
Friday" is the first Friday after the day (``occurrence`` knows the other reading); "a few" is two
to four; a bare "on Friday", "in May" or "June 30" lies ahead or behind as its sentence tells
(``hymem.dates.side``), and where nothing tells it is left alone; seasons are the northern ones;
``3/4/2024`` is read month first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from hymem.dates.compound import read_date
from hymem.dates.grammar import TRIGGER, Match, Reader, may_hold_a_date
from hymem.dates.periods import Granularity, format_period
from hymem.dates.side import Side

__all__ = [
    "DateSpan",
    "annotate",
    "format_period",
    "may_hold_a_date",
    "meet",
    "named",
    "occurrence",
    "resolve",
    "with_dates",
]

AHEAD: Side = "ahead"
BEHIND: Side = "behind"
_LEAP = 3  # by so many days a month or a year may be longer than the next

Days = tuple[date, date]  # the first and the last of a stretch of days


@dataclass(frozen=True, slots=True)
class DateSpan:
    """``text[start_char:end_char]`` names the days ``first`` to ``last``, both included.

    ``absolute``: the words give the date by themselves ("3 May 2024"), whenever they were said.
    ``bare``: they name no year (or week), so these days are one choice of several. ``open``: and
    nothing tells which; the days are then the latest choice.
    """

    start_char: int
    end_char: int
    text: str
    first: date
    last: date
    granularity: Granularity
    absolute: bool = False
    bare: bool = False
    open: bool = False

    @property
    def days(self) -> Days:
        return self.first, self.last


def resolve(text: str, anchor: datetime) -> list[DateSpan]:
    """The dates that ``text`` names, in order and not overlapping.

    ``anchor`` is when the text was said, in the speaker's own time; only its date and hour count.
    Dates of which nothing tells the year are left out. Never raises; words that name no date in
    the calendar's range are left alone.
    """
    return [span for span in named(text, anchor) if not span.open]


def named(text: str, anchor: datetime) -> list[DateSpan]:
    """As ``resolve``, with the ``open`` dates among them."""
    if not may_hold_a_date(text):
        return []
    reader = Reader(text, anchor)
    spans: list[DateSpan] = []
    position = 0
    while found := TRIGGER.search(text, position):
        start = found.start()
        match = read_date(reader, start)
        if match is None:
            position = found.end()
            continue
        position = match.end
        spans.append(_span(text, start, match))
    return spans


def _span(text: str, start: int, match: Match) -> DateSpan:
    period = match.period
    return DateSpan(
        start,
        match.end,
        text[start : match.end],
        period.first,
        period.last,
        period.granularity,
        match.absolute,
        match.bare,
        match.open,
    )


def meet(given: Days, told: Days) -> bool:
    """Whether the two have a day in common. A single day may be off by one: speaker and clock may
    be in different time zones."""
    slack = timedelta(days=given[0] == given[1])
    return given[0] - told[1] <= slack and told[0] - given[1] <= slack


def occurrence(text: str, span: DateSpan, days: Days, anchor: datetime) -> DateSpan | None:
    """The date ``span`` of ``text``, said at ``anchor``, where it meets ``days``; ``None`` where
    its words do not allow them. They allow any year (or week) for a ``bare`` date, and two for
    "next Friday", "next May" and the like."""
    readers = [Reader(text, anchor, second=True)]
    if span.bare:
        first, last = (day.toordinal() for day in days)
        readers = [
            Reader(text, datetime.fromordinal(ordinal), side)
            for ordinal, side in ((last + 1, BEHIND), (first - 1, AHEAD))
            if 0 < ordinal <= date.max.toordinal()
        ]
    for reader in readers:
        match = read_date(reader, span.start_char)
        if match and match.end == span.end_char:
            found = replace(_span(text, span.start_char, match), open=False)
            if meet(days, found.days):
                return found
    return None


def annotate(text: str, anchor: datetime, happened: Days | None = None) -> str:
    """``text`` with each relative date followed by its calendar date.

    Said on 2 March 2026, "I left last week." → "I left last week (23 February–1 March 2026)."
    ``happened``: the days on which, as the caller knows, it happened. A date without a year whose
    words allow them is taken to name them.
    """
    spans = [_settled(text, span, happened, anchor) for span in named(text, anchor)]
    return with_dates(text, [span for span in spans if not span.open])


def _settled(text: str, span: DateSpan, happened: Days | None, anchor: datetime) -> DateSpan:
    known = occurrence(text, span, happened, anchor) if happened else None
    # What reaches up to the day of reading ("since May") would end with the wrong day.
    if known is None or abs(_length(known) - _length(span)) > _LEAP:
        return span
    return known


def _length(span: DateSpan) -> int:
    return (span.last - span.first).days


def with_dates(text: str, spans: Sequence[DateSpan]) -> str:
    """``text`` with the calendar date behind each of its ``spans`` that is not absolute."""
    parts, position = [], 0
    for span in spans:
        parts.append(text[position : span.end_char])
        if not span.absolute:
            parts.append(f" ({format_period(span.first, span.last)})")
        position = span.end_char
    return "".join(parts) + text[position:]
