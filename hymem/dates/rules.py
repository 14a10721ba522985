"""Rules for periods: expressions that name a stretch of days by themselves ("last week")."""

from __future__ import annotations

import re
from datetime import date, timedelta

from hymem.dates.grammar import (
    DAY,
    DAY_WORD,
    HOLIDAY,
    MONTH,
    MONTH_NUMBERS,
    NUMBERS,
    ORDINALS,
    QUANTITY,
    SEASON,
    SHORT_MONTH,
    UNIT,
    VAGUE,
    WEEKDAY,
    YEAR,
    Match,
    Reader,
    Rule,
    rule,
    to_match,
    weekday_number,
)
from hymem.dates.periods import (
    UNITS,
    Cycle,
    Period,
    add_months,
    date_cycle,
    day_of_month_cycle,
    day_period,
    decade_period,
    holiday_cycle,
    holiday_name,
    month_cycle,
    month_period,
    season_cycle,
    week_of,
    weekday_cycle,
    year_period,
)

RECURRING = (
    rf"(?:(?P<unit>day|night|week|weekend|fortnight|month|year|decade)\b|(?P<weekday>{WEEKDAY})|"
    rf"(?P<month>{MONTH})|(?P<season>{SEASON})|(?P<holiday>{HOLIDAY}))"
)
YEAR_AFTER = rf"(?:,? (?:of |in )?(?:(?P<year>{YEAR})|(?P<which>last|this|next) year\b))"


def cycle_of(found: re.Match[str]) -> Cycle:
    """The cycle that the named groups of ``RECURRING`` matched."""
    if unit := found["unit"]:
        return UNITS[{"night": "day"}.get(unit.lower(), unit.lower())]
    if found["weekday"]:
        return weekday_cycle(weekday_number(found["weekday"]))
    if found["month"]:
        return month_cycle(month_number(found["month"]))
    if found["season"]:
        return season_cycle(found["season"].lower())
    return holiday_cycle(holiday_name(found["holiday"]))


def month_number(name: str) -> int:
    return MONTH_NUMBERS[name.lower().rstrip(".")[:3]]


def quantity(found: re.Match[str]) -> tuple[int, int]:
    """The least and the greatest number that a ``QUANTITY`` may mean."""
    words = found["n"].lower().removesuffix(" of").split()
    if words[-1] in VAGUE:
        return VAGUE[words[-1]]
    number = int(words[-1]) if words[-1].isdigit() else NUMBERS[words[-1]]
    return number, number


def year_after(reader: Reader, found: re.Match[str]) -> int | None:
    if found["year"]:
        return int(found["year"])
    if found["which"]:
        return reader.day.year + {"last": -1, "this": 0, "next": 1}[found["which"].lower()]
    return None


def _day_word(reader: Reader, found: re.Match[str]) -> Match | None:
    word = found[0].lower()
    offsets = {"today": 0, "tonight": 0, "this": 0, "yesterday": -1, "tomorrow": 1, "last": -1}
    offset = offsets.get(word.split()[0].removesuffix("'s"))
    if offset is None:  # "the day before yesterday", "the day after tomorrow"
        offset = -2 if "yesterday" in word else 2
    return to_match(found, day_period(reader.day + timedelta(days=offset)))


def _other_day(reader: Reader, found: re.Match[str]) -> Match | None:
    days = 14 if "week" in found[0].lower() else 7
    first, last = reader.day - timedelta(days=days), reader.day - timedelta(days=1)
    return to_match(found, Period(first, last, "range"))


def _modified(reader: Reader, found: re.Match[str]) -> Match | None:
    """As in "last week", "next March", "this Friday"."""
    cycle, how = cycle_of(found), found["mod"].lower().split()[-1]
    if how == "last" and _is_one_of_several(reader, found):
        return None
    if how in ("last", "past", "previous"):
        return to_match(found, cycle.ago(reader.day))
    if how == "next":
        return to_match(found, _next(reader, found, cycle))
    if how in ("coming", "upcoming"):
        return to_match(found, cycle.ahead(reader.day))
    if not found["weekday"]:
        return to_match(found, cycle.current(reader.day))
    this = cycle.at(cycle.index(week_of(reader.day).last))
    if this and this.last < reader.day and reader.side(found.end()) != "behind":
        this = cycle.ahead(reader.day)
    return to_match(found, this)


