"""Recall: a block of memory for any message, without a model.

The block holds the best lines there are, in the order in which they are worth their length, until
the budget is full: the light tier's best turns first, then what stands around them, then the rest
of their sessions and of the memory. Whether anything bears on the question is said beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hymem.read.gate import decide, needed
from hymem.read.query import Query
from hymem.read.retrieve import Retrieval, Retriever, as_known, unit_hit
from hymem.stores.base import Store
from hymem.text.block import EMPTY, Rendered, render
from hymem.text.passages import best_first
from hymem.types import Config, Filter, Hit, Tier, Turn

# What a block says of itself where nothing was found.
NOT_FOUND_NOTE = "(Nothing remembered clearly bears on this; the nearest lines are:)"


# Turns on either side that make a turn understood.
PASSAGE_RADIUS = 3


@dataclass(frozen=True, slots=True)
class Recall:
    """A recalled block, the tier that made it and the retrieval behind it; ``trace`` as in
    ``hymem.types.Context``."""

    block: Rendered
    tier: Tier
    retrieval: Retrieval
    trace: dict[str, Any]


def recall(
    retriever: Retriever,
    query: Query,
    *,
    max_tokens: int,
    strict: bool = False,
    adaptive: bool = False,
) -> Recall:
    """What memory holds on ``query``, in at most ``max_tokens``; no model is called.

    ``strict``: nothing where nothing is found. ``adaptive``: no more of the budget than the gate
    says the question needs.
    """
    store, config = retriever.store, retriever.config
    query = query.of(turns_only(query.where, config))
    found = retriever.lines(query, max_tokens, passages=config.deep)
    tier, trace = choose_tier(found, config)
    enough = needed(found.worth)
    trace |= {"confidence": found.confidence, "needed": enough, "hits": len(found.hits)}
    if strict and not found.found:
        return Recall(EMPTY, "none", found, trace | {"items": 0, "tokens": 0})
    note = "" if found.found else NOT_FOUND_NOTE
    parts = found.parts[:enough] if adaptive else found.parts

    def unit_of(turn: Hit | Turn) -> Hit | None:
        if tier == "light" and retriever.shows_units:
            return _unit_of(store, query, found, turn)
        return None

    block = render(found.hits, max_tokens, order=parts, note=note, instead=unit_of)
    if (block.complete or not found.hits) and not adaptive:  # there is room for more
        more: list[Hit | Turn] = [*found.hits, *_rest(store, query, found.hits)]
        rest = [
            (place, passage)
            for place in range(len(found.hits), len(more))
            for passage in best_first(more[place])
        ]
        block = render(more, max_tokens, order=[*parts, *rest], note=note)
    trace |= {"items": len(block.used), "tokens": block.tokens}
    return Recall(block, tier if block.used else "none", found, trace)


def raw_context(
    store: Store, query: Query, hits: Sequence[Hit], max_tokens: int, note: str = ""
) -> Rendered:
    """The raw turns behind ``hits``, best first, then the passages around them, as far as they fit
    and the query's filter lets them through.

    The turns around a better hit come before those around a worse one, the nearer ones first.
    """
    ids = dict.fromkeys(turn for hit in hits for turn in hit.source_turns)
    said = store.turns(query.scope, list(ids))
    places_said = [turn.position for turn in said]
    around = store.window(query.scope, places_said, PASSAGE_RADIUS, where=query.where)
    places = {(turn.session_id, turn.position): turn for turn in around}
    chosen: dict[int, Turn] = {turn.id: turn for turn in said}
    for turn in said:
        for distance in range(1, PASSAGE_RADIUS + 1):
            for step in (distance, -distance):
                near = places.get((turn.session_id, turn.position + step))
                if near is not None:
                    chosen.setdefault(near.id, near)
    return render(as_known(store, query, list(chosen.values())), max_tokens, note=note)


def _unit_of(store: Store, query: Query, found: Retrieval, turn: Hit | Turn) -> Hit | None:
    """The unit that tells ``turn``, if it tells that alone: a larger block that shows the turn then
    tells all that the unit told."""
    wanted = [found.told[turn.id]] if turn.id in found.told else []
    for unit in store.units(query.scope, wanted):
        if unit.source_turns == (turn.id,):
            score = next(hit.score for hit in found.hits if hit.id == turn.id)
            return as_known(store, query, [unit_hit(unit, score)])[0]
    return None


def _rest(store: Store, query: Query, hits: Sequence[Hit]) -> Sequence[Turn]:
    """The turns that are no hits: those of the hits' sessions, the best session first, then the
    newest."""
    if query.where is None or query.where.kind != "turn":
        return ()
    shown = {hit.id for hit in hits}
    sessions = {name: place for place, name in enumerate(dict.fromkeys(h.session_id for h in hits))}
    rest = [turn for turn in store.list_turns(query.scope, query.where) if turn.id not in shown]
    rest.sort(key=lambda turn: (sessions.get(turn.session_id, len(sessions)), -turn.id))
    return as_known(store, query, rest)


def turns_only(where: Filter | None, config: Config) -> Filter | None:
    """Raw turns are what a block shows, unless they are no keys or the caller wants units."""
    if not config.raw_keys or (where and where.kind):
        return where
    return replace(where or Filter(), kind="turn")


def choose_tier(found: Retrieval, config: Config) -> tuple[Tier, dict[str, Any]]:
    """The tier that the gate, or a switched-off tier, leaves; and the trace of the decision."""
    decision = decide(found)
    tier = decision.tier
    if not (config.light and config.deep):
        tier = "light" if config.light else "deep"
    return tier, {"found": found.found, "score": decision.score, "threshold": decision.threshold}
