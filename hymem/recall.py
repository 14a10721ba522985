"""Recall: the two tiers without a model. Retrieval, the score gate, and a block of raw turns.

Light: the best turns alone. Deep: the best turns, then the passages that they stand in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from hymem.context import EMPTY, Rendered, render
from hymem.deep import raw_context
from hymem.gate import decide
from hymem.retrieve import Retrieval, Retriever
from hymem.stores.base import Store
from hymem.tokens import count_many
from hymem.types import Config, Filter, Hit, Scope, Tier

# Hits that a block of 1,000 tokens is chosen from; a turn takes some 30 tokens.
HITS_PER_1000_TOKENS = 60
# Turns that the deep tier reads with the passages around them.
DEEP_HITS = 40
# How much a long turn must be better than a short one to take its place in the budget: the odds of
# being relevant are divided by its tokens, and what it takes to show it, to this power.
LENGTH_PENALTY = 0.6
LINE_OVERHEAD = 8


@dataclass(frozen=True, slots=True)
class Recall:
    """A recalled block, the tier that made it and the retrieval behind it; ``trace`` as in
    ``hymem.types.Context``."""

    block: Rendered
    tier: Tier
    retrieval: Retrieval
    trace: dict[str, Any]


def recall(
    store: Store,
    retriever: Retriever,
    config: Config,
    scope: Scope,
    question: str,
    *,
    max_tokens: int,
    where: Filter | None = None,
    now: datetime | None = None,
) -> Recall:
    """What memory holds on ``question``, in at most ``max_tokens``; no model is called. ``now`` is
    what "last week" in the question counts from (default: the clock)."""
    found = retriever.retrieve(
        scope, question, limit=pool(max_tokens, config), where=turns_only(where, config), now=now
    )
    tier, trace = choose_tier(found, config)
    hits = by_value(found.hits)
    block = EMPTY
    if tier == "light":
        block = render(hits, min(max_tokens, config.light_tokens))
    elif tier == "deep":
        budget = min(max_tokens, config.deep_tokens)
        block = raw_context(store, scope, hits[:DEEP_HITS], budget, where)
    trace |= {"hits": len(hits), "items": len(block.used), "tokens": block.tokens}
    return Recall(block, tier, found, trace)


def pool(max_tokens: int, config: Config) -> int:
    """How many hits to retrieve for a block of ``max_tokens``."""
    light = min(max_tokens, config.light_tokens)
    return max(HITS_PER_1000_TOKENS * light // 1000, DEEP_HITS)


def turns_only(where: Filter | None, config: Config) -> Filter | None:
    """Raw turns are what a block shows, unless they are no keys or the caller wants units."""
    if not config.raw_keys or (where and where.kind):
        return where
    return replace(where or Filter(), kind="turn")


def by_value(hits: Sequence[Hit]) -> list[Hit]:
    """``hits`` by what they are worth for their length, so that a budget is spent well."""
    sizes = count_many([hit.text for hit in hits])

    def value(hit: Hit, size: int) -> float:
        odds = hit.score / max(1 - hit.score, 1e-6)
        return odds / math.pow(size + LINE_OVERHEAD, LENGTH_PENALTY)

    order = sorted(zip(hits, sizes, strict=True), key=lambda pair: -value(*pair))
    return [hit for hit, _ in order]


def choose_tier(found: Retrieval, config: Config) -> tuple[Tier, dict[str, Any]]:
    """The tier that the gate, or a switched-off tier, leaves; and the trace of the decision."""
    decision = decide(found)
    tier = decision.tier
    if tier != "none" and not (config.light and config.deep):
        tier = "light" if config.light else "deep"
    return tier, {"found": found.found, "score": decision.score, "threshold": decision.threshold}