def _next(reader: Reader, found: re.Match[str], cycle: Cycle, n: int = 1) -> Period | None:
    """The first one ahead or, by a second reading, the one of next week or next year; of weekends,
    which are at the end of their week, the one at hand or, by the first, next week's."""
    if not reader.second:
        return cycle.ahead(reader.day, n)
    if cycle.seamless:
        to_come = (found["unit"] or "").lower() == "weekend" and reader.day.weekday() < 5
        return cycle.ahead(reader.day, n - 1 if to_come else n)
    first = cycle.ahead(reader.day)
    same_week = first is not None and first.first in week_of(reader.day)
    same_year = first is not None and first.first.year == reader.day.year
    at_hand = same_week if found["weekday"] else same_year
    return cycle.ahead(reader.day, n + 1 if at_hand else n)


def _is_one_of_several(reader: Reader, found: re.Match[str]) -> bool:
    """ "My last day at work", "her last summer in Rome" end a row; they say nothing of now."""
    unit = (found["unit"] or "").lower()
    return unit == "day" or reader.preceded_by(found.start(), "my|our|your|their|its|the")


def _before_last(reader: Reader, found: re.Match[str]) -> Match | None:
    cycle = cycle_of(found)
    if found["unit"] and found["unit"].lower() == "night":
        return to_match(found, cycle.ago(reader.day, 2))
    last = found["rest"].lower().endswith("last")
    return to_match(found, cycle.ago(reader.day, 2) if last else _next(reader, found, cycle, 2))


def _counted(reader: Reader, found: re.Match[str]) -> Match | None:
    """As in "three weeks ago", "two summers back", "in five days", "two days from now"."""
    low, high = quantity(found)
    sign = 1 if found.groupdict().get("in") or "from" in (found["after"] or "").lower() else -1
    unit = (found["unit"] or "").lower()
    if unit in ("second", "minute", "hour"):
        moment = reader.moment + sign * timedelta(**{f"{unit}s": low})
        return to_match(found, day_period(moment.date()))
    whole_and_half = found["half"] or found["and_half"]
    if whole_and_half or found["n"].lower().startswith("half"):
        if unit != "year":
            return None
        months = low * 12 + 6 if whole_and_half else 6
        month = add_months(reader.day, sign * months)
        return to_match(found, month_period(month.year, month.month))
    if unit in ("fortnight", "decade"):
        factor, unit = (2, "week") if unit == "fortnight" else (10, "year")
        low, high = low * factor, high * factor
    cycle = UNITS[{"night": "day"}.get(unit, unit)] if unit else cycle_of(found)
    if found["today"]:
        return to_match(found, day_period(shift(reader.day, unit, sign * low)))
    step = cycle.ahead if sign > 0 else cycle.ago
    ends = sorted(
        (p for n in (low, high) if (p := step(reader.day, n)) is not None), key=lambda p: p.first
    )
    if low == high:
        return to_match(found, ends[0] if ends else None)
    return to_match(found, Period(ends[0].first, ends[-1].last, "range"))


def shift(day: date, unit: str, n: int) -> date:
    """The day ``n`` days, weeks, months or years away."""
    if unit in ("month", "year", "decade"):
        return add_months(day, n * {"month": 1, "year": 12, "decade": 120}[unit])
    return day + timedelta(days=n * {"week": 7, "fortnight": 14}.get(unit, 1))


def _numeric(reader: Reader, found: re.Match[str]) -> Match | None:
    year, month, day = (int(found[name]) for name in ("y", "m", "d"))
    if month > 12:
        month, day = day, month
    return to_match(found, day_period(date(year, month, day)), absolute=True)


def _dotted(reader: Reader, found: re.Match[str]) -> Match | None:
    year, month, day = (int(found[name]) for name in ("y", "m", "d"))
    return to_match(found, day_period(date(year, month, day)), absolute=True)


def month_day(reader: Reader, found: re.Match[str]) -> Match | None:
    month, day = month_number(found["month"]), day_number(found["day"])
    year = year_after(reader, found)
    if year is None:
        return reader.bare(found, date_cycle(month, day))
    return to_match(found, day_period(date(year, month, day)), absolute=bool(found["year"]))


def day_number(text: str) -> int:
    digits = re.match(r"\d+", text)
    return int(digits[0]) if digits else ORDINALS[text.lower()]


def _of_year(reader: Reader, found: re.Match[str]) -> Match | None:
    """As in "May 2016", "the spring of last year", "Christmas 2019"."""
    year = year_after(reader, found)
    return (
        None
        if year is None
        else to_match(found, cycle_of(found).at(year), absolute=bool(found["year"]))
    )


