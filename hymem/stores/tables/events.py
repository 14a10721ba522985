"""Segmentation and extraction: events, the workers' leases on them, and the units they yield."""

from __future__ import annotations

import secrets
import sqlite3
import time as clock
from collections.abc import Sequence

from hymem.inputs.messages import clean_text
from hymem.stores.base import Lease, NewUnit
from hymem.stores.damage import RESTORE
from hymem.stores.rows import FROM_ITEMS, TURN_COLUMNS, event_from_row, is_id, marks, turn_from_row
from hymem.stores.tables.names import scope_of, scopes, touch
from hymem.stores.tables.units import insert_unit, supersede
from hymem.types import Event, Scope, Turn

_EVENT = """
SELECT e.id, s.name, e.time, e.status, e.attempts, e.error
FROM events e JOIN sessions s ON s.id = e.session
"""
# Leases are measured by the machine's monotonic clock: every process has the same, and nobody sets
# it. It starts anew with the machine; a lease of before then lies in the past, or further ahead
# than any lease can.
LONGEST_LEASE = 60.0
# Failed events wait by the clock on the wall, since the machine may start anew meanwhile. One that
# is due later than any may be was written before that clock was set back.
LONGEST_WAIT = 2 * 3600.0
# When a failed event is tried again, in seconds since 1970.
DUE = "CASE WHEN typeof(expires) IN ('real', 'integer') AND expires < 1e11 THEN expires END"
# Spelled as the partial index is, so that SQLite uses it however many events are done.
_OPEN = (
    "status IN ('pending', 'leased', 'failed') AND (status = 'pending'"
    " OR (status = 'leased' AND ifnull(expires, 0) NOT BETWEEN ? AND ?)"
    " OR (status = 'failed' AND expires NOT BETWEEN ? AND ?))"
)


def unsegmented(connection: sqlite3.Connection, scope_id: int | None, limit: int) -> list[Turn]:
    """See ``Store.unsegmented``."""
    rows = connection.execute(
        f"SELECT {TURN_COLUMNS} {FROM_ITEMS} WHERE i.scope = ? AND i.kind = 'turn'"
        " AND i.event IS NULL ORDER BY i.id LIMIT ?",
        (scope_id, limit),
    ).fetchall()
    return [turn_from_row(row) for row in rows]


def add_events(
    connection: sqlite3.Connection,
    scope_id: int,
    events: Sequence[tuple[Sequence[int], Sequence[int]]],
) -> None:
    """See ``Store.add_events``."""
    for turns, covered in events:
        _add_event(connection, scope_id, turns, covered)
    touch(connection, scope_id)


def enter_turns(
    connection: sqlite3.Connection, event: int, turns: Sequence[int], covered: Sequence[int]
) -> None:
    """Name an event's ``turns``, and make it the event of those that it newly covers."""
    connection.executemany(
        "INSERT INTO event_turns VALUES (?, ?)", [(event, turn) for turn in turns]
    )
    connection.executemany(
        "UPDATE items SET event = ? WHERE id = ?", [(event, turn) for turn in covered]
    )


def lease(
    connection: sqlite3.Connection, scope_id: int | None, limit: int, seconds: float
) -> Lease | None:
    """See ``Store.lease_events``; ``scope_id`` ``None``: of any scope."""
    now, closed = clock.monotonic(), _closed()
    where, values = _OPEN, [*closed]
    if scope_id is not None:
        where += " AND scope = ?"
        values.append(scope_id)
    first = connection.execute(
        # By id alone SQLite would walk past every finished event.
        f"SELECT scope, attempts = 0, id FROM events INDEXED BY events_open WHERE {where}"
        " ORDER BY attempts > 0, id LIMIT 1",
        values,
    ).fetchone()
    if first is None:
        return None
    home, fresh, event_id = first
    ids = [(event_id,)]
    if fresh:
        ids = connection.execute(
            f"SELECT id FROM events WHERE {_OPEN} AND scope = ? AND attempts = 0"
            " ORDER BY id LIMIT ?",
            (*closed, home, limit),
        ).fetchall()
    token, expires = secrets.token_hex(8), now + min(seconds, LONGEST_LEASE)
    connection.executemany(
        "UPDATE events SET status = 'leased', token = ?, expires = ? WHERE id = ?",
        [(token, expires, event_id) for (event_id,) in ids],
    )
    scope = scope_of(connection, home, f"event {event_id}")
    return Lease(token, scope, _taken(connection, [event_id for (event_id,) in ids]), expires)


