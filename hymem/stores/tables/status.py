"""Counts of a scope, or of all."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

from hymem.stores.base import Status
from hymem.stores.tables.events import DUE


def status_of(connection: sqlite3.Connection, scope_id: int | None) -> Status:
    """``scope_id`` ``None``: of the whole store."""
    where, values = ("", ()) if scope_id is None else (" AND scope = ?", (scope_id,))

    def count(table: str, condition: str = "1") -> int:
        query = f"SELECT count(*) FROM {table} WHERE {condition}{where}"
        return int(connection.execute(query, values).fetchone()[0])

    units = count("items", "kind = 'unit'")
    events = connection.execute(
        "SELECT CASE WHEN status IN ('pending', 'leased', 'done', 'failed') THEN status"
        f" ELSE 'damaged' END AS name, count(*) FROM events WHERE 1{where} GROUP BY name",
        values,
    ).fetchall()
    failed = f"FROM events WHERE status = 'failed'{where}"
    given_up, due = connection.execute(
        f"SELECT ifnull(sum(expires IS NULL), 0), min({DUE}) {failed}", values
    ).fetchone()
    last = connection.execute(
        f"SELECT CAST(error AS BLOB) {failed} ORDER BY id DESC LIMIT 1", values
    ).fetchone()
    (scopes,) = connection.execute(
        "SELECT count(*) FROM scopes" + ("" if scope_id is None else " WHERE id = ?"), values
    ).fetchone()
    return Status(
        turns=count("items") - units,
        units=units,
        events=dict(events),
        unsegmented=count("items", "kind = 'turn' AND event IS NULL"),
        unembedded=count("items", "embedded = 0"),
        sessions=count("sessions"),
        scopes=scopes,
        given_up=given_up,
        next_try=None if due is None else datetime.fromtimestamp(due, UTC),
        last_error=None if last is None or last[0] is None else last[0].decode("utf-8", "replace"),
    )
