"""Rules for frames: expressions around a period ("since ...", "the end of ...")."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

from hymem.dates.grammar import (
    DAY,
    DAY_WORD,
    MONTH,
    ORDINALS,
    QUANTITY,
    TIME_OF_DAY,
    UNIT,
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
    Period,
    day_period,
    month_cycle,
    nth_weekday,
    part_of,
    week_of,
    weekend_of,
    year_period,
)
from hymem.dates.rules import (
    PERIODS,
    YEAR_AFTER,
    day_number,
    month_day,
    month_number,
    quantity,
    shift,
)

_THE_UNIT = re.compile(r"(?:the |this )?(?P<unit>week|month|year|decade)\b", re.I)
_THE = re.compile(r"the ", re.I)
_MONTH_OR_YEAR = re.compile(rf"(?P<month>{MONTH})|(?P<year>{YEAR})", re.I)
_WEEKDAY_AFTER = re.compile(rf"(?:['’]s|,? on|,)? (?P<weekday>{WEEKDAY})", re.I)
_JOINT = re.compile(r"\s*(?:to|and|until|till|through|-|–)\s*", re.I)
_TO_DAY = r"(?P<from>\d{1,2})(?:st|nd|rd|th)?(?:\s?[-–]\s?| (?:to|until|till|through) (?:the )?)"
_THIRDS = {"beginning": 0, "start": 0, "early": 0, "middle": 1, "mid": 1, "end": 2, "late": 2}


def read_date(reader: Reader, start: int) -> Match | None:
    """The longest date expression that begins at ``start``, if there is one."""
    reader.begin = start
    match = reader.longest(start, _ALL)
    if match is None:
        return None
    if weekday := _WEEKDAY_AFTER.match(reader.text, match.end):  # "last week on Tuesday"
        match = _day_in_week(replace(match, end=weekday.end()), weekday["weekday"]) or match
    if match.period.granularity == "day" and (hour := TIME_OF_DAY.match(reader.text, match.end)):
        match = replace(match, end=hour.end())
    return match


def _period(reader: Reader, start: int) -> Match | None:
    """A date without "since", "until" and the like around it."""
    return reader.longest(start, _PARTS + PERIODS)


def _inner(reader: Reader, start: int) -> Match | None:
    """A period, or "the year" for the one at hand."""
    article = _THE.match(reader.text, start)
    match = _period(reader, start)
    if match is None and article:
        match = _period(reader, article.end())
    if match is None and (found := _THE_UNIT.match(reader.text, start)):
        return to_match(found, UNITS[found["unit"].lower()].current(reader.day))
    return match


def _part(reader: Reader, found: re.Match[str]) -> Match | None:
    """As in "the beginning of May", "late 2019", "mid-March"."""
    name = found["part"].lower()
    inner = _inner(reader, found.end())
    if inner is None and (alone := _MONTH_OR_YEAR.match(reader.text, found.end())):
        if alone["year"]:
            inner = to_match(alone, year_period(int(alone["year"])), absolute=True)
        else:
            cycle = month_cycle(month_number(alone["month"]))
            inner = reader.bare(alone, cycle)
    if inner is None or (part := part_of(inner.period, _THIRDS[name])) is None:
        return None
    return replace(inner, period=part)


def _since(reader: Reader, found: re.Match[str]) -> Match | None:
    inner = _inner(reader.lean("behind"), found.end())
    if inner is None or inner.period.first > reader.day:
        return None
    return replace(inner, period=Period(inner.period.first, reader.day, "range"), absolute=False)


def _until(reader: Reader, found: re.Match[str]) -> Match | None:
    inner = _inner(reader, found.end())
    if inner is None or inner.period.last < reader.day:
        return None
    return replace(inner, period=Period(reader.day, inner.period.last, "range"), absolute=False)


def _part_of_this(reader: Reader, found: re.Match[str]) -> Match | None:
    """As in "earlier this year", "later this month"."""
    unit = found["unit"].lower()
    now = day_period(reader.day) if unit == "day" else UNITS[unit].current(reader.day)
    if now is None:
        return None
    first, last = now.first, now.last
    if found["how"].lower() == "earlier":
        last = reader.day
    else:
        first = reader.day
    return to_match(found, Period(first, last, "range"))


def _stretch(reader: Reader, found: re.Match[str]) -> Match | None:
    """As in "over the past three months", "in the next few days", "the past year"."""
    most = quantity(found)[1] if found["n"] else 1
    unit = found["unit"].lower()
    if found["way"].lower() in ("next", "coming"):
        return to_match(found, Period(reader.day, shift(reader.day, unit, most), "range"))
    return to_match(found, Period(shift(reader.day, unit, -most), reader.day, "range"))


def _from_period(reader: Reader, found: re.Match[str]) -> Match | None:
    """As in "a week from Friday", "two days after Christmas"."""
    if found["side"].lower() == "from":
        reader = reader.lean("ahead")
    inner = _period(reader, found.end())
    if inner is None or inner.period.granularity != "day":
        return None
    n = quantity(found)[0] * (-1 if found["side"].lower() == "before" else 1)
    return replace(inner, period=day_period(shift(inner.period.first, found["unit"].lower(), n)))


def _nth_of(reader: Reader, found: re.Match[str]) -> Match | None:
    """As in "the first weekend of May", "the last Monday in June", "the second week of March"."""
    inner = _inner_month(reader, found.end())
    if inner is None:
        return None
    month, word = inner.period.first, found["nth"].lower()
    n = -1 if word == "last" else ORDINALS.get(word) or day_number(word)
    what = found["what"].lower()
    if what == "week":
        first = month + timedelta(days=7 * (n - 1))
        if n < 0:
            first = inner.period.last - timedelta(days=6)
        return replace(inner, period=Period(first, first + timedelta(days=6), "week"))
    weekday = 5 if what == "weekend" else weekday_number(what)
    day = nth_weekday(month.year, month.month, weekday, n)
    if day is None:
        return None
    return replace(inner, period=weekend_of(day) if what == "weekend" else day_period(day))


def _inner_month(reader: Reader, start: int) -> Match | None:
    inner = _inner(reader, start)
    return inner if inner is not None and inner.period.granularity == "month" else None


def _week_around(reader: Reader, found: re.Match[str]) -> Match | None:
    """As in "the week of June 5th", "the weekend of the 12th"."""
    inner = _period(reader, found.end())
    if inner is None or inner.period.granularity != "day":
        return None
    around = week_of if found["what"].lower() == "week" else weekend_of
    return replace(inner, period=around(inner.period.first))


def _weekday_of_week(reader: Reader, found: re.Match[str]) -> Match | None:
    """As in "Tuesday last week", "Friday of the week before last"."""
    inner = _inner(reader, found.end())
    return _day_in_week(inner, found["weekday"]) if inner else None


def _day_in_week(week: Match, weekday: str) -> Match | None:
    if week.period.granularity != "week":
        return None
    day = week.period.first + timedelta(days=weekday_number(weekday))
    return replace(week, period=day_period(day))


def _between(reader: Reader, found: re.Match[str]) -> Match | None:
    """As in "from 2015 to 2018", "between March and May last year", "June 3 to July 1"."""
    own = _joined(reader, found.end())
    if own is None or own.open or not own.bare:
        return own
    # A stretch that is under way is meant, whatever the verb.
    latest = _joined(reader.lean("behind"), found.end())
    return latest if latest and reader.day in latest.period else own


def _joined(reader: Reader, start: int) -> Match | None:
    first = _inner(reader, start)
    middle = _JOINT.match(reader.text, first.end) if first else None
    second = _inner(reader, middle.end()) if middle else None
    if first is None or middle is None or second is None:
        return None
    begin = first.period.first
    if first.bare and second.bare:
        second = _inner(reader.at(begin).lean("ahead"), middle.end()) or second
    elif first.bare and first.period.granularity in ("day", "month"):
        begin = begin.replace(year=second.period.first.year)
        if begin > second.period.last:
            begin = begin.replace(year=begin.year - 1)
    if begin > second.period.last:
        return None
    stretch = Period(begin, second.period.last, "range")
    return replace(second, period=stretch, bare=first.bare and second.bare, open=first.open)


def _day_range(reader: Reader, found: re.Match[str]) -> Match | None:
    """As in "March 3-5", "3-5 March 2024"."""
    last = month_day(reader, found)
    if last is None:
        return None
    first = last.period.first.replace(day=day_number(found["from"]))
    if first > last.period.last:
        return None
    return replace(last, period=Period(first, last.period.last, "range"))


_PARTS: tuple[Rule, ...] = (
    rule(
        r"(?:the |at the |in the |towards the )?(?:very )?"
        r"(?P<part>beginning|start|middle|end) of ",
        _part,
    ),
    rule(r"(?:the )?(?P<part>early|mid|late)(?: |-)(?:in )?", _part),
    rule(rf"{QUANTITY} (?P<unit>{UNIT[3:-1]})s? (?P<side>from|after|before) ", _from_period),
    rule(
        rf"the (?P<nth>{DAY_WORD[:-2]}|last|\d(?:st|nd|rd|th)) "
        rf"(?P<what>weekend|week|{WEEKDAY}) (?:of|in) ",
        _nth_of,
    ),
    rule(r"the (?P<what>week|weekend) of ", _week_around),
    rule(rf"(?P<weekday>{WEEKDAY}) (?:of |in )?(?=(?:last|this|next|the) )", _weekday_of_week),
    rule(rf"(?:from )?(?P<month>{MONTH}) {_TO_DAY}(?P<day>{DAY}){YEAR_AFTER}?", _day_range),
    rule(
        rf"(?:from )?(?:the )?{_TO_DAY}(?P<day>{DAY}) (?:of )?(?P<month>{MONTH}){YEAR_AFTER}?",
        _day_range,
    ),
    rule(
        rf"between (?:the )?(?P<from>\d{{1,2}})(?:st|nd|rd|th)? and (?:the )?(?P<day>{DAY}) "
        rf"(?:of )?(?P<month>{MONTH}){YEAR_AFTER}?",
        _day_range,
    ),
)

_ALL: tuple[Rule, ...] = (
    rule(r"(?:ever )?since ", _since),
    rule(r"(?:until|till) ", _until),
    rule(r"(?P<how>earlier|later) (?:this (?P<unit>week|month|year|decade)\b)", _part_of_this),
    rule(
        r"(?:(?:in|over|during|for|within) )?the (?P<way>last|past|next|coming) "
        rf"(?:{QUANTITY} )?(?P<unit>day|week|month|year|decade)s?\b",
        _stretch,
    ),
    rule(r"(?:from|between) ", _between),
    rule(
        rf"(?=(?:{MONTH} (?:the )?{DAY}|{DAY} (?:of )?{MONTH}) ?(?:to|until|till|through|[-–]) ?)",
        _between,
    ),
    *_PARTS,
    *PERIODS,
)
