"""Facts that change: which statement is about whose home, job, age and the like.

Only attributes of which a person has one at a time are named, so that a newer statement may
supersede an older one. Plans, wishes and bygone states ("I used to live in …") name none.
"""

from __future__ import annotations

import re

from hymem.dates.periods import MONTHS
from hymem.offline.people import RELATION

_UNREAL = re.compile(
    r"\b(?:if|would|could|might|(?-i:may)|want\w*|wish\w*|hop(?:e|ing)|plan\w*|consider\w*|"
    r"think\w* (?:about|of)|dream\w*|used to|almost|nearly|going to|gonna|will|['’]ll|would['’]ve|"
    r"never|not|n['’]t|back then|as a (?:kid|child)|grew up|look\w* for|appl(?:y|ied|ying)|"
    r"someday)\b",
    re.IGNORECASE,
)
_ADVERBS = r"(?: \w+ly| just| now| already| still| both)*"
_I = rf"\b(?P<me>i|we)(?:['’](?:m|re|ve|d)| am| are| have| had)?{_ADVERBS}"
_RELATIVE = rf"(?:{RELATION}|grandparent)s?"
# "June 30." is no age of June's, "Saturday works for me" no job of Saturday's.
_NAME = rf"(?!(?:{'|'.join(MONTHS)}) (?:\d|works)|\w+day\b)(?-i:[A-Z][a-z]+)"
_OTHER = (
    rf"\b(?:(?P<other>my (?:{_RELATIVE}))(?: {_NAME})?|(?P<named>{_NAME}))"
    rf"(?:['’]s| is| has)?{_ADVERBS}"
)
_WHO = rf"(?:{_I}|{_OTHER})"
_WHO_FIRST = re.compile(_WHO, re.IGNORECASE)
_NO_SUBJECT = re.compile(
    r"^(?:(?:finally|just|so|ok(?:ay)?|and|also|btw|yay|hey|well)\b[,!]? *)*"
    r"(?=(?:moved|moving|living|relocated|settled|started|starting|got|quit|left|working|retired|"
    r"hired|promoted|turned|bought|switched|rented)\b)",
    re.IGNORECASE,
)
_AND = re.compile(r",? and (?:then )?", re.IGNORECASE)
_USED_TO = re.compile(r"\bused to ", re.IGNORECASE)
_THING = (
    r"personal best|best time|record|goal|weight|height|salary|rent|address|phone number|number|"
    r"email(?: address)?|bedtime|job(?: title)?|title|role|position|major|boss|manager|doctor|"
    r"dentist|therapist|landlord|roommate|car|phone|laptop|computer|camera|bike|gym|commute|"
    r"schedule|budget"
)

_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (attribute, re.compile(pattern, re.IGNORECASE))
    for attribute, pattern in (
        (
            "home",
            rf"{_WHO} (?:lives?|living|moved|relocated|moving|settled|based)"
            r"(?: (?:back|down|up|out|over|away|here|into \w+ \w+))*"
            r"(?: from (?:\w+ ){1,3}?)? ?(?:(?:in|to|into|near)\b|(?:at|on) (?-i:\d|[A-Z]))",
        ),
        (
            "home",
            r"\b(?P<me>my|our) (?:new )?(?:home|apartment|flat|house|place) (?:is )?(?:in|at|on)"
            r" (?-i:\d|[A-Z])",
        ),
        (
            "home",
            rf"{_I} (?:got|have|found|bought|rent(?:ed)?) an? (?:[\w']+ ){{0,3}}?"
            r"(?:apartment|flat|house|home|place|address|condo)\b",
        ),
        (
            "job",
            rf"{_WHO} (?:work(?:s|ing)?\b(?: (?:part|full)[- ]time| with (?:\w+ ){{1,2}}?)?"
            r" ?\b(?:as|at|for|in|from)\b|"
            r"employed|got (?:a |the |my )?(?:new )?(?:job|position|post)|"
            r"(?:got |was |been )?(?:hired|promoted|laid off|fired)|"
            r"start(?:ed|ing)? (?:work(?:ing)?|an? (?:\w+ )?job|my new job|as)|"
            r"(?:quit|left|lost) (?:my|his|her|their|the) job|handed in (?:my|his|her) notice|"
            r"teach(?:es)? (?!my|him|her|them|you|me|myself)|retired)"
            r"(?: (?:as|at|for|in|to|by|from)\b)?",
        ),
        ("job", r"\b(?P<me>my|our) (?:new |current )?(?:job|work|position|career) (?:as|at|is)\b"),
        (
            "relationship",
            rf"{_WHO} (?:got )?(?:single|married|engaged|divorced|widowed|"
            r"broke up|split up|separated)\b",
        ),
        (
            "age",
            rf"{_WHO} (?:turned |turning )?(?:\d{{1,2}}|twenty|thirty|forty|fifty|sixty)"
            r"(?:[- ]\w+)?(?: years old| yo\b| now| and\b| but\b|\s*[.!,])",
        ),
        (
            "diet",
            rf"{_WHO} (?:gone |went |become |became |turned |eat(?:ing)? |an? )?(?:fully )?"
            r"(?:vegan|vegetarian|pescatarian|keto|paleo|gluten[- ]free|carnivore)\b",
        ),
        (
            "car",
            rf"{_WHO} (?:drives?|bought|got|leased?|leasing) (?:an?|my|the|his|her) "
            r"(?:[\w-]+ ){0,3}?(?:car|truck|suv|sedan|van|hybrid|prius|tesla|honda|toyota)\b",
        ),
        (
            "phone",
            rf"{_WHO} (?:got|bought|switched to|upgraded to) (?:an?|my|the) (?:[\w-]+ ){{0,3}}?"
            r"(?:phone|iphone|pixel|galaxy)\b",
        ),
    )
)
_FAVOURITE = re.compile(
    r"\b(?P<me>my|our) (?:new |current |all[- ]time )?favou?rite (?P<what>\w+(?: \w+)?)"
    r"(?: right now| now)? (?:is|are|has to be)\b",
    re.IGNORECASE,
)
_MINE = re.compile(
    rf"\b(?P<me>my|our) (?:new |current )?(?P<what>{_THING}) (?:is|are)\b", re.IGNORECASE
)


