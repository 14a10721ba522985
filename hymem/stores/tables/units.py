"""Units: added with their sources, superseded, and found by the fact that they state."""

from __future__ import annotations

import sqlite3
import time as clock
from collections.abc import Sequence

from hymem.inputs.messages import clean_text
from hymem.stores.base import NewUnit
from hymem.stores.rows import (
    FROM_ITEMS,
    UNIT_COLUMNS,
    clean,
    metadata_to_text,
    seconds_of,
    terms_blob,
    time_to_text,
    units_from_rows,
)
from hymem.stores.tables.filters import condition_of, meeting
from hymem.stores.tables.history import mark_changed, record_change
from hymem.stores.tables.keys import put_keys
from hymem.stores.tables.past import CURRENT
from hymem.types import Filter, Unit

_INSERT_UNIT = """
INSERT INTO items (scope, kind, session, position, event, time, seconds, tokens, fact,
                   superseded_by, duplicate_of, embedded, created, terms, metadata, text, lexical)
VALUES (?, 'unit', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def insert_unit(
    connection: sqlite3.Connection,
    place: tuple[int, int, int, int | None],
    unit: NewUnit,
    turns: Sequence[int],
    created: float | None = None,
) -> int:
    """``place``: scope, session, the position of the unit's first turn, and event. ``turns``: those
    it rests on. ``created``: when it was added, if not now."""
    text, lexical = clean_text(unit.text), clean_text(unit.lexical)
    made = connection.execute(
        _INSERT_UNIT,
        (
            *place,
            time_to_text(unit.time),
            seconds_of(unit.time),
            unit.tokens,
            clean(unit.fact),
            unit.superseded_by,
            unit.duplicate_of,
            unit.vector is not None,
            clock.time() if created is None else created,
            terms_blob(lexical),
            metadata_to_text(unit.metadata),
            text,
            None if lexical == text else lexical,
        ),
    )
    unit_id = int(made.lastrowid or 0)
    if unit.vector is not None:
        put_keys(connection, unit_id, unit.vector[None], unit.token_ids)
    connection.executemany("INSERT INTO sources VALUES (?, ?)", [(unit_id, turn) for turn in turns])
    return unit_id


def supersede(connection: sqlite3.Connection, scope_id: int, older: int, newer: int) -> None:
    """Hide a unit behind a newer one, unless it is hidden already."""
    row = connection.execute(
        "UPDATE items SET superseded_by = ? WHERE id = ? AND scope = ? AND kind = 'unit'"
        " AND superseded_by IS NULL RETURNING text",
        (newer, older, scope_id),
    ).fetchone()
    if row is not None:
        record_change(connection, scope_id, older, "supersede", row[0])
        mark_changed(connection, scope_id, older)


def current_facts(
    connection: sqlite3.Connection, scope_id: int | None, facts: Sequence[str], where: Filter
) -> dict[str, list[Unit]]:
    """See ``Store.current_facts``."""
    current: dict[str, list[Unit]] = {}
    if where.kind == "turn":
        return current
    holds = CURRENT if where.as_of else "i.superseded_by IS NULL AND i.duplicate_of IS NULL"
    condition, values = condition_of(connection, scope_id, where)
    condition += f" AND i.fact = :fact AND {holds}"
    for fact in facts:
        values["fact"] = clean(fact)
        rows = connection.execute(
            f"SELECT {UNIT_COLUMNS} {FROM_ITEMS} WHERE {condition}"
            " ORDER BY i.seconds IS NOT NULL, i.seconds, i.id",
            values,
        ).fetchall()
        passing = set(meeting(connection, condition, values, where.metadata))
        rows = [row for row in rows if row[0] in passing]
        if rows:
            current[fact] = units_from_rows(connection, rows)
    return current
