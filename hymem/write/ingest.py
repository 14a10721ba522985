"""The write path: turns first, durably; then events, statements and units, behind or on demand.

Stages of arXiv 2602.13933 (Level-2 raw text, Level-1 summary units), with one change: the raw turns
are saved and searchable before any model sees them, so a model's failure can lose nothing.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from hymem.cost.ledger import Ledger, Meter
from hymem.encoders.key_vectors import (
    ITEMS_PER_CALL,
    Keys,
    encode_each,
    encode_groups,
)
from hymem.errors import (
    BudgetError,
    EncoderError,
    HyMemError,
    LLMOutputError,
    PriceError,
    SaidMeanwhileError,
    StoreClosedError,
    StoreError,
)
from hymem.inputs.messages import Said, as_utc, clean_text
from hymem.inputs.outputs import checked_ranges, checked_statements
from hymem.llm.waits import somebody_waits
from hymem.offline import OfflineExtractor
from hymem.stores.base import Lease, NewTurn, NewUnit, Store
from hymem.system import forks
from hymem.system.clock import Clock
from hymem.system.pool import SCOPES_AT_ONCE, Pool
from hymem.system.redact import as_exception, brief, foreign, tell
from hymem.system.turns import Turns, waiting
from hymem.text.keys import KeyTexts, key_texts, lexical_text, strip_recalled, turn_keys, unit_key
from hymem.text.passages import with_text
from hymem.text.tokens import count_many
from hymem.text.words import terms
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
from hymem.write.resent import OnKnown, resent, source_ids
from hymem.write.retry import Outage, Patience, event_pause, is_down
from hymem.write.segment import TopicSegmenter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.stores.base import TokenIds

log = logging.getLogger(__name__)

# Somebody else may add the same message between a look and a write, but not for ever.
TRIES_TO_ADD = 20
TURNS_PER_ENCODING = 2048
TURNS_PER_SEGMENTATION = 512
EVENTS_PER_LEASE = 16
# A worker renews its lease while it waits for a model; a killed one's events are free so soon.
LEASE_SECONDS = 15.0
POLL_SECONDS = 0.1
# Characters of an error that are kept with its event.
LONGEST_ERROR = 1000
NO_KEYS = (None, None)
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
    clock: Clock = field(default_factory=Clock)
    # Scopes are extracted several at once, but compute in turns.
    pool: Pool = field(default_factory=lambda: Pool(SCOPES_AT_ONCE, "hymem-extract"))
    turns: Turns = field(default_factory=lambda: Turns(1))

    def append(self, scope: Scope, said: Sequence[Said], on_known: OnKnown = "ignore") -> list[int]:
        """Save turns durably and searchably, all of them or, when this raises, none; their ids, in
        order. ``on_known``: see ``hymem.write.resent``.

        When the encoder cannot be reached, or does not answer in time, the turns are saved all the
        same and found by their words; ``embed_missing`` adds the vectors later.
        """
        for _ in range(TRIES_TO_ADD):
            try:
                return self._append(scope, said, on_known)
            except SaidMeanwhileError:  # then what it said may be another text
                continue
        raise StoreError(
            "a message's id is taken, but its turn is not found: others keep sending it, or the "
            "file is damaged; try again, or go back to a backup"
        )

    def _append(self, scope: Scope, said: Sequence[Said], on_known: OnKnown) -> list[int]:
        known = self.store.said_before(scope, source_ids(said))
        new = {clean_text(source) for source in source_ids(said)}.difference(known)
        wanted, updates = resent(said, known, on_known)
        # First, so that all is as it was if one fails, but for updates that sending it again makes
        # no second time.
        for turn, text in updates:
            self.update(scope, turn, text)
        turns: list[NewTurn] = []
        with self.charging(scope):
            for start in range(0, len(wanted), TURNS_PER_ENCODING):
                part = wanted[start : start + TURNS_PER_ENCODING]
                turns += new_turns(part, self._turn_keys(part))
        return self.store.add_turns(scope, turns, new=new)

    def segment(self, scope: Scope, *, close: bool) -> None:
        """Cut the turns that belong to no event yet. The newest session's last event stays open,
        because the conversation may go on, unless ``close``."""
        while turns := self.store.unsegmented(scope, TURNS_PER_SEGMENTATION):
            more = len(turns) == TURNS_PER_SEGMENTATION
            with self.charging(scope):
                events = self._cut(scope, turns, close=close and not more)
                if more and not events:  # one event of so many turns: the rest must come its turn
                    events = self._cut(scope, turns, close=True)
            self.store.add_events(scope, events)
            if not more:
                return

    def extract(
        self,
        scope: Scope,
        keep_going: Callable[[], bool] = lambda: True,
        outage: Outage | None = None,
    ) -> None:
        """Turn the scope's events that are pending or due again into units, until none is left,
        ``keep_going`` says no between two batches, or the model's endpoint is down. Events whose
        extraction fails stay in the store as ``failed``; what was not tried stays pending, because
        each attempt on an endpoint that is down may take minutes."""
        outage = outage or Outage()
        while (
            not outage.certain
            and keep_going()
            and (lease := self.store.lease_events(scope, EVENTS_PER_LEASE, LEASE_SECONDS))
        ):
            with self.charging(lease.scope), self._renewing(lease):
                try:
                    self._extract_lease(lease, outage)
                except BaseException:
                    with suppress(StoreError):  # else the next to try would wait for its end
                        self.store.give_back(lease)
                    raise
            with waiting():  # for whose turn it is by now
                pass

    def drain(self, scopes: Sequence[Scope], keep_going: Callable[[], bool] = lambda: True) -> None:
        """Embed, segment and extract all that waits in these scopes; then, once more, what failed
        before. Waits for what other workers have leased, though not for ever: their events stay
        visible as ``leased``. Stops where the model's endpoint is down or ``keep_going`` says no.

        A scope that cannot be worked on holds up no other; its error is raised at the end.
        """
        outage = Outage()
        broken: list[Exception] = []
        failed = {scope: ids for scope in scopes if (ids := self.store.failed(scope))}
        self.embed_missing(scopes, keep_going)

        patience = Patience(2 * LEASE_SECONDS)

        def attempt(work: Callable[[Scope], None], scope: Scope) -> None:
            if outage.certain or not keep_going():
                return
            try:
                with forks.working(), self.turns.taken():
                    work(scope)
            except StoreClosedError:
                raise
            except Exception as error:
                log.warning("a scope could not be worked on: %s", brief(error))
                broken.append(error)

        def each(scopes: Collection[Scope], work: Callable[[Scope], None]) -> None:
            if len(scopes) == 1:
                attempt(work, *scopes)
            else:
                self.pool.each(partial(attempt, work), scopes)

        each(scopes, lambda scope: self._drain(scope, keep_going, outage, patience))
        each(failed, lambda scope: self._retry(scope, failed[scope], keep_going, outage))
        self.embed_missing(scopes, keep_going)
        if broken:
            raise _as_ours(broken[0])

    def embed_missing(
        self,
        scopes: Sequence[Scope] | None = None,
        keep_going: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Encode what was saved or imported without vectors, in these scopes (in all, if ``None``);
        whether nothing is left that the encoder failed on."""
        complete = True
        wanted = None if scopes is None else set(scopes)
        for scope in self.store.without_vectors():
            if wanted is None or scope in wanted:
                try:
                    complete = self._embed(scope, keep_going) and complete
                except EncoderError as error:
                    log.warning("memories still have no vectors: %s", brief(error))
                    return False
                except StoreClosedError:
                    raise
                except Exception as error:  # a scope that cannot be worked on holds up no other
                    log.warning("a scope's memories still have no vectors: %s", brief(error))
        return complete

    def charging(self, scope: Scope) -> AbstractContextManager[Meter]:
        """Within this context, the paid calls of encoder and extractor count as the scope's."""
        return self.ledger.meter(scope, scope_budget=self.scope_budget).charging()

    def update(self, scope: Scope, item: Turn | Unit, text: str) -> None:
        """Replace an item's text and its keys, which come later where the encoder cannot be
        reached. Raises ``NotFoundError``."""
        item = with_text(item, text)
        lexical = text
        if isinstance(item, Turn):
            lexical = lexical_text(item.speaker, strip_recalled(text))
        with self.charging(scope):
            (keys,) = self._keys_or_none([key_texts(item, self.encoder.max_tokens)])
        (tokens,) = count_many([text])
        self.store.update_text(scope, item.id, text, lexical, tokens, *(keys or NO_KEYS))

    def _drain(
        self,
        scope: Scope,
        keep_going: Callable[[], bool],
        outage: Outage,
        patience: Patience,
    ) -> None:
        while keep_going():
            self.segment(scope, close=True)
            self.extract(scope, keep_going, outage)
            if outage.certain or not self.store.leased(scope):
                return
            with waiting():
                if not patience.wait(POLL_SECONDS):
                    return

    def _retry(
        self,
        scope: Scope,
        failed: Sequence[int],
        keep_going: Callable[[], bool],
        outage: Outage,
    ) -> None:
        self.store.retry_failed(scope, failed)
        self.extract(scope, keep_going, outage)

    def _embed(self, scope: Scope, keep_going: Callable[[], bool]) -> bool:
        complete, after = True, 0
        while keep_going() and (
            items := self.store.unembedded(scope, ITEMS_PER_CALL, after_id=after)
        ):
            with self.charging(scope):
                found = encode_each(self.encoder, items)
            known = [
                (item, *keys) for item, keys in zip(items, found, strict=True) if keys is not None
            ]
            self.store.set_vectors(scope, known)
            complete = complete and len(known) == len(items)
            after = items[-1].id
        return complete

    def _turn_keys(self, said: Sequence[Said]) -> Sequence[Keys | None]:
        window = self.encoder.max_tokens
        count_many([one.text for one in said])  # together; each alone takes five times as long
        return self._keys_or_none([turn_keys(one.speaker, one.text, window) for one in said])

    def _keys_or_none(self, groups: Sequence[KeyTexts]) -> list[Keys] | list[None]:
        try:
            with somebody_waits():
                return encode_groups(self.encoder, groups)
        except (EncoderError, BudgetError, PriceError) as error:
            log.warning(
                "memories are saved without vectors, to be embedded later: %s", brief(error)
            )
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
            ranges = self._ranges(members, self.store.vectors(scope, ids))
            if session_id == newest and not close:
                ranges = ranges[:-1]
            covered = 0
            for start, end in ranges:
                events.append((ids[start:end], ids[max(start, covered) : end]))
                covered = end
        return events

    def _ranges(self, turns: Sequence[Turn], vectors: NDArray[np.float32]) -> list[tuple[int, int]]:
        try:
            return checked_ranges(self.segmenter.segment(turns, vectors), len(turns))
        except StoreError:
            raise
        except foreign() as error:  # anybody's segmenter; the turns must not wait for it
            log.warning("segmenting by rules: %s", brief(error))
            return TopicSegmenter().segment(turns, vectors)

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
                    log.warning("a lease could not be renewed: %s", brief(error))

        thread = threading.Thread(target=renew, name="hymem-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _extract_lease(self, lease: Lease, outage: Outage) -> None:
        """Complete or fail each event, or give it back where the endpoint is down."""
        turns = [self.store.turns(lease.scope, event.turns) for event in lease.events]
        results = self._extract_batch(turns, outage)
        found = [
            _fresh(result, event) if isinstance(result, list) else []
            for event, result in zip(lease.events, results, strict=True)
        ]
        window = self.encoder.max_tokens
        keys = self._keys_or_none(
            [KeyTexts([unit_key(one.text, window) for one in statements]) for statements in found]
        )
        for event, result, statements, held in zip(lease.events, results, found, keys, strict=True):
            error = result if isinstance(result, Exception) else None
            if isinstance(result, list):
                error = self._complete(lease, event, statements, held)
            if error is not None:
                self._fail(lease, event, error)
        if None in results:
            self.store.give_back(lease)

    def _complete(
        self,
        lease: Lease,
        event: Event,
        statements: Sequence[Statement],
        keys: Keys | None,
    ) -> Exception | None:
        try:
            units = self._units(lease.scope, event, statements, keys)
            self.store.complete_event(lease, event.id, units)
        except StoreError:
            raise
        except Exception as error:  # whatever was wrong with it, it is this event's
            return error
        return None

    def _fail(self, lease: Lease, event: Event, error: Exception) -> None:
        told = str(error) if isinstance(error, HyMemError) else tell(error)
        log.warning(
            "event %d could not be extracted: %s (status() has its error)", event.id, brief(error)
        )
        pause = event_pause(event.attempts + 1, error)
        self.store.fail_event(lease, event.id, told[:LONGEST_ERROR], pause)

    def _extract_batch(
        self, batch: Sequence[Sequence[Turn]], outage: Outage
    ) -> list[list[Statement] | Exception | None]:
        """Per event its statements, the error that befell it, or ``None`` if it was not tried. Good
        replies are kept; what failed among others is tried again alone, so that one bad event
        spoils no other."""
        results: list[list[Statement] | Exception | None] = [*self._asked(batch)]
        for number, result in enumerate(results):
            if isinstance(result, Exception) and len(batch) > 1:
                if outage.certain:
                    results[number] = None
                    continue
                results[number] = self._asked([batch[number]])[0]
            outage.note(is_down(results[number]))
        return results

    def _asked(self, batch: Sequence[Sequence[Turn]]) -> list[list[Statement] | Exception]:
        try:
            events = [self._at_home(_without_recalled(turns)) for turns in batch]
            # Any other extractor may be waiting for a model.
            with nullcontext() if isinstance(self.extractor, OfflineExtractor) else waiting():
                found = self.extractor.extract(events)
            results = list(found)
            if len(results) != len(batch):
                raise LLMOutputError(f"{len(results)} results for {len(batch)} events")
        except StoreError:
            raise
        except foreign() as error:  # anybody's extractor
            return [as_exception(error)] * len(batch)
        return [_checked(result, turns) for result, turns in zip(results, batch, strict=True)]

    def _at_home(self, turns: Sequence[Turn]) -> list[Turn]:
        return [replace(turn, time=self.clock.at_home(turn.time)) for turn in turns]

    def _units(
        self,
        scope: Scope,
        event: Event,
        statements: Sequence[Statement],
        found: Keys | None,
    ) -> list[NewUnit]:
        keys = [_fact_key(statement) for statement in statements]
        facts = self.store.current_facts(scope, [key for key in keys if key])
        tokens = count_many([statement.text for statement in statements])
        copies: list[int | None] = [None] * len(statements)
        if found is not None:
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
                    vector=None if found is None else found.vectors[row],
                    token_ids=_row(found, row),
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


def new_turns(said: Sequence[Said], keys: Sequence[Keys | None]) -> list[NewTurn]:
    """What the store keeps of each message; ``None`` for keys that are to be made later."""
    texts = [strip_recalled(one.text) for one in said]
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
            passages=() if held is None else held.passages,
        )
        for one, text, count, held in zip(said, texts, tokens, keys, strict=True)
    ]


def _row(keys: Keys | None, row: int) -> TokenIds | None:
    """The tokens of one of the keys, if they are known."""
    return None if keys is None or keys.token_ids is None else keys.token_ids[row : row + 1]


def _as_ours(error: Exception) -> HyMemError:
    if isinstance(error, HyMemError):
        return error
    ours = StoreError(f"a scope could not be worked on: {tell(error)}")
    ours.__cause__ = error
    return ours


def _checked(result: object, turns: Sequence[Turn]) -> list[Statement] | Exception:
    if isinstance(result, Exception):
        return result
    try:
        return checked_statements(result, len(turns))
    except LLMOutputError as error:
        return error


def _without_recalled(turns: Sequence[Turn]) -> list[Turn]:
    """The turns as the extractor may read them: recalled text is no new fact."""
    return [with_text(turn, strip_recalled(turn.text)) for turn in turns]


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
