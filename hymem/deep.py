"""The deep tier without a model: raw text, from the best turns outwards, under a token budget."""

from __future__ import annotations

from collections.abc import Sequence

from hymem.context import Rendered, render
from hymem.stores.base import Store
from hymem.types import Hit, Scope, Turn


def raw_context(store: Store, scope: Scope, hits: Sequence[Hit], max_tokens: int) -> Rendered:
    """The raw turns behind ``hits`` (best first), then those around them, as far as they fit.

    Turns of the same session next to a better hit come before those next to a worse one.
    """
    said = store.turns(scope, list(dict.fromkeys(id for hit in hits for id in hit.source_turns)))
    around = store.window(scope, [turn.position for turn in said], 1)
    by_place = {turn.position: turn for turn in around}
    order: dict[int, Turn] = {turn.id: turn for turn in said}
    for turn in said:
        for step in (1, -1):
            near = by_place.get(turn.position + step)
            if near is not None and near.session_id == turn.session_id:
                order.setdefault(near.id, near)
    return render(list(order.values()), max_tokens)
