"""Turns and units: adding, reading, listing."""

from __future__ import annotations

import sqlite3
import time as clock
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from hymem.conditions import conditions, met
from hymem.errors import EncoderError, SaidMeanwhileError
from hymem.messages import clean_text
from hymem.stores.base import NewTurn, NewUnit, Status
from hymem.stores.core import Core
from hymem.stores.damage import MOST_TURNS, damaged
from hymem.stores.rows import (
    FROM_ITEMS,
    KEY_TABLES,
    TURN_COLUMNS,
    UNIT_COLUMNS,
    chunks,
    clean,
    ids_to_blob,
    is_id,
    keys_to_blob,
    marks,
    metadata_from_text,
    metadata_to_text,
    passages_to_blobs,
    seconds_of,
    terms_blob,
    time_to_text,
    turn_from_row,
    units_from_rows,
)
from hymem.stores.tables.past import KNOWN
from hymem.types import Filter, Scope, Turn, Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.stores.base import NewPassage, TokenIds

INSERT_TURN = """
INSERT INTO items (scope, kind, session, position, speaker, time, seconds, tokens, role, source_id,
                   recalled, embedded, created, terms, metadata, text, lexical, spans)
VALUES (?, 'turn', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_UNIT = """
INSERT INTO items (scope, kind, session, position, event, time, seconds, tokens, fact,
                   superseded_by, duplicate_of, embedded, created, terms, metadata, text, lexical)
