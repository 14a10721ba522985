"""One look of a model at a block of memory: the call that the light and the deep module share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from hymem.context import Rendered, defuse, format_day
from hymem.prompts import load
from hymem.types import LLM, Hit, Turn


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of it. ``sources`` are the cited items; ``unknown`` counts numbers that were cited
    but not shown."""

    text: str
    enough: bool
    certain: bool
    sources: tuple[Hit | Turn, ...]
    unknown: int
    block: Rendered


def read(
    llm: LLM, prompt: str, question: str, block: Rendered, now: datetime, learned: Sequence[str]
) -> Reading:
    """Answer ``question`` from a numbered ``block`` in one call. Raises ``LLMError``."""
    from hymem.prompts.schemas import AnswerReply

    messages = load(prompt).messages(**frame(question, block, now, learned))
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


def frame(
    question: str, block: Rendered, now: datetime, learned: Sequence[str]
) -> Mapping[str, str]:
    """The values that every reading prompt takes. Whatever is not HyMem's own wording is defused,
    so that it cannot close the block."""
    notes = "".join(f"- {defuse(note)}\n" for note in learned)
    return {
        "today": format_day(now),
        "memory": block.text,
        "notes": f"\nLearned so far:\n{notes}" if notes else "",
        "question": defuse(question),
    }


def cited(numbers: Sequence[int], shown: Sequence[Hit | Turn]) -> tuple[list[Hit | Turn], int]:
    """The items with these numbers (1 is the first one shown), each once, and how many numbers
    name none."""
    wanted = dict.fromkeys(numbers)
    known = [number for number in wanted if 1 <= number <= len(shown)]
    return [shown[number - 1] for number in known], len(wanted) - len(known)
