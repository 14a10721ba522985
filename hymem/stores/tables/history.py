"""What happened to turns and units: for their users to read, and for indexes to follow."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hymem.stores.damage import check_types
from hymem.stores.rows import chunks, is_id, marks, time_from_seconds, time_from_text


def mark_changed(connection: sqlite3.Connection, scope_id: int, item_id: int) -> None:
    """Have indexes read an item again that they know."""
    connection.execute("INSERT INTO changes (scope, item) VALUES (?, ?)", (scope_id, item_id))


def record_change(
    connection: sqlite3.Connection,
    scope_id: int,
    item_id: int,
    event: str,
    text: str | None,
    at: float | None = None,
) -> None:
    """``at``: seconds since 1970, if not now."""
    connection.execute(
        "INSERT INTO history (scope, item, event, text, at) VALUES (?, ?, ?, ?, ?)",
        (scope_id, item_id, event, text, time.time() if at is None else at),
    )


def ensure_added(
    connection: sqlite3.Connection, scope_id: int, item_id: int, text: str | None
) -> None:
    """Most items never change, so their first text enters the history only when they do."""
    known = connection.execute(
        "SELECT 1 FROM history WHERE item = ? AND event = 'add'", (item_id,)
    ).fetchone()
    if known is None:
        (created,) = connection.execute(
            "SELECT created FROM items WHERE id = ?", (item_id,)
        ).fetchone()
        record_change(connection, scope_id, item_id, "add", text, created)


def history_of(
    connection: sqlite3.Connection, scope_id: int | None, item_id: int
) -> list[Mapping[str, Any]]:
    """See ``Store.history``."""
    if not is_id(item_id):
        return []
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


def older_texts(
    connection: sqlite3.Connection, ids: Sequence[int], moment: float
) -> dict[int, str]:
    """Of those of these items that were updated after ``moment``, the texts they had then."""
    found: dict[int, str] = {}
    for some in chunks(ids):
        rows = connection.execute(
            "SELECT item, text, at FROM history WHERE event IN ('add', 'update')"
            f" AND item IN ({marks(some)}) ORDER BY item, at, id",
            some,
        ).fetchall()
        changed = {item for item, _, at in rows if at > moment}
        for item, text, at in rows:
            if item in changed and text is not None and (at <= moment or item not in found):
                found[item] = text
    return found
