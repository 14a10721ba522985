"""The answer within a passage: a date, a place, a name, a number, or the words that fit."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date

from hymem.dates import DateSpan, named, resolve
from hymem.dates.periods import MONTHS, format_period
from hymem.offline.amounts import habit, nearest, time_of_day
from hymem.offline.concepts import told_by
from hymem.offline.passages import Passage
from hymem.offline.people import KIN, RELATION, TITLE
from hymem.offline.question import Question
from hymem.offline.sentences import names
from hymem.text.words import terms

_NAME = r"[A-Z][\w’'.-]*"
_NAMED = rf"{_NAME}(?:(?: of| the| de| la)? {_NAME})*(?:, [A-Z]\w+)?"
# Only places have something in them; people too are gone to, come from and visited.
_IN = r"in|through|across"
_PLACE = re.compile(
    rf"\b(?P<how>{_IN}|to|at|from|near|around|visit(?:ed|ing)?|of)\s+"
    rf"(?:the |my |our |a |an )?(?P<place>{_NAMED})"
)
_STREET = re.compile(
    r"\b(?:on|at) (?:the )?(?P<place>(?:\d+\w? )?(?:[A-Z]\w+ )+"
    r"(?:Street|Road|Avenue|Lane|Square|Drive|Way|Close|Court|Terrace))\b"
)
_ADDRESS = re.compile(
    r"\b\d+\w? (?:[A-Z]\w+ )+(?:Street|Road|Avenue|Lane|Square|Drive|Way|Close|Court|Terrace)\b"
)
_OWNED = re.compile(
    r"\b(?:in|to|at|from|near|around|visit(?:ed|ing)?)\s+(?P<place>(?:[Mm]y [\w-]+|[A-Z]\w+)['’]s "
    r"(?:house|place|flat|apartment|home|garden|farm|cabin|cottage|office|studio|shop|school|room))\b"
)
_PLACE_PHRASE = re.compile(
    r"\b(?:in|to|at|from|near|inside|outside|on)\s+"
    r"(?P<place>(?:the|a|an|my|our|their|his|her|this) (?:[\w’'-]+ ?){1,4})",
    re.IGNORECASE,
)
_EMPLOYER = re.compile(
    rf"\bwork(?:s|ed|ing)? (?:[\w-]+ )?for (?P<place>{_NAMED}|(?:an?|the) (?:[\w’'-]+ ?){{1,4}})"
)
_BARE_PLACE = re.compile(
    r"\b(?:in|at|to|from) (?P<place>hospital|school|home|university|college|church|prison|bed)\b"
)
# Where the words of a place end: "the cinema | with Tomek on Friday", "a café | and met him".
_PLACE_END = re.compile(
    r" (?:with|for|because|when|while|where|and|who|that|which|this|these|last|next|every|"
    r"each|so|but|since|yesterday|today|tomorrow|tonight|to|by|just|once|twice|again|too|now|then|as|is|are|"
    r"was|were|has|have|had|before|after|during|until|if|it|we|i|she|he|they)\b.*"
    r"|(?: (?:of|in|on|at|the|a|an|my|our|near))+ ?$",
    re.IGNORECASE,
)
_NO_PLACE_WORD = re.compile(
    rf"(?:{KIN})s?|time|times|moment|meantime|morning|afternoon|evening|night|day|days|week|weeks|"
    r"weekend|weekends|month|months|year|years|minute|minutes|hour|hours|end|beginning|start|way|ways|"
    r"past|future|mornings|afternoons|evenings|nights|age|opinion|life|lot|bit|mood|hurry|fact|case|change|sudden|own|other|others|top|left|right|"
    r"\d+(?:st|nd|rd|th)",
    re.IGNORECASE,
)
_NOT_PLACES = frozenset(name.lower() for name in MONTHS) | {
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "i", "christmas",
    "easter", "thanksgiving", "halloween", "english", "spanish", "italian", "french", "german",
    "polish", "portuguese", "dutch", "russian", "arabic", "chinese", "japanese", "korean", "latin",
}  # fmt: skip
_MY_NAME = re.compile(
    rf"\b(?i:my name is|my name['’]s|call me|i am called) (?P<name>{_NAME}(?: {_NAME})*)"
)
# "I'm Polish" introduces nobody.
_I_AM = re.compile(
    rf"\bI(?:['’]?m| am) (?P<name>(?!\w+(?:ish|ese|ian|ican)\b){_NAME})(?=[,.!]| and\b|$)"
)
_CLAUSES = re.compile(r"[,;–—] |(?:,? )(?=(?:and|but|so|because|while) )", re.I)
_HABIT = re.compile(
    r"\bwhen (?:do|does)\b|\bwhat time (?:do|does)\b|\bwhen are (?:my|our|the)\b", re.IGNORECASE
)
# Asked of these, the day of saying is the answer.
_TOLD = re.compile(
    r"\b(?:tell|told|mention\w*|say|said|ask\w*|talk\w*|speak|spoke|write|wrote|announc\w*)\b",
    re.IGNORECASE,
)
# What was said so happened then, or is so then.
_JUST = re.compile(
    r"\b(?:just|finally|at last|now|currently|right away|guess what|officially)\b", re.IGNORECASE
)
_SOMEBODY = re.compile(
    rf"\b(?:(?:[Mm]y|[Oo]ur|one of (?:my|our))|an?(?= (?:[a-z-]+ )?(?:{RELATION})\b)) "
    rf"(?:[a-z-]+ ){{0,2}}?(?:{RELATION})s?\b"
)
_TITLED = re.compile(rf"(?:(?:{TITLE})\.? )?{_NAME}(?: {_NAME})*")
_ONE, _MINE = r"(?i:my|our|his|her|their|an?|the)", r"(?i:my|our|his|her|their)"
_SOME = rf"(?:{KIN})s|children"
# Where a text says what the one called NAME is, the surest first.
_IDENTITIES = (
    # "a grey cat from the shelter and named her Bruma"
    rf"\b(?P<what>(?i:an?) (?:[a-z][\w’'-]* ){{0,2}}?(?:{KIN})\b)[^.;!?]*\b(?:named|called|call)"
    r"(?: (?:him|her|it|them))? NAME\b",
    # "my brother Olek", "a parrot called Kiwi", "my boss, Olek"
    rf"\b(?P<what>{_ONE} (?:[a-z][\w’'-]* ){{0,2}}?[a-z][\w’'-]*)"
    r"(?:,? (?:who is )?(?:called|named)| is| was)? (?i:NAME)\b",
    rf"\b(?P<what>{_MINE} [a-z][\w’'-]*), (?i:NAME)\b",
    # "our two grandsons, Filip and Jakub"
    rf"\b(?P<what>{_MINE} (?:\w+ ){{0,2}}?(?:{_SOME}))(?:,|:| called| named)?"
    r" (?:[A-Z]\w+(?:, |,? and )){0,4}NAME\b",
    # "Milo is a beagle"
    rf"\b(?i:NAME)(?:,? is|['’]s|,? was|,) (?P<what>{_ONE} [^.,;!?]+)",
)
_MORE_NAMES = re.compile(r"(?:, [A-Z]\w+)*,? and [A-Z]\w+")


def when(passage: Passage, question: Question) -> str | None:
    """The date that the passage gives, else the day on which it was said, if that is asked for or
    the passage says that it has just happened; of a habit, the time of day or how often."""
    span = date_of(passage)
    text = question.text.lower()
    if text.startswith("what time") and (clock := time_of_day(passage.text)):
        return clock
    if _HABIT.search(text) and (usual := habit(passage.text)):
        return usual
    if span is None and (words := _open_date(passage)):
        return None if "year" in text else words
    if span is None:
        if passage.time is None or _HABIT.search(text):
            return None
        if not (_TOLD.search(text) or _JUST.search(passage.text)):
            return None  # "I was born in Krakow", said today
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


def asks_of_habit(question: Question) -> bool:
    """Whether a question about time asks when something is usually done."""
    return _HABIT.search(question.text) is not None


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
    """The words that date the passage, or a habit, if there are any."""
    span = date_of(passage)
    if _HABIT.search(question.text):  # no day that is past tells when something is done, or is due
        if usual := habit(passage.text):
            return usual
        if span and passage.time and span.last < passage.time.date():
            return None
    return span.text if span else None


def _first_date(passage: Passage, text: str) -> DateSpan | None:
    """A unit's text carries its calendar dates in brackets, so only those count there."""
    spans = resolve(text, passage.time) if passage.time else []
    if passage.hit.kind == "unit":
        spans = [span for span in spans if span.absolute]
    rough = {"range": 2, "year": 1}  # "he is 70 this year, the party is on 9 May"
    return min(spans, key=lambda s: (rough.get(s.granularity, 0), s.start_char), default=None)


