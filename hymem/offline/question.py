"""What a question asks for, by its wording alone."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from hymem.text.words import terms

Kind = Literal[
    "order", "when", "how long", "how many", "where", "who", "who is", "yes or no", "why", "what"
]

_PLACES = "cit(?:y|ies)|countr(?:y|ies)|towns?|states?|places?|locations?"
_WHEN = re.compile(
    r"\bwhen (?:is|was|are|were|did|do|does|will|has|have|had|can|should)\b|"
    r"\b(?:what|which|on what|on which) (?:date|day|month|year)\b|\bhow long ago\b|"
    r"\bwhat time (?:is|was|are|were|did|do|does|will|should)\b",
    re.I,
)
_HOW_LONG = re.compile(r"\bhow long\b|\bfor how many (?:days|weeks|months|years)\b", re.I)
_HOW_MANY = re.compile(
    r"\bhow (?:many|much|often|old|far|tall|big)\b|\bwhat (?:age|number)\b", re.I
)
_WHERE = re.compile(
    rf"\bwhere\b|\b(?:what|which) (?:{_PLACES})\b",
    re.I,
)
_PROPER_PLACE = re.compile(r"\b(?:cit(?:y|ies)|countr(?:y|ies)|towns?|states?)\b", re.I)
_SEVERAL_PLACES = re.compile(
    r"\b(?:what|which) (?:cities|countries|towns|states|places|locations)\b|\bwhere (?:has|have)\b",
    re.I,
)
_WHO = re.compile(r"\bwho(?:se|m)?\b", re.I)
# "Who is Olek?" asks what he is, "Who is my boss?" for a name.
_WHO_IS = re.compile(
    r"^(?:who|what)(?:['’]s| is| was| are| were) "
    r"(?P<name>(?-i:[A-Z])[\w’'-]*(?: (?-i:[A-Z])[\w’'-]*)*)$",
    re.I,
)
# "Book a table near my home" wants to know where that is.
_NEAR_HOME = re.compile(
    r"^(?!(?:who|what|which|when|where|why|how)\b).*\b(?:near|to|from|at|by|around|close to|in) "
    r"my (?:home|house|place|flat|apartment|address)\b",
    re.I,
)
_COUNTED = re.compile(
    r"\bhow many (?P<what>(?:[\w’'-]+ ){0,3}?[\w’'-]+?)"
    r"(?= (?:do|does|did|have|has|had|am|is|are|was|were|will|would|can|could|should|came)\b|$)",
    re.I,
)
_SUBJECT = re.compile(
    r"\b(?:do|does|did|is|are|was|were|has|have|had|will|can) "
    r"(?P<name>(?-i:[A-Z])[\w-]*)(?!['’\w])"
)
_OWNER = re.compile(r"(?<=\s)(?P<name>[A-Z][\w-]*)['’]s (?=[a-z])")
_YES_NO = re.compile(
    r"^(?:is|are|was|were|am|do|does|did|has|have|had|can|could|will|would|should)\b", re.I
)
_LIST = re.compile(
    r"\b(?:what|which) (?:\w+ ){0,2}?(?!does|was|has|is|this)(?P<noun>\w{2,}s|people|children)\b"
    r"(?! (?:the|a|an)\b)(?=.*\b(?:has|have|did|does|do|are|were)\b)",
    re.I,
)
_BEFORE_OR_AFTER = re.compile(
    r"^(?:did |was |were |has |had |is )?(?P<a>.+?),? (?:before or after|after or before) "
    r"(?P<b>.+)$",
    re.I,
)
_FIRST = re.compile(r"\b(?:first|earlier|earliest|sooner|before)\b", re.I)
_LATEST = re.compile(r"\b(?:last|later|latest|more recent(?:ly)?|most recent(?:ly)?)\b", re.I)
_OR = re.compile(r"[:,] *(?P<a>[^:,]+?),? or (?P<b>[^?]+)$", re.I)
_OR_PLAIN = re.compile(r"\b(?:first|earlier|later|last|recently) (?P<a>.+?),? or (?P<b>.+)$", re.I)
_NOW = re.compile(
    r"\b(?:now|currently|current|nowadays|these days|at the moment|latest|most recent(?:ly)?)\b",
    re.I,
)
_FORMERLY = re.compile(
    r"\b(?:used to|previous(?:ly)?|former(?:ly)?|originally|before (?:\w+ ){0,3}(?:moved|moving|"
    r"changed|changing|current|new|switch\w*|start\w*|got|that)|initially|at first)\b",
    re.I,
)
# "Where did she live before?", "… before Lyon?": of a fact that changes, a bygone state.
_BEFORE = re.compile(r"\bbefore(?:$| (?-i:[A-Z]))", re.I)
_ATTRIBUTES = (
    (
        "home",
        re.compile(
            r"\bwhere\b.*\b(?:liv(?:e|es|ed|ing)|resid\w+|home)\b|\bhome ?town\b|"
            r"(?<!email )(?<!mail )(?<!web )\baddress\b(?! (?:the|this|that|my|his|her|their)\b)",
            re.I,
        ),
    ),
    ("home", _NEAR_HOME),
    (
        "name",
        re.compile(r"^what(?:['’]?s| is) my (?:(?:first|last|full|own) )?name$|^who am i$", re.I),
    ),
    (
        "job",
        re.compile(
            r"\b(?:job|profession|occupation|career|employer|do(?:es)?\b.* for (?:a living|work)|"
            r"where\b.*\bwork(?:s|ed|ing)?)\b",
            re.I,
        ),
    ),
    ("relationship", re.compile(r"\b(?:relationship|marital) status\b", re.I)),
    ("age", re.compile(r"\bhow old\b", re.I)),
    ("diet", re.compile(r"\bdiet\b", re.I)),
)
_FAVOURITE = re.compile(r"\bfavou?rite (?P<what>\w+)", re.I)
_FRAME = frozenset(
    terms(
        "name kind type sort thing many much long ago time date day happen happened tell told "
        "say said mention mentioned now currently current used previous former first before "
        "after earlier later last recently recent which get got gotten go goes going went "
        "gone take takes took taken make makes made come came use start started begin began "
        "become became "
    )
)
_CATENATIVE = re.compile(
    r"\b(?:learn|start|beg[aiu]n|tr(?:y|ied)|decide|manage|plan|want|hope|continue|intend|agree)"
    r"(?:s|ed|d|t|ning|ing)? to (?=\w)",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Question:
    """A question taken apart.

    ``several``: the answer may be a list. ``proper``: it is a place with a name. ``about``: the
    speakers that the question names. ``spoken``: the question as they themselves would put it
    ("Where do I live?"), because what it is compared with is in the first person. ``terms``: its
    stems with content, without those speakers and without words of asking. ``alternatives``: the
    two events of an order question, and ``ask`` what is wanted of them (the ``first``, the
    ``last``, or the ``relation``).
    ``moment``: whether the present or a bygone state is asked for. ``attribute``: the changing
    fact asked for, as ``hymem.offline.facts`` names it. ``subject``: somebody it is about who is no
    speaker. ``counted``: the stem of what is to be counted.
    """

    text: str
    spoken: str
    kind: Kind
    several: bool
    proper: bool
    about: frozenset[str]
    terms: tuple[str, ...]
    moment: Literal["now", "formerly"] | None = None
    attribute: str | None = None
    alternatives: tuple[str, str] | None = None
    ask: Literal["first", "last", "relation"] = "first"
    subject: str | None = None
    counted: str | None = None


def parse(text: str, speakers: Collection[str]) -> Question:
    """Take a question apart; ``speakers`` are those of the memory at hand."""
    text = " ".join(text.split())
    plain = text.rstrip("?!. ")
    about = frozenset(name for name in speakers if _names(name, text))
    subject = _subject(plain, about)
    named = {term for name in about for term in terms(name)}
    content = [
        t
        for t in dict.fromkeys(terms(without_catenative(text)))
        if t not in named and t not in _FRAME
    ]
    alternatives, ask = _alternatives(plain)
    attribute = _attribute(plain)
    counted = _COUNTED.search(plain)
    return Question(
        text=text,
        spoken=_spoken(text, about),
        kind="order" if alternatives else _kind(plain),
        several=bool(_LIST.match(plain) or _SEVERAL_PLACES.search(plain)),
        proper=bool(_PROPER_PLACE.search(plain)),
        about=about,
        terms=tuple(content),
        moment="formerly" if attribute and _BEFORE.search(plain) else _moment(plain),
        attribute=attribute,
        alternatives=alternatives,
        ask=ask,
        subject=subject,
        counted=next(iter(terms(counted["what"])[::-1]), None) if counted else None,
    )


def without_catenative(text: str) -> str:
    """What is done: "learn to swim" is about swimming."""
    return _CATENATIVE.sub("", text)


def _names(speaker: str, text: str) -> bool:
    if speaker.lower() == "user":
        return re.search(r"\b(?:i|my|me|mine)\b", text, re.I) is not None
    if re.search(rf"\b{re.escape(speaker)}\b", text, re.I):
        return True
    # "Mel" is Melanie.
    return any(speaker.startswith(short) for short in re.findall(r"\b[A-Z]\w{2,}", text))


def _spoken(text: str, about: Collection[str]) -> str:
    for name in about:
        if name.lower() != "user":
            text = re.sub(rf"\b{re.escape(name)}['’]s\b", "my", text, flags=re.I)
            text = re.sub(rf"\b{re.escape(name)}\b", "I", text, flags=re.I)
    for third, first in (("is", "am"), ("has", "have"), ("does", "do")):
        text = re.sub(rf"\b{third} I\b", f"{first} I", text, flags=re.I)
    return text


def _subject(text: str, about: Collection[str]) -> str | None:
    found = _WHO_IS.match(text) or _SUBJECT.search(text) or _OWNER.search(text)
    if found is None or any(name.casefold().startswith(found["name"].casefold()) for name in about):
        return None
    return None if found["name"] == "I" else found["name"]


def asks_of_anothers(question: Question) -> bool:
    """Whether it is about what is the subject's, not about the subject: "Tanya's twins"."""
    return re.search(rf"\b{re.escape(question.subject or '-')}['’]s ", question.text) is not None


