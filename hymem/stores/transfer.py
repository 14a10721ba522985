"""Export and import as JSONL records, and backups."""

from __future__ import annotations

import sqlite3
import time as clock
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hymem.errors import InputError
from hymem.messages import clean_text
from hymem.stores.items import Items, terms_blob
from hymem.stores.rows import (
    FROM_ITEMS,
    metadata_from_text,
    metadata_to_text,
    seconds_of,
    sources_of,
    time_from_text,
)
from hymem.types import Scope

FORMAT = 1
_ITEM_COLUMNS = (
    "id kind position event time tokens role speaker source_id recalled fact superseded_by"
    " duplicate_of created metadata text lexical"
)
_ITEM_FIELDS = _ITEM_COLUMNS.split()
_INSERT_ITEM = """
INSERT INTO items (scope, session, position, kind, event, time, seconds, tokens, role, speaker,
                   source_id, recalled, fact, embedded, created, terms, metadata, text, lexical)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?)
"""


_MALFORMED = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    sqlite3.IntegrityError,
)
_STATUSES = ("pending", "leased", "done", "failed")
# What SQLite would store in any case and what would break every later search.
_FIELDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(
        ("id", "position", "tokens", "attempts", "recalled"),
        lambda value: isinstance(value, int) and 0 <= value < 1 << 63,
    ),
    **dict.fromkeys(("created", "at"), lambda value: isinstance(value, (int, float))),
    **dict.fromkeys(
        ("role", "fact", "error"), lambda value: value is None or isinstance(value, str)
    ),
    "status": lambda value: value in _STATUSES,
}


class Transfer(Items):
    def dump(self, scope: Scope | None = None) -> Iterator[Mapping[str, Any]]:
        yield {"record": "hymem", "format": FORMAT}
        for one in self.scopes() if scope is None else [scope]:
            with self._db.read() as connection:
                scope_id = self._scope_id(connection, one)
                if scope_id is None:
                    continue
                who = {"user_id": one.user_id, "agent_id": one.agent_id}
                for record in self._dump_scope(connection, scope_id):
                    yield {"record": record.pop("record"), **who, **record}

    def load(self, records: Iterator[Mapping[str, Any]]) -> int:
        with self._db.write() as connection:
            loader = _Loader(self, connection)
            for number, record in enumerate(records, 1):
                try:
                    _check(record)
                    loader.take(record)
                except _MALFORMED as error:
                    if isinstance(error, InputError):
                        raise
                    raise InputError(
                        f"record {number} is no HyMem record ({type(error).__name__}: {error}); "
                        "nothing was imported"
                    ) from error
            return loader.finish()

    def backup(self, path: str) -> None:
        self._db.backup(path)

    def _dump_scope(
        self, connection: sqlite3.Connection, scope_id: int
    ) -> Iterator[dict[str, Any]]:
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