def place(passage: Passage, question: Question) -> str | None:
    """A place: somebody's house, a name behind a preposition, else, unless a name is asked for, the
    words behind a preposition, else any name that the question does not have. A person is none."""
    if owned := _OWNED.search(passage.text):
        return owned["place"]
    known = _known(passage, question)
    whereabouts = question.attribute == "home" and not question.text.lower().startswith("where")
    if whereabouts and (address := _ADDRESS.search(passage.text)):
        return address[0]
    if question.attribute == "job" and (employer := _EMPLOYER.search(passage.text)):
        return _PLACE_END.sub("", employer["place"]).rstrip(" .,")
    text = clause(passage.text, question)
    if (
        text != passage.text
        and not question.several
        and (there := place(replace(passage, text=text), question))
    ):
        return there
    for found in _PLACE.finditer(passage.text):
        name = found["place"].rstrip(".,'’")
        sure = re.fullmatch(_IN, found["how"]) and not re.search(r"['’]s\b", name)
        if _may_be_place(name, known) and (sure or not _is_person(name, passage)):
            return _with_more(name, passage.text, found.end()) if question.several else name
    if not question.proper and (phrase := _place_phrase(passage.text)):
        return phrase
    return next(
        (
            name
            for name in proper_names(passage, question)
            if _may_be_place(name, known) and not _is_person(name, passage)
        ),
        None,
    )


