"""Turns and units as rows: turns added, both read by id."""

from __future__ import annotations

import sqlite3
import time as clock
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from hymem.errors import SaidMeanwhileError
from hymem.inputs.messages import clean_text
from hymem.stores.damage import damaged
from hymem.stores.rows import (
    FROM_ITEMS,
    TURN_COLUMNS,
    UNIT_COLUMNS,
    chunks,
    clean,
    is_id,
    marks,
    metadata_to_text,
    passages_to_blobs,
    seconds_of,
    time_to_text,
    turn_from_row,
    unit_from_row,
)
from hymem.stores.tables.history import mark_changed
from hymem.stores.tables.keys import check_keys, put_keys, put_passages
from hymem.stores.tables.names import name_id, next_position, touch
from hymem.types import Kind, Turn, Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.stores.base import NewPassage, NewTurn, TokenIds

COLUMNS: dict[Kind, str] = {"turn": TURN_COLUMNS, "unit": UNIT_COLUMNS}

_INSERT_TURN = """
INSERT INTO items (scope, kind, session, position, speaker, time, seconds, tokens, role, source_id,
                   recalled, embedded, created, terms, metadata, text, lexical, spans)
VALUES (?, 'turn', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def prepare(turn: NewTurn, dim: int, created: float | None = None) -> tuple[Any, ...]:
    """The columns of a turn that need no database, for ``insert_turn``. ``created``: when it was
    added, if not now."""
    if turn.vectors is not None:
        check_keys(turn.vectors, dim, turn.token_ids, turn.passages)
    text, lexical = clean_text(turn.text), clean_text(turn.lexical)
    words, spans = passages_to_blobs(lexical, turn.passages)
    return (
        time_to_text(turn.time),
        seconds_of(turn.time),
        turn.tokens,
        clean_text(turn.role),
        clean(turn.source_id),
        turn.recalled,
        turn.vectors is not None,
        clock.time() if created is None else created,
        words,
        metadata_to_text(turn.metadata),
        text,
        None if lexical == text else lexical,
        spans,
    )


def insert_turn(
    connection: sqlite3.Connection, place: tuple[int, int, int, int], prepared: tuple[Any, ...]
) -> int:
    """``place``: scope, session, position and speaker, by their ids."""
    return int(connection.execute(_INSERT_TURN, (*place, *prepared)).lastrowid or 0)


def add_turns(
    connection: sqlite3.Connection,
    scope_id: int,
    turns: Sequence[NewTurn],
    prepared: Sequence[tuple[Any, ...]],
    new: Collection[str],
) -> list[int]:
    """See ``Store.add_turns``; ``prepared``: of each turn."""
    position = next_position(connection, scope_id)
    new = set(new)
    numbers: dict[tuple[str, str], int] = {}

    def number(table: str, name: str) -> int:
        if (table, name) not in numbers:
            numbers[table, name] = name_id(connection, table, scope_id, clean_text(name))
        return numbers[table, name]

    ids = []
    for turn, values in zip(turns, prepared, strict=True):
        known = known_source(connection, scope_id, turn.source_id)
        if known is not None:
            if clean(turn.source_id) in new:
                raise SaidMeanwhileError(f"a message with the id {turn.source_id!r}")
            ids.append(known)
            continue
        new.discard(clean(turn.source_id) or "")  # it may come twice in this list
        session = number("sessions", turn.session_id)
        speaker = number("speakers", turn.speaker)
        item_id = insert_turn(connection, (scope_id, session, position, speaker), values)
        if turn.vectors is not None:
            put_keys(connection, item_id, turn.vectors, turn.token_ids)
        ids.append(item_id)
        position += 1
    connection.execute(
        "UPDATE scopes SET next_position = ?, version = version + 1 WHERE id = ?",
        (position, scope_id),
    )
    return ids


def known_source(
    connection: sqlite3.Connection, scope_id: int, source_id: str | None
) -> int | None:
    """The turn with this id of the application's, if the scope has one."""
    if source_id is None:
        return None
    row = connection.execute(
        "SELECT id FROM items WHERE scope = ? AND source_id = ?",
        (scope_id, clean_text(source_id)),
    ).fetchone()
    return None if row is None else int(row[0])


def said_before(
    connection: sqlite3.Connection, scope_id: int | None, source_ids: Sequence[str]
) -> dict[str, tuple[Turn, list[str]]]:
    """See ``Store.said_before``."""
    found = {}
    for some in chunks(sorted({clean_text(source) for source in source_ids})):
        rows = connection.execute(
            f"SELECT {TURN_COLUMNS} {FROM_ITEMS}"
            f" WHERE i.source_id IN ({marks(some)}) AND i.scope = ?",
            (*some, scope_id),
        ).fetchall()
        for turn in map(turn_from_row, rows):
            texts = connection.execute(
                "SELECT text FROM history WHERE item = ? AND text IS NOT NULL", (turn.id,)
            ).fetchall()
            found[str(turn.source_id)] = (turn, [turn.text, *(text for (text,) in texts)])
    return found


def rows_by_id(
    connection: sqlite3.Connection,
    scope_id: int | None,
    ids: Sequence[int],
    columns: str,
    kind: Kind | None = None,
) -> list[Any]:
    """Of the scope's items with these ids; ``kind`` ``None``: of either kind."""
    rows: list[Any] = []
    for some in chunks([item_id for item_id in ids if is_id(item_id)]):
        query = f"SELECT {columns} {FROM_ITEMS} WHERE i.id IN ({marks(some)})"
        query += " AND +i.scope = ? AND i.kind = ifnull(?, i.kind)"
        rows += connection.execute(query, (*some, scope_id, kind)).fetchall()
    return rows


def item_of(connection: sqlite3.Connection, item_id: int, kind: str) -> Turn | Unit:
    """An item of any scope, which is there. Raises ``StoreError``."""
    columns = TURN_COLUMNS if kind == "turn" else UNIT_COLUMNS  # a damaged kind too
    row = connection.execute(f"SELECT {columns} {FROM_ITEMS} WHERE i.id = ?", (item_id,)).fetchone()
    if row is None:
        raise damaged(f"memory {item_id}", "session")
    return turn_from_row(row) if kind == "turn" else unit_from_row(connection, row)


def unembedded(
    connection: sqlite3.Connection, scope_id: int | None, limit: int, after_id: int
) -> list[Turn | Unit]:
    """See ``Store.unembedded``."""
    rows = connection.execute(
        "SELECT id, kind FROM items WHERE scope = ? AND embedded = 0 AND id > ?"
        " ORDER BY id LIMIT ?",
        (scope_id, after_id, limit),
    ).fetchall()
    return [item_of(connection, item_id, kind) for item_id, kind in rows]


def set_vectors(
    connection: sqlite3.Connection,
    scope_id: int,
    keys: Sequence[tuple[Turn | Unit, NDArray[np.float32], TokenIds | None, Sequence[NewPassage]]],
) -> None:
    """See ``Store.set_vectors``."""
    for item, vectors, token_ids, passages in keys:
        waiting = connection.execute(
            "UPDATE items SET embedded = 1"
            " WHERE id = ? AND scope = ? AND embedded = 0 AND text = ?",
            (item.id, scope_id, item.text),
        )
        if waiting.rowcount:
            put_keys(connection, item.id, vectors, token_ids)
            put_passages(connection, item.id, passages)
            mark_changed(connection, scope_id, item.id)
    touch(connection, scope_id)
