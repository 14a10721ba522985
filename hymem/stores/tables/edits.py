"""Changing and removing what is stored."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from hymem.errors import NotFoundError
from hymem.inputs.messages import clean_text
from hymem.stores.rows import is_id, passages_to_blobs
from hymem.stores.tables.history import ensure_added, mark_changed, record_change
from hymem.stores.tables.keys import KEY_TABLES, drop_keys, insert_keys
from hymem.stores.tables.names import forget_names, touch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.stores.base import NewPassage, TokenIds

_SCOPE_TABLES = ("sessions", "speakers", "events", "changes", "history")


def prepare_text(
    text: str, lexical: str, tokens: int, passages: Sequence[NewPassage], *, embedded: bool
) -> tuple[Any, ...]:
    """The columns of a new text, for ``update_text``."""
    text, lexical = clean_text(text), clean_text(lexical)
    words, spans = passages_to_blobs(lexical, passages)
    return text, None if lexical == text else lexical, tokens, words, spans, embedded


def update_text(
    connection: sqlite3.Connection,
    scope_id: int | None,
    item_id: int,
    prepared: tuple[Any, ...],
    vectors: NDArray[np.float32] | None,
    token_ids: TokenIds | None,
) -> None:
    """See ``Store.update_text``."""
    home, kind = _find(connection, scope_id, item_id)
    query = "SELECT text FROM items WHERE id = ?"
    (old,) = connection.execute(query, (item_id,)).fetchone()
    ensure_added(connection, home, item_id, old)
    record_change(connection, home, item_id, "update", prepared[0])
    connection.execute(
        "UPDATE items SET text = ?, lexical = ?, tokens = ?, terms = ?, spans = ?,"
        " embedded = ? WHERE id = ?",
        (*prepared, item_id),
    )
    drop_keys(connection, item_id)
    if vectors is not None:
        insert_keys(connection, item_id, vectors, token_ids)
    mark_changed(connection, home, item_id)
    if kind == "turn":
        _reopen(connection, home, _events_of(connection, item_id))
    touch(connection, home)


def delete(connection: sqlite3.Connection, scope_id: int | None, item_id: int) -> None:
    """See ``Store.delete``."""
    home, kind = _find(connection, scope_id, item_id)
    if kind == "turn":
        session, speaker = connection.execute(
            "SELECT session, speaker FROM items WHERE id = ?", (item_id,)
        ).fetchone()
        _delete_turn(connection, home, item_id)
        forget_names(connection, home, session, speaker)
    else:
        _remove(connection, home, item_id)
    # An error's text may quote any turn that its model or encoder was given.
    connection.execute(
        "UPDATE events SET error = ? WHERE scope = ? AND error IS NOT NULL",
        ("the error's text went with a deleted memory", home),
    )
    touch(connection, home)


def empty_scope(connection: sqlite3.Connection, scope_id: int) -> int:
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


def _find(connection: sqlite3.Connection, scope_id: int | None, item_id: int) -> tuple[int, str]:
    """The scope's id and the item's kind. Raises ``NotFoundError``."""
    row = None
    if scope_id is not None and is_id(item_id):
        query = "SELECT kind FROM items WHERE id = ? AND scope = ?"
        row = connection.execute(query, (item_id, scope_id)).fetchone()
    if scope_id is None or row is None:
        raise NotFoundError(f"this scope has no turn or unit with the id {item_id}")
    return scope_id, row[0]


def _delete_turn(connection: sqlite3.Connection, scope_id: int, turn: int) -> None:
    units = connection.execute(
        "SELECT unit, event, (SELECT count(*) FROM sources o WHERE o.unit = s.unit)"
        " FROM sources s JOIN items ON id = s.unit WHERE turn = ?",
        (turn,),
    ).fetchall()
    events = _events_of(connection, turn)
    unfinished = connection.execute(
        "SELECT DISTINCT e.id FROM events e JOIN event_turns t ON t.event = e.id"
        " WHERE t.turn = ? AND e.status <> 'done'",
        (turn,),
    ).fetchall()
    connection.execute("DELETE FROM event_turns WHERE turn = ?", (turn,))
    for unit, _, _ in units:
        _remove(connection, scope_id, unit)
    _remove(connection, scope_id, turn)
    again = {event for _, event, count in units if count > 1}
    # A worker may be reading the turn this very moment: its lease is withdrawn.
    _reopen(connection, scope_id, again | {row[0] for row in unfinished})
    for event in events:
        _drop_if_empty(connection, event)


def _events_of(connection: sqlite3.Connection, turn: int) -> set[int]:
    rows = connection.execute("SELECT event FROM event_turns WHERE turn = ?", (turn,))
    return {event for (event,) in rows}


def _reopen(connection: sqlite3.Connection, scope_id: int, events: Iterable[int]) -> None:
    """Have these events extracted again. Their units go, or they would all be said twice."""
    for event in events:
        units = connection.execute(
            "SELECT id FROM items WHERE event = ? AND kind = 'unit'", (event,)
        ).fetchall()
        for (unit,) in units:
            _remove(connection, scope_id, unit)
        connection.execute(
            "UPDATE events SET status = 'pending', attempts = 0, error = NULL, token = NULL,"
            " expires = NULL WHERE id = ?",
            (event,),
        )


def _drop_if_empty(connection: sqlite3.Connection, event: int) -> None:
    left = connection.execute("SELECT 1 FROM event_turns WHERE event = ?", (event,)).fetchone()
    if left is None:
        connection.execute("DELETE FROM events WHERE id = ?", (event,))


def _remove(connection: sqlite3.Connection, scope_id: int, item_id: int) -> None:
    """Delete one item and its texts; what it superseded or was repeated by stands again."""
    ensure_added(connection, scope_id, item_id, None)
    connection.execute("UPDATE history SET text = NULL WHERE item = ?", (item_id,))
    record_change(connection, scope_id, item_id, "delete", None)
    _release(connection, scope_id, item_id)
    connection.execute("DELETE FROM sources WHERE unit = ?", (item_id,))
    for table in KEY_TABLES:
        connection.execute(f"DELETE FROM {table} WHERE item = ?", (item_id,))
    connection.execute("DELETE FROM items WHERE id = ?", (item_id,))
    mark_changed(connection, scope_id, item_id)


def _release(connection: sqlite3.Connection, scope_id: int, item_id: int) -> None:
    for column in ("superseded_by", "duplicate_of"):
        rows: Sequence[tuple[int]] = connection.execute(
            f"UPDATE items SET {column} = NULL WHERE {column} = ? RETURNING id", (item_id,)
        ).fetchall()
        for (freed,) in rows:
            mark_changed(connection, scope_id, freed)
