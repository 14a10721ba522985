"""Bringing a scope's index up to date from the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import numpy as np

from hymem.stores.damage import check_memory, check_types
from hymem.stores.index.passages import NewPassages
from hymem.stores.index.scope import Batch, ScopeIndex
from hymem.stores.rows import (
    counts_from_blob,
    ids_from_blob,
    keys_from_blob,
    sources_of,
)
from hymem.text.words import forget_words

_ITEM = """
SELECT id, kind, session, speaker, position, event, seconds, tokens,
       superseded_by IS NULL AND duplicate_of IS NULL, terms, keys, ids, spans
FROM items LEFT JOIN vectors v ON v.item = id LEFT JOIN tokens t ON t.item = id
"""
_ROWS_AT_ONCE = 4096


def version_of(connection: sqlite3.Connection, scope_id: int) -> int:
    """Grows with every change of the scope."""
    query = "SELECT version FROM scopes WHERE id = ?"
    return int(connection.execute(query, (scope_id,)).fetchone()[0])


def catch_up(connection: sqlite3.Connection, scope_id: int, index: ScopeIndex) -> None:
    """Apply what has happened since the index was last here.

    The index must be dropped if this raises, since it may then be half applied."""
    if not index.id.size:
        index.last_event = _last(connection, "id", "events", scope_id)
        index.last_change = _last(connection, "seq", "changes", scope_id)
    rows = connection.execute(
        "SELECT id, name FROM speakers WHERE scope = ? ORDER BY id", (scope_id,)
    ).fetchall()
    for row in rows:
        check_types("speaker", row)
    index.name_speakers(rows)
    speakers = {speaker for speaker, _ in rows}
    _append_items(connection, scope_id, index, speakers)
    _apply_events(connection, scope_id, index)
    _apply_changes(connection, scope_id, index, speakers)
    index.version = version_of(connection, scope_id)


def _last(connection: sqlite3.Connection, column: str, table: str, scope_id: int) -> int:
    query = f"SELECT ifnull(max({column}), 0) FROM {table} WHERE scope = ?"
    return int(connection.execute(query, (scope_id,)).fetchone()[0])


def _append_items(
    connection: sqlite3.Connection, scope_id: int, index: ScopeIndex, speakers: set[int]
) -> None:
    rows = connection.execute(
        f"{_ITEM} WHERE scope = ? AND id > ? ORDER BY id", (scope_id, index.last_item)
    )
    while some := rows.fetchmany(_ROWS_AT_ONCE):
        for row in some:
            check_memory(row, index.dim, speakers)
        index.append(_batch(connection, some, index.dim))


def _apply_events(connection: sqlite3.Connection, scope_id: int, index: ScopeIndex) -> None:
    rows = connection.execute(
        "SELECT e.id, i.id, i.event FROM events e JOIN event_turns t ON t.event = e.id"
        " JOIN items i ON i.id = t.turn WHERE e.scope = ? AND e.id > ?",
        (scope_id, index.last_event),
    ).fetchall()
    index.set_events([(turn, -1 if event is None else event) for _, turn, event in rows])
    index.last_event = max([index.last_event, *(row[0] for row in rows)])


def _apply_changes(
    connection: sqlite3.Connection, scope_id: int, index: ScopeIndex, speakers: set[int]
) -> None:
    rows = connection.execute(
        "SELECT max(seq), item FROM changes WHERE scope = ? AND seq > ? GROUP BY item",
        (scope_id, index.last_change),
    ).fetchall()
    for seq, item_id in rows:
        row = connection.execute(f"{_ITEM} WHERE id = ?", (item_id,)).fetchone()
        if row is None:  # perhaps deleted by another process, whose own words are not these
            forget_words()
        else:
            check_memory(row, index.dim, speakers)
        index.refresh(item_id, None if row is None else _batch(connection, [row], index.dim))
        index.last_change = max(index.last_change, seq)


def _batch(connection: sqlite3.Connection, rows: Sequence[Sequence[Any]], dim: int) -> Batch:
    (
        ids,
        kinds,
        sessions,
        speakers,
        positions,
        events,
        seconds,
        tokens,
        shown,
        words,
        keys,
        token_ids,
        spans,
    ) = zip(*rows, strict=True)
    sources = [
        sources_of(connection, item_id) if kind == "unit" else (item_id,)
        for item_id, kind in zip(ids, kinds, strict=True)
    ]
    return Batch(
        id=np.array(ids, np.int64),
        is_unit=np.array([kind == "unit" for kind in kinds]),
        shown=np.array(shown, np.bool_),
        session=np.array(sessions, np.int64),
        speaker=np.array([speaker or 0 for speaker in speakers], np.int64),
        position=np.array(positions, np.int64),
        event=np.array([-1 if event is None else event for event in events], np.int64),
        seconds=np.array(seconds, np.float64),
        tokens=np.array(tokens, np.int64),
        source_counts=np.array([len(turns) for turns in sources], np.int64),
        sources=np.array([turn for turns in sources for turn in turns], np.int64),
        passages=_passages(tokens, words, keys, token_ids, spans, dim),
    )


def _passages(
    tokens: Sequence[int],
    terms: Sequence[bytes],
    keys: Sequence[bytes | None],
    token_ids: Sequence[bytes | None],
    spans: Sequence[bytes | None],
    dim: int,
) -> NewPassages:
    """From the items' columns. Where an item has no spans, all its terms are the first passage's;
    where it has no vectors or no token ids yet, its passages have none."""
    counts, held, lengths, term_counts, id_counts, ids = [], [], [], [], [], []
    for size, words, blob, codes, places in zip(tokens, terms, keys, token_ids, spans, strict=True):
        known = len(blob or b"") // (2 * dim)
        sizes, of_each = counts_from_blob(places) if places else ([size], [len(words) // 4])
        count = max(known, len(of_each)) if words or known else 0
        counts.append(count)
        held.append((blob or b"").ljust(2 * dim * count, b"\0"))
        lengths += [*sizes, *[size] * (count - len(sizes))][:count]
        term_counts += [*of_each, *[0] * (count - len(of_each))][:count]
        coded, flat = ids_from_blob(codes, known)
        id_counts += [*coded, *[0] * (count - len(coded))]
        ids.append(flat)
    return NewPassages(
        counts=np.array(counts, np.int64),
        tokens=np.array(lengths, np.int64),
        term_counts=np.array(term_counts, np.int64),
        terms=np.frombuffer(b"".join(terms), np.uint32),
        keys=keys_from_blob(b"".join(held), dim),
        id_counts=np.array(id_counts, np.int64),
        token_ids=np.concatenate(ids),
    )