VALUES (?, 'unit', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
# When a failed event is tried again, in seconds since 1970.
DUE = "CASE WHEN typeof(expires) IN ('real', 'integer') AND expires < 1e11 THEN expires END"


class Items(Core):
    def add_turns(
        self, scope: Scope, turns: Sequence[NewTurn], *, new: Collection[str] = ()
    ) -> list[int]:
        if not turns:
            return []
        new = set(new)
        # Everything slow happens before the transaction, which other writers wait for.
        prepared = [prepare(turn, self.dim) for turn in turns]
        ids = []
        with self._db.write() as connection:
            self._check_encoder(connection)
            scope_id = self._make_scope(connection, scope)
            position = self._next_position(connection, scope_id)
            numbers: dict[tuple[str, str], int] = {}

            def number(table: str, name: str) -> int:
                if (table, name) not in numbers:
                    numbers[table, name] = self._number(
                        connection, table, scope_id, clean_text(name)
                    )
                return numbers[table, name]

            for turn, values in zip(turns, prepared, strict=True):
                known = self._known_source(connection, scope_id, turn.source_id)
                if known is not None:
                    if clean(turn.source_id) in new:
                        raise SaidMeanwhileError(f"a message with the id {turn.source_id!r}")
                    ids.append(known)
                    continue
                new.discard(clean(turn.source_id) or "")  # it may come twice in this list
                session = number("sessions", turn.session_id)
                speaker = number("speakers", turn.speaker)
                row = (scope_id, session, position, speaker, *values)
                item_id = int(connection.execute(INSERT_TURN, row).lastrowid or 0)
                if turn.vectors is not None:
                    put_keys(connection, item_id, turn.vectors, turn.token_ids)
                ids.append(item_id)
                position += 1
            connection.execute(
                "UPDATE scopes SET next_position = ?, version = version + 1 WHERE id = ?",
                (position, scope_id),
            )
        return ids

    def turns(self, scope: Scope, ids: Sequence[int]) -> list[Turn]:
        with self._db.read() as connection:
            rows = self._by_id(connection, scope, "turn", TURN_COLUMNS, ids)
        found = {row[0]: turn_from_row(row) for row in rows}
        return [found[item_id] for item_id in ids if item_id in found]

    def units(self, scope: Scope, ids: Sequence[int]) -> list[Unit]:
        with self._db.read() as connection:
            rows = self._by_id(connection, scope, "unit", UNIT_COLUMNS, ids)
            found = {unit.id: unit for unit in units_from_rows(connection, rows)}
        return [found[item_id] for item_id in ids if item_id in found]

    def list_turns(
        self,
        scope: Scope,
        where: Filter | None = None,
        *,
        limit: int | None = None,
        after_id: int = 0,
    ) -> list[Turn]:
        with self._db.read() as connection:
            rows = self._list(connection, scope, "turn", TURN_COLUMNS, where, limit, after_id)
        return [turn_from_row(row) for row in rows]

    def list_units(
        self,
        scope: Scope,
        where: Filter | None = None,
        *,
        limit: int | None = None,
        after_id: int = 0,
    ) -> list[Unit]:
        with self._db.read() as connection:
            rows = self._list(connection, scope, "unit", UNIT_COLUMNS, where, limit, after_id)
            return units_from_rows(connection, rows)

    def without_vectors(self) -> list[Scope]:
        with self._db.read() as connection:
            return self._scopes(connection, "id IN (SELECT scope FROM items WHERE embedded = 0)")

    def unembedded(self, scope: Scope, limit: int, *, after_id: int = 0) -> list[Turn | Unit]:
        with self._db.read() as connection:
            rows = connection.execute(
                "SELECT id, kind FROM items WHERE scope = ? AND embedded = 0 AND id > ?"
                " ORDER BY id LIMIT ?",
                (self._scope_id(connection, scope), after_id, limit),
            ).fetchall()
            return [self._described(connection, item_id, kind) for item_id, kind in rows]

    def set_vectors(
        self,
        scope: Scope,
        keys: Sequence[
            tuple[Turn | Unit, NDArray[np.float32], TokenIds | None, Sequence[NewPassage]]
        ],
    ) -> None:
        for _, vectors, token_ids, passages in keys:
            check_keys(vectors, self.dim, token_ids, passages)
        with self._db.write() as connection:
            self._check_encoder(connection)
            scope_id = self._scope_id(connection, scope)
            if scope_id is None:
                return
            for item, vectors, token_ids, passages in keys:
                waiting = connection.execute(
                    "UPDATE items SET embedded = 1"
                    " WHERE id = ? AND scope = ? AND embedded = 0 AND text = ?",
                    (item.id, scope_id, item.text),
                )
                if waiting.rowcount:
                    put_keys(connection, item.id, vectors, token_ids)
                    _put_passages(connection, item.id, passages)
                    self._changed(connection, scope_id, item.id)
            self._touch(connection, scope_id)

    def said_before(
        self, scope: Scope, source_ids: Sequence[str]
    ) -> dict[str, tuple[Turn, list[str]]]:
        found = {}
        with self._db.read() as connection:
            scope_id = self._scope_id(connection, scope)
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

    def scopes(self) -> list[Scope]:
        with self._db.read() as connection:
            return self._scopes(connection)

    def status(self, scope: Scope | None = None) -> Status:
        with self._db.read() as connection:
            scope_id = None if scope is None else self._scope_id(connection, scope) or -1
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
                "SELECT count(*) FROM scopes" + ("" if scope_id is None else " WHERE id = ?"),
                values,
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
                last_error=None
                if last is None or last[0] is None
                else last[0].decode("utf-8", "replace"),
            )

    def _insert_unit(
        self,
        connection: sqlite3.Connection,
        scope_id: int,
        event: tuple[int | None, int],
        position: int,
        unit: NewUnit,
        created: float | None = None,
    ) -> int:
        """``event``: its id and its session's. ``position``: that of the unit's first turn.
        ``created``: when it was added, if not now."""
        text, lexical = clean_text(unit.text), clean_text(unit.lexical)
        event_id, session = event
        made = connection.execute(
            _INSERT_UNIT,
            (
                scope_id,
                session,
                position,
                event_id,
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
        return unit_id

    def _next_position(self, connection: sqlite3.Connection, scope_id: int) -> int:
        query = "SELECT next_position FROM scopes WHERE id = ?"
        (position,) = connection.execute(query, (scope_id,)).fetchone()
        if not isinstance(position, int) or not 0 <= position < MOST_TURNS:
            raise damaged(f"scope {scope_id}", "next position")
        return position

    def _known_source(
        self, connection: sqlite3.Connection, scope_id: int, source_id: str | None
    ) -> int | None:
        if source_id is None:
            return None
        row = connection.execute(
            "SELECT id FROM items WHERE scope = ? AND source_id = ?",
            (scope_id, clean_text(source_id)),
        ).fetchone()
        return None if row is None else int(row[0])

    def _described(self, connection: sqlite3.Connection, item_id: int, kind: str) -> Turn | Unit:
        columns = TURN_COLUMNS if kind == "turn" else UNIT_COLUMNS
        query = f"SELECT {columns} {FROM_ITEMS} WHERE i.id = ?"
        rows = connection.execute(query, (item_id,)).fetchall()
        if not rows:
            raise damaged(f"memory {item_id}", "session")
        return turn_from_row(rows[0]) if kind == "turn" else units_from_rows(connection, rows)[0]

    def _by_id(
        self,
        connection: sqlite3.Connection,
        scope: Scope,
        kind: str | None,
        columns: str,
        ids: Sequence[int],
    ) -> list[Any]:
        """Of the scope's items with these ids; ``kind`` ``None``: of either kind."""
        scope_id = self._scope_id(connection, scope)
        rows: list[Any] = []
        for some in chunks([item_id for item_id in ids if is_id(item_id)]):
            query = f"SELECT {columns} {FROM_ITEMS} WHERE i.id IN ({marks(some)})"
            query += " AND +i.scope = ? AND i.kind = ifnull(?, i.kind)"
            rows += connection.execute(query, (*some, scope_id, kind)).fetchall()
        return rows

    def _list(
        self,
        connection: sqlite3.Connection,
        scope: Scope,
        kind: str,
        columns: str,
        where: Filter | None,
        limit: int | None,
        after_id: int,
    ) -> list[Any]:
        where = where or Filter()
        if where.kind not in (None, kind):
            return []
        scope_id = self._scope_id(connection, scope)
        condition, values = self._condition(connection, scope_id, where)
        condition += " AND i.kind = :kind AND i.id > :after_id"
        values |= {"kind": kind, "after_id": after_id}
        if where.metadata:
            found = self._met(connection, condition, values, where.metadata)
            ids = list(islice(found, limit))
            return sorted(self._by_id(connection, scope, kind, columns, ids), key=itemgetter(0))
        query = f"SELECT {columns} {FROM_ITEMS} WHERE {condition} ORDER BY i.id"
        return list(islice(connection.execute(query, values), limit))

    def _met(
        self,
        connection: sqlite3.Connection,
        condition: str,
        values: Mapping[str, Any],
        metadata: Mapping[str, Any],
    ) -> Iterator[int]:
        """By id, the items of which ``condition`` holds and whose metadata, of units that of their
        turns too, passes."""
        wanted = conditions(metadata)
        verdicts: dict[tuple[str, ...], bool] = {}  # most metadata comes again and again
        rows = connection.execute(
            "SELECT i.id, i.metadata, ifnull(t.metadata, '') FROM items i"
            " LEFT JOIN sources ON unit = i.id LEFT JOIN items t ON t.id = turn"
            f" WHERE {condition} ORDER BY i.id",
            values,
        )
        for item_id, group in groupby(rows, key=itemgetter(0)):
            texts = tuple(dict.fromkeys(text for _, *both in group for text in both))
            if texts not in verdicts:
                verdicts[texts] = met(wanted, [metadata_from_text(text) for text in texts])
            if verdicts[texts]:
                yield item_id

    def _condition(
        self, connection: sqlite3.Connection, scope_id: int | None, where: Filter
    ) -> tuple[str, dict[str, Any]]:
        """All of a filter but its kind and its metadata, as SQL on rows ``i``, with its values."""
        values = {
            "scope": scope_id,
            "after": seconds_of(where.after),
            "before": seconds_of(where.before),
            "moment": seconds_of(where.as_of),
        }
        condition = "i.scope = :scope"
        for name, clause in (
            ("after", "i.seconds >= :after"),
            ("before", "i.seconds <= :before"),
            ("moment", KNOWN),
        ):
            if values[name] is not None:
                condition += f" AND {clause}"
        sessions = self._session_ids(connection, scope_id, where)
        if sessions is not None:
            condition += f" AND i.session IN ({','.join(map(str, sessions))})"
        return condition, values

    def _session_ids(
        self, connection: sqlite3.Connection, scope_id: int | None, where: Filter
    ) -> list[int] | None:
        """Of the sessions that a filter names, those that there are; ``None`` if it names none."""
        if where.session_id is None:
            return None
        given = [where.session_id] if isinstance(where.session_id, str) else where.session_id
        names = list({clean_text(name) for name in given})
        rows: list[tuple[int]] = []
        for some in chunks(names):
            query = f"SELECT id FROM sessions WHERE scope = ? AND name IN ({marks(some)})"
            rows += connection.execute(query, (scope_id, *some)).fetchall()
        return sorted(session for (session,) in rows)


def check_keys(
    vectors: NDArray[np.float32],
    dim: int,
    token_ids: TokenIds | None = None,
    passages: Sequence[NewPassage] = (),
) -> None:
    """Raises ``EncoderError`` unless ``vectors`` is ``[keys, dim]`` of finite numbers, and every
    key has its tokens if any has, and every passage its key."""
    import numpy as np

    if vectors.ndim != 2 or vectors.shape[1] != dim or not np.isfinite(vectors).all():
        raise EncoderError(
            f"the encoder returned an array of shape {vectors.shape}, or one with numbers that are "
            f"not finite; expected [keys, {dim}] of finite numbers"
        )
    if token_ids is not None and len(token_ids) != len(vectors):
        raise EncoderError(
            f"the encoder returned token ids of {len(token_ids)} texts for {len(vectors)}"
        )
    if passages and len(passages) != len(vectors):
        raise EncoderError(f"there are {len(vectors)} vectors for {len(passages)} passages")


def _put_passages(
    connection: sqlite3.Connection, item_id: int, passages: Sequence[NewPassage]
) -> None:
    """Store what a long text was cut into, if it was not known before."""
    if passages:
        connection.execute(
            "UPDATE items SET terms = ?, spans = ? WHERE id = ?",
            (*passages_to_blobs("", passages), item_id),
        )


def put_keys(
    connection: sqlite3.Connection,
    item_id: int,
    vectors: NDArray[np.float32],
    token_ids: TokenIds | None,
) -> None:
    """Store an item's keys; those of a re-embedding under way would be of its old text."""
    drop_keys(connection, item_id)
    insert_keys(connection, item_id, vectors, token_ids)


def drop_keys(connection: sqlite3.Connection, item_id: int) -> None:
    for table in KEY_TABLES:
        connection.execute(f"DELETE FROM {table} WHERE item = ?", (item_id,))


def insert_keys(
    connection: sqlite3.Connection,
    item_id: int,
    vectors: NDArray[np.float32],
    token_ids: TokenIds | None,
    prefix: str = "",
) -> None:
    """``prefix``: that of the tables, ``next_`` for those of a re-embedding."""
    connection.execute(
        f"INSERT OR REPLACE INTO {prefix}vectors VALUES (?, ?)", (item_id, keys_to_blob(vectors))
    )
    if token_ids is not None:
        connection.execute(
            f"INSERT OR REPLACE INTO {prefix}tokens VALUES (?, ?)",
            (item_id, ids_to_blob(token_ids)),
        )


def prepare(turn: NewTurn, dim: int, created: float | None = None) -> tuple[Any, ...]:
    """The columns of ``INSERT_TURN`` that need no database. ``created``: when it was added, if not
    now."""
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
