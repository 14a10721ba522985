"""The write path: turns first, durably; then events, statements and units, behind or on demand.

Stages of arXiv 2602.13933 (Level-2 raw text, Level-1 summary units), with one change: the raw turns
are saved and searchable before any model sees them, so a model's failure can lose nothing.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from hymem.cost import Ledger, Meter
from hymem.embed import ITEMS_PER_CALL, Keys, encode_groups, encode_items, turn_keys, unit_key
from hymem.errors import (
    BudgetError,
    EncoderError,
    HyMemError,
    LLMError,
    StoreClosedError,
    StoreError,
)
from hymem.keys import lexical_text, strip_recalled
from hymem.messages import Said, as_utc
from hymem.stores.base import Lease, NewTurn, NewUnit, Store
from hymem.text import terms
from hymem.tokens import count_many
from hymem.types import (
    Budget,
    Encoder,
    Event,
    Extractor,
    Scope,
    Segmenter,
    Statement,
    Turn,
    Unit,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

TURNS_PER_TRANSACTION = 2048
TURNS_PER_SEGMENTATION = 512
EVENTS_PER_LEASE = 16
# A worker renews its lease while it waits for a model; a killed one's events are free so soon.
LEASE_SECONDS = 15.0
POLL_SECONDS = 0.1
# Near-duplicates say the same in almost the same words: same numbers, most terms shared.
NEAREST = 3
DUPLICATE_COSINE = 0.92
DUPLICATE_OVERLAP = 0.75


@dataclass(frozen=True, slots=True)
class Ingestor:
    """Writes conversations into a store. Safe to use from several threads and processes."""

    store: Store
    encoder: Encoder
    segmenter: Segmenter
    extractor: Extractor
    ledger: Ledger
    scope_budget: Budget

    def append(self, scope: Scope, said: Sequence[Said]) -> list[int]:
        """Save turns durably and searchably; their ids, in order.

        When the encoder cannot be reached the turns are saved all the same and found by their
        words; ``embed_missing`` adds the vectors later.
        """
        ids: list[int] = []
        with self.charging(scope):
            for start in range(0, len(said), TURNS_PER_TRANSACTION):
                part = said[start : start + TURNS_PER_TRANSACTION]
                ids += self.store.add_turns(scope, self._new_turns(part))
        return ids

    def segment(self, scope: Scope, *, close: bool) -> None:
        """Cut the turns that belong to no event yet. The newest session's last event stays open,
        because the conversation may go on, unless ``close``."""
        while turns := self.store.unsegmented(scope, TURNS_PER_SEGMENTATION):
            more = len(turns) == TURNS_PER_SEGMENTATION
            with self.charging(scope):
                events = self._cut(scope, turns, close=close and not more)
            self.store.add_events(scope, events)
            if not more or not events:
                return

    def extract(self, scope: Scope | None, keep_going: Callable[[], bool] = lambda: True) -> bool:
        """Turn pending events (of every scope, if ``None``) into units until none is left or
        ``keep_going`` says no between two batches. Events whose extraction fails stay in the store
        as ``failed``.

        False if the model's endpoint is down: what was not yet tried is left pending, because each
        attempt may take minutes."""
        while keep_going() and (
            lease := self.store.lease_events(scope, EVENTS_PER_LEASE, LEASE_SECONDS)
        ):
            with self.charging(lease.scope), self._renewing(lease):
                if not self._extract_lease(lease):
                    return False
        return True

    def drain(self, scope: Scope, keep_going: Callable[[], bool] = lambda: True) -> bool:
        """Segment and extract all of ``scope``, failed events once more included. Waits for what
        other workers have leased, though not for ever: their events stay visible as ``leased``.
        False if the model's endpoint is down, or ``keep_going`` says no."""
        self.store.retry_failed(scope)
        end = time.monotonic() + 2 * LEASE_SECONDS
        while True:
            self.segment(scope, close=True)
            if not self.extract(scope, keep_going) or not keep_going():
                return False
            if scope not in self.store.unfinished() or time.monotonic() > end:
                return True
            time.sleep(POLL_SECONDS)

    def charging(self, scope: Scope) -> AbstractContextManager[Meter]:
        """Within this context, the paid calls of encoder and extractor count as the scope's."""
        return self.ledger.meter(scope, scope_budget=self.scope_budget).charging()

    def embed_missing(self) -> int:
        """Encode what was saved or imported without vectors; how many items."""
        done = 0
        while rows := self.store.unembedded(ITEMS_PER_CALL):
            items = [self._item(scope, item_id) for scope, item_id, _ in rows]
            found = encode_items(self.encoder, items)
            for (scope, item_id, _), keys in zip(rows, found, strict=True):
                self.store.set_vectors(scope, item_id, *keys)
            done += len(rows)
        return done

    def update(self, scope: Scope, item: Turn | Unit, text: str) -> None:
        """Replace an item's text and its keys. Raises ``NotFoundError``, ``EncoderError``."""
        item = replace(item, text=text)
        lexical = text
        if isinstance(item, Turn):
            lexical = lexical_text(item.speaker, strip_recalled(text))
        with self.charging(scope):
            (keys,) = encode_items(self.encoder, [item])
        (tokens,) = count_many([text])
        self.store.update_text(scope, item.id, text, lexical, tokens, *keys)

    def _item(self, scope: Scope, item_id: int) -> Turn | Unit:
        found: Sequence[Turn | Unit] = self.store.turns(scope, [item_id])
        return (found or self.store.units(scope, [item_id]))[0]

    def _new_turns(self, said: Sequence[Said]) -> list[NewTurn]:
        texts = [strip_recalled(one.text) for one in said]
        keys = [turn_keys(one.speaker, one.text, self.encoder.max_tokens) for one in said]
        found = self._keys_or_none(keys)
        tokens = count_many([one.text for one in said])
        return [
            NewTurn(
                role=one.role,
                speaker=one.speaker,
                text=one.text,
                lexical=lexical_text(one.speaker, text) if text.strip() else "",
                tokens=count,
                vectors=None if held is None else held.vectors,
                token_ids=None if held is None else held.token_ids,
                time=one.time,
                session_id=one.session_id,
                source_id=one.source_id,
                metadata=one.metadata,
                recalled=not text.strip(),
            )
            for one, text, count, held in zip(said, texts, tokens, found, strict=True)
        ]

    def _keys_or_none(self, groups: Sequence[Sequence[str]]) -> list[Keys] | list[None]:
        try:
            return encode_groups(self.encoder, groups)
        except EncoderError as error:
            log.warning("turns are saved without vectors, to be embedded later: %s", error)
            return [None] * len(groups)

    def _cut(
        self, scope: Scope, turns: Sequence[Turn], *, close: bool
    ) -> list[tuple[list[int], list[int]]]:
        """Pairs (all turn ids of an event, those it newly covers) for ``Store.add_events``."""
        newest = turns[-1].session_id
        sessions: dict[str, list[Turn]] = {}
        for turn in turns:
            sessions.setdefault(turn.session_id, []).append(turn)
        events = []
        for session_id, members in sessions.items():
            ids = [turn.id for turn in members]
            ranges = self.segmenter.segment(members, self.store.vectors(scope, ids))
            if session_id == newest and not close:
                ranges = ranges[:-1]
            covered = 0
            for start, end in ranges:
                events.append((ids[start:end], ids[max(start, covered) : end]))
                covered = end
        return events

    @contextmanager
    def _renewing(self, lease: Lease) -> Iterator[None]:
        done = threading.Event()

        def renew() -> None:
            while not done.wait(LEASE_SECONDS / 3):
                try:
                    self.store.renew(lease, LEASE_SECONDS)
                except StoreClosedError:
                    return
                except StoreError as error:  # the lease may run out: no loss, only double work
                    log.warning("a lease could not be renewed: %s", error)

        thread = threading.Thread(target=renew, name="hymem-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _extract_lease(self, lease: Lease) -> bool:
        """Units of the leased events; whether the model's endpoint is up."""
        turns = [self.store.turns(lease.scope, event.turns) for event in lease.events]
        results = self._extract_batch(turns)
        found = [
            _fresh(result, event) if isinstance(result, list) else []
            for event, result in zip(lease.events, results, strict=True)
        ]
        window = self.encoder.max_tokens
        texts = [[unit_key(one.text, window) for one in statements] for statements in found]
        try:
            keys = encode_groups(self.encoder, texts)
        except (EncoderError, BudgetError) as error:
            keys, results = [], [error] * len(results)
        for number, (event, result) in enumerate(zip(lease.events, results, strict=True)):
            if isinstance(result, HyMemError):
                log.warning("event %d stays pending: %s", event.id, result)
                self.store.fail_event(lease, event.id, str(result))
            else:
                units = self._units(lease.scope, event, found[number], keys[number])
                self.store.complete_event(lease, event.id, units)
        return not any(_is_down(result) for result in results)

    def _extract_batch(self, batch: Sequence[Sequence[Turn]]) -> list[list[Statement] | HyMemError]:
        """Statements per event, or the error that befell it; one bad event spoils no other. Where
        one event alone finds the endpoint down, the others are not tried."""
        try:
            return list(self.extractor.extract([_without_recalled(turns) for turns in batch]))
        except (LLMError, BudgetError) as error:
            if len(batch) == 1:
                return [error]
        results: list[list[Statement] | HyMemError] = []
        for turns in batch:
            last = results[-1] if results else None
            results += (
                [last] if last is not None and _is_down(last) else self._extract_batch([turns])
            )
        return results

    def _units(
        self,
        scope: Scope,
        event: Event,
        statements: Sequence[Statement],
        found: Keys,
    ) -> list[NewUnit]:
        keys = [_fact_key(statement) for statement in statements]
        facts = self.store.current_facts(scope, [key for key in keys if key])
        tokens = count_many([statement.text for statement in statements])
        copies = self._duplicates(scope, statements, found.vectors)
        corrected = _corrected(statements, keys)
        units = []
        for row, (statement, count, key, copy, corrects) in enumerate(
            zip(statements, tokens, keys, copies, corrected, strict=True)
        ):
            when = statement.time or event.time
            older, newer = _rank_facts(facts.get(key or "", []), statement.text, when)
            units.append(
                NewUnit(
                    text=statement.text,
                    lexical=statement.text,
                    tokens=count,
                    vector=found.vectors[row],
                    token_ids=None if found.token_ids is None else found.token_ids[row : row + 1],
                    time=when,
                    source_turns=tuple(event.turns[i] for i in statement.sources),
                    supersedes=older,
                    superseded_by=newer,
                    fact=key,
                    duplicate_of=copy,
                    corrects=corrects,
                )
            )
        return units

    def _duplicates(
        self, scope: Scope, statements: Sequence[Statement], vectors: NDArray[np.float32]
    ) -> list[int | None]:
        """For each statement, the id of a unit that already says this, if there is one."""
        nearest = self.store.nearest_units(scope, vectors, NEAREST)
        near = [[item for item, cosine in row if cosine >= DUPLICATE_COSINE] for row in nearest]
        units = self.store.units(scope, sorted({item for row in near for item in row}))
        texts = {unit.id: unit.text for unit in units}
        return [
            next((item for item in row if _same(texts.get(item, ""), statement.text)), None)
            for statement, row in zip(statements, near, strict=True)
        ]


def _is_down(result: list[Statement] | HyMemError) -> bool:
    return isinstance(result, LLMError) and result.down


def _without_recalled(turns: Sequence[Turn]) -> list[Turn]:
    """The turns as the extractor may read them: recalled text is no new fact."""
    return [replace(turn, text=strip_recalled(turn.text)) for turn in turns]


def _fresh(statements: Sequence[Statement], event: Event) -> list[Statement]:
    """Each statement once, without those that rest on the overlap alone: the event before made
    them already."""
    unique = {_normal(statement.text): statement for statement in statements}
    return [
        statement
        for statement in unique.values()
        if any(event.turns[i] not in event.overlap for i in statement.sources)
    ]


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def _fact_key(statement: Statement) -> str | None:
    if not statement.subject or not statement.attribute:
        return None
    return f"{_normal(statement.subject)}/{_normal(statement.attribute)}"


def _rank_facts(
    current: Sequence[Unit], text: str, time: datetime | None
) -> tuple[tuple[int, ...], int | None]:
    """(units that this statement supersedes, the newer unit that supersedes it, if any)."""
    others = [unit for unit in current if _normal(unit.text) != _normal(text)]
    newer = [unit for unit in others if _later(unit.time, time)]
    older = tuple(unit.id for unit in others if not _later(unit.time, time))
    return older, newer[-1].id if newer else None


def _corrected(statements: Sequence[Statement], keys: Sequence[str | None]) -> list[int | None]:
    """For each statement, the place of the one that it corrects: the last one of the same fact that
    was said in an earlier turn of the event. What one turn says together stands together."""
    said = [max(one.sources, default=-1) for one in statements]
    corrected: list[int | None] = []
    for place, statement in enumerate(statements):
        earlier = [
            other
            for other, one in enumerate(statements)
            if keys[other] is not None
            and keys[other] == keys[place]
            and said[other] < said[place]
            and not _later(one.time, statement.time)
            and _normal(one.text) != _normal(statement.text)
        ]
        corrected.append(max(earlier, key=lambda other: said[other]) if earlier else None)
    return corrected


def _later(a: datetime | None, b: datetime | None) -> bool:
    return a is not None and b is not None and as_utc(a) > as_utc(b)


def _same(a: str, b: str) -> bool:
    if re.findall(r"\d+", a) != re.findall(r"\d+", b):
        return False
    first, second = set(terms(a)), set(terms(b))
    return len(first & second) >= DUPLICATE_OVERLAP * len(first | second)
