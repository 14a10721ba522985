"""The answer within a passage: a date, a place, a name, a number, or the words that fit."""

from __future__ import annotations

import re
from datetime import date

from hymem.dates import DateSpan, named, resolve
from hymem.dates.periods import MONTHS, format_period
from hymem.offline.passages import Passage
from hymem.offline.question import Question
from hymem.offline.sentences import names
from hymem.text import terms

_NUMBER_WORDS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty thirty forty fifty hundred dozen once twice"
)
_AMOUNT = (
    rf"(?:[$€£]\s?)?\d[\d,.:]*\d?\s?(?:%|k\b|km\b|percent\b)?|"
    rf"\b(?:{'|'.join(_NUMBER_WORDS.split())}|a couple of|several|half)\b"
)
_NUMBER = re.compile(_AMOUNT, re.IGNORECASE)
_DURATION = re.compile(
    rf"(?:(?:about|around|over|almost|nearly|more than|less than) )?(?:{_AMOUNT}|\ban?\b|a few)"
    r"(?: and a half)?[ -](?:second|minute|hour|day|night|week|month|year|decade)s?"
    r"(?: and a half)?",
    re.IGNORECASE,
)
_PLACE = re.compile(
    r"\b(?:in|to|at|from|near|around|through|across|visit(?:ed|ing)?|of)\s+"
    r"(?:the |my |our |a |an )?"
    r"(?P<place>[A-Z][\w’'.-]*(?:(?: of| the| de| la)? [A-Z][\w’'.-]*)*(?:, [A-Z]\w+)?)"
)
_PLACE_PHRASE = re.compile(
    r"\b(?:in|to|at|from|near|inside|outside|on)\s+"
    r"(?P<place>(?:the|a|an|my|our|their|his|her|this) (?:[\w’'-]+ ?){1,4})",
    re.IGNORECASE,
)
_NOT_PLACES = frozenset(name.lower() for name in MONTHS) | {
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "i", "christmas",
    "easter", "thanksgiving", "halloween",
}  # fmt: skip


def when(passage: Passage, question: Question) -> str | None:
    """The date that the passage gives, else the day on which it was said."""
    span = date_of(passage)
    text = question.text.lower()
    if span is None and (words := _open_date(passage)):
        return None if "year" in text else words
    if span is None:
        if passage.time is None:
            return None
        first = last = passage.time.date()
    else:
        first, last = span.first, span.last
    if re.search(r"\b(?:what|which) year\b", text):
        return str(first.year) if first.year == last.year else format_period(first, last)
    if re.search(r"\b(?:what|which) month\b", text):
        return f"{MONTHS[first.month - 1]} {first.year}"
    if span and passage.time and span.granularity in ("week", "weekend") and not span.absolute:
        return _around(span, passage.time.date())
    return format_period(first, last)


def _around(span: DateSpan, said: date) -> str:
    day = format_period(said, said)
    if span.last < said and (said - span.last).days <= 7:
        return f"the {span.granularity} before {day}"
    if span.first > said and (span.first - said).days <= 7:
        return f"the {span.granularity} after {day}"
    return format_period(span.first, span.last)


def _open_date(passage: Passage) -> str | None:
    """The words of a date of which nothing tells the year."""
    spans = named(passage.text, passage.time) if passage.time else []
    return next((span.text for span in spans if span.open), None)


def date_of(passage: Passage) -> DateSpan | None:
    """The date in the passage, else in the rest of its turn; the first one if there are several."""
    return _first_date(passage, passage.text) or _first_date(passage, passage.context)


def dated(passage: Passage, question: Question) -> str | None:
    """The words that date the passage, if there are any."""
    span = date_of(passage)
    return span.text if span else None


def _first_date(passage: Passage, text: str) -> DateSpan | None:
    """A unit's text carries its calendar dates in brackets, so only those count there."""
    spans = resolve(text, passage.time) if passage.time else []
    if passage.hit.kind == "unit":
        spans = [span for span in spans if span.absolute]
    return min(spans, key=lambda span: (span.granularity == "range", span.start_char), default=None)


def place(passage: Passage, question: Question) -> str | None:
    """A place: a name behind a preposition, else any name that the question does not have, else,
    unless a name is asked for, the words behind a preposition."""
    known = {term for name in (passage.speaker, *question.about) for term in terms(name)}
    known |= set(question.terms)
    for found in _PLACE.finditer(passage.text):
        name = found["place"].rstrip(".,'’")
        if name.lower() not in _NOT_PLACES and not known & set(terms(name)):
            return name
    proper = [n for n in proper_names(passage, question) if n.lower() not in _NOT_PLACES]
    if proper:
        return proper[0]
    if not question.proper and (phrase := _PLACE_PHRASE.search(passage.text)):
        return phrase["place"].strip()
    return None


def proper_names(passage: Passage, question: Question) -> list[str]:
    """Capitalised words of the passage that are neither in the question nor its speakers."""
    known = {term for name in (passage.speaker, *question.about) for term in terms(name)}
    known |= set(question.terms)
    clean = [re.sub(r"['’]s$", "", name) for name in names(passage.text)]
    return [name for name in dict.fromkeys(clean) if not known & set(terms(name))]


def number(passage: Passage, question: Question) -> str | None:
    """The number that stands nearest to a word of the question."""
    found = list(_NUMBER.finditer(passage.text))
    if not found:
        return None
    near = _positions(passage.text, question)
    if not near:
        return found[0][0].strip(" .,")
    best = min(found, key=lambda number: min(abs(number.end() - position) for position in near))
    return best[0].strip(" .,")


def duration(passage: Passage, question: Question) -> str | None:
    found = _DURATION.search(passage.text)
    return found[0] if found else None


def _positions(text: str, question: Question) -> list[int]:
    """Where the words end that the question uses too."""
    wanted = set(question.terms)
    return [
        word.end()
        for word in re.finditer(r"[^\W_]+", text)
        if any(term in wanted for term in terms(word[0]))
    ]
