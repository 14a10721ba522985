"""A scope as it was known at an earlier moment (``Filter.as_of``), as conditions on its rows.

A turn is known from when it was said (undated: from when it was added), a unit from when the last
of the turns that it rests on was. A unit counts as current until the one that supersedes it is
known.
"""

from __future__ import annotations

import sqlite3

_TURN_KNOWN = "ifnull({0}.seconds, {0}.created)"
_UNIT_KNOWN = (
    "(SELECT max(ifnull(said.seconds, said.created)) FROM sources"
    " JOIN items said ON said.id = turn WHERE unit = {0})"
)
_TURN = f"(i.kind = 'turn' AND {_TURN_KNOWN.format('i')} <= :moment)"
_UNIT = f"(i.kind = 'unit' AND {_UNIT_KNOWN.format('i.id')} <= :moment)"
_CURRENT = (
    "i.duplicate_of IS NULL AND (i.superseded_by IS NULL"
    f" OR {_UNIT_KNOWN.format('i.superseded_by')} > :moment)"
)

# Of the rows ``i`` of ``items``: what was known at ``:moment``, and of that what held then.
KNOWN = f"({_TURN} OR {_UNIT})"
CURRENT = f"({KNOWN} AND {_CURRENT})"


def current_ids(connection: sqlite3.Connection, scope_id: int, moment: float) -> list[int]:
    """Ids of the turns and units that a search at ``moment`` (seconds since 1970) could find."""
    rows = connection.execute(
        f"SELECT i.id FROM items i WHERE i.scope = :scope AND {CURRENT}",
        {"scope": scope_id, "moment": moment},
    )
    return [item_id for (item_id,) in rows]
