"""The words that dates are made of, and the reader that tries rules on a text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from hymem.dates.periods import MONTHS, Cycle, Period

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

# "may" and "march" are also verbs: they count as months only with a capital letter.
MONTH = (
    r"(?:(?:january|february|(?-i:March)|april|(?-i:May)|june|july|august|september|october|"
    r"november|december)\b|(?:jan|feb|(?-i:Mar)|apr|jun|jul|aug|sept?|oct|nov|dec)\b\.?(?= \d))"
)
WEEKDAY = rf"(?:{'|'.join(WEEKDAYS)}|mon|tues?|wed|thu(?:rs?)?|fri|sat|sun)\b"
SEASON = r"(?:spring|summer|autumn|fall|winter)\b"
HOLIDAY = (
    r"(?:christmas(?: eve| day)?|xmas|boxing day|new year['’]?s(?: eve| day)|new year\b(?!s)|"
    r"valentine['’]?s day|st\.? patrick['’]?s day|good friday|easter(?: monday| sunday)?|"
    r"independence day|halloween|thanksgiving(?: day)?)\b"
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
_NEAR_DAYS, _LONG_GONE_DAYS = 31, 180
_FUTURE = (
    r"will|won['’]t|shall|['’]ll|going to|gonna|due|plan(?:s|ning)? (?:to|on|for)|hop(?:e|ing) to|"
    r"about to|looking forward|can['’]t wait|upcoming|(?:am|are|is|['’]m|['’]re|['’]s) (?:\w+ly )?"
    r"(?:getting \w+ed|\w+ing)|want(?:s)? to|scheduled|see you|let['’]s|"
    # The date itself comes next: "the wedding is on Friday".
    r"(?:is|are|['’]s|starts?|begins?|arrives?|leave|(?<!the )leaves)(?= (?:in|on)(?: the)? $)"
)
_PAST = (
    r"was|were|did|had|['’]d|been|went|saw|got|met|came|took|made|told|said|left|ran|bought|gave|"
    r"found|began|started|(?!asked)\w{2,}ed"
)
_TENSE = re.compile(rf"(?:\b|(?=['’]))(?:(?P<future>{_FUTURE})|(?P<past>{_PAST}))\b", re.I)
_SENTENCE_END = re.compile(r"[.!?\n]\s")


@dataclass(frozen=True, slots=True)
class Match:
    end: int
    period: Period
    absolute: bool = False


def weekday_number(name: str) -> int:
    """Monday is 0; abbreviations count."""
    return [weekday[:3] for weekday in WEEKDAYS].index(name.lower()[:3])


def may_hold_a_date(text: str) -> bool:
    """False only if the text certainly names no date."""
    lower = text.lower()
    return any(sign in lower for sign in _SIGNS)


class Reader:
    """Reads one text; ``day`` is the day on which it was said."""

    def __init__(self, text: str, anchor: datetime, tense: str | None = None) -> None:
        self.text = text
        self.moment = anchor
        self.day = anchor.date()
        self._tense = tense

    def longest(self, start: int, rules: tuple[Rule, ...]) -> Match | None:
        """The longest date expression that begins at ``start``, by any of the rules."""
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
        return best

    def tense(self, position: int) -> str | None:
        """``future``, ``past`` or ``None``: of the nearest verb before, else after."""
        if self._tense:
            return self._tense
        ends = [m.end() for m in _SENTENCE_END.finditer(self.text)]
        begin = max((end for end in ends if end <= position), default=0)
        stop = min((end for end in ends if end > position), default=len(self.text))
        before = list(_TENSE.finditer(self.text, begin, position))
        nearest = before[-1] if before else _TENSE.search(self.text, position, stop)
        return nearest.lastgroup if nearest else None

    def bare(self, cycle: Cycle, position: int, *, today: bool = True) -> Period | None:
        """An occurrence that no word places: past, unless the verb speaks of the future or,
        without a verb, the next one is near and the last one long gone."""
        tense = self.tense(position)
        past = cycle.started(self.day) if today else cycle.ago(self.day)
        if (past and self.day in past) or tense == "past":
            return past
        ahead = cycle.ahead(self.day)
        if tense is None and past and ahead:
            near = (ahead.first - self.day).days <= _NEAR_DAYS
            return ahead if near and (self.day - past.last).days > _LONG_GONE_DAYS else past
        return ahead if tense else past

    def preceded_by(self, position: int, words: str) -> bool:
        return bool(re.search(rf"\b(?:{words}) (?:the )?$", self.text[:position][-24:], re.I))


Build = Callable[[Reader, "re.Match[str]"], "Match | None"]
Rule = tuple["re.Pattern[str]", Build]


def rule(pattern: str, build: Build) -> Rule:
    return re.compile(pattern, re.I), build


def to_match(
    found: re.Match[str], period: Period | None, *, absolute: bool = False
) -> Match | None:
    return None if period is None else Match(found.end(), period, absolute)
