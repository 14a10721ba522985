"""What an export holds, checked, for ``Store.load``. Nothing has vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hymem.stores.base import NewTurn, NewUnit
from hymem.types import Scope


@dataclass(frozen=True, slots=True)
class OldTurn:
    """A turn of an export: its id and its event's there, and when it was added (seconds since
    1970)."""

    id: int
    event: int | None
    created: float
    turn: NewTurn


@dataclass(frozen=True, slots=True)
class OldEvent:
    """An event of an export, with the ids of its turns there."""

    id: int
    session_id: str
    time: datetime | None
    status: str
    attempts: int
    error: str | None
    turns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OldUnit:
    """A unit of an export: as ``OldTurn``; the unit's links are ids of the export too."""

    id: int
    event: int | None
    session_id: str
    created: float
    unit: NewUnit


@dataclass(frozen=True, slots=True)
class OldChange:
    """A line of an item's history in an export."""

    item: int
    event: str
    text: str | None
    at: float


@dataclass(frozen=True, slots=True)
class Imported:
    """What an export holds of one scope, checked (``hymem.exports.records``): turns in their order,
    units by id."""

    scope: Scope
    turns: Sequence[OldTurn]
    events: Sequence[OldEvent]
    units: Sequence[OldUnit]
    history: Sequence[OldChange]
