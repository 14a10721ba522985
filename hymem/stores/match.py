"""Searching: the indexes in memory, kept abreast of the database."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hymem.stores.base import Candidates
from hymem.stores.items import Items, matches
from hymem.stores.rows import (
    FROM_ITEMS,
    TURN_COLUMNS,
    chunks,
    clean,
    keys_from_blob,
    marks,
    seconds_of,
    sources_of,
    turn_from_row,
)
from hymem.text import terms
from hymem.types import Filter, Kind, Scope, Turn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.stores.index import Batch, ScopeIndex

_ITEM = """
SELECT id, kind, session, position, event, seconds, tokens,
       superseded_by IS NULL AND duplicate_of IS NULL, terms, keys
FROM items LEFT JOIN vectors ON item = id
"""
_ROWS_AT_ONCE = 4096
# Scopes kept in memory; the least recently searched goes first.
_SCOPES_KEPT = 256


class Matching(Items):
    def __init__(self, path: str, **encoder: Any) -> None:
        super().__init__(path, **encoder)
        self._indexes: OrderedDict[Scope, tuple[int, ScopeIndex]] = OrderedDict()
        self._indexes_lock = threading.Lock()

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
    ) -> Candidates:
        import numpy as np

        from hymem.stores.lexical import hash_terms

        hashes = hash_terms(terms(query))
        wanted = None if vector is None else np.asarray(vector, np.float32).reshape(self.dim)
        with self._index(scope) as (connection, scope_id, index):
            allowed = self._allowed(connection, scope_id, index, where, kinds)
            return index.candidates(wanted, hashes, limit, radius, allowed)

    def window(self, scope: Scope, positions: Sequence[int], radius: int) -> list[Turn]:
        with self._index(scope) as (connection, _, index):
            ids = {
                int(item_id)
                for position in positions
                for item_id in index.turns_around(position, radius)
            }
            rows: list[Any] = []
            for some in chunks(sorted(ids)):
                query = f"SELECT {TURN_COLUMNS} {FROM_ITEMS} WHERE i.id IN ({marks(some)})"
                rows += connection.execute(query, some).fetchall()
        return sorted((turn_from_row(row) for row in rows), key=lambda turn: turn.position)

    def vectors(self, scope: Scope, ids: Sequence[int]) -> NDArray[np.float32]:
        import numpy as np

        found: dict[int, NDArray[np.float32]] = {}
        with self._db.read() as connection:
            scope_id = self._scope_id(connection, scope)
            for some in chunks(ids):
                rows = connection.execute(
                    "SELECT item, keys FROM vectors JOIN items ON id = item"
                    f" WHERE item IN ({marks(some)}) AND +scope = ?",
                    (*some, scope_id),
                )
                found.update((item, keys_from_blob(keys, self.dim)) for item, keys in rows)
        means = np.zeros((len(ids), self.dim), np.float32)
        for row, item_id in enumerate(ids):
            if len(found.get(item_id, ())):
                means[row] = found[item_id].mean(axis=0)
        return means

    @contextmanager
    def _index(self, scope: Scope) -> Iterator[tuple[sqlite3.Connection, int, ScopeIndex]]:
        """The scope's index, brought up to date and locked, with the view of the database that
        it agrees with. A scope that does not exist has an empty one."""
        with self._db.read() as connection:
            scope_id, index = self._find_index(connection, scope)
            with index.lock:
                if scope_id:
                    self._catch_up(connection, scope_id, index)
                yield connection, scope_id, index

    def _find_index(self, connection: sqlite3.Connection, scope: Scope) -> tuple[int, ScopeIndex]:
        from hymem.stores.index import ScopeIndex

        with self._indexes_lock:
            held = self._indexes.get(scope)
            # A scope that was deleted and made anew has another id.
            scope_id = self._scope_id(connection, scope)
            if scope_id is None:
                self._indexes.pop(scope, None)
                return 0, ScopeIndex(self.dim)
            if held is None or held[0] != scope_id:
                held = (scope_id, ScopeIndex(self.dim))
                self._indexes[scope] = held
                if len(self._indexes) > _SCOPES_KEPT:
                    self._indexes.popitem(last=False)
            self._indexes.move_to_end(scope)
            return held

    def _catch_up(self, connection: sqlite3.Connection, scope_id: int, index: ScopeIndex) -> None:
        query = "SELECT version FROM scopes WHERE id = ?"
        (version,) = connection.execute(query, (scope_id,)).fetchone()
        # A thread whose view is older than the index finds nothing to do.
        if version <= index.version:
            return
        self._check_encoder(connection)
        self._append_items(connection, scope_id, index)
        self._apply_events(connection, scope_id, index)
        self._apply_changes(connection, scope_id, index)
        index.version = version

    def _append_items(
        self, connection: sqlite3.Connection, scope_id: int, index: ScopeIndex
    ) -> None:
        rows = connection.execute(
            f"{_ITEM} WHERE scope = ? AND id > ? ORDER BY id", (scope_id, index.last_item)
        )
        while some := rows.fetchmany(_ROWS_AT_ONCE):
            index.append(self._batch(connection, some))

    def _apply_events(
        self, connection: sqlite3.Connection, scope_id: int, index: ScopeIndex
    ) -> None:
        rows = connection.execute(
            "SELECT e.id, i.id, i.event FROM events e JOIN event_turns t ON t.event = e.id"
            " JOIN items i ON i.id = t.turn WHERE e.scope = ? AND e.id > ?",
            (scope_id, index.last_event),
        ).fetchall()
        index.set_events([(turn, -1 if event is None else event) for _, turn, event in rows])
        index.last_event = max([index.last_event, *(row[0] for row in rows)])

    def _apply_changes(
        self, connection: sqlite3.Connection, scope_id: int, index: ScopeIndex
    ) -> None:
        rows = connection.execute(
            "SELECT max(seq), item FROM changes WHERE scope = ? AND seq > ? GROUP BY item",
            (scope_id, index.last_change),
        ).fetchall()
        for seq, item_id in rows:
            row = connection.execute(f"{_ITEM} WHERE id = ?", (item_id,)).fetchone()
            index.refresh(item_id, None if row is None else self._batch(connection, [row]))
            index.last_change = max(index.last_change, seq)

    def _batch(self, connection: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> Batch:
        import numpy as np

        from hymem.stores.index import Batch

        ids, kinds, sessions, positions, events, seconds, tokens, shown, words, keys = zip(
            *rows, strict=True
        )
        sources = [
            sources_of(connection, item_id) if kind == "unit" else (item_id,)
            for item_id, kind in zip(ids, kinds, strict=True)
        ]
        held = [blob or b"" for blob in keys]
        return Batch(
            id=np.array(ids, np.int64),
            is_unit=np.array([kind == "unit" for kind in kinds]),
            shown=np.array(shown, np.bool_),
            session=np.array(sessions, np.int64),
            position=np.array(positions, np.int64),
            event=np.array([-1 if event is None else event for event in events], np.int64),
            seconds=np.array(seconds, np.float64),
            tokens=np.array(tokens, np.int64),
            term_counts=np.array([len(blob) // 4 for blob in words], np.int64),
            terms=np.frombuffer(b"".join(words), np.uint32),
            key_counts=np.array([len(blob) // (2 * self.dim) for blob in held], np.int64),
            keys=keys_from_blob(b"".join(held), self.dim),
            source_counts=np.array([len(turns) for turns in sources], np.int64),
            sources=np.array([turn for turns in sources for turn in turns], np.int64),
        )

    def _allowed(
        self,
        connection: sqlite3.Connection,
        scope_id: int,
        index: ScopeIndex,
        where: Filter | None,
        kinds: Sequence[Kind],
    ) -> NDArray[np.bool_] | None:
        where = where or Filter()
        offered = set(kinds) & ({where.kind} if where.kind else {"turn", "unit"})
        session = None
        if where.session_id is not None:
            session = self._session_id(connection, scope_id, where.session_id)
        ids: list[int] | None = None if offered else []
        if where.metadata:
            rows = connection.execute(
                "SELECT id, metadata FROM items WHERE scope = ? AND metadata <> ''", (scope_id,)
            )
            ids = [item_id for item_id, text in rows if matches(text, where.metadata)]
        return index.allowed(
            kind=offered.pop() if len(offered) == 1 else None,
            session=session,
            after=seconds_of(where.after),
            before=seconds_of(where.before),
            ids=ids,
        )

    def _session_id(self, connection: sqlite3.Connection, scope_id: int, name: str) -> int:
        row = connection.execute(
            "SELECT id FROM sessions WHERE scope = ? AND name = ?", (scope_id, clean(name))
        ).fetchone()
        return -1 if row is None else int(row[0])
