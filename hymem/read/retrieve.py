"""Retrieval: dense, late and lexical match over units and raw turns, in one calibrated ranking.

Candidates come by dense and lexical match. Each is scored by a linear model (`hymem.read.ranking`)
over what is known of it (`hymem.read.features`): its own match and its window's, as vectors and
token by token.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from hymem.encoders.unit_rows import encode, token_codes, token_ids, token_weights
from hymem.errors import EncoderError
from hymem.llm.waits import somebody_waits
from hymem.read import calibration
from hymem.read.query import RADIUS, Query
from hymem.stores.base import AskedTokens, Candidates, Store
from hymem.system.redact import brief
from hymem.text.block import Part
from hymem.text.keys import windows
from hymem.text.passages import Item, best_first, with_text
from hymem.types import Config, Encoder, Hit, Kind, TokenCoder, Turn, Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.read.features import Table

log = logging.getLogger(__name__)

# Best dense and best lexical matches that are scored, at least. What they are does not depend on
# how much is asked for, so that a larger block holds what a smaller one held.
CANDIDATES = 96
# What it takes to show a line beside its text, in tokens: speaker, and a share of the day's line.
LINE_OVERHEAD = 8
# What a speaker without a name is called: that is nobody's name.
_ROLES = "user assistant human ai model system developer tool function bot chatbot agent"
# Names that are words too, at the start of a sentence with a capital as well.
_WORDS_TOO = "may mark bill rose grace hope faith joy art frank pat sue drew chase jack"
# A word with a capital that does not begin a sentence.
_CAPITAL_WITHIN = re.compile(r"(?<=[^\s.!?…:] )[^\W\d_]\w*")


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What a question found.

    ``hits``: best first. ``confidence``: the probability, 0 to 1, that memory holds anything on the
    question; ``found``: whether that is likely enough. ``sufficient``: the probability that the
    best few hits hold all that the question needs. ``query_vector``: ``float32[dim]``, or ``None``
    when the encoder could not be reached. Of a block, and empty for a search: ``parts``, the
    passages of the hits in the order in which they are worth their length; ``worth``, how likely
    each holds something that is needed, relative to the best; ``told``, of hits that are turns the
    id of the unit that tells it best, if any does.
    """

    hits: tuple[Hit, ...]
    confidence: float
    found: bool
    sufficient: float
    query_vector: NDArray[np.float32] | None
    parts: tuple[Part, ...] = ()
    worth: tuple[float, ...] = ()
    told: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Ranked:
    """All candidates of a question, scored: ``scores`` and ``chances``, ``float64[m]``, of the
    items, as in ``hymem.read.ranking``."""

    found: Candidates
    items: Table
    scores: NDArray[np.float64]
    chances: NDArray[np.float64]
    confidence: float
    vector: NDArray[np.float32] | None

    def newest_first(self, share: float) -> _Ranked:
        """The same with the newer of equal matches first; ``share`` is ``hymem.read.ranking``'s."""
        from hymem.read import ranking

        if not share or not len(self.scores):
            return self
        scores = ranking.prefer_newer(self.scores, self.found.time[self.items.rows], share)
        return replace(self, scores=scores, chances=ranking.relevance(scores, self.confidence))

    def retrieval(self, hits: Sequence[Hit]) -> Retrieval:
        from hymem.read import ranking

        return Retrieval(
            tuple(hits),
            self.confidence,
            self.confidence >= calibration.FOUND_AT,
            ranking.sufficient(self.chances) if len(self.chances) else 0.0,
            self.vector,
        )


@dataclass(frozen=True, slots=True)
class _Chosen:
    """An item that becomes a hit; ``row`` of the candidates, ``at`` among the scored items."""

    id: int
    kind: Kind
    chance: float
    row: int
    at: int


