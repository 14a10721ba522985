"""The default store: one SQLite file, with indexes in memory derived from it."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, tzinfo
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from hymem.errors import StoreError
from hymem.inputs.messages import as_utc
from hymem.stores import erase, reembed, search, transfer
from hymem.stores.base import (
    AskedTokens,
    Candidates,
    Lease,
    NewPassage,
    NewTurn,
    NewUnit,
    Status,
    Store,
)
from hymem.stores.database import Database
from hymem.stores.exported import Imported
from hymem.stores.index.cache import Indexes
from hymem.stores.rows import TURN_COLUMNS, UNIT_COLUMNS, turn_from_row, units_from_rows
from hymem.stores.tables import (
    costs,
    edits,
    events,
    filters,
    history,
    items,
    meta,
    names,
    status,
    units,
)
from hymem.stores.tables.events import add_events
from hymem.stores.tables.keys import check_keys, mean_vectors
from hymem.text.words import forget_words, terms
from hymem.types import Event, Filter, Kind, Scope, Turn, Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.stores.base import TokenIds
    from hymem.stores.index.scope import ScopeIndex

# After adding so many turns at once the index catches up at once, not in the next search.
MANY_TURNS = 256
# A file of more bytes is swept behind the deletion of a single memory.
WIPE_AT_ONCE = 16 << 20
# How long delete_all waits for those who read an older state.
WAIT_SECONDS = 10.0


class SQLiteStore(Store):
    """``Store`` on a file, or in memory with the path ``:memory:``. Each method opens a view or a
    transaction of the database and leaves the work to functions: on ``tables`` with SQL, on an
    index in memory. What a method does, ``Store`` says.

    The file is in WAL mode with ``synchronous=FULL``; deleted content is overwritten
    (``secure_delete``). ``encoder_name``, ``encoder_version`` and ``dim`` say whose vectors it
    holds, and ``vocabulary`` whose token ids (empty: none). ``reembed=True`` opens a file whose
    vectors come from another encoder, to replace them (``to_reembed``, ``put_reembedded``,
    ``finish_reembed``); searching it raises ``EncoderMismatchError`` until that is finished.

    Text is kept as it is, NUL included, but for lone surrogates, which UTF-8 cannot hold: they
    become U+FFFD.

    Raises ``StoreVersionError`` for a file that is not HyMem's or is newer than this program,
    ``EncoderMismatchError`` and ``StoreError``.
    """

    def __init__(
        self,
        path: str,
        *,
        encoder_name: str,
        encoder_version: str,
        dim: int,
        vocabulary: str = "",
        reembed: bool = False,
        zone: tzinfo | None = None,
    ) -> None:
        """``zone``: where times without one were said, which stores of 0.1 hold (default: the zone
        that the system is set to)."""
        self.dim = dim
        self._db = Database(path, zone)
        named = (encoder_name, encoder_version, dim, vocabulary)
        self._encoder = meta.own_encoder(named, self._db.path, read_only=self.read_only)
        try:
            with self._db.read() if self.read_only else self._db.write() as connection:
                if not self.read_only:
                    meta.name_file(connection)
                    meta.adopt_encoder(connection, self._encoder)
                if not reembed:
                    meta.check_encoder(connection, self._encoder)
                left_behind = erase.owed(connection) is not None
        except BaseException:
            self._db.close()
            raise
        check = partial(meta.check_encoder, own=self._encoder)
        self._indexes = Indexes(self._db, self._encoder.name, dim, check)
        # By a process that was killed, or whose way was blocked to its end.
        if left_behind and not self.read_only:
            self._indexes.upkeep.wipe_soon()

    @property
    def read_only(self) -> bool:
        """Whether the file cannot be written: what would change it raises ``StoreError``."""
        return self._db.read_only

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _read(self, scope: Scope) -> Iterator[tuple[sqlite3.Connection, int | None]]:
        """A view of the database, and the scope's id if there is such a scope."""
        with self._db.read() as connection:
            yield connection, names.find_scope(connection, scope)

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that may store vectors."""
        with self._db.write() as connection:
            meta.check_encoder(connection, self._encoder)
            yield connection

    @contextmanager
    def _index(self, scope: Scope) -> Iterator[tuple[sqlite3.Connection, int, ScopeIndex]]:
        """The scope's index, up to date and locked, with the view that it agrees with. A scope
        that does not exist has the id 0 and an empty one."""
        with (
            self._read(scope) as (connection, scope_id),
            self._indexes.open(connection, scope, scope_id) as index,
        ):
            yield connection, scope_id or 0, index

    # -- turns and units --
    def add_turns(
        self, scope: Scope, turns: Sequence[NewTurn], *, new: Collection[str] = ()
    ) -> list[int]:
        if not turns:
            return []
        # Everything slow happens before the transaction, which other writers wait for.
        prepared = [items.prepare(turn, self.dim) for turn in turns]
        with self._write() as connection:
            scope_id = names.make_scope(connection, scope)
            ids = items.add_turns(connection, scope_id, turns, prepared, new)
        if len(turns) >= MANY_TURNS:
            with self._index(scope):
                pass
        return ids

    def said_before(
        self, scope: Scope, source_ids: Sequence[str]
    ) -> dict[str, tuple[Turn, list[str]]]:
        with self._read(scope) as (connection, scope_id):
            return items.said_before(connection, scope_id, source_ids)

    def turns(self, scope: Scope, ids: Sequence[int]) -> list[Turn]:
        with self._read(scope) as (connection, scope_id):
            rows = items.rows_by_id(connection, scope_id, ids, TURN_COLUMNS, "turn")
        found = {row[0]: turn_from_row(row) for row in rows}
        return [found[item_id] for item_id in ids if item_id in found]

    def units(self, scope: Scope, ids: Sequence[int]) -> list[Unit]:
        with self._read(scope) as (connection, scope_id):
            rows = items.rows_by_id(connection, scope_id, ids, UNIT_COLUMNS, "unit")
            found = {unit.id: unit for unit in units_from_rows(connection, rows)}
        return [found[item_id] for item_id in ids if item_id in found]

    def list_turns(
        self,
        scope: Scope,
        where: Filter | None = None,
        *,
        limit: int | None = None,
        after_id: int = 0,
    ) -> list[Turn]:
        with self._read(scope) as (connection, scope_id):
            rows = filters.listed(connection, scope_id, "turn", where, limit, after_id)
        return [turn_from_row(row) for row in rows]

    def list_units(
        self,
        scope: Scope,
        where: Filter | None = None,
        *,
        limit: int | None = None,
        after_id: int = 0,
    ) -> list[Unit]:
        with self._read(scope) as (connection, scope_id):
            rows = filters.listed(connection, scope_id, "unit", where, limit, after_id)
            return units_from_rows(connection, rows)

    def window(
        self,
        scope: Scope,
        positions: Sequence[int],
        radius: int,
        *,
        where: Filter | None = None,
    ) -> list[Turn]:
        with self._index(scope) as (connection, scope_id, index):
            return search.window(connection, scope_id, index, positions, radius, where)

    def older_texts(self, scope: Scope, ids: Sequence[int], as_of: datetime) -> Mapping[int, str]:
        with self._read(scope) as (connection, scope_id):
            known = [row[0] for row in items.rows_by_id(connection, scope_id, ids, "i.id")]
            return history.older_texts(connection, known, as_utc(as_of).timestamp())

    # -- matching --
    def candidates(
        self,
        scope: Scope,
        vector: NDArray[np.float32] | None,
        query: str,
        limit: int,
        *,
        radius: int = 0,
        where: Filter | None = None,
        kinds: Sequence[Kind] = ("turn", "unit"),
        tokens: AskedTokens | None = None,
        sample: int = 0,
    ) -> Candidates:
        import numpy as np

        from hymem.stores.index.lexical import hash_terms

        hashes = hash_terms(terms(query))
        wanted = None if vector is None else np.asarray(vector, np.float32)
        if wanted is not None:
            check_keys(wanted[None], self.dim)
        with self._index(scope) as (connection, scope_id, index):
            allowed = search.allowed(connection, scope_id, index, where, kinds)
            return index.candidates(wanted, hashes, limit, radius, allowed, tokens, sample)

    def nearest_units(
        self, scope: Scope, vectors: NDArray[np.float32], limit: int
    ) -> list[list[tuple[int, float]]]:
        with self._index(scope) as (connection, scope_id, index):
            allowed = search.allowed(connection, scope_id, index, None, ("unit",))
            return [index.nearest(vector, limit, allowed) for vector in vectors]

    # -- write path: segmentation and extraction --
    def unsegmented(self, scope: Scope, limit: int) -> list[Turn]:
        with self._read(scope) as (connection, scope_id):
            return events.unsegmented(connection, scope_id, limit)

    def vectors(self, scope: Scope, ids: Sequence[int]) -> NDArray[np.float32]:
        with self._read(scope) as (connection, scope_id):
            return mean_vectors(connection, scope_id, ids, self.dim)

    def add_events(
        self, scope: Scope, events: Sequence[tuple[Sequence[int], Sequence[int]]]
    ) -> None:
        with self._db.write() as connection:
            scope_id = names.find_scope(connection, scope)
            if scope_id is not None:
                add_events(connection, scope_id, events)

    def lease_events(self, scope: Scope | None, limit: int, seconds: float) -> Lease | None:
        with self._db.write() as connection:
            return events.lease(connection, names.asked_for(connection, scope), limit, seconds)

    def renew(self, lease: Lease, seconds: float) -> None:
        with self._db.write() as connection:
            events.renew(connection, lease.token, seconds)

    def complete_event(self, lease: Lease, event_id: int, units: Sequence[NewUnit]) -> list[int]:
        for unit in units:
            if unit.vector is not None:
                check_keys(unit.vector[None], self.dim)
        with self._write() as connection:
            return events.complete(connection, lease.token, event_id, units)

    def current_facts(
        self, scope: Scope, facts: Sequence[str], *, where: Filter | None = None
    ) -> dict[str, list[Unit]]:
        with self._read(scope) as (connection, scope_id):
            return units.current_facts(connection, scope_id, facts, where or Filter())

    def fail_event(
        self, lease: Lease, event_id: int, error: str, retry_in: float | None = None
    ) -> None:
        with self._db.write() as connection:
            events.fail(connection, lease.token, event_id, error, retry_in)

    def give_back(self, lease: Lease) -> None:
        with self._db.write() as connection:
            events.give_back(connection, lease.token)

    def leased(self, scope: Scope) -> bool:
        with self._read(scope) as (connection, scope_id):
            return events.leased(connection, scope_id)

    def due(self) -> list[Scope]:
        with self._db.read() as connection:
            return events.due(connection)

    def next_try(self) -> float | None:
        with self._db.read() as connection:
            return events.next_try(connection)

    def failed(self, scope: Scope) -> list[int]:
        with self._read(scope) as (connection, scope_id):
            return events.failed(connection, scope_id)

    def retry_failed(self, scope: Scope, ids: Sequence[int]) -> None:
        with self._db.write() as connection:
            events.retry_failed(connection, names.find_scope(connection, scope), ids)

    def unfinished(self) -> list[Scope]:
        with self._db.read() as connection:
            return events.unfinished(connection)

    def events(self, scope: Scope, ids: Sequence[int] | None = None) -> list[Event]:
        """The scope's events by id; with ``ids`` those, in that order."""
        with self._read(scope) as (connection, scope_id):
            return events.events_of(connection, scope_id, ids)

    def without_vectors(self) -> list[Scope]:
        with self._db.read() as connection:
            waiting = "id IN (SELECT scope FROM items WHERE embedded = 0)"
            return names.scopes(connection, waiting)

    def unembedded(self, scope: Scope, limit: int, *, after_id: int = 0) -> list[Turn | Unit]:
        with self._read(scope) as (connection, scope_id):
            return items.unembedded(connection, scope_id, limit, after_id)

    def set_vectors(
        self,
        scope: Scope,
        keys: Sequence[
            tuple[Turn | Unit, NDArray[np.float32], TokenIds | None, Sequence[NewPassage]]
        ],
    ) -> None:
        for _, vectors, token_ids, passages in keys:
            check_keys(vectors, self.dim, token_ids, passages)
        with self._write() as connection:
            scope_id = names.find_scope(connection, scope)
            if scope_id is not None:
                items.set_vectors(connection, scope_id, keys)

    # -- token ids that an older version of the store did not keep --
    def uncoded(self, limit: int) -> list[Turn | Unit]:
        with self._db.read() as connection:
            return reembed.uncoded(connection, limit)

    def put_token_ids(self, ids: Sequence[tuple[int, TokenIds]]) -> None:
        with self._write() as connection:
            reembed.put_token_ids(connection, ids)

    # -- changing and removing --
    def update_text(
        self,
        scope: Scope,
        item_id: int,
        text: str,
        lexical: str,
        tokens: int,
        vectors: NDArray[np.float32] | None,
        token_ids: TokenIds | None = None,
        passages: Sequence[NewPassage] = (),
    ) -> None:
        embedded = vectors is not None
        if vectors is not None:
            check_keys(vectors, self.dim, token_ids, passages)
        prepared = edits.prepare_text(text, lexical, tokens, passages, embedded=embedded)
        with self._write() as connection:
            scope_id = names.find_scope(connection, scope)
            edits.update_text(connection, scope_id, item_id, prepared, vectors, token_ids)

    def delete(self, scope: Scope, item_id: int) -> None:
        with self._db.write() as connection:
            edits.delete(connection, names.find_scope(connection, scope), item_id)
            erase.owe(connection)
        forget_words()
        # At once where that takes a moment, else behind the caller's back.
        small = self._db.in_memory or self._db.bytes() <= WIPE_AT_ONCE
        if not (small and erase.wipe(self._db, 0.0)):
            self._indexes.upkeep.wipe_soon()

    def delete_all(self, scope: Scope) -> int:
        with self._db.write() as connection:
            scope_id = names.find_scope(connection, scope)
            count = 0
            if scope_id is not None:
                count = edits.empty_scope(connection, scope_id)
                erase.owe(connection)
        self._indexes.forget(scope)
        forget_words()
        # Also where there is no such scope: it is how one asks for what is still owed.
        if not self._indexes.upkeep.wipe(WAIT_SECONDS):
            self._indexes.upkeep.wipe_soon()
            raise StoreError(
                "everything of the scope is deleted, but someone is reading an older state, so the "
                "log still holds old pages; they go when the reader has ended, or call delete_all "
                "again then"
            )
        return count

    def history(self, scope: Scope, item_id: int) -> list[Mapping[str, Any]]:
        with self._read(scope) as (connection, scope_id):
            return history.history_of(connection, scope_id, item_id)

    # -- costs --
    def add_costs(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            with self._db.write() as connection:
                costs.add_costs(connection, rows)

    def costs(self, scope: Scope | None, since: datetime | None = None) -> list[Mapping[str, Any]]:
        with self._db.read() as connection:
            return costs.costs(connection, names.asked_for(connection, scope), since)

    # -- the whole store --
    def scopes(self) -> list[Scope]:
        with self._db.read() as connection:
            return names.scopes(connection)

    def status(self, scope: Scope | None = None) -> Status:
        with self._db.read() as connection:
            return status.status_of(connection, names.asked_for(connection, scope))

    # -- another encoder --
    def to_reembed(self, limit: int) -> list[tuple[Scope, Turn | Unit]]:
        with self._db.write() as connection:
            return reembed.to_reembed(connection, self._encoder.name, limit)

    def put_reembedded(
        self, keys: Sequence[tuple[int, NDArray[np.float32], TokenIds | None]]
    ) -> None:
        for _, vectors, token_ids in keys:
            check_keys(vectors, self.dim, token_ids)
        with self._db.write() as connection:
            reembed.put_reembedded(connection, self._encoder.name, keys)

    def finish_reembed(self) -> bool:
        with self._db.write() as connection:
            return reembed.finish_reembed(connection, self._encoder.name)

    # -- exports, the file --
    def dump(self, scope: Scope | None = None) -> Iterator[Mapping[str, Any]]:
        yield transfer.HEAD
        for one in self.scopes() if scope is None else [scope]:
            with self._db.read() as connection:
                yield from transfer.dump_scope(connection, one)

    def load(self, parts: Sequence[Imported]) -> int:
        # Everything slow happens before the transaction, which other writers wait for.
        prepared = [
            [items.prepare(old.turn, self.dim, old.created) for old in part.turns] for part in parts
        ]
        with self._db.write() as connection:
            return sum(
                transfer.load_scope(connection, part, values)
                for part, values in zip(parts, prepared, strict=True)
            )

    def compact(self) -> int:
        return erase.compact(self._db)

    def backup(self, path: str) -> None:
        self._db.backup(path)

    def close(self) -> None:
        """Saves first what a new process would otherwise have to build."""
        self._indexes.close()
        self._db.close()