def clause(text: str, question: Question) -> str:
    """The one clause of ``text`` that holds more of the question's words than every other, names
    aside: of a sentence that tells two things, the one that is asked for. Else ``text``."""
    parts = [part for part in _CLAUSES.split(text) if part.strip()]
    if len(parts) < 2:
        return text
    named = {term for name in names(question.text) for term in terms(name)}
    wanted = set(question.terms) - named
    stems = [set(terms(part)) for part in parts]
    held = [sum(not has.isdisjoint({one, *told_by(one)}) for one in wanted) for has in stems]
    best = max(held)
    return parts[held.index(best)] if held.count(best) == 1 else text


def person(passage: Passage, question: Question) -> str | None:
    """Names of people that the question does not have, else what somebody is to the speaker ("my
    aunt")."""
    known = _known(passage, question)
    found = [
        one
        for one in _TITLED.finditer(passage.text)
        if _is_person(one[0], passage) and not known & set(terms(one[0]))
    ]
    owners = [one for one in found if re.search(r"['’]s\b", one[0])]
    whose = question.text.lower().startswith("whose")
    fitting = owners if whose else [one for one in found if one not in owners] or owners
    if best := nearest(fitting, passage.text, question):
        name = re.sub(r"['’]s$", "", best[0].rstrip(".,"))
        return _with_more(name, passage.text, best.start() + len(name))
    kin = [one[0] for one in _SOMEBODY.finditer(passage.text)]
    return next((words for words in kin if not set(terms(words)) <= set(question.terms)), None)


def identity(passage: Passage, question: Question) -> str | None:
    """What the one that the question names is: "my brother", "a beagle"."""
    name = re.escape(question.subject or "")
    for pattern in _IDENTITIES:
        if found := re.search(pattern.replace("NAME", name), passage.text):
            return found["what"].strip()
    return None


def told_to_be(passage: Passage, question: Question) -> str | None:
    """What the one that the question names is said to be: "a beagle" in "Milo is a beagle"."""
    name = re.escape(question.subject or "")
    found = re.search(rf"\b{name},? (?:is|was) (?P<what>{_ONE} [^.,;!?]+)", passage.text, re.I)
    return found["what"] if found else None


def introduced(passage: Passage, question: Question) -> str | None:
    """The name by which the speaker introduces themselves."""
    found = _MY_NAME.search(passage.text) or _I_AM.search(passage.text)
    return found["name"] if found else None


def _with_more(name: str, text: str, end: int) -> str:
    """``name``, which ends at ``end``, with the names that are listed behind it."""
    more = _MORE_NAMES.match(text, end)
    return f"{name}{more[0]}" if more else name


def _place_phrase(text: str) -> str | None:
    for found in _PLACE_PHRASE.finditer(text):
        words = _PLACE_END.sub("", found["place"]).strip()
        if " " in words and not _NO_PLACE_WORD.fullmatch(words.split()[-1]):
            return words
    bare = _BARE_PLACE.search(text) or _STREET.search(text)
    return bare["place"] if bare else None


def _known(passage: Passage, question: Question) -> set[str]:
    """Stems of what cannot be the answer: the speakers' names and the question's own words."""
    named = {term for name in (passage.speaker, *question.about) for term in terms(name)}
    return named | set(question.terms)


def _may_be_place(name: str, known: set[str]) -> bool:
    return name.lower() not in _NOT_PLACES and not known & set(terms(name))


def _is_person(name: str, passage: Passage) -> bool:
    words = re.findall(r"[\w’'-]+", re.sub(r"['’]s\b", "", name))
    return re.fullmatch(TITLE, words[0]) is not None or any(
        word.lower() in passage.people for word in words
    )


def proper_names(passage: Passage, question: Question) -> list[str]:
    """Capitalised words of the passage, those that stand together as one, that are neither in the
    question nor its speakers. The word that opens the sentence is left out."""
    known = _known(passage, question)
    inside = set(names(passage.text))
    runs = re.findall(rf"{_NAME}(?: {_NAME})*", passage.text)
    found = [" ".join(word for word in run.split() if word.rstrip(".,-") in inside) for run in runs]
    clean = [re.sub(r"['’]s$", "", name.rstrip(".,-")) for name in found]
    return [name for name in dict.fromkeys(clean) if name and not known & set(terms(name))]
