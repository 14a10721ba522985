"""On which side of the day of saying a date lies that names no year (or no week).

"My lease ends June 30" lies ahead and "My lease ended June 30" behind; "Rent is due on the 1st of
each month" and "I was born in June" are left open. The verb of the date's own clause tells first,
then the kind of thing that is dated, then the verbs of the neighbouring clauses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

from hymem.dates import verbs

# "near": whichever occurrence is clearly nearer, else open. "told": likewise, else behind.
# "arranged": ahead, unless it has just been.
# "yearly": the next one where it is soon, else open. "present": ahead, unless it is a habit.
Side = Literal["ahead", "behind", "near", "told", "arranged", "yearly", "open"]
_Told = Side | Literal["present"] | None

_WORD = re.compile(r"\w*n't\b|\w+(?:-\w+)*|'(?:ll|d|ve|re|m|s)\b")
_ARTICLES = ("a", "an", "the")
_PREFIX = re.compile(r"^(?:re|over|under|un|mis|out|up|with|fore)(?=\w{3})")  # "redid", "overslept"
_CLAUSE_END = re.compile(r"[,:](?!\d)|[;()\"“”–—]|\s-\s")
_LINK = re.compile(r"\b(?:and|but|so|because|which|where|who)\b", re.I)
_HOUR = re.compile(r"\b\d+(?:[:.]\d\d)?\s?[ap]\.?m\b\.?")  # "7 am" holds no verb

_ALWAYS_OPEN = re.compile(
    r"\b(?:every|each|most|some) (?:other )?"
    r"(?:year|month|week|spring|summer|autumn|fall|winter)s?\b"
    # Told of a time that is not named.
    r"|\bas an? (?:\w+ )?(?:child|kid|boy|girl|teen\w*|student|baby|toddler)\b"
    r"|\bwhen (?:i|we|he|she|they) (?:was|were) (?:an?|\d+|little|small|young\w*|single"
    r"|in (?:\w+ )?(?:school|college)|at (?:\w+ )?(?:school|college|uni\w*)"
    r"|six|seven|eight|nine|ten|\w+teen|eleven|twelve|twenty\S*|thirty\S*)\b"
    r"|\bwhen (?:i|we|he|she|they) (?:lived|worked|studied|were in|was in|were at|was at)\b"
    r"|\b(?:years|decades|ages) ago\b|\blong (?:before|ago)\b|\bback then\b|\bin those days\b"
    r"|\bone (?:year|summer|winter|time)\b|^\W*once\b"
    r"|\bin (?:my|his|her|their|our) (?:\w+ )?(?:youth|childhood|teens|twenties|thirties)\b"
    r"|^\W*(?:at|in) (?:\w+ )?(?:university|uni|college|school),? (?:i|we)\b"
    # Told of no time at all.
    r"|^\W*in (?:the|this|that|my|an?|his|her) (?:\w+ )?"
    r"(?:novel|book|film|movie|story|play|series|episode|game|dream|song|comic)\b",
    re.I,
)
_RECURS_BEFORE = re.compile(r"\b(?:every|each)(?: other| second| single)? (?:the )?$", re.I)
_RECURS_AFTER = re.compile(r"\s*(?:of|in)? ?(?:every|each|any|the) (?:month|year)\b", re.I)
_HABIT = re.compile(
    r"\b(?:usually|always|often|sometimes|normally|typically|generally|rarely|seldom|never"
    r"|annually|yearly|(?:especially|particularly|mostly) (?:in|at|during|over)|tends?"
    r"|everything|everybody|nobody|people"
    r"|(?:best|worst|cheapest|busiest|hottest|coldest|nicest|favou?rite))\b",
    re.I,
)
_YEARLY = re.compile(
    r"\b(?:birthday|b-?day|anniversary|name ?day|feast|carnival|holiday|"
    r"(?:independence|national|constitution|mother['’]?s|father['’]?s|labou?r|memorial) day)\b",
    re.I,
)
_OTHER_YEAR = re.compile(r"\b(?:1[89]\d\d|20\d\d|(?:last|next) year|years? ago)\b", re.I)
_IN_A_YEAR = re.compile(r"\W*(?:back )?in (?:1[89]\d\d|20\d\d)\b", re.I)
# What a label shows is a date, no event: "The label says June 9", "Password hint: 3 October".
_SHOWN = re.compile(
    r"\b(?:says|reads|titled|called|named)(?: the)? $|\bdate (?:on|in) [^,;]* is $", re.I
)
_LABEL = re.compile(r"(?P<name>[\w ]+): $")
_USED_TO = re.compile(r"(?<!\bbe )(?<!'m )(?<!'re )(?<!get )(?<!was )(?<!were )\bused to\b", re.I)
_BORN = re.compile(r"\bborn\b", re.I)
_NEWBORN = re.compile(r"\b(?:baby|babies|twins?|triplets|kittens?|puppy|puppies)\b", re.I)

# Nouns that the date belongs to, whatever the verb says: "photos from the hike on ...".
_OF_SOMETHING_OVER = re.compile(
    r"(?:(?<!back )(?<!home )(?<!away )(?<!off )(?<!return )\bfrom (?:the|my|our|your|his|her|their"
    r"|that|this) (?:[\w-]+ ){1,3}(?:on|in|at) (?:the )?"
    r"|\b(?:photos?|pictures?|pics?|videos?|minutes|notes|recording|memories|results?|report"
    r"|bill|invoice|letter|e?mail|receipt) (?:from|of) (?:the |my |our )?(?:[\w-]+ ){0,3}?"
    r"(?:(?:on|in|at) )?(?:the )?"
    r"|^\W*back (?:in|on|at) (?:the )?"
    r"|\b(?:according to|last time) .{0,40})$",
    re.I,
)
_AFTER_SOMETHING = re.compile(
    r"\bafter (?:the|my|our|your) (?:[\w-]+ ){1,3}(?:on|in) (?:the )?$", re.I
)
# "Tickets for July 3 went on sale": the verb tells of the tickets.
_TICKET_FOR = re.compile(
    r"\b(?:tickets?|seats?|invites?|invitations?|reservations?|bookings?|appointments?|slots?) "
    r"for (?:the )?$",
    re.I,
)
_CALLED_OFF = re.compile(
    r"\s*(?:has|have|had|got|was|were|is|'s)?(?: been)? "
    rf"(?:{'|'.join(sorted(verbs.CALLED_OFF))})\b",
    re.I,
)
_SOON = re.compile(
    r"\b(?:save the date|wish me luck|fingers crossed|how about|what about|upcoming|looking forward"
    r"|see you|remind(?:er)?|rsvp|deadline|forecast)\b",
    re.I,
)


@dataclass(frozen=True, slots=True)
class _Around:
    """The sentence around a date: its own clause's words before and after it, and the rest."""

    earlier: str
    before: str
    after: str
    later: str

    @property
    def clause(self) -> str:
        return f"{self.before} {self.after}"

    @property
    def told_before(self) -> str:
        """The sentence up to the date's clause, or the one behind it: "In May, we often …"."""
        fronted = _is_empty(_words(self.earlier + self.clause))
        return self.sentence if fronted else f"{self.earlier}{self.clause}"

    @property
    def sentence(self) -> str:
        return f"{self.earlier}{self.before} {self.after}{self.later}"