def _taken(connection: sqlite3.Connection, ids: Sequence[int]) -> tuple[Event, ...]:
    """These events, which were just leased."""
    rows = connection.execute(
        f"{_EVENT} WHERE e.id IN ({marks(ids)}) ORDER BY e.id", ids
    ).fetchall()
    taken = tuple(event_from_row(connection, row) for row in rows)
    # Without their session they can be read by nobody, and would be leased for ever.
    lost = set(ids) - {event.id for event in taken}
    connection.executemany(
        "UPDATE events SET status = 'failed', error = ?, token = NULL, expires = NULL WHERE id = ?",
        [(f"its session is damaged; {RESTORE}", event_id) for event_id in lost],
    )
    return taken


def renew(connection: sqlite3.Connection, token: str, seconds: float) -> None:
    """See ``Store.renew``."""
    connection.execute(
        "UPDATE events SET expires = ? WHERE status = 'leased' AND token = ?",
        (clock.monotonic() + min(seconds, LONGEST_LEASE), token),
    )


def complete(
    connection: sqlite3.Connection, token: str, event_id: int, units: Sequence[NewUnit]
) -> list[int]:
    """See ``Store.complete_event``."""
    held = _held(connection, token, event_id)
    if held is None:
        return []
    scope_id, session = held
    ids = [_store_unit(connection, scope_id, (event_id, session), unit) for unit in units]
    for unit, newer in zip(units, ids, strict=True):
        if unit.corrects is not None:
            supersede(connection, scope_id, ids[unit.corrects], newer)
    connection.execute(
        "UPDATE events SET status = 'done', attempts = attempts + 1, error = NULL,"
        " token = NULL, expires = NULL WHERE id = ?",
        (event_id,),
    )
    touch(connection, scope_id)
    return ids


def fail(
    connection: sqlite3.Connection, token: str, event_id: int, error: str, retry_in: float | None
) -> None:
    """See ``Store.fail_event``."""
    if _held(connection, token, event_id) is not None:
        connection.execute(
            "UPDATE events SET status = 'failed', attempts = attempts + 1, error = ?,"
            " token = NULL, expires = ? WHERE id = ?",
            (clean_text(error), None if retry_in is None else clock.time() + retry_in, event_id),
        )


def give_back(connection: sqlite3.Connection, token: str) -> None:
    """See ``Store.give_back``."""
    connection.execute(
        "UPDATE events SET status = 'pending', token = NULL, expires = NULL"
        " WHERE status = 'leased' AND token = ?",
        (token,),
    )


def leased(connection: sqlite3.Connection, scope_id: int | None) -> bool:
    """See ``Store.leased``."""
    found = connection.execute(
        "SELECT 1 FROM events INDEXED BY events_open"
        " WHERE status IN ('pending', 'leased', 'failed') AND status = 'leased'"
        " AND scope = ? LIMIT 1",
        (scope_id,),
    ).fetchone()
    return found is not None


def due(connection: sqlite3.Connection) -> list[Scope]:
    """See ``Store.due``."""
    failed = f"SELECT scope FROM events WHERE status = 'failed' AND {_OPEN}"
    return scopes(connection, f"id IN ({failed})", _closed())


def next_try(connection: sqlite3.Connection) -> float | None:
    """See ``Store.next_try``."""
    query = f"SELECT min({DUE}) FROM events WHERE status = 'failed'"
    (first,) = connection.execute(query).fetchone()
    return None if first is None else float(first)


def failed(connection: sqlite3.Connection, scope_id: int | None) -> list[int]:
    """See ``Store.failed``."""
    rows = connection.execute(
        "SELECT id FROM events WHERE status = 'failed' AND scope = ? ORDER BY id", (scope_id,)
    ).fetchall()
    return [event_id for (event_id,) in rows]


