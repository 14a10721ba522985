"""Recalled items as scored sentences: where in them the answer most likely stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from hymem.offline.coverage import Coverage
from hymem.offline.people import people
from hymem.offline.question import Question
from hymem.offline.sentences import captions, is_question, split_sentences, weight
from hymem.types import Hit

if TYPE_CHECKING:
    from hymem.offline.coverage import Encode

Extract = Callable[["Passage", Question], "str | None"]

_UNIT = re.compile(
    r"^(?P<speaker>[^:\"]{1,60}?)(?:, asked \"(?P<question>[^\"]*)\")?"
    r"(?P<picture> shared a picture)?: (?P<text>.*)$",
    re.DOTALL,
)


# A sentence that begins so is about what the one before names.
_LEANS = re.compile(r"(?:one|both|neither|none|another|each)\b", re.IGNORECASE)
# How a correction begins: what follows tells no less than without it.
_CORRECTS = re.compile(
    r"\A(?:sorry|oops|actually|wait|correction)\s?[,.:!–—-]+\s*(?=\w)", re.IGNORECASE
)
# Chosen on the development half of LOCOMO (arXiv 2402.17753).
W_TEXT, W_CONTEXT, W_SIMILAR, W_RANK, W_SPEAKER = 0.5, 0.75, 1.5, 0.75, 0.1
W_TELLS, W_FITS = 0.5, 0.75
RANK_HALF, FULL_WEIGHT = 2, 8
# In characters. Every sentence is judged with its context, so a long one takes quadratic time.
LONGEST_CONTEXT = 10_000


@dataclass(frozen=True, slots=True)
class Passage:
    """One sentence of a hit. ``context`` is what it answers and the rest of its turn, or the
    sentence alone where the turn is a whole document; ``score``
    is comparable within one question only; ``cover`` is the share, 0 to 1, of the question's
    content words that the passage and its context hold, rare ones counting more; ``similarity``
    the cosine to the question (0 without an encoder); ``fits``: it holds the kind of thing that is
    asked for, such as a number; ``people``: names, in lower case, that belong to people, as far as
    all that is read tells; ``lead``: the sentence before, where this one leans on it ("One bite
    …")."""

    text: str
    speaker: str
    time: datetime | None
    hit: Hit
    context: str
    asked: str = ""
    people: frozenset[str] = frozenset()
    lead: str = ""
    score: float = 0.0
    cover: float = 0.0
    similarity: float = 0.0
    right_speaker: bool = True
    fits: bool = False


def passages(hits: Sequence[Hit]) -> list[Passage]:
    """The sentences of the hits, in order; questions tell nothing and are left out.

    Where a unit and the turn that it rests on are both there, the turn is read, and of the unit
    only the question that the turn answers.
    """
    asked = dict.fromkeys((hit.id for hit in hits if hit.kind == "turn"), "")
    found = []
    for hit in hits:
        speaker, question, text = _attribution(hit)
        if hit.kind == "unit" and hit.source_turns and hit.source_turns[-1] in asked:
            asked[hit.source_turns[-1]] = question or asked[hit.source_turns[-1]]
        else:
            found.append((hit, speaker, question, text))
    known = people(text for _, _, _, text in found)
    return [
        Passage(sentence, speaker, hit.time, hit, context or sentence, before, known, lead)
        for hit, speaker, question, text in found
        for before in (question or asked.get(hit.id, ""),)
        for context in (f"{before} {text}".strip() if len(text) <= LONGEST_CONTEXT else "",)
        for sentence, lead in _told(text)
    ]


def _told(text: str) -> Iterator[tuple[str, str]]:
    before = ""
    for sentence in split_sentences(text):
        if not is_question(sentence):
            yield sentence, before if _LEANS.match(sentence) else ""
        before = sentence
    for caption in captions(text):
        yield f"[{caption}]", ""


def _attribution(hit: Hit) -> tuple[str, str, str]:
    """(speaker, the question that is answered, text)"""
    if hit.kind == "turn":
        return hit.speaker, "", hit.text
    found = _UNIT.match(hit.text)
    if found is None:
        return hit.speaker, "", hit.text
    return found["speaker"], found["question"] or "", found["text"]


def score(
    question: Question,
    found: Sequence[Passage],
    encode: Encode | None = None,
    encode_words: Encode | None = None,
    fits: Extract | None = None,
    *,
    by_rank: bool = True,
) -> list[Passage]:
    """The passages with their scores, best first.

    ``encode`` (texts → unit rows) adds similarity of meaning to the match of words, and
    ``encode_words`` lets synonyms match. A passage in which ``fits`` finds the kind of thing that
    is asked for scores higher. Without ``by_rank`` the order of the hits does not count: it answers
    another question.
    """
    if not found:
        return []
    contexts = [passage.context for passage in found]
    coverage = Coverage(question.text, question.terms, contexts, encode_words)
    similar = _similarities(question, found, encode)
    ranks: dict[int, int] = {}
    for passage in found:
        ranks.setdefault(passage.hit.id, len(ranks))
    scored = []
    for passage, similarity in zip(found, similar, strict=True):
        cover = coverage.of(passage.context)
        fitting = fits is not None and fits(passage, question) is not None
        told = weight(_CORRECTS.sub("", passage.text))
        right = not question.about or passage.speaker in question.about
        total = (
            W_TEXT * coverage.of(f"{passage.text} {question.subject or ''}")
            + W_CONTEXT * cover
            + W_SIMILAR * similarity
            + by_rank * W_RANK / (RANK_HALF + ranks[passage.hit.id])
            + W_SPEAKER * right
            + W_TELLS * min(max(told, 0), FULL_WEIGHT) / FULL_WEIGHT
            + W_FITS * fitting
        )
        scored.append(
            replace(
                passage,
                score=total,
                cover=cover,
                similarity=similarity,
                right_speaker=right,
                fits=fitting,
            )
        )
    return sorted(scored, key=lambda passage: -passage.score)


def _similarities(
    question: Question, found: Sequence[Passage], encode: Encode | None
) -> list[float]:
    if encode is None:
        return [0.0] * len(found)
    said = (f"{p.asked} {p.lead} {_CORRECTS.sub('', p.text)}".strip() for p in found)
    vectors = encode([question.spoken, *said])
    return [float(x) for x in vectors[1:] @ vectors[0]]