def side_of(sentence: str, start: int, end: int) -> Side | None:
    """Where the date ``sentence[start:end]`` lies; ``None`` if the sentence holds nothing else."""
    sentence = sentence.replace("’", "'")
    around = _around(sentence[:start], sentence[end:])
    if _is_open(around):
        return "open"
    told = _told(around)
    if told is None and sentence.rstrip().endswith((".", "!")):
        return "open"  # "June 30.", an answer; "on June 30" alone is what somebody looks for
    if told in ("present", "near", "arranged") and _HABIT.search(around.told_before):
        return "open"
    if told == "present":
        return "yearly" if _YEARLY.search(around.sentence) else "ahead"
    if told == "behind" and _names_year(around):
        return "open"
    return told


def _around(before: str, after: str) -> _Around:
    ends = [found.end() for found in _CLAUSE_END.finditer(before)]
    begin = ends[-1] if ends else 0
    found = _CLAUSE_END.search(after) or _LINK.search(after)
    stop = found.start() if found else len(after)
    return _Around(before[:begin], before[begin:], after[:stop], after[stop:])


def _is_open(around: _Around) -> bool:
    before = around.earlier + around.before
    if _ALWAYS_OPEN.search(around.sentence):
        return True
    if _SHOWN.search(before) and not _first_verb(_words(around.after)):
        return True
    if _RECURS_BEFORE.search(before) or _RECURS_AFTER.match(around.after):
        return True
    label = _LABEL.search(before)
    if (
        label
        and not (around.after + around.later).strip(" .!?")
        and not _is_plan(_words(label["name"]))
    ):
        return True
    if _USED_TO.search(around.clause):
        return True
    return bool(_BORN.search(around.clause)) and not _NEWBORN.search(around.sentence)


