"""Changing and removing what is stored, and the history of it."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hymem.errors import NotFoundError, StoreError
from hymem.messages import clean_text
from hymem.stores.damage import check_types
from hymem.stores.erase import compact, owe, wipe
from hymem.stores.index.cache import Matching
from hymem.stores.rows import (
    KEY_TABLES,
    is_id,
    passages_to_blobs,
    time_from_seconds,
    time_from_text,
)
from hymem.stores.tables.items import check_keys, drop_keys, insert_keys
from hymem.text import forget_words
from hymem.types import Scope

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.stores.base import NewPassage, TokenIds

_SCOPE_TABLES = ("sessions", "speakers", "events", "changes", "history")

# A file of more bytes is swept behind the deletion of a single memory.
WIPE_AT_ONCE = 16 << 20
# How long delete_all waits for those who read an older state.
WAIT_SECONDS = 10.0


class Edits(Matching):
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
        if vectors is not None:
            check_keys(vectors, self.dim, token_ids, passages)
        text, lexical = clean_text(text), clean_text(lexical)
        words, spans = passages_to_blobs(lexical, passages)
        with self._db.write() as connection:
            self._check_encoder(connection)
            scope_id, kind = self._find(connection, scope, item_id)
            (old,) = connection.execute(
                "SELECT text FROM items WHERE id = ?", (item_id,)
            ).fetchone()
            self._ensure_added(connection, scope_id, item_id, old)
            self._record(connection, scope_id, item_id, "update", text)
            connection.execute(
                "UPDATE items SET text = ?, lexical = ?, tokens = ?, terms = ?, spans = ?,"
                " embedded = ? WHERE id = ?",
                (
                    text,
                    None if lexical == text else lexical,
                    tokens,
                    words,
                    spans,
                    vectors is not None,
                    item_id,
                ),
            )
            drop_keys(connection, item_id)
            if vectors is not None:
                insert_keys(connection, item_id, vectors, token_ids)
            self._changed(connection, scope_id, item_id)
            if kind == "turn":
                self._reopen(connection, scope_id, self._events_of(connection, item_id))
            self._touch(connection, scope_id)

    def delete(self, scope: Scope, item_id: int) -> None:
        with self._db.write() as connection:
            scope_id, kind = self._find(connection, scope, item_id)
            if kind == "turn":
                session, speaker = connection.execute(
                    "SELECT session, speaker FROM items WHERE id = ?", (item_id,)
                ).fetchone()
                self._delete_turn(connection, scope_id, item_id)
                _forget_names(connection, scope_id, session, speaker)
            else:
                self._remove(connection, scope_id, item_id)
            self._forget_errors(connection, scope_id)
            self._touch(connection, scope_id)
            owe(connection)
        forget_words()
        self._wipe_soon()

    def delete_all(self, scope: Scope) -> int:
        with self._db.write() as connection:
            scope_id = self._scope_id(connection, scope)
            count = 0
            if scope_id is not None:
                count = self._empty_scope(connection, scope_id)
                owe(connection)
        self._forget_index(scope)
        forget_words()
        # Also where there is no such scope: it is how one asks for what is still owed.
        if not self._upkeep.wipe(WAIT_SECONDS):
            self._upkeep.wipe_soon()
            raise StoreError(
                "everything of the scope is deleted, but someone is reading an older state, so the "
                "log still holds old pages; they go when the reader has ended, or call delete_all "
                "again then"
            )
        return count

    def compact(self) -> int:
        return compact(self._db)

    def history(self, scope: Scope, item_id: int) -> list[Mapping[str, Any]]:
        if not is_id(item_id):
            return []
        with self._db.read() as connection:
            scope_id = self._scope_id(connection, scope)
            rows = connection.execute(
                "SELECT event, text, at FROM history WHERE item = ? AND +scope = ? ORDER BY at, id",
                (item_id, scope_id),
            ).fetchall()
            said = connection.execute(
                "SELECT i.time, newer.time FROM items i LEFT JOIN items newer"
                " ON newer.id = i.superseded_by WHERE i.id = ? AND i.scope = ?",
                (item_id, scope_id),
            ).fetchone() or (None, None)
            if not any(event == "add" for event, _, _ in rows):
                rows = (
                    connection.execute(
                        "SELECT 'add', text, created FROM items WHERE id = ? AND scope = ?",
                        (item_id, scope_id),
                    ).fetchall()
                    + rows
                )
            since, until = map(time_from_text, said)
            for row in rows:
                check_types("change", (item_id, *row))
            return [
                {
                    "event": event,
                    "text": text,
                    "at": time_from_seconds(at, f"the history of {item_id}"),
                    "time": until if event == "supersede" else since,
                }
                for event, text, at in rows
            ]

    def _empty_scope(self, connection: sqlite3.Connection, scope_id: int) -> int:
        """Remove every row of the scope; how many turns and units there were."""
        inside = "(SELECT id FROM items WHERE scope = ?)"
        for table in KEY_TABLES:
            connection.execute(f"DELETE FROM {table} WHERE item IN {inside}", (scope_id,))
        connection.execute(f"DELETE FROM sources WHERE unit IN {inside}", (scope_id,))
        connection.execute(f"DELETE FROM event_turns WHERE turn IN {inside}", (scope_id,))
        count = connection.execute("DELETE FROM items WHERE scope = ?", (scope_id,)).rowcount
        for table in _SCOPE_TABLES:
            connection.execute(f"DELETE FROM {table} WHERE scope = ?", (scope_id,))
        # What was spent was spent; whose it was is forgotten.
        connection.execute("UPDATE costs SET scope = NULL WHERE scope = ?", (scope_id,))
        connection.execute("DELETE FROM scopes WHERE id = ?", (scope_id,))
        return count

    def _wipe_soon(self) -> None:
        """Pay what a deletion owes: at once where that takes a moment, else behind it."""
        if self._db.in_memory or (self._db.bytes() <= WIPE_AT_ONCE and wipe(self._db, 0.0)):
            return
        self._upkeep.wipe_soon()

    def _forget_errors(self, connection: sqlite3.Connection, scope_id: int) -> None:
        """An error's text may quote any turn that its model or encoder was given."""
        connection.execute(
            "UPDATE events SET error = ? WHERE scope = ? AND error IS NOT NULL",
            ("the error's text went with a deleted memory", scope_id),
        )

    def _find(self, connection: sqlite3.Connection, scope: Scope, item_id: int) -> tuple[int, str]:
        """The scope's id and the item's kind."""
        scope_id = self._scope_id(connection, scope)
        row = None
        if scope_id is not None and is_id(item_id):
            query = "SELECT kind FROM items WHERE id = ? AND scope = ?"
            row = connection.execute(query, (item_id, scope_id)).fetchone()
        if scope_id is None or row is None:
            raise NotFoundError(f"this scope has no turn or unit with the id {item_id}")
        return scope_id, row[0]

    def _ensure_added(
        self, connection: sqlite3.Connection, scope_id: int, item_id: int, text: str | None
    ) -> None:
        """Most items never change, so their first text enters the history only when they do."""
        known = connection.execute(
            "SELECT 1 FROM history WHERE item = ? AND event = 'add'", (item_id,)
        ).fetchone()
        if known is None:
            (created,) = connection.execute(
                "SELECT created FROM items WHERE id = ?", (item_id,)
            ).fetchone()
            self._record(connection, scope_id, item_id, "add", text, created)

    def _delete_turn(self, connection: sqlite3.Connection, scope_id: int, turn: int) -> None:
        units = connection.execute(
            "SELECT unit, event, (SELECT count(*) FROM sources o WHERE o.unit = s.unit)"
            " FROM sources s JOIN items ON id = s.unit WHERE turn = ?",
            (turn,),
        ).fetchall()
        events = self._events_of(connection, turn)
        unfinished = connection.execute(
            "SELECT DISTINCT e.id FROM events e JOIN event_turns t ON t.event = e.id"
            " WHERE t.turn = ? AND e.status <> 'done'",
            (turn,),
        ).fetchall()
        connection.execute("DELETE FROM event_turns WHERE turn = ?", (turn,))
        for unit, _, _ in units:
            self._remove(connection, scope_id, unit)
        self._remove(connection, scope_id, turn)
        again = {event for _, event, count in units if count > 1}
        # A worker may be reading the turn this very moment: its lease is withdrawn.
        self._reopen(connection, scope_id, again | {row[0] for row in unfinished})
        for event in events:
            self._drop_if_empty(connection, event)

    def _events_of(self, connection: sqlite3.Connection, turn: int) -> set[int]:
        rows = connection.execute("SELECT event FROM event_turns WHERE turn = ?", (turn,))
        return {event for (event,) in rows}

    def _reopen(self, connection: sqlite3.Connection, scope_id: int, events: Iterable[int]) -> None:
        """Have these events extracted again. Their units go, or they would all be said twice."""
        for event in events:
            units = connection.execute(
                "SELECT id FROM items WHERE event = ? AND kind = 'unit'", (event,)
            ).fetchall()
            for (unit,) in units:
                self._remove(connection, scope_id, unit)
            connection.execute(
                "UPDATE events SET status = 'pending', attempts = 0, error = NULL, token = NULL,"
                " expires = NULL WHERE id = ?",
                (event,),
            )

    def _drop_if_empty(self, connection: sqlite3.Connection, event: int) -> None:
        left = connection.execute("SELECT 1 FROM event_turns WHERE event = ?", (event,)).fetchone()
        if left is None:
            connection.execute("DELETE FROM events WHERE id = ?", (event,))

    def _remove(self, connection: sqlite3.Connection, scope_id: int, item_id: int) -> None:
        """Delete one item and its texts; what it superseded or was repeated by stands again."""
        self._ensure_added(connection, scope_id, item_id, None)
        connection.execute("UPDATE history SET text = NULL WHERE item = ?", (item_id,))
        self._record(connection, scope_id, item_id, "delete", None)
        self._release(connection, scope_id, item_id)
        connection.execute("DELETE FROM sources WHERE unit = ?", (item_id,))
        for table in KEY_TABLES:
            connection.execute(f"DELETE FROM {table} WHERE item = ?", (item_id,))
        connection.execute("DELETE FROM items WHERE id = ?", (item_id,))
        self._changed(connection, scope_id, item_id)

    def _release(self, connection: sqlite3.Connection, scope_id: int, item_id: int) -> None:
        for column in ("superseded_by", "duplicate_of"):
            rows: Sequence[tuple[int]] = connection.execute(
                f"UPDATE items SET {column} = NULL WHERE {column} = ? RETURNING id", (item_id,)
            ).fetchall()
            for (freed,) in rows:
                self._changed(connection, scope_id, freed)


def _forget_names(
    connection: sqlite3.Connection, scope_id: int, session: int, speaker: int
) -> None:
    """Remove the names of a session and a speaker of whom nothing is left."""
    gone = "WHERE id = :id AND NOT EXISTS (SELECT 1 FROM items WHERE scope = :scope AND {} = :id)"
    connection.execute(
        f"DELETE FROM sessions {gone.format('session')}"
        " AND NOT EXISTS (SELECT 1 FROM events WHERE scope = :scope AND session = :id)",
        {"id": session, "scope": scope_id},
    )
    # The row stays: indexes in memory know a speaker by its place among the rows.
    connection.execute(
        f"UPDATE speakers SET name = :nobody {gone.format('speaker')}",
        {"id": speaker, "scope": scope_id, "nobody": secrets.token_hex(8)},
    )