def _check(record: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` for a value that no export holds."""
    for name, fits in _FIELDS.items():
        if name in record and not fits(record[name]):
            raise ValueError(f"{name} is {record[name]!r}")


def _record(kind: str, session: str, values: list[Any]) -> dict[str, Any]:
    record = dict(zip(_ITEM_FIELDS, values, strict=True))
    record.pop("kind")
    metadata = metadata_from_text(record.pop("metadata"))
    held = {key: value for key, value in record.items() if value is not None}
    return {"record": kind, "session_id": session, "metadata": metadata, **held}


class _Loader:
    """Takes records in the order of ``dump`` and gives every item and event a new id."""

    def __init__(self, store: Items, connection: sqlite3.Connection) -> None:
        self._store = store
        self._connection = connection
        self._items: dict[int, int] = {}
        self._events: dict[int, int] = {}
        self._known: set[int] = set()  # turns that the store had already
        self._links: list[tuple[str, int, int]] = []
        self._covering: dict[int, int] = {}  # new turn id -> old event id
        self._base: dict[int, int] = {}  # scope id -> position of the first imported turn

    def take(self, record: Mapping[str, Any]) -> None:
        kind = record["record"]
        if kind == "hymem":
            if record["format"] > FORMAT:
                raise InputError("the export was written by a newer HyMem; upgrade hymem")
            return
        scope = Scope(record["user_id"], record["agent_id"])
        scope_id = self._store._make_scope(self._connection, scope)
        if scope_id not in self._base:
            self._base[scope_id] = self._store._next_position(self._connection, scope_id)
        take = {"turn": self._turn, "event": self._event, "unit": self._unit}.get(kind)
        if take is not None:
            take(scope_id, record)
        elif kind == "history":
            self._history(scope_id, record)
        else:
            raise InputError(f"a record of the kind {kind!r} is unknown to this HyMem")

    def finish(self) -> int:
        """Resolve the links that pointed forward; how many turns and units were added."""
        for column, item, target in self._links:
            self._connection.execute(
                f"UPDATE items SET {column} = ? WHERE id = ?", (self._items.get(target), item)
            )
        for scope_id in self._base:
            self._connection.execute(
                "UPDATE scopes SET version = version + 1, next_position = max(next_position,"
                " (SELECT ifnull(max(position), -1) + 1 FROM items WHERE scope = scopes.id))"
                " WHERE id = ?",
                (scope_id,),
            )
        return len(set(self._items.values()) - self._known)

    def _turn(self, scope_id: int, record: Mapping[str, Any]) -> None:
        source = record.get("source_id")
        new = self._store._known_source(self._connection, scope_id, source)
        if new is not None:
            self._items[record["id"]] = new
            self._known.add(new)
        else:
            new = self._insert(scope_id, "turn", record, self._base[scope_id] + record["position"])
        if record.get("event") is not None:
            self._covering[new] = record["event"]

    def _event(self, scope_id: int, record: Mapping[str, Any]) -> None:
        turns = [self._items[turn] for turn in record["turns"]]
        covered = [turn for turn in turns if self._covers(record["id"], turn)]
        if not covered and self._known.intersection(turns):
            return  # The store has segmented these turns itself.
        status = "pending" if record["status"] == "leased" else record["status"]
        session = self._number("sessions", scope_id, record["session_id"])
        made = self._connection.execute(
            "INSERT INTO events (scope, session, time, status, attempts, error)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (scope_id, session, record["time"], status, record["attempts"], record["error"]),
        )
        new = int(made.lastrowid or 0)
        self._events[record["id"]] = new
        self._connection.executemany(
            "INSERT INTO event_turns VALUES (?, ?)", [(new, turn) for turn in turns]
        )
        self._connection.executemany(
            "UPDATE items SET event = ? WHERE id = ?", [(new, turn) for turn in covered]
        )

    def _covers(self, event: int, turn: int) -> bool:
        if self._covering.get(turn) != event:
            return False
        row = self._connection.execute("SELECT event FROM items WHERE id = ?", (turn,)).fetchone()
        return bool(row[0] is None)

    def _unit(self, scope_id: int, record: Mapping[str, Any]) -> None:
        event = record.get("event")
        if event is not None and event not in self._events:
            return
        new = self._insert(
            scope_id,
            "unit",
            record,
            self._base[scope_id] + record["position"],
            self._event_of(event),
        )
        self._connection.executemany(
            "INSERT INTO sources VALUES (?, ?)",
            [(new, self._items[turn]) for turn in record["source_turns"]],
        )
        for column in ("superseded_by", "duplicate_of"):
            if record.get(column) is not None:
                self._links.append((column, new, record[column]))

    def _event_of(self, event: int | None) -> int | None:
        return None if event is None else self._events[event]

    def _history(self, scope_id: int, record: Mapping[str, Any]) -> None:
        # The history of a removed item is its own tombstone and needs an id nobody else has.
        item = self._items.get(record["item"])
        if item is not None and item not in self._known:
            self._store._record(
                self._connection, scope_id, item, record["event"], record["text"], record["at"]
            )

    def _number(self, table: str, scope_id: int, name: str) -> int:
        return self._store._number(self._connection, table, scope_id, clean_text(name))

    def _insert(
        self,
        scope_id: int,
        kind: str,
        record: Mapping[str, Any],
        position: int,
        event: int | None = None,
    ) -> int:
        text = clean_text(record["text"])
        lexical = clean_text(record.get("lexical", text))
        session = self._number("sessions", scope_id, record["session_id"])
        speaker = None
        if kind == "turn":
            speaker = self._number("speakers", scope_id, record["speaker"])
        made = self._connection.execute(
            _INSERT_ITEM,
            (
                scope_id,
                session,
                position,
                kind,
                event,
                record.get("time"),
                seconds_of(time_from_text(record.get("time"))),
                record["tokens"],
                record.get("role"),
                speaker,
                record.get("source_id"),
                record.get("recalled", 0),
                record.get("fact"),
                record.get("created", clock.time()),
                terms_blob(lexical),
                metadata_to_text(record["metadata"]),
                text,
                None if lexical == text else lexical,
            ),
        )
        self._items[record["id"]] = int(made.lastrowid or 0)
        return self._items[record["id"]]
