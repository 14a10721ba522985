"""Recall: the two tiers without a model. Retrieval, the score gate, and a block of raw turns.

Light: the best turns alone. Deep: more of them, with the turns around them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hymem.context import EMPTY, Rendered, render
from hymem.deep import raw_context
from hymem.gate import decide
from hymem.retrieve import Retrieval, Retriever
from hymem.stores.base import Store
from hymem.types import Config, Filter, Scope, Tier

# Hits that a block may be filled from, per thousand tokens of its budget.
HITS_PER_1000_TOKENS = 60


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
) -> Recall:
    """What memory holds on ``question``, in at most ``max_tokens``; no model is called."""
    found = retriever.retrieve(
        scope, question, limit=pool(max_tokens), where=turns_only(where, config)
    )
    tier, trace = choose_tier(found, config)
    budget = min(max_tokens, config.light_tokens) if tier == "light" else max_tokens
    block = EMPTY
    if tier == "light":
        block = render(found.hits, budget)
    elif tier == "deep":
        block = raw_context(store, scope, found.hits, min(budget, config.deep_tokens))
    trace[tier] = {"hits": len(found.hits), "items": len(block.used), "tokens": block.tokens}
    return Recall(block, tier, found, trace)


def pool(max_tokens: int) -> int:
    """How many hits to retrieve for a block of ``max_tokens``."""
    return max(HITS_PER_1000_TOKENS * max_tokens // 1000, 10)


def turns_only(where: Filter | None, config: Config) -> Filter | None:
    """Raw turns are what a block shows, unless they are no keys or the caller wants units."""
    if not config.raw_keys or (where and where.kind):
        return where
    return replace(where or Filter(), kind="turn")


def choose_tier(found: Retrieval, config: Config) -> tuple[Tier, dict[str, Any]]:
    """The tier that the gate, or a switched-off tier, leaves; and the trace of the decision."""
    decision = decide(found)
    tier = decision.tier
    if tier != "none" and not (config.light and config.deep):
        tier = "light" if config.light else "deep"
    return tier, {"found": found.found, "score": decision.score, "threshold": decision.threshold}
