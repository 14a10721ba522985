"""Values that HyMem cannot have written: told by name where they are read, before they do harm.

SQLite stores any value in any column. Whatever a damaged or crafted file holds ends here in a
``StoreError``, for the scope that it belongs to and no other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from struct import Struct
from typing import Any

from hymem.errors import StoreError

RESTORE = "HyMem did not write this; restore a backup, or delete the scope"
# More turns than a scope can have: an index has a place for each.
MOST_TURNS = 1 << 27

_NONE = type(None)
_TEXT, _WHOLE, _BYTES = (str, _NONE), (int, _NONE), (bytes, _NONE)
_COLUMNS: dict[str, tuple[tuple[str, Any], ...]] = {
    "turn": (
        ("id", int),
        ("role", str),
        ("speaker", str),
        ("text", str),
        ("time", _TEXT),
        ("session", str),
        ("position", int),
        ("source_id", _TEXT),
        ("metadata", str),
        ("tokens", int),
        ("spans", _BYTES),
    ),
    "unit": (
        ("id", int),
        ("text", str),
        ("time", _TEXT),
        ("event", _WHOLE),
        ("session", str),
        ("superseded_by", _WHOLE),
        ("duplicate_of", _WHOLE),
        ("metadata", str),
    ),
    "event": (
        ("id", int),
        ("session", str),
        ("time", _TEXT),
        ("status", str),
        ("attempts", int),
        ("error", _TEXT),
    ),
    "memory": (
        ("id", int),
        ("kind", str),
        ("session", int),
        ("speaker", _WHOLE),
        ("position", int),
        ("event", _WHOLE),
        ("seconds", (float, int, _NONE)),
        ("tokens", int),
        ("superseded_by", int),
        ("terms", bytes),
        ("vectors", _BYTES),
        ("token ids", _BYTES),
        ("spans", _BYTES),
    ),
    "change": (("id", int), ("event", str), ("text", _TEXT), ("at", (float, int))),
    "speaker": (("id", int), ("name", str)),
}
_TYPES = {kind: tuple(wanted for _, wanted in columns) for kind, columns in _COLUMNS.items()}
_SPAN = Struct("<4i")
_LARGE = 1 << 31


def damaged(where: str, field: str) -> StoreError:
    return StoreError(f"{where} cannot be read: its {field} is damaged; {RESTORE}")


def name_from_bytes(kind: str, name: bytes | None) -> str | None:
    """A text column's value, which SQLite calls ``kind``, from its bytes. Raises ``ValueError``."""
    if kind == "null":
        return None
    if kind != "text" or name is None:
        raise ValueError(f"{kind} is no name")
    return name.decode()


def is_undecodable(error: Exception) -> bool:
    """Whether Python could not read a text from SQLite. Its message quotes the text."""
    return isinstance(error, sqlite3.OperationalError) and not hasattr(error, "sqlite_errorname")


def check_types(kind: str, row: Sequence[Any]) -> None:
    """Raises ``StoreError`` naming the first value of ``row`` that has not its column's type. The
    first column is the id."""
    types = _TYPES[kind]
    if not all(map(isinstance, row, types)):
        for (name, wanted), value in zip(_COLUMNS[kind], row, strict=True):
            if not isinstance(value, wanted):
                raise damaged(f"{kind} {row[0]}", name)


def check_memory(row: Sequence[Any], dim: int, speakers: Collection[int]) -> None:
    """Raises ``StoreError`` unless the columns of an item, as an index reads them, agree with one
    another. ``speakers``: ids of the scope's."""
    check_types("memory", row)
    item_id, kind, session, speaker, position, _, _, tokens, _, terms, keys, ids, spans = row
    size = len(keys or b"")
    if not (  # in one expression: each item of a scope comes by here before its first search
        (kind == "unit" or (kind == "turn" and speaker in speakers))
        and 0 < session < _LARGE
        and 0 <= position < MOST_TURNS
        and 0 <= tokens < _LARGE
        and not len(terms) % 4
        and not size % (2 * dim)
        and (not ids or _ids_fit(ids, size // (2 * dim)))
        and (not spans or _spans_fit(spans, len(terms) // 4))
    ):
        raise damaged(f"memory {item_id}", "entry for the index")


def _ids_fit(ids: bytes, keys: int) -> bool:
    if len(ids) % 2 or keys == 1:
        return not len(ids) % 2
    counts = memoryview(ids[: 2 * keys]).cast("H")
    return len(ids) == 2 * (keys + sum(counts))


def _spans_fit(spans: bytes, terms: int) -> bool:
    if len(spans) % _SPAN.size:
        return False
    parts = list(_SPAN.iter_unpack(spans))
    return all(0 <= start <= end and min(rest) >= 0 for start, end, *rest in parts) and (
        sum(count for *_, count in parts) == terms
    )
