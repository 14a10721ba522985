"""The metadata of one scope in memory, so that a filter on it reads no row of the database.

Per key: the rows that have it and which of its distinct values they have. A condition is tried
once on each distinct value. It is filled when first needed, since many never filter by metadata.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hymem.inputs.conditions import Condition, Test
from hymem.stores.index.columns import Column
from hymem.stores.rows import metadata_from_text

if TYPE_CHECKING:
    from hymem.stores.index.scope import ScopeIndex

_ROWS_AT_ONCE = 4096
_BYTES_PER_VALUE = 150


class _Key:
    def __init__(self) -> None:
        self.rows = Column(np.int32)
        self.codes = Column(np.int32)
        self.values: list[Any] = []
        self._code_of: dict[tuple[type, Any], int] = {}

    def code(self, value: Any) -> int:
        simple = not isinstance(value, (list, dict))
        name = (type(value), value if simple else json.dumps(value, sort_keys=True))
        code = self._code_of.setdefault(name, len(self.values))
        if code == len(self.values):
            self.values.append(value)
        return code

    def passing(self, tests: Sequence[Test]) -> NDArray[np.bool_]:
        """``bool[values]``: those that pass all tests."""
        passed = np.ones(len(self.values), np.bool_)
        for test in tests:
            passed &= np.fromiter(map(test, self.values), np.bool_)
        return passed


class MetadataIndex:
    """Rows are those of the scope's index."""

    def __init__(self) -> None:
        self._keys: dict[str, _Key] = {}
        self._last_item = 0

    @property
    def nbytes(self) -> int:
        return sum(
            key.rows.nbytes + key.codes.nbytes + _BYTES_PER_VALUE * len(key.values)
            for key in self._keys.values()
        )

    def catch_up(self, connection: sqlite3.Connection, scope_id: int, index: ScopeIndex) -> None:
        """Add what was stored since the last call. Metadata never changes; what is removed, the
        index lets go of as a whole."""
        # This view of the database may be older than the index.
        (last,) = connection.execute(
            "SELECT ifnull(max(id), 0) FROM items WHERE scope = ?", (scope_id,)
        ).fetchone()
        found = connection.execute(
            "SELECT id, metadata FROM items WHERE scope = ? AND id > ? AND metadata <> ''"
            " ORDER BY id",
            (scope_id, self._last_item),
        )
        while some := found.fetchmany(_ROWS_AT_ONCE):
            ids = np.array([item_id for item_id, _ in some], np.int64)
            self._append(np.searchsorted(index.id.view, ids), [text for _, text in some])
        self._last_item = max(self._last_item, last)

    def allowed(self, wanted: Sequence[Condition], index: ScopeIndex) -> NDArray[np.bool_]:
        """``bool[rows]``: which rows meet all conditions, units by the turns they rest on too."""
        passing = np.ones(index.id.size, np.bool_)
        units = np.flatnonzero(index.is_unit.view)
        turns, owner = index.source_rows(units)
        for condition in wanted:
            if condition.holds:
                held = self._rows_with(condition.key, condition.holds, index.id.size)
                held[units[owner[held[turns]]]] = True
                passing &= held
            for test in condition.denies:
                denied = self._rows_with(condition.key, [test], index.id.size)
                denied[units[owner[denied[turns]]]] = True
                passing &= ~denied
        return passing

    def _rows_with(self, name: str, tests: Sequence[Test], count: int) -> NDArray[np.bool_]:
        """``bool[rows]``: those whose own value there passes all tests."""
        rows = np.zeros(count, np.bool_)
        key = self._keys.get(name)
        if key is not None:
            rows[key.rows.view] = key.passing(tests)[key.codes.view]
        return rows

    def _append(self, rows: NDArray[np.int64], texts: Sequence[str]) -> None:
        pairs: dict[str, tuple[list[int], list[int]]] = {}
        known: dict[str, list[tuple[str, int]]] = {}
        for row, text in zip(rows.tolist(), texts, strict=True):
            if text not in known:
                known[text] = [
                    (name, self._keys.setdefault(name, _Key()).code(value))
                    for name, value in metadata_from_text(text).items()
                ]
            for name, code in known[text]:
                places, codes = pairs.setdefault(name, ([], []))
                places.append(row)
                codes.append(code)
        for name, (places, codes) in pairs.items():
            self._keys[name].rows.extend(np.array(places, np.int32))
            self._keys[name].codes.extend(np.array(codes, np.int32))
