"""Calendar arithmetic on stretches of days: weeks, weekends, months, seasons, holidays, decades.

Weeks start on Monday, seasons are the northern meteorological ones, and a winter carries the year
in which it starts.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

Granularity = Literal["day", "weekend", "week", "month", "season", "year", "decade", "range"]

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
SEASON_MONTHS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
_SEARCH = 12  # how far a sparse cycle is searched: 29 February is at most eight years away


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch of days, both ends included."""

    first: date
    last: date
    granularity: Granularity

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last

    def __str__(self) -> str:
        return format_period(self.first, self.last)


@dataclass(frozen=True, slots=True)
class Cycle:
    """Something that comes round: ``at(k)`` is its k-th occurrence (``None`` where the calendar
    has none), ``index(day)`` the number of the one at or near ``day``.

    A ``seamless`` cycle (days, weeks, months …) has no gaps between its occurrences, so that "last"
    and "next" are the neighbours of the current one; of any other they are the nearest that lie
    wholly before or after the day.
    """

    at: Callable[[int], Period | None]
    index: Callable[[date], int]
    seamless: bool = False

    def ago(self, day: date, n: int = 1) -> Period | None:
        """The n-th last occurrence; ``n = 1`` is "last", 2 "before last"."""
        if self.seamless:
            return self.at(self.index(day) - n)
        return _nth((p for p in self._backward(day) if p.last < day), n)

    def ahead(self, day: date, n: int = 1) -> Period | None:
        """The n-th next occurrence; ``n = 1`` is "next", 2 "after next"."""
        if self.seamless:
            return self.at(self.index(day) + n)
        return _nth((p for p in self._forward(day) if p.first > day), n)

    def started(self, day: date) -> Period | None:
        """The latest occurrence that has begun."""
        return _nth((p for p in self._backward(day) if p.first <= day), 1)

    def current(self, day: date) -> Period | None:
        """The occurrence that contains the day, else the nearest one."""
        if self.seamless:
            return self.at(self.index(day))
        near = [p for p in (self.started(day), self.ahead(day)) if p is not None]
        return min(near, key=lambda p: _distance(p, day), default=None)

    def _backward(self, day: date) -> Iterator[Period]:
        start = self.index(day) + 1
        return (p for k in range(start, start - _SEARCH, -1) if (p := self.at(k)) is not None)

    def _forward(self, day: date) -> Iterator[Period]:
        start = self.index(day) - 1
        return (p for k in range(start, start + _SEARCH) if (p := self.at(k)) is not None)


def _nth(periods: Iterator[Period], n: int) -> Period | None:
    for number, period in enumerate(periods, 1):
        if number == n:
            return period
    return None


def _distance(period: Period, day: date) -> int:
    if day in period:
        return 0
    return abs(min(period.first - day, day - period.last, key=abs).days)


# -- single stretches --


def day_period(day: date) -> Period:
    return Period(day, day, "day")


def week_of(day: date) -> Period:
    monday = day - timedelta(days=day.weekday())
    return Period(monday, monday + timedelta(days=6), "week")


def weekend_of(day: date) -> Period:
    """The weekend at the end of the day's week."""
    monday = day - timedelta(days=day.weekday())
    return Period(monday + timedelta(days=5), monday + timedelta(days=6), "weekend")


def month_period(year: int, month: int, months: int = 1) -> Period:
    """``months`` whole months from ``month`` (1-12) on."""
    last_year, last_month = divmod(year * 12 + month - 1 + months - 1, 12)
    last = date(last_year, last_month + 1, monthrange(last_year, last_month + 1)[1])
    return Period(date(year, month, 1), last, "month" if months == 1 else "season")


def year_period(year: int) -> Period:
    return Period(date(year, 1, 1), date(year, 12, 31), "year")


def decade_period(year: int) -> Period:
    return Period(date(year, 1, 1), date(year + 9, 12, 31), "decade")


def season_period(name: str, year: int) -> Period:
    return month_period(year, SEASON_MONTHS[name], 3)


