"""Exports and imports: a scope's rows as records, and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hymem.stores.damage import damaged
from hymem.stores.exported import Imported, OldChange, OldEvent, OldTurn, OldUnit
from hymem.stores.rows import FROM_ITEMS, metadata_from_text, sources_of, time_to_text
from hymem.stores.tables.events import enter_turns
from hymem.stores.tables.history import record_change
from hymem.stores.tables.items import insert_turn, known_source
from hymem.stores.tables.names import find_scope, make_scope, name_id, next_position, touch
from hymem.stores.tables.units import insert_unit
from hymem.types import Scope

FORMAT = 1
_ITEM_COLUMNS = (
    "id kind position event time tokens role speaker source_id recalled fact superseded_by"
    " duplicate_of created metadata text lexical"
)
_ITEM_FIELDS = _ITEM_COLUMNS.split()


HEAD: Mapping[str, Any] = {"record": "hymem", "format": FORMAT}


def dump_scope(connection: sqlite3.Connection, scope: Scope) -> Iterator[Mapping[str, Any]]:
    """The records of an export that are of this scope. Raises ``StoreError``."""
    scope_id = find_scope(connection, scope)
    if scope_id is None:
        return
    who = {"user_id": scope.user_id, "agent_id": scope.agent_id}
    for record in _records(connection, scope_id):
        _check_record(record)
        yield {"record": record.pop("record"), **who, **record}


def load_scope(
    connection: sqlite3.Connection, part: Imported, prepared: Sequence[tuple[Any, ...]]
) -> int:
    """Add what an export holds of one scope; how many turns and units were new. ``prepared``: of
    each turn (``tables.items.prepare``)."""
    return _Loader(connection, part.scope).load(part, prepared)


def _records(connection: sqlite3.Connection, scope_id: int) -> Iterator[dict[str, Any]]:
    names = {"speaker": "p.name"}
    columns = ", ".join(names.get(name, f"i.{name}") for name in _ITEM_FIELDS)
    items = f"SELECT s.name, {columns} {FROM_ITEMS}"
    items += " WHERE i.scope = ? AND i.kind = ? ORDER BY i.id"
    for session, *values in connection.execute(items, (scope_id, "turn")):
        yield _record("turn", session, values)
    for session, *values in connection.execute(
        "SELECT s.name, e.id, e.time, e.status, e.attempts, e.error FROM events e"
        " JOIN sessions s ON s.id = e.session WHERE e.scope = ? ORDER BY e.id",
        (scope_id,),
    ):
        record = dict(zip(("id", "time", "status", "attempts", "error"), values, strict=True))
        turns = connection.execute(
            "SELECT turn FROM event_turns WHERE event = ? ORDER BY turn", (record["id"],)
        )
        record["turns"] = [turn for (turn,) in turns]
        yield {"record": "event", "session_id": session, **record}
    for session, *values in connection.execute(items, (scope_id, "unit")):
        record = _record("unit", session, values)
        yield {**record, "source_turns": list(sources_of(connection, record["id"]))}
    for item, event, text, at in connection.execute(
        "SELECT item, event, text, at FROM history WHERE scope = ? ORDER BY id", (scope_id,)
    ):
        yield {"record": "history", "item": item, "event": event, "text": text, "at": at}


def _check_record(record: Mapping[str, Any]) -> None:
    """Raises ``StoreError`` for a value that JSON does not know."""
    for field, value in record.items():
        if isinstance(value, bytes):
            raise damaged(f"{record['record']} {record.get('id', record.get('item'))}", field)


def _record(kind: str, session: str, values: list[Any]) -> dict[str, Any]:
    record = dict(zip(_ITEM_FIELDS, values, strict=True))
    record.pop("kind")
    metadata = metadata_from_text(record.pop("metadata"))
    held = {key: value for key, value in record.items() if value is not None}
    return {"record": kind, "session_id": session, "metadata": metadata, **held}


class _Loader:
    """Adds one scope's part of an export, and gives every item and event a new id."""

    def __init__(self, connection: sqlite3.Connection, scope: Scope) -> None:
        self._connection = connection
        self._scope_id = make_scope(connection, scope)
        self._ids: dict[int, int] = {}  # of turns and units: in the export -> here
        self._added: set[int] = set()
        self._events: dict[int, int | None] = {}  # ``None``: the store has made its own

    def load(self, part: Imported, prepared: Sequence[tuple[Any, ...]]) -> int:
        self._ids |= self._known_turns(part.turns)
        self._add_turns(part.turns, prepared)
        homes = {old.id: old.event for old in part.turns}
        for event in part.events:
            self._add_event(event, homes)
        known = self._known_units()
        for unit in part.units:
            self._add_unit(unit, known)
        for unit in part.units:
            self._link(unit)
        for change in part.history:
            self._add_change(change)
        touch(self._connection, self._scope_id)
        return len(self._added)

    def _known_turns(self, turns: Sequence[OldTurn]) -> dict[int, int]:
        """The turns that the store has: those with the same ``source_id``, and of the others those
        added at the same moment in the same session by the same speaker. Where several were, the
        one with the same text first, for a text may have been updated since."""
        known = {}
        waiting: dict[tuple[Any, ...], list[OldTurn]] = {}
        for old in turns:
            if old.turn.source_id is None:
                key = (old.created, old.turn.session_id, old.turn.role, old.turn.speaker)
                waiting.setdefault(key, []).append(old)
                continue
            item_id = known_source(self._connection, self._scope_id, old.turn.source_id)
            if item_id is not None:
                known[old.id] = item_id
        for key, held in self._turns_added_at(waiting).items():
            for same_text in (True, False):
                for old in waiting[key]:
                    if old.id not in known:
                        found = (i for i, text in held.items() if text == old.turn.text)
                        item_id = next(found if same_text else iter(held), None)
                        if item_id is not None:
                            known[old.id] = item_id
                            del held[item_id]
        return known

    def _turns_added_at(
        self, keys: Collection[tuple[Any, ...]]
    ) -> dict[tuple[Any, ...], dict[int, str]]:
        """Id and text of the scope's turns without ``source_id`` that have one of the keys."""
        moments = {key[0] for key in keys}
        found: dict[tuple[Any, ...], dict[int, str]] = {}
        if not moments:
            return found
        rows = self._connection.execute(
            f"SELECT i.created, s.name, i.role, p.name, i.id {FROM_ITEMS}"
            " WHERE i.scope = ? AND i.kind = 'turn' AND i.source_id IS NULL ORDER BY i.id",
            (self._scope_id,),
        )
        for *key, item_id in rows:
            if key[0] in moments and tuple(key) in keys:
                (text,) = self._connection.execute(
                    "SELECT text FROM items WHERE id = ?", (item_id,)
                ).fetchone()
                found.setdefault(tuple(key), {})[item_id] = text
        return found

    def _add_turns(self, turns: Sequence[OldTurn], prepared: Sequence[tuple[Any, ...]]) -> None:
        position = next_position(self._connection, self._scope_id)
        for old, values in zip(turns, prepared, strict=True):
            if old.id not in self._ids:
                session = self._number("sessions", old.turn.session_id)
                speaker = self._number("speakers", old.turn.speaker)
                place = (self._scope_id, session, position, speaker)
                self._enter(old.id, insert_turn(self._connection, place, values))
                position += 1
        self._connection.execute(
            "UPDATE scopes SET next_position = ? WHERE id = ?", (position, self._scope_id)
        )

    def _add_event(self, old: OldEvent, homes: Mapping[int, int | None]) -> None:
        turns = [self._ids[turn] for turn in old.turns]
        covered = [
            self._ids[turn]
            for turn in old.turns
            if homes[turn] == old.id and self._is_free(self._ids[turn])
        ]
        if not covered and not self._added.issuperset(turns):
            self._events[old.id] = None
            return
        # A failed event is tried again at once.
        made = self._connection.execute(
            "INSERT INTO events (scope, session, time, status, attempts, error, expires)"
            " VALUES (?, ?, ?, ?, ?, ?, 0)",
            (
                self._scope_id,
                self._number("sessions", old.session_id),
                time_to_text(old.time),
                old.status,
                old.attempts,
                old.error,
            ),
        )
        event = self._events[old.id] = int(made.lastrowid or 0)
        enter_turns(self._connection, event, turns, covered)

    def _is_free(self, turn: int) -> bool:
        """Whether the turn belongs to no event yet."""
        row = self._connection.execute("SELECT event FROM items WHERE id = ?", (turn,)).fetchone()
        return bool(row[0] is None)

    def _known_units(self) -> dict[tuple[float, str], int]:
        """The scope's units without an event, by when they were added and their text."""
        rows = self._connection.execute(
            "SELECT created, text, id FROM items"
            " WHERE scope = ? AND kind = 'unit' AND event IS NULL",
            (self._scope_id,),
        )
        return {(created, text): item_id for created, text, item_id in rows}

    def _add_unit(self, old: OldUnit, known: Mapping[tuple[float, str], int]) -> None:
        event = None
        if old.event is not None:
            event = self._events[old.event]
            if event is None:
                return
        elif (old.created, old.unit.text) in known:
            self._ids[old.id] = known[old.created, old.unit.text]
            return
        turns = [self._ids[turn] for turn in old.unit.source_turns]
        (position,) = self._connection.execute(
            "SELECT position FROM items WHERE id = ?", (min(turns),)
        ).fetchone()
        session = self._number("sessions", old.session_id)
        unit = replace(old.unit, superseded_by=None, duplicate_of=None)
        place = (self._scope_id, session, position, event)
        self._enter(old.id, insert_unit(self._connection, place, unit, turns, old.created))

    def _link(self, old: OldUnit) -> None:
        """Once all units are there, for a link may point ahead."""
        item = self._ids.get(old.id)
        if item in self._added:
            targets = (old.unit.superseded_by, old.unit.duplicate_of)
            self._connection.execute(
                "UPDATE items SET superseded_by = ?, duplicate_of = ? WHERE id = ?",
                (*(None if one is None else self._ids.get(one) for one in targets), item),
            )

    def _add_change(self, old: OldChange) -> None:
        # The history of a removed item is its own tombstone and needs an id nobody else has.
        item = self._ids.get(old.item)
        if item is not None and item in self._added:
            record_change(self._connection, self._scope_id, item, old.event, old.text, old.at)

    def _enter(self, old: int, new: int) -> None:
        self._ids[old] = new
        self._added.add(new)

    def _number(self, table: str, name: str) -> int:
        return name_id(self._connection, table, self._scope_id, name)
