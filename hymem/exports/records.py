"""The records of an export, read back and checked.

A file may come from anywhere, so each field must hold what ``add`` and the extraction could have
written, and each link must lead to a record of the same scope. What follows from a text alone (its
tokens, its words) is not read but made anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from hymem.errors import InputError
from hymem.exports.fields import MOST, Fields
from hymem.inputs.messages import Said
from hymem.stores.base import NewUnit
from hymem.stores.exported import Imported, OldChange, OldEvent, OldTurn, OldUnit
from hymem.stores.transfer import FORMAT
from hymem.system.clock import Clock
from hymem.text.tokens import count_many
from hymem.types import Scope
from hymem.write.ingest import LONGEST_ERROR, new_turns

_STATUSES = ("pending", "leased", "done", "failed")
_CHANGES = ("add", "update", "supersede", "delete")


def parse(records: Iterable[tuple[int, Any]], clock: Clock) -> list[Imported]:
    """What the (line number, decoded line) pairs of an export hold, scope by scope.
    ``clock`` places times without a zone. Raises ``InputError`` naming the line and the field."""
    parts: dict[Scope, _Part] = {}
    items: dict[int, int] = {}
    events: dict[int, int] = {}
    first = True
    for line, record in records:
        fields = Fields(line, record, clock)
        kind = fields.choice("record", ("hymem", "turn", "event", "unit", "history"))
        if (kind == "hymem") != first:
            raise fields.wrong("record", "'hymem' in the first line, and in no other")
        if first:
            first = False
            if fields.whole("format", 1, MOST) > FORMAT:
                raise InputError("the export was written by a newer HyMem; upgrade hymem")
            continue
        if kind in ("turn", "unit"):
            fields.unique("id", fields.id("id"), items)
        elif kind == "event":
            fields.unique("id", fields.id("id"), events)
        parts.setdefault(fields.scope(), _Part()).take(kind, fields)
    if first:
        raise InputError("the file is empty; an export has at least one line")
    read = [part.imported(scope, items.keys()) for scope, part in parts.items()]
    return [part for part in read if part.turns]


class _Part:
    """The records of one scope."""

    def __init__(self) -> None:
        self._turns: dict[int, tuple[Fields, Said, int]] = {}
        self._events: dict[int, tuple[Fields, OldEvent]] = {}
        self._units: dict[int, tuple[Fields, OldUnit]] = {}
        self._history: list[tuple[Fields, OldChange]] = []
        self._positions: dict[int, int] = {}
        self._sources: dict[str, int] = {}

    def take(self, kind: str, fields: Fields) -> None:
        if kind == "turn":
            self._take_turn(fields)
        elif kind == "event":
            self._take_event(fields)
        elif kind == "unit":
            self._take_unit(fields)
        else:
            self._take_change(fields)

    def imported(self, scope: Scope, items: Collection[int]) -> Imported:
        """All of them, if every link leads to a record that it may lead to. ``items``: the ids of
        turns and units of all scopes."""
        for fields, event in self._events.values():
            self._check_event(fields, event)
        for fields, said, _ in self._turns.values():
            self._check_turn(fields, said)
        for fields, unit in self._units.values():
            self._check_unit(fields, unit)
        for fields, change in self._history:
            # Of a removed item only the history is left.
            mine = change.item in self._turns or change.item in self._units
            if change.item in items and not mine:
                raise fields.wrong("item", "an item of its scope")
        return Imported(
            scope,
            turns=self._new_turns(),
            events=[event for _, event in self._events.values()],
            units=self._new_units(),
            history=[change for _, change in self._history],
        )

    def _take_turn(self, fields: Fields) -> None:
        position = fields.whole("position", 0, MOST)
        fields.unique("position", position, self._positions)
        source_id = fields.text_or_none("source_id")
        if source_id is not None:
            fields.unique("source_id", source_id, self._sources)
        said = Said(
            role=fields.text("role"),
            speaker=fields.text("speaker"),
            text=fields.text("text", blank=False),
            time=fields.time("time"),
            session_id=fields.text("session_id"),
            source_id=source_id,
            metadata=fields.metadata("metadata"),
        )
        fields.moment("created")
        self._turns[fields.id("id")] = (fields, said, position)

    def _take_event(self, fields: Fields) -> None:
        status = fields.choice("status", _STATUSES)
        error = fields.text_or_none("error")
        event = OldEvent(
            id=fields.id("id"),
            session_id=fields.text("session_id"),
            time=fields.time("time"),
            status="pending" if status == "leased" else status,
            attempts=fields.whole("attempts", 0, MOST),
            error=None if error is None else error[:LONGEST_ERROR],
            turns=fields.ids("turns"),
        )
        self._events[event.id] = (fields, event)

    def _take_unit(self, fields: Fields) -> None:
        text = fields.text("text")
        unit = NewUnit(
            text=text,
            lexical=text,
            tokens=0,
            vector=None,
            time=fields.time("time"),
            source_turns=fields.ids("source_turns"),
            superseded_by=fields.id_or_none("superseded_by"),
            fact=fields.text_or_none("fact"),
            duplicate_of=fields.id_or_none("duplicate_of"),
            metadata=fields.metadata("metadata"),
        )
        old = OldUnit(
            id=fields.id("id"),
            event=fields.id_or_none("event"),
            session_id=fields.text("session_id"),
            created=fields.moment("created"),
            unit=unit,
        )
        self._units[old.id] = (fields, old)

    def _take_change(self, fields: Fields) -> None:
        change = OldChange(
            item=fields.id("item"),
            event=fields.choice("event", _CHANGES),
            text=fields.text_or_none("text"),
            at=fields.moment("at"),
        )
        self._history.append((fields, change))

    def _check_event(self, fields: Fields, event: OldEvent) -> None:
        for turn in event.turns:
            if turn not in self._turns:
                raise fields.wrong("turns", f"turns of its scope; {turn} is none")

    def _check_turn(self, fields: Fields, said: Said) -> None:
        event = fields.id_or_none("event")
        if event is None:
            return
        if event not in self._events or fields.id("id") not in self._events[event][1].turns:
            raise fields.wrong("event", "an event of its scope that names this turn")

    def _check_unit(self, fields: Fields, old: OldUnit) -> None:
        turns = set(self._turns)
        if old.event is not None:
            if old.event not in self._events:
                raise fields.wrong("event", "an event of its scope")
            event = self._events[old.event][1]
            if event.session_id != old.session_id:
                raise fields.wrong("session_id", "that of its event")
            turns = set(event.turns)
        if not turns >= set(old.unit.source_turns):
            raise fields.wrong("source_turns", "turns of its scope and event")
        for name in ("superseded_by", "duplicate_of"):
            linked = fields.id_or_none(name)
            if linked is not None and (linked == old.id or linked not in self._units):
                raise fields.wrong(name, "another unit of its scope")

    def _new_turns(self) -> list[OldTurn]:
        ordered = sorted(self._turns.values(), key=lambda one: one[2])
        turns = new_turns([said for _, said, _ in ordered], [None] * len(ordered))
        return [
            OldTurn(fields.id("id"), fields.id_or_none("event"), fields.moment("created"), turn)
            for (fields, _, _), turn in zip(ordered, turns, strict=True)
        ]

    def _new_units(self) -> list[OldUnit]:
        ordered = [self._units[item_id][1] for item_id in sorted(self._units)]
        tokens = count_many([old.unit.text for old in ordered])
        return [
            replace(old, unit=replace(old.unit, tokens=count))
            for old, count in zip(ordered, tokens, strict=True)
        ]
