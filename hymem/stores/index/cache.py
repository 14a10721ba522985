"""Searching: the indexes in memory, kept abreast of the database."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hymem import forks
from hymem.conditions import conditions
from hymem.messages import as_utc
from hymem.stores.base import AskedTokens, Candidates, NewTurn
from hymem.stores.erase import owed
from hymem.stores.rows import (
    FROM_ITEMS,
    TURN_COLUMNS,
    chunks,
    is_id,
    keys_from_blob,
    marks,
    seconds_of,
    turn_from_row,
)
from hymem.stores.tables.items import Items, check_keys
from hymem.stores.tables.past import current_ids, older_texts
from hymem.text import forget_words, terms
from hymem.types import Filter, Kind, Scope, Turn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.stores.index.scope import ScopeIndex
    from hymem.stores.index.upkeep import Upkeep

# Indexes kept in memory; the least recently used go first.
INDEX_BYTES = 4 << 30
INDEX_COUNT = 4096
# After adding so many turns at once the index catches up at once, not in the next search.
_MANY_TURNS = 256


class Matching(Items):
    def __init__(self, path: str, **encoder: Any) -> None:
        super().__init__(path, **encoder)
        self._indexes: OrderedDict[Scope, tuple[int, ScopeIndex]] = OrderedDict()
        self._sizes: dict[Scope, int] = {}
        self._bytes = 0
        self._indexes_lock = threading.Lock()
        self._kept_up: Upkeep | None = None
        forks.watch(self)
        with self._db.read() as connection:
            left_behind = owed(connection) is not None
        # By a process that was killed, or whose way was blocked to its end.
        if left_behind and not self.read_only:
            self._upkeep.wipe_soon()

    def after_fork(self, calm: bool) -> None:
        """See ``hymem.forks``. Nobody was using an index, so the child may have them all."""
        self._indexes_lock = threading.Lock()
        for _, index in self._indexes.values():
            index.lock = threading.Lock()

    @property
    def _upkeep(self) -> Upkeep:
        from hymem.stores.index.upkeep import Upkeep

        with self._indexes_lock:
            if self._kept_up is None:
                self._kept_up = Upkeep(self._db, self._encoder)
            return self._kept_up

    def add_turns(
        self, scope: Scope, turns: Sequence[NewTurn], *, new: Collection[str] = ()
    ) -> list[int]:
        ids = super().add_turns(scope, turns, new=new)
        if len(turns) >= _MANY_TURNS:
            with self._index(scope):
                pass
        return ids

    def candidates(
        self,
        scope: Scope,
        vector: NDArray[np.float32] | None,
        query: str,
        limit: int,
        *,
        radius: int = 0,
        where: Filter | None = None,
        kinds: Sequence[Kind] = ("turn", "unit"),
        tokens: AskedTokens | None = None,
        sample: int = 0,
    ) -> Candidates:
        import numpy as np

        from hymem.stores.index.lexical import hash_terms

        hashes = hash_terms(terms(query))
        wanted = None if vector is None else np.asarray(vector, np.float32)
        if wanted is not None:
            check_keys(wanted[None], self.dim)
        with self._index(scope) as (connection, scope_id, index):
            allowed = self._allowed(connection, scope_id, index, where, kinds)
            return index.candidates(wanted, hashes, limit, radius, allowed, tokens, sample)

    def nearest_units(
        self, scope: Scope, vectors: NDArray[np.float32], limit: int
    ) -> list[list[tuple[int, float]]]:
        with self._index(scope) as (connection, scope_id, index):
            allowed = self._allowed(connection, scope_id, index, None, ("unit",))
            return [index.nearest(vector, limit, allowed) for vector in vectors]

    def window(
        self,
        scope: Scope,
        positions: Sequence[int],
        radius: int,
        *,
        where: Filter | None = None,
    ) -> list[Turn]:
        where = where or Filter()
        moment = seconds_of(where.as_of)
        condition = "" if moment is None else " AND ifnull(i.seconds, i.created) <= ?"
        values = [] if moment is None else [moment]
        with self._index(scope) as (connection, scope_id, index):
            lasting = replace(where, as_of=None, kind=None)
            allowed = self._allowed(connection, scope_id, index, lasting, ("turn",))
            ids = {
                int(item_id)
                for position in positions
                for item_id in index.turns_around(position, radius, allowed)
            }
            rows: list[Any] = []
            for some in chunks(sorted(ids)):
                query = f"SELECT {TURN_COLUMNS} {FROM_ITEMS} WHERE i.id IN ({marks(some)})"
                rows += connection.execute(query + condition, (*some, *values)).fetchall()
        return sorted((turn_from_row(row) for row in rows), key=lambda turn: turn.position)

    def older_texts(self, scope: Scope, ids: Sequence[int], as_of: datetime) -> Mapping[int, str]:
        with self._db.read() as connection:
            known = [row[0] for row in self._by_id(connection, scope, None, "i.id", ids)]
            return older_texts(connection, known, as_utc(as_of).timestamp())

    def vectors(self, scope: Scope, ids: Sequence[int]) -> NDArray[np.float32]:
        import numpy as np

        found: dict[int, NDArray[np.float32]] = {}
        with self._db.read() as connection:
            scope_id = self._scope_id(connection, scope)
            for some in chunks([item_id for item_id in ids if is_id(item_id)]):
                rows = connection.execute(
                    "SELECT item, keys FROM vectors JOIN items ON id = item"
                    f" WHERE item IN ({marks(some)}) AND +scope = ?",
                    (*some, scope_id),
                )
                found.update((item, keys_from_blob(keys, self.dim)) for item, keys in rows)
        means = np.zeros((len(ids), self.dim), np.float32)
        for row, item_id in enumerate(ids):
            if len(found.get(item_id, ())):
                means[row] = found[item_id].mean(axis=0)
        return means

    def close(self) -> None:
        """Save what a new process would otherwise have to build, and close the file. Safe to call
        twice."""
        with self._indexes_lock:
            held = dict(self._indexes.values())
            self._indexes.clear()
        if self._kept_up is not None:
            self._kept_up.close(held)
        self._db.close()

    @contextmanager
    def _index(self, scope: Scope) -> Iterator[tuple[sqlite3.Connection, int, ScopeIndex]]:
        """The scope's index, brought up to date and locked, with the view of the database that
        it agrees with. A scope that does not exist has an empty one."""
        with self._db.read() as connection:
            scope_id, index = self._find_index(connection, scope)
            with index.lock:
                if scope_id:
                    self._catch_up(connection, scope, scope_id, index)
                yield connection, scope_id, index

    def _find_index(self, connection: sqlite3.Connection, scope: Scope) -> tuple[int, ScopeIndex]:
        from hymem.stores.index.scope import ScopeIndex

        scope_id = self._scope_id(connection, scope)
        if scope_id is None:
            if scope in self._indexes:  # another process has deleted it
                self._forget_index(scope)
                forget_words()
            return 0, ScopeIndex(self.dim)
        with self._indexes_lock:
            held = self._indexes.get(scope)
            # A scope that was deleted and made anew has another id.
            if held is None or held[0] != scope_id:
                held = self._indexes[scope] = (scope_id, ScopeIndex(self.dim))
            self._indexes.move_to_end(scope)
            return held

    def _catch_up(
        self, connection: sqlite3.Connection, scope: Scope, scope_id: int, index: ScopeIndex
    ) -> None:
        from hymem.stores.index.loader import catch_up, version_of

        # A thread whose view is older than the index finds nothing to do.
        if version_of(connection, scope_id) <= index.version:
            return
        try:
            self._check_encoder(connection)
            if index.version < 0:
                self._upkeep.restore(connection, scope_id, index)
            catch_up(connection, scope_id, index)
        except BaseException:
            self._forget_index(scope)
            raise
        self._upkeep.consider(scope_id, index)
        self._make_room(scope, index.nbytes)

    def _make_room(self, scope: Scope, size: int) -> None:
        """Note the size of a scope's index, and let go of others if there are too many."""
        with self._indexes_lock:
            if scope not in self._indexes:
                return
            self._bytes += size - self._sizes.get(scope, 0)
            self._sizes[scope] = size
            while len(self._indexes) > 1 and (
                self._bytes > INDEX_BYTES or len(self._indexes) > INDEX_COUNT
            ):
                oldest, _ = self._indexes.popitem(last=False)
                self._bytes -= self._sizes.pop(oldest, 0)

    def _forget_index(self, scope: Scope) -> None:
        with self._indexes_lock:
            self._indexes.pop(scope, None)
            self._bytes -= self._sizes.pop(scope, 0)

    def _allowed(
        self,
        connection: sqlite3.Connection,
        scope_id: int,
        index: ScopeIndex,
        where: Filter | None,
        kinds: Sequence[Kind],
    ) -> NDArray[np.bool_] | None:
        where = where or Filter()
        offered = set(kinds) & ({where.kind} if where.kind else {"turn", "unit"})
        ids: list[int] | None = None if offered else []
        moment = seconds_of(where.as_of)
        if moment is not None:
            past = current_ids(connection, scope_id, moment)
            ids = past if ids is None else sorted({*past}.intersection(ids))
        return index.allowed(
            kind=offered.pop() if len(offered) == 1 else None,
            sessions=self._session_ids(connection, scope_id, where),
            after=seconds_of(where.after),
            before=seconds_of(where.before),
            ids=ids,
            metadata=self._with_metadata(connection, scope_id, index, where),
            hidden=moment is not None,
        )

    def _with_metadata(
        self, connection: sqlite3.Connection, scope_id: int, index: ScopeIndex, where: Filter
    ) -> NDArray[np.bool_] | None:
        """``bool[rows]``: which rows the filter's metadata lets through; ``None`` if all."""
        if not where.metadata:
            return None
        if index.metadata is None:
            from hymem.stores.index.metadata import MetadataIndex

            index.metadata = MetadataIndex()
        index.metadata.catch_up(connection, scope_id, index)
        return index.metadata.allowed(conditions(where.metadata), index)