class Retriever:
    """Searches the scopes of one store. Safe to use from several threads.

    ``shows_units``: whether the scopes' units may be shown in place of the turns that they tell.
    """

    def __init__(
        self, store: Store, encoder: Encoder, config: Config, *, shows_units: bool = False
    ) -> None:
        self.store, self._encoder, self.config = store, encoder, config
        self.shows_units = shows_units

    def retrieve(self, query: Query, limit: int) -> Retrieval:
        """The best ``limit`` turns and units for ``query``; of equal matches the newer first, as
        far as the question is about what holds now. A unit and a turn that it rests on are never
        both among them: whichever matches better stands for both.

        When the encoder cannot be reached, the lexical match alone decides. Raises ``StoreError``.
        """
        from hymem.read.question_time import newer_weight

        ranked = self._rank(query, max(CANDIDATES, limit), 0)
        ranked = ranked.newest_first(newer_weight(query.text, query.now))
        chosen = list(islice(_choose(ranked, ranked.scores, _kind(query)), limit))
        return ranked.retrieval(self._hits(query, ranked.found, chosen))

    def lines(self, query: Query, tokens: int, *, passages: bool = True) -> Retrieval:
        """What a block of ``tokens`` may hold, the best match first, then in the order in which it
        is worth its length, as far as the candidates reach; with ``passages`` a turn counts almost
        as much as a better one beside it. The order is the same for every ``tokens``. Raises
        ``StoreError``."""
        import numpy as np

        from hymem.read import ranking

        ranked = self._rank(query, CANDIDATES, RADIUS)
        found, items = ranked.found, ranked.items
        worth = ranking.around(ranked.scores, items) if passages else ranked.scores
        order = worth - _penalty(found.passage_tokens[items.rows])
        if len(order):
            order[ranked.scores.argmax()] = np.inf  # the best match comes first, however long
        spent, fitting = 0, []
        for one in _choose(ranked, order, _kind(query)):
            fitting.append(one)
            spent += int(found.passage_tokens[one.row])
            if spent > tokens and query.as_of is None:  # of older texts the lengths are not known
                break
        retrieval = ranked.retrieval(self._hits(query, ranked.found, fitting))
        at = {one.id: one.at for one in fitting}
        places = [at[hit.id] for hit in retrieval.hits]
        parts = _parts(retrieval.hits, worth[places], order[places], tokens)
        odds = np.exp([odds - worth.max(initial=-np.inf) for odds, _ in parts])
        told = {
            one.id: int(found.ids[unit])
            for one in fitting
            if one.kind == "turn" and (unit := int(items.unit[one.at])) >= 0
        }
        return replace(
            retrieval,
            parts=tuple(part for _, part in parts),
            worth=tuple(odds.tolist()),
            told=told,
        )

    def _rank(self, query: Query, candidates: int, radius: int) -> _Ranked:
        from hymem.read import ranking

        query = self.encoded(query)
        found, items = self.examine(query, candidates, radius)
        scores = ranking.scores(items)
        if not len(scores):
            return _Ranked(found, items, scores, scores, 0.0, query.vector)
        confidence = ranking.confidence(found, items)
        chances = ranking.relevance(scores, confidence)
        return _Ranked(found, items, scores, chances, confidence, query.vector)

    def examine(
        self, query: Query, candidates: int, radius: int = RADIUS
    ) -> tuple[Candidates, Table]:
        """The best ``candidates`` by either match of an encoded query, with their neighbours up to
        ``radius`` turns away, and what is known of them."""
        from hymem.read.features import table
        from hymem.read.question_time import nearness, periods

        try:
            found = self._candidates(query, candidates, radius)
        except EncoderError as error:
            log.warning("matching without tokens: %s", brief(error))
            found = self._candidates(replace(query, tokens=None), candidates, radius)
        near = nearness(found.time, periods(query.text, query.now))
        return found, table(found, _named(found, query.text), near)

    def _candidates(self, query: Query, candidates: int, radius: int) -> Candidates:
        """Raises ``EncoderError`` for codes of tokens that fail."""
        from hymem.read.features import SAMPLE

        return self.store.candidates(
            query.scope,
            query.vector,
            query.text if self.config.lexical else "",
            candidates,
            radius=radius,
            where=replace(query.where, kind=None) if query.where else None,
            kinds=("turn", "unit") if self.config.raw_keys else ("unit",),
            tokens=query.tokens,
            sample=SAMPLE,
        )

    def encoded(self, query: Query) -> Query:
        """``query`` with its vector and, where the encoder has token codes, its tokens."""
        if query.encoded:
            return query
        vector = self._vector(query.text) if query.vector is None else query.vector
        return replace(query, vector=vector, tokens=self._tokens(query.text), encoded=True)

    def _vector(self, question: str) -> NDArray[np.float32] | None:
        """The question's vector, ``float32[dim]``; of one longer than the encoder's window, the
        mean direction. ``None`` when the encoder cannot be reached."""
        import numpy as np

        try:
            with somebody_waits():
                rows = encode(self._encoder, windows(question, self._encoder.max_tokens))
        except EncoderError as error:
            log.warning("searching by words alone: %s", brief(error))
            return None
        vector: NDArray[np.float32] = rows[0]
        if len(rows) > 1:
            vector = rows.mean(axis=0)
            vector /= max(float(np.linalg.norm(vector)), 1e-9)
        return vector

    def _tokens(self, question: str) -> AskedTokens | None:
        """The question's tokens, as many as the encoder's window holds, if it has token codes."""
        encoder = self._encoder
        if not isinstance(encoder, TokenCoder):
            return None
        try:
            (ids,) = token_ids(encoder, encoder.name, [question])
            weights = token_weights(encoder, encoder.name, ids)
        except EncoderError as error:
            log.warning("matching without tokens: %s", brief(error))
            return None
        return AskedTokens(ids, weights, partial(token_codes, encoder, encoder.name))

    def _hits(self, query: Query, found: Candidates, chosen: Sequence[_Chosen]) -> Sequence[Hit]:
        chances = {one.id: one.chance for one in chosen}
        turns = [one.id for one in chosen if one.kind == "turn"]
        units = [one.id for one in chosen if one.kind == "unit"]
        hits: dict[int, Hit] = {}
        for turn in self.store.turns(query.scope, turns) if turns else ():
            hits[turn.id] = Hit(
                turn.id,
                "turn",
                turn.text,
                turn.time,
                chances[turn.id],
                (turn.id,),
                turn.speaker,
                turn.session_id,
                turn.tokens,
                turn.passages,
                found.passages[int(found.ids.searchsorted(turn.id))] if turn.passages else (),
            )
        for unit in self.store.units(query.scope, units) if units else ():
            hits[unit.id] = unit_hit(unit, chances[unit.id])
        ordered = [hits[one.id] for one in chosen if one.id in hits]
        return as_known(self.store, query, ordered)


