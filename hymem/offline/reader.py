"""Answers by rules, taken word for word from what was recalled. No language is generated."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING

from hymem.inputs.messages import as_utc
from hymem.offline import amounts
from hymem.offline import answer_spans as spans
from hymem.offline.concepts import told_by
from hymem.offline.coverage import WordVectors
from hymem.offline.facts import bygone_facts, changing_facts, stands_for, subject_asked
from hymem.offline.passages import Extract, Passage, passages, score
from hymem.offline.people import RELATION
from hymem.offline.question import Question, asks_of_anothers, parse, without_catenative
from hymem.offline.sentences import names
from hymem.offline.spelling import respelt
from hymem.text.words import terms
from hymem.types import Hit

if TYPE_CHECKING:
    from hymem.offline.coverage import Encode

# Chosen on the development half of LOCOMO, against the questions of another conversation and
# against questions that ask of one speaker what the other said (category 5).
READ_HITS = 120
# With an encoder and without; each refuses 5 % of the questions on the conversation itself.
MIN_CONFIDENCE, MIN_BY_WORDS = 0.2, 0.35
SPEAKER_MARGIN = 0.3
# What is believed even where retrieval itself finds nothing; and how sure a pattern is that states
# just the fact asked for.
SURE, STATED = 0.6, 0.9
LIST_SHARE, LIST_MOST = 0.8, 4
# What the passage of either event in a question of order needs at least.
SIDE_COVER, SIDE_ALIKE = 0.15, 0.4

_AT_FIRST = re.compile(r"\b(?:originally|initially|at first)\b", re.IGNORECASE)

# Without a statement of these facts, what a passage must speak of to be about them at all.
_HOLDS = {
    "home": re.compile(
        r"\b(?:liv(?:e|es|ed|ing)|resid\w+|mov(?:e|ed|ing)|hous\w+|home\w*|flat|apartment|address|"
        r"based|settled|stay\w*|neighbou?r\w*|rent\w*|from|born|grew up)\b",
        re.IGNORECASE,
    ),
}
_HOLDS["job"] = re.compile(
    r"\b(?:work\w*|jobs?|teach\w*|taught|employ\w*|career|profession|hired|offices?|compan(?:y|ies)|"
    r"business|firm|intern\w*|retired|promoted|shifts?|boss|colleagues?)\b",
    re.IGNORECASE,
)
_ENDS = re.compile(r"\b(?:quit|left|lost|retired|fired|laid off|handed in)\b", re.IGNORECASE)
# Where these are asked of somebody who is not spoken of, what is told of another is no answer.
_OF_ONE = ("where", "who", "how many")
_OF_ONESELF = ("where", "when", "what", "how long")
_I_DO = re.compile(r"\b(?:do|did|am|was|have|had|will|can|should) I\b", re.IGNORECASE)
_ANOTHER = re.compile(rf"\W*(?:my|our) (?:\w+ )?(?P<who>{RELATION})\b", re.IGNORECASE)
_ME = re.compile(r"\b(?:I|me|we|us|mine|ours|myself|ourselves|both)\b", re.IGNORECASE)
# What a passage must hold to be a likely answer.
_FITTING: dict[str, Extract] = {
    "who": spans.person,
    "who is": spans.identity,
    "where": spans.place,
    "how many": amounts.number,
    "how long": amounts.duration,
    "when": spans.dated,
}
_EXTRACTORS: dict[str, Extract] = _FITTING | {"when": spans.when}


@dataclass(frozen=True, slots=True)
class OfflineAnswer:
    """``evidence`` are ids of the hits that the answer rests on, best first. ``confidence``
    is the probability, 0 to 1, that they bear on the question. Without ``found``, ``text`` is
    empty."""

    text: str
    found: bool
    confidence: float
    evidence: tuple[int, ...]


NOTHING = OfflineAnswer("", False, 0.0, ())


class OfflineReader:
    """Reads recalled hits and answers with a span or sentence of them. Safe to share between
    threads; one that is kept remembers the vectors of words."""

    def __init__(self, encode: Encode | None = None) -> None:
        """``encode``: texts → ``float32[n, dim]`` unit rows (an ``Encoder``'s method); without it
        only words are compared."""
        self.encode = encode
        self._words = WordVectors(encode) if encode else None

    def needs_several(self, question: str) -> bool:
        """Whether one passage cannot settle the question: it asks for a list, an order of events
        or a fact that may have changed."""
        asked = parse(question, ())
        return asked.several or bool(asked.alternatives or asked.attribute or asked.moment)

    def fact_keys(self, question: str) -> list[str]:
        """The keys (``Store.current_facts``) under which extraction files the changing fact that
        the question asks for: one for each name in it, and the user's where it says "I". Empty if
        it asks for none."""
        attribute = parse(question, ()).attribute
        if not attribute:
            return []
        people = [name.removesuffix("'s").removesuffix("’s") for name in names(question)]
        if re.search(r"\b(?:I|me|my|mine)\b", question):
            people.append("user")
        return [f"{subject_asked(question, one)}/{attribute}".casefold() for one in people]

    def answer(
        self, question: str, hits: Sequence[Hit], now: datetime | None = None
    ) -> OfflineAnswer:
        """Answer from ``hits`` (best first). What was said after ``now`` is not read."""
        if now is not None:
            hits = _said_by(hits, now)
        read = passages(hits[:READ_HITS])
        question = _with_names(respelt(question, [passage.text for passage in read]), read)
        asked = parse(question, {passage.speaker for passage in read if passage.speaker})
        if words := _words_for_subject(asked, read):
            speaking = [one for one in read if not words.isdisjoint(terms(one.context))]
            if speaking or asked.subject or asked.kind in _OF_ONE:
                read = speaking
        fits = _FITTING.get(asked.kind)
        if asked.kind == "what" and asked.subject:
            fits = spans.told_to_be
        ranked = score(asked, read, self.encode, self._words, fits)
        own = [one for one in ranked if one.right_speaker and not _tells_of_another(asked, one)]
        if asked.attribute == "name":
            return self._introduced(asked, own)
        if own and asked.attribute and (facts := _facts(asked, own)):
            return replace(self._single(asked, _telling(asked, facts)), confidence=STATED)
        if asked.kind == "where" and asked.attribute in _HOLDS:
            own = [
                one
                for one in own
                if _HOLDS[asked.attribute].search(one.context)
                and (not asked.subject or spans.place(one, asked))
            ]
        if own and asked.alternatives:
            return self._order(asked, own)
        if not own or ranked[0].score > own[0].score + SPEAKER_MARGIN:
            return NOTHING  # nothing, or it was someone else
        answer = self._listed(asked, own) if asked.several else self._single(asked, own)
        least = MIN_CONFIDENCE if self.encode else MIN_BY_WORDS
        return answer if answer.confidence >= least else NOTHING

    def _order(self, asked: Question, ranked: Sequence[Passage]) -> OfflineAnswer:
        """Which of two events came first: each is dated by its own best passage."""
        assert asked.alternatives
        sides = []
        for text in asked.alternatives:
            event = parse(without_catenative(text), asked.about)
            event = replace(event, about=asked.about)
            best = score(event, ranked, self.encode, self._words, by_rank=False)[0]
            sides.append((text, best, _event_date(best)))
        (first, a, day_a), (second, b, day_b) = sides
        if not all(side.cover >= SIDE_COVER or side.similarity >= SIDE_ALIKE for side in (a, b)):
            return NOTHING
        if day_a is None or day_b is None or a.hit.id == b.hit.id:
            return self._answer(a.text, [a, b])
        if asked.ask == "relation":
            return self._answer("before" if day_a < day_b else "after", [a, b])
        earlier = (first, day_a) if day_a <= day_b else (second, day_b)
        later = (second, day_b) if day_a <= day_b else (first, day_a)
        return self._answer((earlier if asked.ask == "first" else later)[0], [a, b])

    def _single(self, asked: Question, ranked: Sequence[Passage]) -> OfflineAnswer:
        """The span that fits the question's kind, else the best sentence as it stands."""
        extract = _EXTRACTORS.get(asked.kind)
        if extract and (text := extract(ranked[0], asked)):
            answer = self._answer(text, ranked[:2])
            return replace(answer, confidence=STATED) if asked.kind == "who is" else answer
        if asked.kind == "when" and not spans.asks_of_habit(asked):
            return NOTHING
        return self._answer(f"{ranked[0].lead} {ranked[0].text}".strip(), ranked[:2])

    def _introduced(self, asked: Question, own: Sequence[Passage]) -> OfflineAnswer:
        for passage in own:
            if name := spans.introduced(passage, asked):
                return replace(self._answer(name, [passage]), confidence=STATED)
        return NOTHING

    def _listed(self, asked: Question, ranked: Sequence[Passage]) -> OfflineAnswer:
        """The spans that fit, or the best sentences, of several hits."""
        extract = _EXTRACTORS.get(asked.kind)
        fitting = [passage for passage in ranked if passage.fits]
        ranked = fitting or ranked
        chosen: dict[int, Passage] = {}
        for passage in ranked:
            if passage.score >= LIST_SHARE * ranked[0].score and len(chosen) < LIST_MOST:
                chosen.setdefault(passage.hit.id, passage)
        found = list(chosen.values())
        spans = [text for passage in found if extract and (text := extract(passage, asked))]
        text = ", ".join(dict.fromkeys(spans)) or " ".join(passage.text for passage in found)
        return replace(self._answer(text, found), confidence=self._any(found))

    def _confidence(self, best: Passage) -> float:
        """The probability, 0 to 1, that the passage bears on the question: logistic fits."""
        if self.encode is None:
            logit = 5.5 * best.cover - 1.16
        else:
            logit = (
                1.67 * best.score
                + 1.51 * best.cover
                + 5.84 * best.similarity
                - 1.12 * best.fits
                - 6.61
            )
        return 1 / (1 + math.exp(-logit))

    def _answer(self, text: str, evidence: Sequence[Passage]) -> OfflineAnswer:
        ids = tuple(dict.fromkeys(passage.hit.id for passage in evidence))
        return OfflineAnswer(text, True, self._confidence(evidence[0]), ids)

    def _any(self, passages: Sequence[Passage]) -> float:
        """The probability that at least one of several passages bears on the question."""
        return 1 - math.prod(1 - self._confidence(passage) for passage in passages)


def _with_names(question: str, read: Sequence[Passage]) -> str:
    """``question`` with capitals where it writes the name of somebody in ``read`` without."""
    people = read[0].people if read else frozenset()

    def name(found: re.Match[str]) -> str:
        is_one = found[0] in people and terms(found[0])  # "will" is no Will
        return found[0].capitalize() if is_one else found[0]

    return re.sub(r"[^\W\d_]+", name, question)


def _words_for_subject(asked: Question, read: Sequence[Passage]) -> set[str]:
    """Stems, one of which must stand where somebody is spoken of whom the question is about and who
    is no speaker: a name, or what they are to a speaker and who is called so. Else empty."""
    if asked.subject:
        return {*terms(asked.subject)}
    stems: set[str] = set()
    for relative in _relatives(asked):
        for stem in terms(relative):
            stems |= {stem, *told_by(stem)}
        stems |= {stem for name in _called(relative, read) for stem in terms(name)}
    return stems


def _tells_of_another(asked: Question, passage: Passage) -> bool:
    """Whether the question is about what a speaker does, and the passage about what somebody else
    does: "My sister Ewa lives in Gdansk"."""
    found = _ANOTHER.match(passage.text)
    return (
        found is not None
        and asked.kind in _OF_ONESELF
        and _I_DO.search(asked.spoken) is not None
        and not _ME.search(passage.text)
        and set(terms(found["who"])).isdisjoint(terms(asked.text))
    )


def _relatives(asked: Question) -> list[str]:
    """What those are to a speaker of whom the question is about: "brother"."""
    subjects = [(subject_asked(asked.text, owner), owner) for owner in asked.about]
    return [who.removeprefix(f"{owner}'s ") for who, owner in subjects if who != owner]


def _called(relative: str, read: Sequence[Passage]) -> set[str]:
    """The names by which ``read`` calls a speaker's relative."""
    named = re.compile(
        rf"\b(?i:(?:my|our) (?:\w+ )?{re.escape(relative)}),?(?: is| is called| named| called)? "
        r"(?P<name>[A-Z]\w+)"
    )
    return {found["name"] for one in read for found in named.finditer(one.text)}


def _telling(asked: Question, facts: Sequence[Passage]) -> Sequence[Passage]:
    """From the newest fact on that tells what is asked for: who is promoted stays where they are.
    What ends a state is the last word on it."""
    extract = _EXTRACTORS.get(asked.kind)
    for number, passage in enumerate(facts):
        if _ENDS.search(passage.text):
            break
        if extract and extract(passage, asked):
            return facts[number:]
    return facts


def _said_by(hits: Sequence[Hit], now: datetime) -> list[Hit]:
    """``hits`` without the turns after ``now`` and the units that rest on them. A unit's own time
    is when something happens: that of a plan is yet to come."""
    later = {
        hit.id for hit in hits if hit.kind == "turn" and hit.time and as_utc(hit.time) > as_utc(now)
    }
    return [hit for hit in hits if later.isdisjoint((hit.id, *hit.source_turns))]


def _event_date(passage: Passage) -> date | None:
    span = spans.date_of(passage)
    if span is not None:
        return span.first
    return passage.time.date() if passage.time else None


def _said_at(passage: Passage) -> tuple[datetime, int]:
    """What a dated passage is ordered by: of two of one time the later stored is the newer."""
    hit = passage.hit
    return as_utc(passage.time or datetime.min), max(hit.source_turns, default=hit.id)


def _facts(asked: Question, ranked: Sequence[Passage]) -> list[Passage]:
    """The statements of the changing fact that is asked for: the newest first, or for a bygone
    state those that say so themselves, else those before the newest, or before the one that the
    question names ("before Lyon"); the oldest first where the question is about the beginning."""
    if asks_of_anothers(asked):
        return []
    subjects = {subject_asked(asked.text, owner) for owner in asked.about}
    for relative in _relatives(asked):
        subjects |= _called(relative, ranked)
    if asked.subject:
        called = [stands_for(one.context, one.speaker, asked.subject) for one in ranked]
        subjects = {asked.subject, *(one for one in called if one)}

    def states(facts: Collection[tuple[str, str]]) -> bool:
        return any(
            what == asked.attribute and (not subjects or who in subjects) for who, what in facts
        )

    if asked.moment == "formerly" and not _AT_FIRST.search(asked.text):
        over = [one for one in ranked if states(bygone_facts(one.text, one.speaker))]
        if over:
            return over
    stated = [one for one in ranked if states(changing_facts(one.text, one.speaker))]
    dated = sorted((p for p in stated if p.time), key=_said_at)
    if not dated:
        return stated
    if asked.moment != "formerly":
        return dated[::-1]
    known = {name for name in names(asked.text) if name not in asked.about}
    named = [i for i, passage in enumerate(dated) if known & set(names(passage.text))]
    older = dated[: named[0]] if named else dated[:-1]
    return older if _AT_FIRST.search(asked.text) else older[::-1]
