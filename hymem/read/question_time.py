"""The time a question is about: dates that it names, and whether it asks for what holds now."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from hymem.read import calibration

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DAY = 86_400.0
# People are vague about what is long ago: a date is taken to be off by this share of its distance.
_VAGUENESS = 0.1
# Of a question longer than twice this, which is mostly pasted, only so many characters at either
# end are read for dates.
_READ = 1_000

_ABOUT_THE_PAST = re.compile(
    r"\b(?:initially|originally|at first|used to|formerly|before)\b"
    r"|\b(?:was|were|did|had) (?:\w+ ){1,2}"
    r"(?:previous|original|old|former|initial|first|earlier)\b",
    re.IGNORECASE,
)
_STILL = re.compile(
    r"\b(?:now|current|currently|latest|newest|still|these days|nowadays|since)\b", re.IGNORECASE
)
_ABOUT_NOW = re.compile(
    r"\b(?:do|does|am|is|are|has|have|can|now|current|currently|latest|recent|recently|newest"
    r"|still|these days|nowadays|today)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Period:
    """``start`` to ``end`` in seconds since 1970; ``slack`` in seconds: how far outside of it
    something may lie and still be meant."""

    start: float
    end: float
    slack: float


def periods(question: str, now: datetime) -> list[Period]:
    """The dates and date ranges that ``question``, asked at ``now``, names."""
    from hymem.dates import resolve

    today = now.toordinal()
    found = []
    for span in (span for part in _ends(question) for span in resolve(part, now)):
        first, last = span.first.toordinal(), span.last.toordinal()
        slack = max(1.0, _VAGUENESS * abs(today - (first + last) / 2)) * _DAY
        found.append(Period(_midnight(first, now), _midnight(last + 1, now), slack))
    return found


def _ends(question: str) -> list[str]:
    """``question``, or the whole words of its first and last ``_READ`` characters."""
    if len(question) <= 2 * _READ:
        return [question]
    head, tail = question[:_READ], question[-_READ:]
    return [re.sub(r"\S+\Z", "", head), re.sub(r"\A\S+", "", tail)]


def _midnight(ordinal: int, now: datetime) -> float:
    """The beginning of a day, in seconds since 1970, where ``now`` is (naive: in UTC)."""
    day = datetime.fromordinal(min(ordinal, date.max.toordinal()))
    return day.replace(tzinfo=now.tzinfo or UTC).timestamp()


def nearness(times: NDArray[np.float64], wanted: Sequence[Period]) -> NDArray[np.float64]:
    """How well each of ``times`` (``float64[n]``, seconds since 1970, nan if unknown) fits the best
    of the periods: 1 inside, falling to 0 outside. 0 throughout when none is asked for."""
    import numpy as np

    fit = np.zeros(len(times))
    for period in wanted:
        off = np.maximum(np.maximum(period.start - times, times - period.end), 0.0)
        fit = np.fmax(fit, np.exp(-off / period.slack))
    return fit


def newer_weight(question: str, now: datetime) -> float:
    """How much of the preference for the newer of two equal matches applies: all of it where the
    question asks for what holds now, none where it asks for what held before, or names a time that
    is over ("last week"). A little of it elsewhere: a later account may correct the first."""
    if _ABOUT_THE_PAST.search(question):
        return 0.0
    today = _midnight(now.toordinal(), now)
    over = any(period.end <= today for period in periods(question, now))
    if over and not _STILL.search(question):
        return 0.0
    return 1.0 if _ABOUT_NOW.search(question) else calibration.NEWER_OTHERWISE