_HABIT = re.compile(r" (?:morning|afternoon|evening|night)s\b", re.I)  # "on Wednesday evenings"

# "The Christmas tree" names a kind of tree, "summer-inspired" a kind of flavour.
_ATTRIBUTE = re.compile(
    r"-[a-z]| (?:magic|spirit|mood|vibes?|season|trees?|gifts?|presents?|songs?|carols?|movies?"
    r"|films?|decorations?|lights|jumpers?|sweaters?|cards?|stor(?:y|ies)|traditions?|costumes?"
    r"|cookies|foliage|migration|programs?|collection|colou?rs|flavou?rs|clothes|wardrobe|menu)\b",
    re.I,
)
# What may follow "the 3rd"; a noun there is what is counted ("the 3rd floor").
_NO_NOUN = (
    "and|or|but|so|if|when|while|because|since|though|as|that|which|who|i|you|he|she|it|we|they|"
    "my|your|his|her|its|our|their|the|a|an|this|next|last|at|in|on|by|for|from|with|without|to|"
    "after|before|until|till|through|around|about|near|over|instead|then|too|again|already|"
    "actually|maybe|probably|please|now|also|not|only|was|is|are|were|will|would|can|could|has|"
    "have|had|does|did|works?|sounds|suits|thanks|ok|okay|early|late|noon|midnight"
)
_NOUN_AFTER = re.compile(rf"(?:['’]s)? (?!(?:{_NO_NOUN})\b)[a-z]", re.I)
# Directly before a holiday that is a time.
_WHEN = re.compile(
    r"\b(?:on|at|over|since|until|till|by|before|after|during|around|every|each|of|from|to) \Z",
    re.I,
)
_CLOSE = 60  # so far from a holiday, in characters, a date may be that of the same thing
_DATE = rf"\b(?:{MONTH} (?:the )?{DAY}|{DAY} (?:of )?{MONTH}|\d{{1,4}}[-/]\d{{1,2}}[-/]\d{{1,4}})"
_DATE_BEFORE = re.compile(rf"{_DATE}[^.!?;\n]*\Z", re.I)
_DATE_AFTER = re.compile(rf"[^.!?;\n]{{0,{_CLOSE}}}?{_DATE}", re.I)


def _is_dated_otherwise(reader: Reader, found: re.Match[str]) -> bool:
    """ "The Christmas party was on December 19": the holiday tells which party, not when."""
    text, start, end = reader.text, found.start(), found.end()
    before = text[max(0, start - _CLOSE) : start]
    if not _NOUN_AFTER.match(text, end) or _WHEN.search(before):
        return False
    return bool(_DATE_AFTER.match(text, end) or _DATE_BEFORE.search(before))


_TO_WEEKDAY = re.compile(rf" ?(?:to|through|thru|-|–) ?{WEEKDAY}", re.I)  # "open Monday to Friday"


def _is_row_of_weekdays(reader: Reader, found: re.Match[str]) -> bool:
    """ "Open Monday to Friday" is a habit; "from Monday to Friday" need not be."""
    if reader.begin != found.start():
        return False
    after = _TO_WEEKDAY.match(reader.text, found.end())
    return bool(after) or reader.preceded_by(found.start(), rf"{WEEKDAY} ?(?:to|through|thru|-|–)")


_NAME = re.compile(r"april|may|june", re.I)  # "a present for June"
_PLANNED_FOR = r"(?:booked|reserved|planned|scheduled|plans?|anything|nothing|tickets?|due) for"


def _is_for_month(reader: Reader, found: re.Match[str]) -> bool:
    """As in "booked for August", where no woman of that name is meant."""
    if not found["month"]:
        return False
    named = _NAME.fullmatch(found["month"])
    return reader.preceded_by(found.start(), _PLANNED_FOR if named else "for")


def _bare(reader: Reader, found: re.Match[str]) -> Match | None:
    """A month, season, holiday or weekday that nothing places in time."""
    if found["unit"]:
        return None
    if found["weekday"] and _HABIT.match(reader.text, found.end()):
        return None
    if (found["holiday"] or found["season"]) and _ATTRIBUTE.match(reader.text, found.end()):
        return None
    if found["holiday"] and _is_dated_otherwise(reader, found):
        return None
    if found["weekday"] and _is_row_of_weekdays(reader, found):
        return None
    short_weekday = found["weekday"] and not found["weekday"].lower().endswith("day")
    if short_weekday and not reader.preceded_by(found.start(), "on"):
        return None
    if (
        (found["month"] or found["season"])
        and not reader.preceded_by(
            found.start(),
            r"in|during|over|since|until|till|by|of|from|before|after|around|between|and|to|spen[dt]|"
            r"spending",
        )
        and not _is_for_month(reader, found)
    ):
        return None
    return reader.bare(found, cycle_of(found), today=not found["weekday"])


