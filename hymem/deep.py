"""The deep tier without a model: raw text, from the best turns outwards, under a token budget."""

from __future__ import annotations

from collections.abc import Sequence

from hymem.context import Rendered, render
from hymem.retrieve import as_known
from hymem.stores.base import Store
from hymem.types import Filter, Hit, Scope, Turn

# Turns on either side that make a turn understood.
PASSAGE_RADIUS = 3


def raw_context(
    store: Store, scope: Scope, hits: Sequence[Hit], max_tokens: int, where: Filter | None = None
) -> Rendered:
    """The raw turns behind ``hits``, best first, then the passages around them, as far as they fit
    and ``where`` lets them through.

    The turns around a better hit come before those around a worse one, the nearer ones first.
    """
    ids = dict.fromkeys(turn for hit in hits for turn in hit.source_turns)
    said = store.turns(scope, list(ids))
    around = store.window(scope, [turn.position for turn in said], PASSAGE_RADIUS, where=where)
    places = {(turn.session_id, turn.position): turn for turn in around}
    chosen: dict[int, Turn] = {turn.id: turn for turn in said}
    for turn in said:
        for distance in range(1, PASSAGE_RADIUS + 1):
            for step in (distance, -distance):
                near = places.get((turn.session_id, turn.position + step))
                if near is not None:
                    chosen.setdefault(near.id, near)
    turns = list(chosen.values())
    if where and where.as_of:
        turns = as_known(store, scope, turns, where.as_of)
    return render(turns, max_tokens)
