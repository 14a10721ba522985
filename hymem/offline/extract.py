"""Extraction by rules: an event's salient sentences as dated, attributed statements."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import ClassVar

from hymem.dates import DateSpan, may_hold_a_date, named, with_dates
from hymem.offline.facts import changing_fact
from hymem.offline.sentences import captions, is_question, split_sentences, weight
from hymem.types import Statement, Turn

_LEANS_BACK = re.compile(
    r"(?:it|they|he|she|that|this|these|those|them|there|then|which|because|so|but|and|also)\b",
    re.IGNORECASE,
)
_OWN = re.compile(r"\b(?:i|we)\b", re.IGNORECASE)
_LONGEST = 400  # characters of one statement


@dataclass(frozen=True, slots=True)
class OfflineExtractor:
    """The ``Extractor`` that needs no model: it picks sentences, it does not write any.

    Each statement names its speaker and carries the calendar date of each relative date. A short
    answer is joined with the question that it answers, a sentence that leans on the one before
    ("It …") with that one. Greetings, thanks, reactions and bare questions are left out.

    ``min_weight``: what a sentence must weigh (``sentences.weight``) to be kept.
    ``per_turn``: statements of an ordinary turn, at most; long turns may have one more for every
    ``chars_per_more`` characters. ``keys_only``: ``recall`` shows the turns, not these statements.
    """

    min_weight: int = 3
    per_turn: int = 2
    chars_per_more: int = 600
    # What picked sentences tell, their turns tell too.
    keys_only: ClassVar[bool] = True

    def extract(self, events: Sequence[Sequence[Turn]]) -> list[list[Statement]]:
        """One list of statements per event; ``sources`` are indices into the event's turns."""
        return [list(self._event(turns)) for turns in events]

    def _event(self, turns: Sequence[Turn]) -> Iterator[Statement]:
        question: tuple[int, str] | None = None
        for index, turn in enumerate(turns):
            sentences = split_sentences(turn.text)
            yield from self._turn(index, turn, sentences, _asked_by_other(turns, question, turn))
            last = sentences[-1] if sentences else ""
            question = (index, last) if is_question(last) else None

    def _turn(
        self, index: int, turn: Turn, sentences: Sequence[str], question: tuple[int, str] | None
    ) -> Iterator[Statement]:
        kept = self._choose(turn, sentences)
        if question and sentences and _is_short_answer(sentences[0]):
            asked, words = question
            answer = " ".join(sentences[:2]) if len(sentences[0]) < 20 else sentences[0]
            if not is_question(sentences[0]):
                yield _statement(turn, f'{turn.speaker}, asked "{words}": {answer}', (asked, index))
                kept = [text for text in kept if text not in answer]
        pictures = captions(turn.text)
        for number, text in enumerate(kept):
            shown = f" (picture: {_caption(pictures[0])})" if pictures and not number else ""
            yield _statement(turn, f"{turn.speaker}: {text}{shown}", (index,), text)
        if pictures and not kept:
            yield _statement(
                turn, f"{turn.speaker} shared a picture: {_caption(pictures[0])}", (index,)
            )

    def _choose(self, turn: Turn, sentences: Sequence[str]) -> list[str]:
        """The weightiest passages of a turn, in their order."""
        limit = self.per_turn + len(turn.text) // self.chars_per_more
        passages = _passages(sentences)
        weights = [weight(passage) for passage in passages]
        ranked = sorted(range(len(passages)), key=lambda i: -weights[i])[:limit]
        return [passages[i] for i in sorted(ranked) if weights[i] >= self.min_weight]


def _leans_back(sentence: str) -> bool:
    """Whether a sentence is hardly understood without the one before: "It …", "Last Friday, at the
    lake."."""
    if is_question(sentence):
        return False
    fragment = len(sentence.split()) <= 8 and not _OWN.search(sentence)
    return bool(_LEANS_BACK.match(sentence)) or (fragment and may_hold_a_date(sentence))


def _passages(sentences: Sequence[str]) -> list[str]:
    """Sentences, those that lean on the one before joined to it."""
    passages: list[str] = []
    for sentence in sentences:
        fits = passages and len(passages[-1]) + len(sentence) < _LONGEST // 2
        if fits and _leans_back(sentence) and weight(passages[-1]) > 0:
            passages[-1] += f" {sentence}"
        else:
            passages.append(sentence)
    return passages


def _asked_by_other(
    turns: Sequence[Turn], question: tuple[int, str] | None, turn: Turn
) -> tuple[int, str] | None:
    if question is None or turns[question[0]].speaker == turn.speaker:
        return None
    return question


def _is_short_answer(sentence: str) -> bool:
    return len(sentence) <= 60


def _caption(caption: str) -> str:
    return re.sub(r"^\w+:?\s*(?:of )?", "", caption)


def _statement(
    turn: Turn, text: str, sources: tuple[int, ...], sentence: str | None = None
) -> Statement:
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1].rsplit(" ", 1)[0] + "…"
    fact = changing_fact(sentence, turn.speaker) if sentence else None
    if turn.time is None:
        return Statement(text, sources, None, *(fact or (None, None)))
    spans = named(text, turn.time)
    happened = turn.time if fact else _happened(spans, turn.time)
    text = with_dates(text, [span for span in spans if not span.open])
    return Statement(text, sources, happened, *(fact or (None, None)))


def _happened(spans: Sequence[DateSpan], said: datetime) -> datetime:
    """When the stated thing happened: the day named, if the text names just one stretch of days
    and it is not the day of saying, nor of a year that nothing tells."""
    if len(spans) != 1 or spans[0].open or spans[0].first <= said.date() <= spans[0].last:
        return said
    return datetime.combine(spans[0].first, time(), said.tzinfo)