def _year_alone(reader: Reader, found: re.Match[str]) -> Match | None:
    if reader.preceded_by(
        found.start(),
        r"in|since|until|till|by|of|from|before|after|around|to|and|between|during|year",
    ):
        return to_match(found, year_period(int(found[0])), absolute=True)
    return None


def _decade(reader: Reader, found: re.Match[str]) -> Match | None:
    year = int(found["decade"])
    if year < 100:
        year += 1900 if year >= 30 else 2000
    return to_match(found, decade_period(year), absolute=True)


def _day_of_month(reader: Reader, found: re.Match[str]) -> Match | None:
    return reader.bare(found, day_of_month_cycle(day_number(found["day"])))


def _this_weekend(reader: Reader, found: re.Match[str]) -> Match | None:
    cycle = UNITS["weekend"]
    ahead = reader.side(found.end()) == "ahead" or reader.day.weekday() >= 5
    return to_match(found, cycle.current(reader.day) if ahead else cycle.ago(reader.day))


_AGO = r"(?P<after> (?:ago|back|from now|hence)\b)(?P<today>(?<=ago) (?:today|to the day)\b)?"
_COUNTED = rf"(?:(?P<unit>{UNIT[3:-1]})s?|(?P<weekday>{WEEKDAY[:-2]})s?|(?P<month>{MONTH})|" + (
    rf"(?P<season>{SEASON[:-2]})s?|(?P<holiday>christmas|easter)(?:e?s)?)(?P<and_half> and a half)?"
)

PERIODS: tuple[Rule, ...] = (
    rule(
        r"(?:today|tonight|this (?:morning|afternoon|evening)|last (?:night|evening)|yesterday|"
        r"tomorrow|the day before yesterday|the day after tomorrow)\b",
        _day_word,
    ),
    rule(r"the other (?:day|night|week)\b", _other_day),
    rule(
        r"(?P<mod>(?:this |the |just )?(?:past|coming)|last|next|this|"
        rf"(?:the )?(?:previous|upcoming)) {RECURRING}",
        _modified,
    ),
    rule(rf"(?:the )?{RECURRING} (?P<rest>before last|after next)\b", _before_last),
    rule(rf"{QUANTITY} {_COUNTED}{_AGO}", _counted),
    rule(
        rf"(?P<in>in) (?:about |around )?{QUANTITY} {_COUNTED}(?P<after>['’]? time)?(?P<today>\b)",
        _counted,
    ),
    rule(r"(?P<y>\d{4})[-/](?P<m>\d{1,2})[-/](?P<d>\d{1,2})\b", _numeric),
    rule(r"(?P<m>\d{1,2})[-/](?P<d>\d{1,2})[-/](?P<y>\d{4})\b", _numeric),
    rule(r"(?P<d>\d{1,2})\.\s?(?P<m>\d{1,2})\.\s?(?P<y>\d{4})\b", _dotted),
    rule(rf"(?P<month>{MONTH}) (?:the )?(?P<day>{DAY}|{DAY_WORD}){YEAR_AFTER}?", month_day),
    rule(
        rf"(?:the )?(?P<day>{DAY}|{DAY_WORD}) (?:of )?"
        rf"(?P<month>{MONTH}|{SHORT_MONTH}){YEAR_AFTER}?",
        month_day,
    ),
    rule(rf"{RECURRING}{YEAR_AFTER}", _of_year),
    rule(rf"{RECURRING}(?! \d)", _bare),
    rule(YEAR, _year_alone),
    rule(r"(?:the )?['’]?(?P<decade>(?:1[89]|20)?\d0)['’]?s\b", _decade),
    rule(
        r"the (?P<day>(?:3[01]|[12]?\d)(?:st|nd|rd|th))"
        rf"(?=\W*$|[.,;!?)]| (?:-|–|—)| (?:{_NO_NOUN})\b)",
        _day_of_month,
    ),
    rule(
        r"(?:over |on |at |during |all )?(?:the )?weekend\b"
        r"(?! (?:of|before|after|trips?|getaways?|breaks?|things?|warriors?)\b)",
        _this_weekend,
    ),
)