def _kind(text: str) -> Kind:
    if _HOW_LONG.search(text) and "ago" not in text:
        return "how long"
    if _WHEN.search(text) and not _YES_NO.match(text):
        return "when"
    if _HOW_MANY.search(text):
        return "how many"
    if _YES_NO.match(text):
        return "yes or no"
    if _WHERE.search(text) or _NEAR_HOME.search(text):
        return "where"
    if _WHO_IS.match(text):
        return "who is"
    if re.match(r"why\b", text, re.I):
        return "why"
    if _WHO.match(text):
        return "who"
    return "what"


def _alternatives(
    text: str,
) -> tuple[tuple[str, str] | None, Literal["first", "last", "relation"]]:
    if found := _BEFORE_OR_AFTER.match(text):
        return (found["a"], found["b"]), "relation"
    first, last = _FIRST.search(text), _LATEST.search(text)
    if not first and not last:
        return None, "first"
    found = _OR.search(text) or _OR_PLAIN.search(text)
    if not found:
        return None, "first"
    return (found["a"].strip(), found["b"].strip()), "first" if first else "last"


def _moment(text: str) -> Literal["now", "formerly"] | None:
    if _FORMERLY.search(text):
        return "formerly"
    return "now" if _NOW.search(text) else None


def _attribute(text: str) -> str | None:
    for attribute, pattern in _ATTRIBUTES:
        if pattern.search(text):
            return attribute
    found = _FAVOURITE.search(text)
    return f"favourite {found['what'].lower()}" if found else None
