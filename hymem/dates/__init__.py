"""Dates in English text, resolved against the time at which the text was said.

Where English is ambiguous: weeks start on Monday and "N weeks ago" is a whole calendar week; "next
Friday" is the first Friday after the day; "a few" is two to four; a bare "on Friday" or "in May"
lies in the past unless the verb nearest before it speaks of the future; seasons are the northern
ones; ``3/4/2024`` is read month first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from hymem.dates.frames import read_date
from hymem.dates.grammar import TRIGGER, Match, Reader, may_hold_a_date
from hymem.dates.periods import Granularity, format_period

__all__ = ["DateSpan", "annotate", "format_period", "may_hold_a_date", "resolve", "with_dates"]


@dataclass(frozen=True, slots=True)
class DateSpan:
    """``text[start_char:end_char]`` names the days ``first`` to ``last``, both included.

    ``absolute``: the words give the date by themselves ("3 May 2024"), whenever they were said.
    """

    start_char: int
    end_char: int
    text: str
    first: date
    last: date
    granularity: Granularity
    absolute: bool = False


def resolve(text: str, anchor: datetime) -> list[DateSpan]:
    """The dates that ``text`` names, in order and not overlapping.

    ``anchor`` is when the text was said, in the speaker's own time; only its date and hour count.
    Never raises; words that name no date in the calendar's range are left alone.
    """
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
    )


def annotate(text: str, anchor: datetime) -> str:
    """``text`` with each relative date followed by its calendar date.

    Said on 2 March 2026, "I left last week." → "I left last week (23 February–1 March 2026)."
    """
    return with_dates(text, resolve(text, anchor))


def with_dates(text: str, spans: Sequence[DateSpan]) -> str:
    """``text`` with the calendar date behind each of its ``spans`` that is not absolute."""
    parts, position = [], 0
    for span in spans:
        parts.append(text[position : span.end_char])
        if not span.absolute:
            parts.append(f" ({format_period(span.first, span.last)})")
        position = span.end_char
    return "".join(parts) + text[position:]