def add_months(day: date, months: int) -> date:
    """The same day of another month, or that month's last day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def part_of(period: Period, third: int) -> Period | None:
    """The beginning (0), middle (1) or end (2) of a week, month, season, year or decade."""
    first, last = period.first, period.last
    if period.granularity == "week":
        days = ((0, 1), (2, 3), (4, 6))[third]
        return _days(first, *days)
    if period.granularity == "month":
        days = ((0, 9), (10, 19), (20, last.day - 1))[third]
        return _days(first, *days)
    if period.granularity == "season":
        start = add_months(first, third)
        return Period(start, month_period(start.year, start.month).last, "range")
    if period.granularity == "year":
        return Period(*_span(month_period(first.year, 1 + 4 * third, 4)), "range")
    if period.granularity == "decade":
        start_year, end_year = ((0, 3), (4, 6), (7, 9))[third]
        return Period(
            date(first.year + start_year, 1, 1), date(first.year + end_year, 12, 31), "range"
        )
    return None


def _days(first: date, start: int, end: int) -> Period:
    return Period(first + timedelta(days=start), first + timedelta(days=end), "range")


def _span(period: Period) -> tuple[date, date]:
    return period.first, period.last


# -- cycles --


def weekday_cycle(weekday: int) -> Cycle:
    """``weekday``: Monday is 0."""
    return Cycle(
        lambda k: day_period(date.fromordinal(1 + 7 * k + weekday)),
        lambda day: (day.toordinal() - 1 - weekday) // 7,
    )


def month_cycle(month: int) -> Cycle:
    return Cycle(lambda year: month_period(year, month), lambda day: day.year)


def season_cycle(name: str) -> Cycle:
    return Cycle(lambda year: season_period(name, year), lambda day: day.year)


def date_cycle(month: int, day_of_month: int) -> Cycle:
    """A day of the year; 29 February exists in leap years only."""
    return Cycle(lambda year: _valid_day(year, month, day_of_month), lambda day: day.year)


def day_of_month_cycle(day_of_month: int) -> Cycle:
    return Cycle(
        lambda k: _valid_day(k // 12, k % 12 + 1, day_of_month),
        lambda day: day.year * 12 + day.month - 1,
    )


def _valid_day(year: int, month: int, day: int) -> Period | None:
    if not 1 <= day <= monthrange(year, month)[1]:
        return None
    return day_period(date(year, month, day))


def _week_index(day: date) -> int:
    return (day.toordinal() - 1) // 7


UNITS: dict[str, Cycle] = {
    "day": Cycle(lambda k: day_period(date.fromordinal(k)), date.toordinal, True),
    "week": Cycle(lambda k: week_of(date.fromordinal(1 + 7 * k)), _week_index, True),
    "weekend": Cycle(lambda k: weekend_of(date.fromordinal(1 + 7 * k)), _week_index, True),
    "month": Cycle(
        lambda k: month_period(k // 12, k % 12 + 1), lambda day: day.year * 12 + day.month - 1, True
    ),
    "year": Cycle(year_period, lambda day: day.year, True),
    "decade": Cycle(lambda k: decade_period(10 * k), lambda day: day.year // 10, True),
}


# -- holidays --


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (the Meeus-Jones-Butcher rule)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = divmod(b, 4)
    h = (19 * a + b - d - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    i, k = divmod(c, 4)
    correction = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * correction) // 451
    month, day = divmod(h + correction - 7 * m + 114, 31)
    return date(year, month, day + 1)


def nth_weekday(year: int, month: int, weekday: int, n: int) -> date | None:
    """The n-th (1-5) or last (-1) such weekday of a month."""
    if n < 0:
        last = month_period(year, month).last
        return last - timedelta(days=(last.weekday() - weekday) % 7)
    first = date(year, month, 1)
    day = first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (n - 1))
    return day if day.month == month else None


def _thanksgiving(year: int) -> date:
    return date(year, 11, 1) + timedelta(days=(3 - date(year, 11, 1).weekday()) % 7 + 21)


_HOLIDAYS: dict[str, Callable[[int], date]] = {
    "christmas eve": lambda year: date(year, 12, 24),
    "christmas": lambda year: date(year, 12, 25),
    "boxing day": lambda year: date(year, 12, 26),
    "new year's eve": lambda year: date(year, 12, 31),
    "new year": lambda year: date(year, 1, 1),
    "valentine's day": lambda year: date(year, 2, 14),
    "st patrick's day": lambda year: date(year, 3, 17),
    "ash wednesday": lambda year: easter(year) - timedelta(days=46),
    "good friday": lambda year: easter(year) - timedelta(days=2),
    "easter monday": lambda year: easter(year) + timedelta(days=1),
    "easter": easter,
    "independence day": lambda year: date(year, 7, 4),
    "halloween": lambda year: date(year, 10, 31),
    "thanksgiving": _thanksgiving,
    "black friday": lambda year: _thanksgiving(year) + timedelta(days=1),
    "cyber monday": lambda year: _thanksgiving(year) + timedelta(days=4),
}


def holiday_name(text: str) -> str:
    """The calendar's name for a holiday as written ("New Years Day" → "new year")."""
    name = " ".join(text.lower().replace("’", "'").replace("st.", "st").split())
    name = name.replace("years", "year's").replace("valentines", "valentine's")
    name = name.replace("patricks", "patrick's")
    if name in _HOLIDAYS:
        return name
    return name.removesuffix(" day").removesuffix(" sunday").removesuffix("'s")


def holiday_cycle(name: str) -> Cycle:
    """``name``: a key that ``holiday_name`` returned. Raises ``KeyError`` for another."""
    rule = _HOLIDAYS[name]
    return Cycle(lambda year: day_period(rule(year)), lambda day: day.year)


# -- writing --


def format_period(first: date, last: date) -> str:
    """``2 March 2026``, ``23 February–1 March 2026``, ``May 2025``, ``2025``: the shortest form."""
    if first == last:
        return f"{first.day} {MONTHS[first.month - 1]} {first.year}"
    starts = first.day == 1
    ends = last.day == monthrange(last.year, last.month)[1]
    if starts and ends:
        return _format_months(first, last)
    day = f"{last.day} {MONTHS[last.month - 1]} {last.year}"
    if first.year != last.year:
        return f"{format_period(first, first)}–{day}"
    if first.month != last.month:
        return f"{first.day} {MONTHS[first.month - 1]}–{day}"
    return f"{first.day}–{day}"


def _format_months(first: date, last: date) -> str:
    if (first.month, last.month) == (1, 12):
        return f"{first.year}" if first.year == last.year else f"{first.year}–{last.year}"
    end = f"{MONTHS[last.month - 1]} {last.year}"
    if (first.year, first.month) == (last.year, last.month):
        return end
    start = MONTHS[first.month - 1]
    return f"{start}–{end}" if first.year == last.year else f"{start} {first.year}–{end}"