def stands_for(sentence: str, speaker: str, name: str) -> str | None:
    """Whom of the speaker's ``sentence`` calls by ``name``: "Mara's brother" for "my brother Olek
    lives in …"; ``None`` if it does not say so."""
    found = re.search(rf"\bmy (?P<who>{_RELATIVE}),? {re.escape(name)}\b", sentence, re.IGNORECASE)
    return f"{speaker}'s {found['who'].lower()}" if found else None


def with_subject(sentence: str) -> str:
    """``sentence`` with the "I" that chats leave out: "finally moved to Lyon"."""
    return _NO_SUBJECT.sub("I ", sentence)


def changing_fact(sentence: str, speaker: str) -> tuple[str, str] | None:
    """(subject, attribute) if ``sentence``, said by ``speaker``, states a fact that can change:
    ``("Mara", "home")``, ``("Mara's brother", "job")``, ``("Mara", "favourite colour")``."""
    if _UNREAL.search(sentence):
        return None
    sentence = with_subject(sentence)
    for attribute, pattern in _PATTERNS:
        if found := pattern.search(sentence):
            return _subject(found, speaker), attribute
    if found := _FAVOURITE.search(sentence):
        return speaker, f"favourite {found['what'].lower()}"
    if found := _MINE.search(sentence):
        return speaker, found["what"].lower()
    return None


def changing_facts(sentence: str, speaker: str) -> list[tuple[str, str]]:
    """All of them, those of later verbs too: "my brother lives in Rome and works for a bank"."""
    first = changing_fact(sentence, speaker)
    sentence = with_subject(sentence)
    who = _WHO_FIRST.search(sentence)
    if first is None or who is None:
        return [first] if first else []
    tails = _AND.split(sentence[who.end() :])[1:]
    more = (changing_fact(f"{who[0]} {tail}", speaker) for tail in tails)
    return [first, *(fact for fact in more if fact)]


def _subject(found: re.Match[str], speaker: str) -> str:
    groups = found.groupdict()
    if other := groups.get("other"):
        return f"{speaker}'s {other[3:].lower()}"
    return groups.get("named") or speaker


def bygone_facts(sentence: str, speaker: str) -> list[tuple[str, str]]:
    """The same of states that are said to be over: "I used to live in Rome"."""
    if not _USED_TO.search(sentence):
        return []
    return changing_facts(_USED_TO.sub("", sentence), speaker)


def subject_asked(question: str, owner: str) -> str:
    """Whose fact a question about ``owner`` asks for: the owner's, or that of a relative ("my
    brother")."""
    own = "my|our" if owner.lower() == "user" else rf"{re.escape(owner)}['’]s"
    found = re.search(rf"\b(?:{own}) (?:\w+ )?(?P<who>{_RELATIVE})\b", question, re.IGNORECASE)
    return f"{owner}'s {found['who'].lower()}" if found else owner
