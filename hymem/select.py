"""Deep module (arXiv 2602.13933, deep tier): a model picks the hits whose raw text is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hymem.context import render
from hymem.errors import LLMOutputError
from hymem.passages import excerpt, with_text
from hymem.prompts import load
from hymem.reading import cited, frame
from hymem.types import LLM, Config, Hit

# A raw turn can be as long as a book; this much of it tells what it is about.
PREVIEW_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen hits, most useful first; ``unknown`` counts numbers that were never offered."""

    hits: tuple[Hit, ...]
    unknown: int


def select(
    llm: LLM,
    question: str,
    hits: Sequence[Hit],
    config: Config,
    now: datetime,
    learned: Sequence[str] = (),
) -> Selection:
    """Choose among the best ``config.n`` hits in one call. Where the model chooses none of those
    offered, or cannot be understood, all are kept: looking at too much beats missing the answer.

    Raises ``LLMError`` when the model cannot be reached.
    """
    from hymem.prompts.schemas import SelectReply

    offered = {hit.id: hit for hit in hits[: config.n]}
    previews = [_preview(hit) for hit in offered.values()]
    block = render(previews, config.deep_tokens, numbered=True)
    messages = load("select").messages(**frame(question, block, now, learned))
    try:
        reply: SelectReply = llm.complete(messages, SelectReply).value
    except LLMOutputError:
        return Selection(tuple(offered.values()), 0)
    chosen, unknown = cited(reply.numbers, block.used)
    hits = [offered[item.id] for item in chosen] or list(offered.values())
    return Selection(tuple(hits), unknown)


def _preview(hit: Hit) -> Hit:
    """The beginning of what matches."""
    return with_text(hit, excerpt(hit, 0).text[:PREVIEW_CHARACTERS])
