"""Retrieval: dense and lexical match over units and raw turns, fused into one calibrated ranking.

Every turn is scored by a logistic model (`hymem.ranking`) over what is known of it
(`hymem.features`): its own match, that of its neighbours, of its session and of the units that rest
on it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from hymem import forks
from hymem.encoders.rows import encode
from hymem.errors import EncoderError
from hymem.keys import windows
from hymem.stores.base import AskedTokens, Candidates, Store
from hymem.types import Config, Encoder, Filter, Hit, Kind, Scope, TokenCoder, Turn, Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.features import Table

log = logging.getLogger(__name__)

Item = TypeVar("Item", Hit, Turn, Unit)

# Best dense and best lexical matches that are scored, per hit asked for and at least.
CANDIDATES_PER_HIT = 3
CANDIDATES = 32


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What a question found.

    ``hits``: best first. ``confidence``: the probability, 0 to 1, that the best few of them hold
    all that the question needs. ``found``: whether anything in memory bears on the question.
    ``query_vector``: ``float32[dim]``, or ``None`` when the encoder could not be reached.
    """

    hits: tuple[Hit, ...]
    confidence: float
    found: bool
    query_vector: NDArray[np.float32] | None


class Retriever:
    """Searches the scopes of one store. Safe to use from several threads."""

    def __init__(self, store: Store, encoder: Encoder, config: Config) -> None:
        self._store, self._encoder, self._config = store, encoder, config

    def retrieve(
        self,
        scope: Scope,
        question: str,
        *,
        limit: int,
        where: Filter | None = None,
        vector: NDArray[np.float32] | None = None,
        now: datetime | None = None,
    ) -> Retrieval:
        """The best ``limit`` turns and units for ``question``. A unit and a turn that it rests on
        are never both among them: whichever matches better stands for both. ``vector``:
        ``float32[dim]``, the question's, if the caller has it. ``now`` is what "last week" in the
        question counts from (default: the clock).

        When the encoder cannot be reached, the lexical match alone decides. Raises ``StoreError``.
        """
        from hymem import ranking
        from hymem.when import newer_weight

        now = now or datetime.now().astimezone()
        if vector is None:
            vector = self.encode(question)
        found, items = self.examine(
            scope,
            question,
            candidates=max(CANDIDATES, CANDIDATES_PER_HIT * limit),
            where=where,
            vector=vector,
            now=now,
        )
        if not len(found.ids):
            return Retrieval((), 0.0, False, vector)
        with forks.computing():
            scores = ranking.lexical_logits(items) if vector is None else ranking.logits(items)
            is_found, confidence = ranking.is_found(found, items), ranking.confidence(scores)
            scores = ranking.prefer_newer(
                scores, found.time[items.rows], newer_weight(question, now)
            )
            kind = where.kind if where else None
            chosen = _choose(found, items, ranking.probability(scores), limit, kind)
        hits = self._hits(scope, found, chosen)
        if where and where.as_of:
            hits = tuple(as_known(self._store, scope, hits, where.as_of))
        return Retrieval(hits, confidence, is_found, vector)

    def examine(
        self,
        scope: Scope,
        question: str,
        *,
        candidates: int,
        vector: NDArray[np.float32] | None,
        where: Filter | None = None,
        now: datetime | None = None,
    ) -> tuple[Candidates, Table]:
        """The best ``candidates`` by either match, with their neighbours, and what is known of
        them. ``vector``: what ``encode`` gave; the rest as for ``retrieve``."""
        from hymem.features import RADIUS, table
        from hymem.when import nearness, periods

        found = self._store.candidates(
            scope,
            vector,
            question if self._config.lexical else "",
            candidates,
            radius=RADIUS,
            where=replace(where, kind=None) if where else None,
            kinds=("turn", "unit") if self._config.raw_keys else ("unit",),
            tokens=self._tokens(question),
        )
        near = nearness(found.time, periods(question, now or datetime.now().astimezone()))
        return found, table(found, _named(found, question), near)

    def encode(self, question: str) -> NDArray[np.float32] | None:
        """The question's vector, ``float32[dim]``; of one longer than the encoder's window, the
        mean direction. ``None`` when the encoder cannot be reached."""
        import numpy as np

        try:
            rows = encode(self._encoder, windows(question, self._encoder.max_tokens))
        except EncoderError as error:
            log.warning("searching by words alone: %s", error)
            return None
        vector: NDArray[np.float32] = rows[0]
        if len(rows) > 1:
            vector = rows.mean(axis=0)
            vector /= max(float(np.linalg.norm(vector)), 1e-9)
        return vector

    def _tokens(self, question: str) -> AskedTokens | None:
        """The question's tokens, as many as the encoder's window holds, if it has token codes."""
        if not isinstance(self._encoder, TokenCoder):
            return None
        (ids,) = self._encoder.token_ids([question])
        return AskedTokens(ids, self._encoder.token_codes)

    def _hits(
        self, scope: Scope, found: Candidates, chosen: dict[int, tuple[Kind, float]]
    ) -> tuple[Hit, ...]:
        turns = [item for item, (kind, _) in chosen.items() if kind == "turn"]
        units = [item for item, (kind, _) in chosen.items() if kind == "unit"]
        hits: dict[int, Hit] = {}
        for turn in self._store.turns(scope, turns) if turns else ():
            hits[turn.id] = Hit(
                turn.id,
                "turn",
                turn.text,
                turn.time,
                chosen[turn.id][1],
                (turn.id,),
                turn.speaker,
                turn.session_id,
                turn.tokens,
                turn.passages,
                found.passages[int(found.ids.searchsorted(turn.id))] if turn.passages else (),
            )
        for unit in self._store.units(scope, units) if units else ():
            hits[unit.id] = Hit(
                unit.id,
                "unit",
                unit.text,
                unit.time,
                chosen[unit.id][1],
                unit.source_turns,
                session_id=unit.session_id,
            )
        return tuple(hits[item] for item in chosen if item in hits)