def _names_year(around: _Around) -> bool:
    """ "In 2019 we moved in May": which May, the grammar cannot tell."""
    return bool(_OTHER_YEAR.search(around.clause) or _IN_A_YEAR.match(around.sentence))


def _told(around: _Around) -> _Told:
    """The side that words tell: those of the date's own clause, then its neighbours'."""
    if _OF_SOMETHING_OVER.search(around.before):
        return "behind"
    if _AFTER_SOMETHING.search(around.before) or _CALLED_OFF.match(around.after):
        return "near"
    before, after = _words(around.before), _words(around.after)
    earlier, later = _words(around.earlier), _words(around.later)
    if earlier and before and before[0].endswith("ing"):  # "We drove off, leaving on the 3rd"
        before = [*earlier, *before]
    if _TICKET_FOR.search(around.before) and verbs.WAS.isdisjoint(before) and "had" not in before:
        return "arranged"
    is_attribute = before[-1:] and before[-1] in verbs.ARTICLES  # "The Christmas party was fun"
    verb_after = _first_verb(after[1:] if is_attribute else after)
    told = _last_verb(before) or verb_after or _kind(before) or _last_verb(earlier)
    if told:
        return told
    if not (_is_empty(before) and _is_empty(after)):
        return _kind(after) or "near"
    told = _kind(earlier) or _first_verb(later)
    return told or (None if _is_empty(earlier) and _is_empty(later) else "near")


def _kind(clause: Sequence[str]) -> Side | None:
    """By what a clause without a verb is about: "Lovely dinner on Friday", "Exam on Friday"."""
    if not verbs.JUDGED.isdisjoint(clause):
        return "behind"
    head = list(takewhile(lambda word: word not in verbs.EMPTY or word in _ARTICLES, clause))
    return "ahead" if _is_plan(head) or _SOON.search(" ".join(clause)) else None


def _is_plan(words: Sequence[str]) -> bool:
    return not verbs.PLANS.isdisjoint(words)


def _words(text: str) -> list[str]:
    text = _HOUR.sub("", text.lower())
    return [verbs.SHORT_FORMS.get(word, word) for word in _WORD.findall(text)]


def _is_empty(words: Sequence[str]) -> bool:
    return all(word in verbs.EMPTY or word.isdigit() for word in words)


def _last_verb(words: Sequence[str]) -> _Told:
    return next((told for at in reversed(range(len(words))) if (told := _verb(words, at))), None)


def _first_verb(words: Sequence[str]) -> _Told:
    """Of words behind the date; what such a verb arranges "for" a later day is another matter."""
    places = range(len(words))
    main = [at for at in places if not _in_relative_clause(words, at)]
    found = (_verb(words[: at + 3], at) for at in (*main, *places))
    return next((told for told in found if told), None)


