"""What a model reads, tier by tier (arXiv 2602.13933): the light module looks at the best Level-1
hits, the deep module picks the hits whose raw text it then reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hymem.errors import LLMOutputError
from hymem.prompts import load
from hymem.read.query import Query
from hymem.text.block import Rendered, cited, defuse, format_day, render
from hymem.text.passages import excerpt, with_text
from hymem.types import LLM, Config, Hit, Turn

# A raw turn can be as long as a book; this much of it tells what it is about.
PREVIEW_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of one look at a block. ``sources`` are the cited items; ``unknown`` counts numbers
    that were cited but not shown."""

    text: str
    enough: bool
    certain: bool
    sources: tuple[Hit | Turn, ...]
    unknown: int
    block: Rendered


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen hits, most useful first; ``unknown`` counts numbers that were never offered."""

    hits: tuple[Hit, ...]
    unknown: int


def read_light(
    llm: LLM, query: Query, hits: Sequence[Hit], config: Config, learned: Sequence[str] = ()
) -> Reading:
    """Answer from the best ``config.k`` hits that fit ``config.light_tokens``, or say that the
    memory shown is not enough (the paper's forgetting state). Raises ``LLMError``."""
    block = render(hits[: config.k], config.light_tokens, numbered=True)
    return read(llm, "light", query, block, learned)


def select(
    llm: LLM, query: Query, hits: Sequence[Hit], config: Config, learned: Sequence[str] = ()
) -> Selection:
    """Choose among the best ``config.n`` hits in one call. Where the model chooses none of those
    offered, or cannot be understood, all are kept: looking at too much beats missing the answer.

    Raises ``LLMError`` when the model cannot be reached.
    """
    from hymem.prompts.schemas import SelectReply

    offered = {hit.id: hit for hit in hits[: config.n]}
    previews = [_preview(hit) for hit in offered.values()]
    block = render(previews, config.deep_tokens, numbered=True)
    messages = load("select").messages(**frame(query, block, learned))
    try:
        reply: SelectReply = llm.complete(messages, SelectReply).value
    except LLMOutputError:
        return Selection(tuple(offered.values()), 0)
    chosen, unknown = cited(reply.numbers, block.used)
    hits = [offered[item.id] for item in chosen] or list(offered.values())
    return Selection(tuple(hits), unknown)


def read(llm: LLM, prompt: str, query: Query, block: Rendered, learned: Sequence[str]) -> Reading:
    """Answer ``query`` from a numbered ``block`` in one call. Raises ``LLMError``."""
    from hymem.prompts.schemas import AnswerReply

    messages = load(prompt).messages(**frame(query, block, learned))
    reply: AnswerReply = llm.complete(messages, AnswerReply).value
    sources, unknown = cited(reply.sources, block.used)
    return Reading(
        reply.answer.strip(),
        reply.enough and bool(reply.answer.strip()),
        reply.certain,
        tuple(sources),
        unknown,
        block,
    )


def frame(query: Query, block: Rendered, learned: Sequence[str]) -> Mapping[str, str]:
    """The values that every reading prompt takes. Whatever is not HyMem's own wording is defused,
    so that it cannot close the block."""
    notes = "".join(f"- {defuse(note)}\n" for note in learned)
    return {
        "today": format_day(query.now),
        "memory": block.text,
        "notes": f"\nLearned so far:\n{notes}" if notes else "",
        "question": defuse(query.text),
    }


def _preview(hit: Hit) -> Hit:
    """The beginning of what matches."""
    return with_text(hit, excerpt(hit, 0).text[:PREVIEW_CHARACTERS])