def _less(later: int) -> float:
    """How much less than its best passage a text's next best counts, and so on."""
    return calibration.FURTHER + calibration.FURTHER_STEP * (later - 1) if later else 0.0


def _penalty(tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """What texts of so many tokens must be better by than others to come before them."""
    import numpy as np

    penalty: NDArray[np.float64] = calibration.LENGTH_PENALTY * np.log(tokens + LINE_OVERHEAD)
    return penalty


def _parts(
    hits: Sequence[Hit], worth: NDArray[np.float64], order: NDArray[np.float64], tokens: int
) -> list[tuple[float, Part]]:
    """The passages of ``hits`` with what each is worth: the first hit's best, then those first that
    are worth their length most; of each hit the best first, and no more than ``tokens`` hold.
    ``worth`` is that of the hits, ``order`` what their best passages are ordered by: so further
    hits, as a larger budget brings them, come behind these."""
    import numpy as np

    odds: list[float] = []
    lengths: list[int] = []
    parts: list[Part] = []
    firsts: list[int] = []
    for place, hit in enumerate(hits):
        spent = 0
        firsts.append(len(parts))
        for later, number in enumerate(best_first(hit)):
            length = hit.passages[number].tokens if hit.passages else hit.tokens
            odds.append(float(worth[place]) - _less(later))
            lengths.append(length)
            parts.append((place, number))
            spent += length
            if spent > tokens:
                break
    value = np.array(odds) - _penalty(np.array(lengths, np.int64))
    value[firsts] = order
    for at in range(1, len(parts)):
        if parts[at][0] == parts[at - 1][0]:  # of one hit in their order
            value[at] = min(value[at], value[at - 1])
    return [(odds[at], parts[at]) for at in np.argsort(-value, kind="stable").tolist()]


def unit_hit(unit: Unit, score: float) -> Hit:
    """``unit`` as a hit of ``score``."""
    sources, session = unit.source_turns, unit.session_id
    return Hit(unit.id, "unit", unit.text, unit.time, score, sources, session_id=session)


def as_hits(items: Sequence[Hit | Turn], found: Sequence[Hit]) -> tuple[Hit, ...]:
    """Turns as hits: with the score of the best hit that rests on them, else 0 (they came along as
    context)."""
    scores: dict[int, float] = {}
    for hit in found:
        for turn in hit.source_turns:
            scores[turn] = max(scores.get(turn, 0.0), hit.score)
    return tuple(
        item
        if isinstance(item, Hit)
        else Hit(
            item.id,
            "turn",
            item.text,
            item.time,
            scores.get(item.id, 0.0),
            (item.id,),
            item.speaker,
            item.session_id,
        )
        for item in items
    )


def as_known(store: Store, query: Query, items: Sequence[Item]) -> Sequence[Item]:
    """``items`` with the texts that they had at the moment whose memory is asked for."""
    if query.as_of is None:
        return items
    older = store.older_texts(query.scope, [item.id for item in items], query.as_of)
    return [with_text(item, older[item.id]) if item.id in older else item for item in items]


def _kind(query: Query) -> Kind | None:
    return query.where.kind if query.where else None


def _named(found: Candidates, question: str) -> NDArray[np.bool_]:
    """``bool[n]``: whether the question names the one who speaks. A role ("user 1") is no name,
    and a name that is a word too ("May") is one with a capital within a sentence."""
    import numpy as np

    from hymem.text.words import terms

    within = {word for word in _CAPITAL_WITHIN.findall(question) if word[0].isupper()}
    words = {*terms(_WORDS_TOO)}
    asked = ({*terms(question)} - words) | ({*terms(" ".join(within))} & words)
    asked = {word for word in asked - {*terms(_ROLES)} if not word.isdigit()}
    named = [not asked.isdisjoint(terms(speaker)) for speaker in found.speakers]
    return np.array([*named, False])[found.speaker]


def _choose(ranked: _Ranked, order: NDArray[np.float64], kind: Kind | None) -> Iterator[_Chosen]:
    """The items by falling ``order``."""
    import numpy as np

    found = ranked.found
    told: set[int] = set()  # turns that a chosen item rests on
    for at in np.argsort(-order, kind="stable").tolist():
        for row in _faces(found, ranked.items, at, kind):
            sources = found.sources[row]
            if told.isdisjoint(sources):
                told.update(sources)
                face: Kind = "unit" if found.is_unit[row] else "turn"
                yield _Chosen(int(found.ids[row]), face, float(ranked.chances[at]), row, at)
                break


def _faces(found: Candidates, items: Table, at: int, kind: Kind | None) -> Iterator[int]:
    """The rows that may stand for a scored item, the better match first."""
    row, unit = int(items.rows[at]), int(items.unit[at])
    if kind != "turn" and unit >= 0 and (kind == "unit" or items.unit_leads[at]):
        yield unit
    if kind is None or found.is_unit[row] == (kind == "unit"):
        yield row