def as_known(store: Store, scope: Scope, items: Sequence[Item], as_of: datetime) -> list[Item]:
    """``items`` with the texts that they had at ``as_of``."""
    older = store.older_texts(scope, [item.id for item in items], as_of)
    return [_with_text(item, older[item.id]) if item.id in older else item for item in items]


def _with_text(item: Item, text: str) -> Item:
    """``item`` with another text, of which nothing else is known."""
    if isinstance(item, Unit):
        return replace(item, text=text)
    unknown: dict[str, Any] = {"tokens": 0, "passages": ()}
    if isinstance(item, Hit):
        unknown["best"] = ()
    return replace(item, text=text, **unknown)


def _named(found: Candidates, question: str) -> NDArray[np.bool_]:
    """``bool[n]``: whether the question names the one who speaks."""
    import numpy as np

    from hymem.text import terms

    asked = set(terms(question))
    named = [not asked.isdisjoint(terms(speaker)) for speaker in found.speakers]
    return np.array([*named, False])[found.speaker]


def _choose(
    found: Candidates, items: Table, scores: NDArray[np.float64], limit: int, kind: Kind | None
) -> dict[int, tuple[Kind, float]]:
    """The ids of the best ``limit`` items, best first, with their kind and score."""
    import numpy as np

    chosen: dict[int, tuple[Kind, float]] = {}
    told: set[int] = set()  # turns that a chosen item rests on
    for at in np.argsort(-scores, kind="stable").tolist():
        for row in _faces(found, items, at, kind):
            sources = found.sources[row]
            if told.isdisjoint(sources):
                told.update(sources)
                is_unit = bool(found.is_unit[row])
                chosen[int(found.ids[row])] = ("unit" if is_unit else "turn", float(scores[at]))
                break
        if len(chosen) == limit:
            break
    return chosen


def _faces(found: Candidates, items: Table, at: int, kind: Kind | None) -> Iterator[int]:
    """The rows that may stand for a scored item, the better match first."""
    row, unit = int(items.rows[at]), int(items.unit[at])
    if kind != "turn" and unit >= 0 and (kind == "unit" or items.unit_leads[at]):
        yield unit
    if kind is None or found.is_unit[row] == (kind == "unit"):
        yield row
