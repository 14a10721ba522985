"""Segmentation and extraction: events, the workers' leases on them, and the units they yield."""

from __future__ import annotations

import secrets
import sqlite3
import time as clock
from collections.abc import Sequence

from hymem.messages import clean_text
from hymem.stores.base import Lease, NewUnit
from hymem.stores.damage import RESTORE, damaged
from hymem.stores.rows import (
    FROM_ITEMS,
    TURN_COLUMNS,
    UNIT_COLUMNS,
    clean,
    event_from_row,
    is_id,
    marks,
    turn_from_row,
    units_from_rows,
)
from hymem.stores.tables.items import DUE, Items, check_keys
from hymem.stores.tables.past import CURRENT
from hymem.types import Event, Filter, Scope, Turn, Unit

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
# Spelled as the partial index is, so that SQLite uses it however many events are done.
_OPEN = (
    "status IN ('pending', 'leased', 'failed') AND (status = 'pending'"
    " OR (status = 'leased' AND ifnull(expires, 0) NOT BETWEEN ? AND ?)"
    " OR (status = 'failed' AND expires NOT BETWEEN ? AND ?))"
)


class Events(Items):
    def unsegmented(self, scope: Scope, limit: int) -> list[Turn]:
        with self._db.read() as connection:
            rows = connection.execute(
                f"SELECT {TURN_COLUMNS} {FROM_ITEMS} WHERE i.scope = ? AND i.kind = 'turn'"
                " AND i.event IS NULL ORDER BY i.id LIMIT ?",
                (self._scope_id(connection, scope), limit),
            ).fetchall()
        return [turn_from_row(row) for row in rows]

    def add_events(
        self, scope: Scope, events: Sequence[tuple[Sequence[int], Sequence[int]]]
    ) -> None:
        with self._db.write() as connection:
            scope_id = self._scope_id(connection, scope)
            if scope_id is None:
                return
            for turns, covered in events:
                self._add_event(connection, scope_id, turns, covered)
            self._touch(connection, scope_id)

    def lease_events(self, scope: Scope | None, limit: int, seconds: float) -> Lease | None:
        with self._db.write() as connection:
            now, closed = clock.monotonic(), _closed()
            where, values = _OPEN, [*closed]
            if scope is not None:
                where += " AND scope = ?"
                values.append(self._scope_id(connection, scope) or -1)
            first = connection.execute(
                # By id alone SQLite would walk past every finished event.
                f"SELECT scope, attempts = 0, id FROM events INDEXED BY events_open WHERE {where}"
                " ORDER BY attempts > 0, id LIMIT 1",
                values,
            ).fetchone()
            if first is None:
                return None
            scope_id, fresh, event_id = first
            ids = [(event_id,)]
            if fresh:
                ids = connection.execute(
                    f"SELECT id FROM events WHERE {_OPEN} AND scope = ? AND attempts = 0"
                    " ORDER BY id LIMIT ?",
                    (*closed, scope_id, limit),
                ).fetchall()
            token, expires = secrets.token_hex(8), now + min(seconds, LONGEST_LEASE)
            connection.executemany(
                "UPDATE events SET status = 'leased', token = ?, expires = ? WHERE id = ?",
                [(token, expires, event_id) for (event_id,) in ids],
            )
            named = self._scopes(connection, "id = ?", (scope_id,))
            if not named:
                raise damaged(f"event {event_id}", "scope")
            rows = connection.execute(
                f"{_EVENT} WHERE e.id IN ({marks(ids)}) ORDER BY e.id", [row[0] for row in ids]
            ).fetchall()
            taken = tuple(event_from_row(connection, row) for row in rows)
            # Without their session they can be read by nobody, and would be leased for ever.
            lost = {event_id for (event_id,) in ids} - {event.id for event in taken}
            connection.executemany(
                "UPDATE events SET status = 'failed', error = ?, token = NULL, expires = NULL"
                " WHERE id = ?",
                [(f"its session is damaged; {RESTORE}", event_id) for event_id in lost],
            )
        return Lease(token, named[0], taken, expires)

    def renew(self, lease: Lease, seconds: float) -> None:
        with self._db.write() as connection:
            connection.execute(
                "UPDATE events SET expires = ? WHERE status = 'leased' AND token = ?",
                (clock.monotonic() + min(seconds, LONGEST_LEASE), lease.token),
            )

    def complete_event(self, lease: Lease, event_id: int, units: Sequence[NewUnit]) -> list[int]:
        for unit in units:
            if unit.vector is not None:
                check_keys(unit.vector[None], self.dim)
        with self._db.write() as connection:
            self._check_encoder(connection)
            held = self._held(connection, lease, event_id)
            if held is None:
                return []
            scope_id, session = held
            ids = [
                self._store_unit(connection, scope_id, (event_id, session), unit) for unit in units
            ]
            for unit, newer in zip(units, ids, strict=True):
                if unit.corrects is not None:
                    self._supersede(connection, scope_id, ids[unit.corrects], newer)
            connection.execute(
                "UPDATE events SET status = 'done', attempts = attempts + 1, error = NULL,"
                " token = NULL, expires = NULL WHERE id = ?",
                (event_id,),
            )
            self._touch(connection, scope_id)
        return ids

    def fail_event(
        self, lease: Lease, event_id: int, error: str, retry_in: float | None = None
    ) -> None:
        with self._db.write() as connection:
            if self._held(connection, lease, event_id) is not None:
                connection.execute(
                    "UPDATE events SET status = 'failed', attempts = attempts + 1, error = ?,"
                    " token = NULL, expires = ? WHERE id = ?",
                    (
                        clean_text(error),
                        None if retry_in is None else clock.time() + retry_in,
                        event_id,
                    ),
                )

    def give_back(self, lease: Lease) -> None:
        with self._db.write() as connection:
            connection.execute(
                "UPDATE events SET status = 'pending', token = NULL, expires = NULL"
                " WHERE status = 'leased' AND token = ?",
                (lease.token,),
            )

    def leased(self, scope: Scope) -> bool:
        with self._db.read() as connection:
            found = connection.execute(
                "SELECT 1 FROM events INDEXED BY events_open"
                " WHERE status IN ('pending', 'leased', 'failed') AND status = 'leased'"
                " AND scope = ? LIMIT 1",
                (self._scope_id(connection, scope),),
            ).fetchone()
        return found is not None

    def due(self) -> list[Scope]:
        with self._db.read() as connection:
            failed = f"SELECT scope FROM events WHERE status = 'failed' AND {_OPEN}"
            return self._scopes(connection, f"id IN ({failed})", _closed())

    def next_try(self) -> float | None:
        with self._db.read() as connection:
            (due,) = connection.execute(
                f"SELECT min({DUE}) FROM events WHERE status = 'failed'"
            ).fetchone()
        return None if due is None else float(due)

    def failed(self, scope: Scope) -> list[int]:
        with self._db.read() as connection:
            rows = connection.execute(
                "SELECT id FROM events WHERE status = 'failed' AND scope = ? ORDER BY id",
                (self._scope_id(connection, scope),),
            ).fetchall()
        return [event_id for (event_id,) in rows]

    def retry_failed(self, scope: Scope, ids: Sequence[int]) -> None:
        with self._db.write() as connection:
            scope_id = self._scope_id(connection, scope)
            connection.executemany(
                "UPDATE events SET status = 'pending', expires = NULL"
                " WHERE id = ? AND status = 'failed' AND scope = ?",
                [(event_id, scope_id) for event_id in ids],
            )

    def unfinished(self) -> list[Scope]:
        with self._db.read() as connection:
            return self._scopes(
                connection,
                "id IN (SELECT scope FROM items WHERE kind = 'turn' AND event IS NULL"
                " UNION SELECT scope FROM events WHERE status IN ('pending', 'leased'))",
            )

    def events(self, scope: Scope, ids: Sequence[int] | None = None) -> list[Event]:
        with self._db.read() as connection:
            scope_id = self._scope_id(connection, scope)
            rows = connection.execute(f"{_EVENT} WHERE e.scope = ? ORDER BY e.id", (scope_id,))
            if ids is None:
                return [event_from_row(connection, row) for row in rows.fetchall()]
            found = {}
            for event_id in filter(is_id, dict.fromkeys(ids)):
                query = f"{_EVENT} WHERE e.id = ? AND e.scope = ?"
                row = connection.execute(query, (event_id, scope_id)).fetchone()
                if row is not None:
                    found[event_id] = event_from_row(connection, row)
        return [found[event_id] for event_id in ids if event_id in found]

    def current_facts(
        self, scope: Scope, facts: Sequence[str], *, where: Filter | None = None
    ) -> dict[str, list[Unit]]:
        current: dict[str, list[Unit]] = {}
        where = where or Filter()
        if where.kind == "turn":
            return current
        holds = CURRENT if where.as_of else "i.superseded_by IS NULL AND i.duplicate_of IS NULL"
        with self._db.read() as connection:
            scope_id = self._scope_id(connection, scope)
            condition, values = self._condition(connection, scope_id, where)
            condition += f" AND i.fact = :fact AND {holds}"
            for fact in facts:
                values["fact"] = clean(fact)
                rows = connection.execute(
                    f"SELECT {UNIT_COLUMNS} {FROM_ITEMS} WHERE {condition}"
                    " ORDER BY i.seconds IS NOT NULL, i.seconds, i.id",
                    values,
                ).fetchall()
                passing = set(self._met(connection, condition, values, where.metadata))
                rows = [row for row in rows if row[0] in passing]
                if rows:
                    current[fact] = units_from_rows(connection, rows)
        return current

    def _add_event(
        self,
        connection: sqlite3.Connection,
        scope_id: int,
        turns: Sequence[int],
        covered: Sequence[int],
    ) -> None:
        known = self._turns_in_scope(connection, scope_id, turns)
        fresh = [turn for turn in covered if turn in known and known[turn][2] is None]
        if not fresh:
            return
        session, time, _ = known[fresh[0]]
        made = connection.execute(
            "INSERT INTO events (scope, session, time) VALUES (?, ?, ?)", (scope_id, session, time)
        )
        event_id = made.lastrowid
        connection.executemany(
            "INSERT INTO event_turns VALUES (?, ?)", [(event_id, turn) for turn in known]
        )
        connection.executemany(
            "UPDATE items SET event = ? WHERE id = ?", [(event_id, turn) for turn in fresh]
        )

    def _turns_in_scope(
        self, connection: sqlite3.Connection, scope_id: int, turns: Sequence[int]
    ) -> dict[int, tuple[int, str | None, int | None]]:
        """Turn id → session, time, event; for the ids that this scope has."""
        found = {}
        for turn in sorted(set(turns)):
            row = connection.execute(
                "SELECT session, time, event FROM items"
                " WHERE id = ? AND scope = ? AND kind = 'turn'",
                (turn, scope_id),
            ).fetchone()
            if row is not None:
                found[turn] = row
        return found

    def _held(
        self, connection: sqlite3.Connection, lease: Lease, event_id: int
    ) -> tuple[int, int] | None:
        """The event's scope and session, if the lease still holds it."""
        row: tuple[int, int] | None = connection.execute(
            "SELECT scope, session FROM events WHERE id = ? AND status = 'leased' AND token = ?",
            (event_id, lease.token),
        ).fetchone()
        return row

    def _store_unit(
        self, connection: sqlite3.Connection, scope_id: int, event: tuple[int, int], unit: NewUnit
    ) -> int:
        turns = list(self._turns_in_scope(connection, scope_id, unit.source_turns))
        (position,) = connection.execute(
            "SELECT min(position) FROM items JOIN event_turns ON turn = id WHERE event = ?"
            if not turns
            else "SELECT position FROM items WHERE id = ?",
            (turns[0] if turns else event[0],),
        ).fetchone()
        unit_id = self._insert_unit(connection, scope_id, event, position, unit)
        connection.executemany("INSERT INTO sources VALUES (?, ?)", [(unit_id, t) for t in turns])
        for older in unit.supersedes:
            self._supersede(connection, scope_id, older, unit_id)
        return unit_id

    def _supersede(
        self, connection: sqlite3.Connection, scope_id: int, older: int, newer: int
    ) -> None:
        row = connection.execute(
            "UPDATE items SET superseded_by = ? WHERE id = ? AND scope = ? AND kind = 'unit'"
            " AND superseded_by IS NULL RETURNING text",
            (newer, older, scope_id),
        ).fetchone()
        if row is not None:
            self._record(connection, scope_id, older, "supersede", row[0])
            self._changed(connection, scope_id, older)


def _closed() -> tuple[float, float, float, float]:
    """The values of ``_OPEN``: from when to when a lease is held, and a failed event not due."""
    monotonic, now = clock.monotonic(), clock.time()
    return monotonic, monotonic + LONGEST_LEASE, now, now + LONGEST_WAIT
