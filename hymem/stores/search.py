"""A search: a filter worked out on the tables, then on one scope's index in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hymem.inputs.conditions import conditions
from hymem.stores.rows import FROM_ITEMS, TURN_COLUMNS, chunks, marks, seconds_of, turn_from_row
from hymem.stores.tables.filters import session_ids
from hymem.stores.tables.past import current_ids
from hymem.types import Filter, Kind, Turn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.stores.index.scope import ScopeIndex


def allowed(
    connection: sqlite3.Connection,
    scope_id: int,
    index: ScopeIndex,
    where: Filter | None,
    kinds: Sequence[Kind],
) -> NDArray[np.bool_] | None:
    """``bool[rows]``: which rows of the index ``where`` lets through; ``None`` if all."""
    where = where or Filter()
    offered = set(kinds) & ({where.kind} if where.kind else {"turn", "unit"})
    ids: list[int] | None = None if offered else []
    moment = seconds_of(where.as_of)
    if moment is not None:
        past = current_ids(connection, scope_id, moment)
        ids = past if ids is None else sorted({*past}.intersection(ids))
    return index.allowed(
        kind=offered.pop() if len(offered) == 1 else None,
        sessions=session_ids(connection, scope_id, where),
        after=seconds_of(where.after),
        before=seconds_of(where.before),
        ids=ids,
        metadata=_with_metadata(connection, scope_id, index, where),
        hidden=moment is not None,
    )


def window(
    connection: sqlite3.Connection,
    scope_id: int,
    index: ScopeIndex,
    positions: Sequence[int],
    radius: int,
    where: Filter | None,
) -> list[Turn]:
    """See ``Store.window``."""
    where = where or Filter()
    moment = seconds_of(where.as_of)
    condition = "" if moment is None else " AND ifnull(i.seconds, i.created) <= ?"
    values = [] if moment is None else [moment]
    lasting = replace(where, as_of=None, kind=None)
    rows_allowed = allowed(connection, scope_id, index, lasting, ("turn",))
    ids = {
        int(item_id)
        for position in positions
        for item_id in index.turns_around(position, radius, rows_allowed)
    }
    rows: list[Any] = []
    for some in chunks(sorted(ids)):
        query = f"SELECT {TURN_COLUMNS} {FROM_ITEMS} WHERE i.id IN ({marks(some)})"
        rows += connection.execute(query + condition, (*some, *values)).fetchall()
    return sorted((turn_from_row(row) for row in rows), key=lambda turn: turn.position)


def _with_metadata(
    connection: sqlite3.Connection, scope_id: int, index: ScopeIndex, where: Filter
) -> NDArray[np.bool_] | None:
    """``bool[rows]``: which rows the filter's metadata lets through; ``None`` if all."""
    if not where.metadata:
        return None
    if index.metadata is None:
        from hymem.stores.index.metadata import MetadataIndex

        index.metadata = MetadataIndex()
    index.metadata.catch_up(connection, scope_id, index)
    return index.metadata.allowed(conditions(where.metadata), index)