def _verb(words: Sequence[str], at: int) -> _Told:
    """What the word at ``at`` tells of the time of its clause; ``None`` if it is no verb."""
    word, following = words[at], _next(words, at)
    if word in verbs.MODALS:
        if words[at - 1 : at] and words[at - 1] in verbs.ARTICLES:
            return None  # "read the will"
        return "behind" if following in ("have", "'ve", "of") else "ahead"
    if word == "'d":
        return _participle_side(words, at + 1) if _is_participle(following) else "ahead"
    if word in verbs.OVER or word in ("thanks", "thank"):
        return "behind"
    if word == "due":
        return "near" if _previous(words, at) in verbs.WAS else "ahead"
    if word in verbs.WAS:
        return "behind"
    if _is_participle(word):
        return _participle_side(words, at)
    if word.endswith("ing") and word not in verbs.NOT_ING:
        return _ing_side(words, at)
    if word in verbs.IS or word in verbs.DO or word in verbs.HAVE:
        return None if _is_infinitive(words, at) else "present"
    if word == "'s":
        return "present" if at and words[at - 1] in verbs.TAKES_IS else None
    if word == "let":
        return "behind" if _has_subject(words, at) else "ahead"
    if word == "remind":
        return "ahead"
    if word in ("remember", "recall") and not _is_infinitive(words, at):
        return _recalled_side(words, at)
    return "present" if _is_present(words, at) else None


def _next(words: Sequence[str], at: int) -> str:
    """The word after, adverbs and "not" apart."""
    return next((word for word in words[at + 1 :] if not _is_adverb(word)), "")


def _previous(words: Sequence[str], at: int) -> str:
    return next((word for word in reversed(words[:at]) if not _is_adverb(word)), "")


def _is_adverb(word: str) -> bool:
    return word in verbs.ADVERBS or (word.endswith("ly") and len(word) > 4)


def _is_participle(word: str) -> bool:
    if word in verbs.IRREGULAR or _PREFIX.sub("", word) in verbs.IRREGULAR:
        return True
    return len(word) > 3 and word.endswith("ed") and word not in verbs.NOT_PAST


def _participle_side(words: Sequence[str], at: int) -> _Told:
    """Of a past tense or a participle."""
    at = next((i for i in range(at, len(words)) if not _is_adverb(words[i])), at)
    word, auxiliary, rest = words[at], _previous(words, at), words[at + 1 :]
    if auxiliary == "to":
        return None
    if word in verbs.INTENDED and rest[:1] == ["to"]:
        return "present" if auxiliary in verbs.IS else "near"
    if word in verbs.REQUESTED and "to" in rest[:4] and rest.index("to") + 2 < len(rest):
        return "arranged"  # "told me to come back on"
    if auxiliary in verbs.PASSIVE or (word == "got" and auxiliary in verbs.HAVE):
        return "present"
    if (
        word in verbs.BOOKED
        and _ends_in(rest, ("for",))
        and auxiliary not in verbs.WAS | {"had", "'d"}
    ):
        return "arranged"
    if word in verbs.ARRANGED and "for" in rest and _names_plan(rest[rest.index("for") + 1 :]):
        return "near"
    if word in verbs.ARRANGED and "tickets" in rest and "to" in rest:
        return "near"
    if word in verbs.SHIFTED and _ends_in(rest, ("to", "until", "till", "for")):
        return "near"
    if word in verbs.REPORTED and sum(w not in verbs.EMPTY for w in rest) >= 3:
        return "told"
    return "behind"


def _names_plan(words: Sequence[str]) -> bool:
    return _is_empty(words) or not verbs.PLANS.isdisjoint(words)


def _ends_in(words: Sequence[str], ends: Sequence[str]) -> bool:
    last = [word for word in words if word != "the"]
    return bool(last) and last[-1] in ends


def _ing_side(words: Sequence[str], at: int) -> _Told:
    if _previous(words, at) in verbs.DETERMINERS:
        return None
    for word in reversed(words[max(0, at - 3) : at]):
        if word in verbs.IS or word == "'s":
            return "ahead"
        if word in verbs.WAS or word == "been":
            return "near" if words[at] in verbs.INTENDED and _next(words, at) == "to" else "behind"
    if words[at - 1 : at] in (["after"], ["from"], ["for"]) and at:
        return "behind"  # "after seeing it", "thanks for coming"
    return "ahead" if at == 0 and len(words) > 1 else None


