"""The words that dates are made of, and the reader that tries rules on a text."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property

from hymem.dates.periods import MONTHS, Cycle, Period
from hymem.dates.side import Side, side_of

NUMBERS = {"a": 1, "an": 1, "couple": 2, "dozen": 12, "thirty": 30, "forty": 40, "fifty": 50} | {
    word: n
    for n, word in enumerate(
        re.findall(
            r"\w+",
            """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
            fifteen sixteen seventeen eighteen nineteen twenty""",
        )
    )
}
ORDINALS = {
    word: n
    for n, word in enumerate(
        re.findall(r"\w+", "first second third fourth fifth sixth seventh eighth ninth tenth"), 1
    )
}
VAGUE = {"few": (2, 4), "several": (3, 5)}
MONTH_NUMBERS = {name.lower()[:length]: n for n, name in enumerate(MONTHS, 1) for length in (3, 99)}
MONTH_NUMBERS["sept"] = 9
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

# "may" and "march" are also verbs: they count as months only with a capital letter, or between a
# preposition and a day ("on march 3").
MONTH = (
    r"(?:(?:january|february|(?-i:March)|april|(?-i:May)|june|july|august|september|october|"
    r"november|december)\b|(?:jan|feb|(?-i:Mar)|apr|jun|jul|aug|sept?|oct|nov|dec)\b\.?(?= \d)|"
    r"(?:(?<=on )|(?<=by )|(?<=from )|(?<=since )|(?<=until ))(?:march|may)(?= \d))"
)
# Behind a day, as in "12 Feb", short names need no more.
SHORT_MONTH = r"(?:jan|feb|(?-i:Mar)|apr|jun|jul|aug|sept?|oct|nov|dec)\b\.?"
WEEKDAY = rf"(?:{'|'.join(WEEKDAYS)}|mon|tues?|wed|thu(?:rs?)?|fri|sat|sun)\b"
SEASON = r"(?:spring|summer|autumn|fall|winter)\b"
HOLIDAY = (
    r"(?:christmas(?: eve| day)?|xmas|boxing day|new year['’]?s(?: eve| day)|new year\b(?!s)|"
    r"valentine['’]?s day|st\.? patrick['’]?s day|good friday|easter(?: monday| sunday)?|"
    r"independence day(?! in| of)|halloween|black friday|cyber monday|ash wednesday|"
    r"thanksgiving(?: day)?)\b"
)
UNIT = r"(?:second|minute|hour|day|night|week|fortnight|weekend|month|year|decade)"
YEAR = r"(?:1[89]\d\d|20\d\d)\b"
DAY = r"(?:3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th)?\b"
DAY_WORD = rf"(?:{'|'.join(ORDINALS)})\b"
NUMBER = r"(?:\d{1,4}|" + "|".join(sorted(NUMBERS, key=len, reverse=True)) + ")"
QUANTITY = (
    rf"(?P<n>half an?|an? couple(?: of)?|couple(?: of)?|(?:a )?few|several|{NUMBER})"
    r"(?P<half> and a half)?"
)
TIME_OF_DAY = re.compile(
    r"(?: in the| at)?[ ](?:early |late )?(?:morning|afternoon|evening|night|lunchtime)\b", re.I
)

# A date needs one of these; looking for them is many times faster than trying the rules.
_SIGNS = (
    "day", "week", "month", "year", "night", "morning", "evening", "noon", "tomorrow", "hour",
    "minute", "decade", "spring", "summer", "autumn", "fall", "winter", "christmas", "xmas",
    "easter", "hallow", "thanks", "mon", "tue", "wed", "thu", "fri", "sat", "sun",
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep",
    "oct", "nov", "dec", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9",
)  # fmt: skip
# Where a date may begin.
TRIGGER = re.compile(
    rf"(?<![\w/.:$€£-])(?:(?:the|this|last|next|past|coming|previous|upcoming|just|in|over|on|at|"
    rf"during|for|within|all|towards|since|ever|until|till|from|between|earl(?:y|ier)|late|later|mid|"
    rf"beginning|start|middle|end|half|few|several|today|tonight|tomorrow|yesterday|{NUMBER}|"
    rf"{DAY_WORD}|weekend|week|month|year|night|{UNIT}|{MONTH}|{WEEKDAY}|{SEASON}|{HOLIDAY}|st\.?)\b|"
    rf"['’]?\d+)",
    re.I,
)
# A date alone lies ahead if it is this near and was last this long ago.
_NEAR_DAYS, _LONG_GONE_DAYS = 31, 180
# A birthday that is further away than this is as likely the last one.
_HALF_A_YEAR = 183
# "Near" is clear if the other occurrence is this many times as far away.
_CLEARLY = 3
_SENTENCE_END = re.compile(r"[.!?\n]\s")


_DEEPEST = 4  # "the end of the first week of …": so many expressions inside one another
_CONTEXT = 200  # characters on either side of a date that may tell where it lies


@dataclass(frozen=True, slots=True)
class Match:
    """``bare``: the words name no year (or week), so ``period`` is one occurrence of several.
    ``open``: nothing tells which; ``period`` is the latest."""

    end: int
    period: Period
    absolute: bool = False
    bare: bool = False
    open: bool = False


def weekday_number(name: str) -> int:
    """Monday is 0; abbreviations count."""
    return [weekday[:3] for weekday in WEEKDAYS].index(name.lower()[:3])


def may_hold_a_date(text: str) -> bool:
    """False only if the text certainly names no date."""
    lower = text.lower()
    return any(sign in lower for sign in _SIGNS)


class Reader:
    """Reads one text; ``day`` is the day on which it was said. ``side``: where dates without a year
    lie, if the caller knows. ``second``: "next Friday", said on a Monday, is the one of next week.
    """

    def __init__(
        self, text: str, anchor: datetime, side: Side | None = None, *, second: bool = False
    ) -> None:
        self.text = text
        self.second = second
        self.moment = anchor
        self.day = anchor.date()
        self.begin = 0  # where the whole expression begins that is being read
        self._side = side
        self._depth = 0

    def lean(self, side: Side) -> Reader:
        """A reader of the same words that takes dates without a year to lie on ``side``."""
        return self._like(self.moment, side)

    def at(self, day: date) -> Reader:
        """A reader of the same words, said on another day."""
        return self._like(datetime(day.year, day.month, day.day), self._side)

    def _like(self, anchor: datetime, side: Side | None) -> Reader:
        reader = Reader(self.text, anchor, side, second=self.second)
        reader.begin, reader._depth = self.begin, self._depth
        return reader

    def longest(self, start: int, rules: tuple[Rule, ...]) -> Match | None:
        """The longest date expression that begins at ``start``, by any of the rules."""
        if self._depth > _DEEPEST:
            return None
        self._depth += 1
        best: Match | None = None
        for pattern, build in rules:
            found = pattern.match(self.text, start)
            if found is None:
                continue
            try:
                match = build(self, found)
            except (ValueError, OverflowError):  # outside the calendar: 31 June, year 12000
                continue
            if match is not None and (best is None or match.end > best.end):
                best = match
        self._depth -= 1
        return best

    def side(self, end: int) -> Side | None:
        """Where the date lies that ends at ``end``; see ``side_of``."""
        if self._side:
            return self._side
        start, ends = self.begin, self._sentence_ends
        begin = ends[at - 1] if (at := bisect_right(ends, start)) else 0
        stop = ends[at] if (at := bisect_right(ends, end)) < len(ends) else len(self.text)
        begin, stop = max(begin, start - _CONTEXT), min(stop, end + _CONTEXT)
        return side_of(self.text[begin:stop], start - begin, end - begin)

    @cached_property
    def _sentence_ends(self) -> list[int]:
        return [found.end() for found in _SENTENCE_END.finditer(self.text)]

    def bare(self, found: re.Match[str], cycle: Cycle, *, today: bool = True) -> Match | None:
        """The occurrence of ``cycle`` that ``found`` means, where no word places it. ``today``:
        whether it may be the one that is at hand."""
        side = self.side(found.end())
        behind = cycle.started(self.day) if today else cycle.ago(self.day)
        ahead = cycle.ahead(self.day)
        if side != "open" and behind and self.day in behind:
            ahead = behind
        period = _chosen(side, behind, ahead, self.day)
        latest = period or behind or ahead
        if latest is None:
            return None
        return Match(found.end(), latest, bare=True, open=period is None)

    def preceded_by(self, position: int, words: str) -> bool:
        return bool(
            re.search(
                rf"\b(?:{words}) (?:the )?$", self.text[max(0, position - 24) : position], re.I
            )
        )


def _chosen(
    side: Side | None, behind: Period | None, ahead: Period | None, day: date
) -> Period | None:
    """One of the occurrences next to ``day``, or ``None`` where nothing tells which."""
    if side == "open" or behind is None or ahead is None:
        return None if side == "open" else behind or ahead
    wait, gone = (ahead.first - day).days, (day - behind.last).days
    if side == "yearly":
        return ahead if wait <= _HALF_A_YEAR else None
    if side == "near" or side == "told":
        if wait <= gone:
            return ahead
        return behind if side == "told" or gone * _CLEARLY <= wait else None
    if side == "arranged":
        return behind if gone <= _NEAR_DAYS and wait > _LONG_GONE_DAYS else ahead
    if side is None:
        return ahead if wait <= _NEAR_DAYS and gone > _LONG_GONE_DAYS else behind
    return ahead if side == "ahead" else behind


Build = Callable[[Reader, "re.Match[str]"], "Match | None"]
Rule = tuple["re.Pattern[str]", Build]


def rule(pattern: str, build: Build) -> Rule:
    return re.compile(pattern, re.I), build


def to_match(
    found: re.Match[str], period: Period | None, *, absolute: bool = False
) -> Match | None:
    return None if period is None else Match(found.end(), period, absolute)
