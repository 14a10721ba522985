"""The indexes in memory, kept abreast of the database."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hymem.stores.database import Database
from hymem.system import forks
from hymem.text.words import forget_words
from hymem.types import Scope

if TYPE_CHECKING:
    from hymem.stores.index.scope import ScopeIndex
    from hymem.stores.index.upkeep import Upkeep

# Indexes kept in memory; the least recently used go first.
INDEX_BYTES = 4 << 30
INDEX_COUNT = 4096


class Indexes:
    """The index of each scope that was searched lately. ``encoder`` names the one whose vectors of
    ``dim`` numbers the store holds; ``check`` raises once it is another's."""

    def __init__(
        self, db: Database, encoder: str, dim: int, check: Callable[[sqlite3.Connection], None]
    ) -> None:
        self._db, self._encoder, self._dim, self._check = db, encoder, dim, check
        self._held: OrderedDict[Scope, tuple[int, ScopeIndex]] = OrderedDict()
        self._sizes: dict[Scope, int] = {}
        self._bytes = 0
        self._lock = threading.Lock()
        self._kept_up: Upkeep | None = None
        forks.watch(self)

    def after_fork(self, calm: bool) -> None:
        """See ``hymem.system.forks``. Nobody was using an index, so the child may have them all."""
        self._lock = threading.Lock()
        for _, index in self._held.values():
            index.lock = threading.Lock()

    @property
    def upkeep(self) -> Upkeep:
        """What is done behind the callers' backs."""
        from hymem.stores.index.upkeep import Upkeep

        with self._lock:
            if self._kept_up is None:
                self._kept_up = Upkeep(self._db, self._encoder)
            return self._kept_up

    @contextmanager
    def open(
        self, connection: sqlite3.Connection, scope: Scope, scope_id: int | None
    ) -> Iterator[ScopeIndex]:
        """The scope's index, brought up to date with the view that the connection has of the
        database, and locked. A scope that does not exist has an empty one."""
        index = self._find(scope, scope_id)
        with index.lock:
            if scope_id is not None:
                self._catch_up(connection, scope, scope_id, index)
            yield index

    def forget(self, scope: Scope) -> None:
        """Let go of the index of a scope that was deleted, or is not to be trusted."""
        with self._lock:
            self._held.pop(scope, None)
            self._bytes -= self._sizes.pop(scope, 0)

    def close(self) -> None:
        """Save what a new process would otherwise have to build. Safe to call twice."""
        with self._lock:
            held = dict(self._held.values())
            self._held.clear()
        if self._kept_up is not None:
            self._kept_up.close(held)

    def _find(self, scope: Scope, scope_id: int | None) -> ScopeIndex:
        from hymem.stores.index.scope import ScopeIndex

        if scope_id is None:
            if scope in self._held:  # another process has deleted it
                self.forget(scope)
                forget_words()
            return ScopeIndex(self._dim)
        with self._lock:
            held = self._held.get(scope)
            # A scope that was deleted and made anew has another id.
            if held is None or held[0] != scope_id:
                held = self._held[scope] = (scope_id, ScopeIndex(self._dim))
            self._held.move_to_end(scope)
            return held[1]

    def _catch_up(
        self, connection: sqlite3.Connection, scope: Scope, scope_id: int, index: ScopeIndex
    ) -> None:
        from hymem.stores.index.loader import catch_up, version_of

        # A thread whose view is older than the index finds nothing to do.
        if version_of(connection, scope_id) <= index.version:
            return
        try:
            self._check(connection)
            if index.version < 0:
                self.upkeep.restore(connection, scope_id, index)
            catch_up(connection, scope_id, index)
        except BaseException:
            self.forget(scope)
            raise
        self.upkeep.consider(scope_id, index)
        self._make_room(scope, index.nbytes)

    def _make_room(self, scope: Scope, size: int) -> None:
        """Note the size of a scope's index, and let go of others if there are too many."""
        with self._lock:
            if scope not in self._held:
                return
            self._bytes += size - self._sizes.get(scope, 0)
            self._sizes[scope] = size
            while len(self._held) > 1 and (
                self._bytes > INDEX_BYTES or len(self._held) > INDEX_COUNT
            ):
                oldest, _ = self._held.popitem(last=False)
                self._bytes -= self._sizes.pop(oldest, 0)
