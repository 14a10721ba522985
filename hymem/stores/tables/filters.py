"""A ``Filter`` as SQL on the rows ``i`` of ``items``, and what it lets through in their order."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

from hymem.inputs.conditions import conditions, met
from hymem.inputs.messages import clean_text
from hymem.stores.rows import FROM_ITEMS, chunks, marks, metadata_from_text, seconds_of
from hymem.stores.tables.items import COLUMNS, rows_by_id
from hymem.stores.tables.past import KNOWN
from hymem.types import Filter, Kind


def listed(
    connection: sqlite3.Connection,
    scope_id: int | None,
    kind: Kind,
    where: Filter | None,
    limit: int | None,
    after_id: int,
) -> list[Any]:
    """The rows of a kind that ``where`` lets through, by id, beyond ``after_id``."""
    where = where or Filter()
    if where.kind not in (None, kind):
        return []
    condition, values = condition_of(connection, scope_id, where)
    condition += " AND i.kind = :kind AND i.id > :after_id"
    values |= {"kind": kind, "after_id": after_id}
    if where.metadata:
        found = meeting(connection, condition, values, where.metadata)
        ids = list(islice(found, limit))
        rows = rows_by_id(connection, scope_id, ids, COLUMNS[kind], kind)
        return sorted(rows, key=itemgetter(0))
    query = f"SELECT {COLUMNS[kind]} {FROM_ITEMS} WHERE {condition} ORDER BY i.id"
    return list(islice(connection.execute(query, values), limit))


def condition_of(
    connection: sqlite3.Connection, scope_id: int | None, where: Filter
) -> tuple[str, dict[str, Any]]:
    """All of a filter but its kind and its metadata, with its values."""
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
    sessions = session_ids(connection, scope_id, where)
    if sessions is not None:
        condition += f" AND i.session IN ({','.join(map(str, sessions))})"
    return condition, values


def session_ids(
    connection: sqlite3.Connection, scope_id: int | None, where: Filter
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


def meeting(
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