def retry_failed(connection: sqlite3.Connection, scope_id: int | None, ids: Sequence[int]) -> None:
    """See ``Store.retry_failed``."""
    connection.executemany(
        "UPDATE events SET status = 'pending', expires = NULL"
        " WHERE id = ? AND status = 'failed' AND scope = ?",
        [(event_id, scope_id) for event_id in ids],
    )


def unfinished(connection: sqlite3.Connection) -> list[Scope]:
    """See ``Store.unfinished``."""
    return scopes(
        connection,
        "id IN (SELECT scope FROM items WHERE kind = 'turn' AND event IS NULL"
        " UNION SELECT scope FROM events WHERE status IN ('pending', 'leased'))",
    )


def events_of(
    connection: sqlite3.Connection, scope_id: int | None, ids: Sequence[int] | None
) -> list[Event]:
    """The scope's events, by id; with ``ids`` those, in that order, as far as there are."""
    if ids is None:
        rows = connection.execute(f"{_EVENT} WHERE e.scope = ? ORDER BY e.id", (scope_id,))
        return [event_from_row(connection, row) for row in rows.fetchall()]
    found = {}
    for event_id in filter(is_id, dict.fromkeys(ids)):
        query = f"{_EVENT} WHERE e.id = ? AND e.scope = ?"
        row = connection.execute(query, (event_id, scope_id)).fetchone()
        if row is not None:
            found[event_id] = event_from_row(connection, row)
    return [found[event_id] for event_id in ids if event_id in found]


def _add_event(
    connection: sqlite3.Connection, scope_id: int, turns: Sequence[int], covered: Sequence[int]
) -> None:
    known = _turns_in_scope(connection, scope_id, turns)
    fresh = [turn for turn in covered if turn in known and known[turn][2] is None]
    if not fresh:
        return
    session, time, _ = known[fresh[0]]
    made = connection.execute(
        "INSERT INTO events (scope, session, time) VALUES (?, ?, ?)", (scope_id, session, time)
    )
    enter_turns(connection, int(made.lastrowid or 0), list(known), fresh)


def _turns_in_scope(
    connection: sqlite3.Connection, scope_id: int, turns: Sequence[int]
) -> dict[int, tuple[int, str | None, int | None]]:
    """Turn id → session, time, event; for the ids that this scope has."""
    found = {}
    for turn in sorted(set(turns)):
        row = connection.execute(
            "SELECT session, time, event FROM items WHERE id = ? AND scope = ? AND kind = 'turn'",
            (turn, scope_id),
        ).fetchone()
        if row is not None:
            found[turn] = row
    return found


def _held(connection: sqlite3.Connection, token: str, event_id: int) -> tuple[int, int] | None:
    """The event's scope and session, if the lease still holds it."""
    row: tuple[int, int] | None = connection.execute(
        "SELECT scope, session FROM events WHERE id = ? AND status = 'leased' AND token = ?",
        (event_id, token),
    ).fetchone()
    return row


def _store_unit(
    connection: sqlite3.Connection, scope_id: int, event: tuple[int, int], unit: NewUnit
) -> int:
    """``event``: its id and its session's."""
    event_id, session = event
    turns = list(_turns_in_scope(connection, scope_id, unit.source_turns))
    (position,) = connection.execute(
        "SELECT min(position) FROM items JOIN event_turns ON turn = id WHERE event = ?"
        if not turns
        else "SELECT position FROM items WHERE id = ?",
        (turns[0] if turns else event_id,),
    ).fetchone()
    unit_id = insert_unit(connection, (scope_id, session, position, event_id), unit, turns)
    for older in unit.supersedes:
        supersede(connection, scope_id, older, unit_id)
    return unit_id


def _closed() -> tuple[float, float, float, float]:
    """The values of ``_OPEN``: from when to when a lease is held, and a failed event not due."""
    monotonic, now = clock.monotonic(), clock.time()
    return monotonic, monotonic + LONGEST_LEASE, now, now + LONGEST_WAIT
