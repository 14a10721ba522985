"""Light module (arXiv 2602.13933, light tier): the best Level-1 hits, one call, and either an
answer or the verdict that the memory shown is not enough (the paper's forgetting state)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from hymem.context import render
from hymem.reading import Reading, read
from hymem.types import LLM, Config, Hit


def read_light(
    llm: LLM,
    question: str,
    hits: Sequence[Hit],
    config: Config,
    now: datetime,
    learned: Sequence[str] = (),
) -> Reading:
    """Answer from the best ``config.k`` hits that fit ``config.light_tokens``. ``LLMError``."""
    block = render(hits[: config.k], config.light_tokens, numbered=True)
    return read(llm, "light", question, block, now, learned)
