"""The number within a passage that a question asks for: a count, or one with the right unit."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hymem.dates.periods import MONTHS
from hymem.offline.concepts import told_by
from hymem.offline.passages import Passage
from hymem.offline.question import Question
from hymem.text.words import terms

_NUMBER_WORDS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty thirty forty fifty hundred dozen once twice"
)
_AMOUNT = (
    rf"(?:[$€£]\s?)?\d[\d,.:]*\d?\s?(?:%|k\b|km\b|percent\b)?|"
    rf"\b(?:{'|'.join(_NUMBER_WORDS.split())}|a couple of|several|half)\b"
)
_NUMBER = re.compile(_AMOUNT, re.IGNORECASE)
_PERIOD = r"(?:second|minute|hour|day|night|week|month|year|decade)"
_DURATION = re.compile(
    rf"(?:(?:about|around|over|almost|nearly|more than|less than) )?(?:{_AMOUNT}|\ban?\b|a few)"
    rf"(?: and a half)?[ -]{_PERIOD}s?(?: and a half)?",
    re.IGNORECASE,
)
_DAY = r"(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_TIMES = rf"(?:once|twice|(?:{_AMOUNT}|a few|a couple of) times)"
_OFTEN = re.compile(
    rf"\b(?:(?:at least |about |around |almost )?{_TIMES}(?: or {_TIMES})?"
    r" (?:an?|every|each|per) \w+|"
    rf"(?:almost |nearly )?every (?:other |single |\w+ )?(?:{_PERIOD}s?|{_DAY}|morning|afternoon|"
    rf"evening|weekend)|on (?:weekends|weekdays|{_DAY}s?(?:(?:, | and )(?:on )?{_DAY}s?)*)"
    rf"(?: (?:before|after) \w+)?|daily|weekly|monthly|yearly|annually)\b",
    re.IGNORECASE,
)
_AGE = re.compile(
    rf"(?P<age>{_AMOUNT})(?=[ -](?:years?|months?|weeks?)[ -]old\b| yo\b)|"
    rf"\bturn(?:ed|s|ing) (?P<turned>{_AMOUNT})|"
    r"(?:\b(?:is|am)|['’](?:m|s)) (?P<bare>\d{1,3})(?= (?:and|but|now|this year)\b| ?[,.!;]| ?$)",
    re.IGNORECASE,
)
_LENGTH = (
    r"(?:km|kilomet(?:er|re)s?|miles?|m|met(?:er|re)s?|cm|centimet(?:er|re)s?|feet|foot|ft|"
    r"inch(?:es)?|yards?|blocks?|square (?:feet|met(?:er|re)s)|acres?)"
)
_MEASURE = re.compile(rf"(?:{_AMOUNT})[ -]?{_LENGTH}\b(?: \d+)?", re.IGNORECASE)
_MONEY = re.compile(
    rf"[$€£]\s?\d[\d,.]*\d?(?:k| thousand| million)?|"
    rf"(?:{_AMOUNT})(?: hundred| thousand| million|k)? ?"
    r"(?:dollars?|euros?|pounds?|bucks|zł|zloty|usd|eur|gbp|pln|cents)\b",
    re.IGNORECASE,
)
# Numbers that count nothing: years, days of a month, times of day, long numbers in groups.
_NO_COUNT = re.compile(
    rf"\b(?:19|20)\d\d\b|\b(?:{'|'.join(MONTHS)}) \d{{1,2}}\b|\b\d{{1,2}} (?:{'|'.join(MONTHS)})\b|"
    r"\b\d{1,2}(?::\d\d)?\s?(?:[ap]\.?m\b|o['’]clock)|\b\d{1,2}:\d\d\b|\b\d+(?:[ -]\d{2,})+\b|"
    r"\b\d+(?:st|nd|rd|th)\b",
    re.IGNORECASE,
)
_CLOCK = re.compile(
    r"\b(?:at |around |by )?(?:\d{1,2}(?::\d\d)?\s?(?:[ap]\.?m\b|o['’]clock\b)|\d{1,2}:\d\d\b|"
    r"noon\b|midnight\b)|\bat (?:\d{1,2}|five|six|seven|eight|nine|ten|eleven)\b",
    re.IGNORECASE,
)
_LONGEST_HABIT = 60
_OF_ASKED = (
    (re.compile(r"\bhow often\b", re.I), _OFTEN),
    (re.compile(r"\bhow old\b|\bwhat age\b", re.I), _AGE),
    (re.compile(r"\bhow (?:far|tall|big)\b", re.I), _MEASURE),
    (re.compile(r"\bhow much\b.*\b(?:cost|pa(?:y|id)|spen[dt]|money|price|worth|earn|rent)", re.I),
     _MONEY),
)  # fmt: skip
# Only these are told by a bare number, too.
_BARE = re.compile(r"\bhow (?:many|much|old|big)\b|\bwhat (?:age|number)\b", re.IGNORECASE)


def number(passage: Passage, question: Question) -> str | None:
    """The amount of the unit asked for ("how often", "how far"), else, where a bare number tells,
    the number that stands nearest to a word of the question."""
    for asked, unit in _OF_ASKED:
        if asked.search(question.text) and (found := unit.search(passage.text)):
            groups = [group for group in found.groupdict().values() if group]
            return (groups[0] if groups else found[0]).strip(" .,")
    return _count(passage.text, question) if _BARE.search(question.text) else None


def duration(passage: Passage, question: Question) -> str | None:
    found = _DURATION.search(passage.text)
    return found[0] if found else None


def time_of_day(text: str) -> str | None:
    found = _CLOCK.search(text)
    return found[0] if found else None


def habit(text: str) -> str | None:
    """The words that tell at what time of day, or how often, something is done."""
    found = [match.span() for match in (_CLOCK.search(text), _OFTEN.search(text)) if match]
    if not found:
        return None
    start, end = min(start for start, _ in found), max(end for _, end in found)
    return text[start:end] if end - start <= _LONGEST_HABIT else text[slice(*found[0])]


def _count(text: str, question: Question) -> str | None:
    others = [_NO_COUNT] if re.search(r"\bmuch\b", question.text, re.I) else [_NO_COUNT, _MONEY]
    taken = [found.span() for other in others for found in other.finditer(text)]
    found = [
        number
        for number in _NUMBER.finditer(text)
        if not any(start <= number.start() < end for start, end in taken)
    ]
    if question.counted and (beside := [one for one in found if _counts(one, text, question)]):
        found = beside
    elif question.counted and _countable(question.counted).isdisjoint(terms(text)):
        return None
    best = nearest(found, text, question)
    return best[0].strip(" .,") if best else None


def _counts(number: re.Match[str], text: str, question: Question) -> bool:
    """Whether what is to be counted stands right behind the number: "two old dogs"."""
    if question.counted == "time" and number[0].lower() in ("once", "twice"):
        return True
    behind = re.match(r"(?:[ -][\w’'-]+){1,3}", text[number.end() :])
    return behind is not None and not _countable(question.counted or "").isdisjoint(
        terms(behind[0])
    )


def _countable(stem: str) -> frozenset[str]:
    """Dogs are pets."""
    return told_by(stem) | {stem}


def nearest(found: Sequence[re.Match[str]], text: str, question: Question) -> re.Match[str] | None:
    """Of these parts of ``text`` the one that ends nearest to a word that the question uses too."""
    wanted = set(question.terms)
    near = [
        word.end()
        for word in re.finditer(r"[^\W_]+", text)
        if any(term in wanted for term in terms(word[0]))
    ]
    if not found or not near:
        return found[0] if found else None
    return min(found, key=lambda part: min(abs(part.end() - position) for position in near))