def _recalled_side(words: Sequence[str], at: int) -> _Told:
    """ "I remember buying it", "Remember when we met?", "Remember to pay"."""
    following = _next(words, at)
    if following in ("when", "that", "how", "what") or following.endswith("ing"):
        return "behind"
    return "ahead" if following == "to" else "near"


def _is_present(words: Sequence[str], at: int) -> bool:
    """Whether the word is a verb in the present tense, or tells somebody to do something."""
    word, subject = words[at], _previous(words, at)
    if subject in verbs.DETERMINERS or _is_infinitive(words, at):
        return False
    is_verb = False
    if subject in verbs.PLURAL_SUBJECTS:
        is_verb = word.isalpha() and word not in verbs.EMPTY and not _is_adverb(word)
    elif subject in verbs.SINGULAR_SUBJECTS:
        is_verb = word.endswith("s") and len(word) > 3
    if word in verbs.BASE_FORMS:
        is_verb |= subject in ("", "and", "please") or (subject.endswith("s") and len(subject) > 2)
        is_verb |= _in_relative_clause(words, at - 1)  # "the tickets I bought arrive"
    elif word in verbs.S_FORMS:
        is_verb |= subject != ""
    return is_verb and not _in_past_clause(words, at)


def _has_subject(words: Sequence[str], at: int) -> bool:
    """Whether somebody "let" it, which is told of the past, and is not asked to: "Let me know"."""
    subject = _previous(words, at)
    is_asked = subject in verbs.EMPTY | verbs.LINKS | verbs.CALLS or subject in ("", "'s")
    supposed = not verbs.SUPPOSING.isdisjoint(words[:at])
    return not is_asked and not supposed and not _is_infinitive(words, at)


def _is_infinitive(words: Sequence[str], at: int) -> bool:
    """Whether a word just before ("to", "did", "can") carries the tense."""
    near = set(words[max(0, at - 3) : at])
    return not near.isdisjoint(verbs.MODALS | verbs.DO | {"to", "did", "didn't", "let", "'d"})


def _in_past_clause(words: Sequence[str], at: int) -> bool:
    """ "I made phone calls": what looks like a verb is a noun where a past tense stands before."""
    for place in reversed(range(at)):
        word = words[place]
        if word in verbs.LINKS or word in verbs.REPORTED:
            return False
        if _is_participle(word) or word in verbs.OVER:
            return not _in_relative_clause(words, place)
    return False


def _in_relative_clause(words: Sequence[str], at: int) -> bool:
    """Whether the past tense at ``at`` tells of a noun that its sentence is about: "The lease
    (that) I signed …", "The man who sold us the flat …"."""
    if at < 1 or not _is_participle(words[at]):
        return False
    subject = at - 1
    while subject >= 0 and (
        _is_adverb(words[subject]) or words[subject] in verbs.HAVE | {"had", "'d"}
    ):
        subject -= 1
    if subject < 0:
        return False
    if words[subject] in verbs.RELATIVE:
        return _ends_noun_phrase(words[:subject])
    if words[subject] in verbs.PLURAL_SUBJECTS or words[subject] in verbs.SINGULAR_SUBJECTS:
        begin = subject
    elif subject > 0 and words[subject - 1] in verbs.DETERMINERS:  # "the lease my brother signed"
        begin = subject - 1
    else:
        return False
    if words[begin - 1 : begin] and words[begin - 1] in verbs.RELATIVE:
        begin -= 1
    return _ends_noun_phrase(words[:begin])


def _ends_noun_phrase(words: Sequence[str]) -> bool:
    """Whether the words end in a noun with its article, where a clause may begin."""
    if not words or words[-1] in verbs.EMPTY | verbs.DETERMINERS:
        return False
    if not verbs.SETTING.isdisjoint(words[-2:]):
        return False
    for at in range(len(words) - 2, max(-1, len(words) - 5), -1):
        if words[at] in verbs.DETERMINERS:
            before = words[at - 1] if at else ""
            if before in verbs.DETERMINERS:  # "my new lease"
                continue
            return before in ("", "think", "hope", "know") or (
                before in verbs.LINKS or before in verbs.REPORTED or _is_adverb(before)
            )
        if _is_participle(words[at]) or words[at] in verbs.EMPTY:
            return False
    return False
