"""Reflection (arXiv 2602.13933): judge an answer, and say what to look for if it falls short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hymem.prompts import load
from hymem.read.query import Query
from hymem.read.tiers import Reading, frame
from hymem.text.block import defuse, render
from hymem.types import LLM, Config


@dataclass(frozen=True, slots=True)
class Judgement:
    """``question`` is the rewritten question, ``learned`` the facts to keep for the next round."""

    good: bool
    question: str
    learned: tuple[str, ...]


def judge(
    llm: LLM, query: Query, reading: Reading, config: Config, learned: Sequence[str] = ()
) -> Judgement:
    """Judge ``reading`` as an answer to ``query`` in one call. An answer is held against the
    lines it cites; a failure to answer against all that was shown. Raises ``LLMError``."""
    from hymem.prompts.schemas import ReflectReply

    block = reading.block
    if reading.enough and reading.sources:
        block = render(reading.sources, config.deep_tokens)
    answer = defuse(reading.text) or "(none)"
    values = frame(query, block, learned)
    reply: ReflectReply = llm.complete(
        load("reflect").messages(**values, answer=answer), ReflectReply
    ).value
    notes = tuple(note.strip() for note in reply.learned if note.strip())
    return Judgement(reply.good, reply.question.strip(), notes)
