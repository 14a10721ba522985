"""A database that can be read but not written: its file, its folder or its disk is read-only.

SQLite lays a log and a shared index beside a database that it opens, and keeps them up to date even
for a reader. Where they are there already, it can read them as they are; where they are not, nobody
else has the database open, and SQLite is told to look at the file alone
(https://www.sqlite.org/wal.html#read_only_databases).
"""

from __future__ import annotations

import os
from pathlib import Path

from hymem.errors import StoreError


def can_write(path: str) -> bool:
    """Whether this process may write the file and lay a log beside it."""
    path = os.path.realpath(path)  # SQLite lays it beside the file itself, not beside a link to it
    beside = [f"{path}-wal", f"{path}-shm"]
    return _writable(path) and (
        _writable(os.path.dirname(path)) or all(_writable(one) for one in beside)
    )


def refusal(path: str) -> StoreError:
    return StoreError(
        f"{path} was opened for reading alone, since the file, its folder or its disk is "
        "read-only: nothing can be added, changed or deleted. Change its permissions, or copy it "
        "into a folder of your own, and open it again"
    )


def address(path: str) -> str:
    """The URI by which SQLite opens the file for reading. Raises ``StoreError`` for one whose log
    cannot be read without writing. Without a log the connection must not be kept: it would not
    see what somebody who can write does to the file later."""
    path = os.path.realpath(path)
    uri = f"{Path(path).as_uri()}?mode=ro"
    log, shared = _size(f"{path}-wal"), os.path.exists(f"{path}-shm")
    if log and not shared and not _writable(os.path.dirname(path)):
        raise StoreError(
            f"{path}-wal holds the latest changes of {path}, and cannot be read where nothing can "
            "be written; copy both into a folder of your own and open the copy"
        )
    in_use = log or (log is not None and shared) or os.path.exists(f"{path}-journal")
    return uri if in_use else f"{uri}&immutable=1"


def _writable(path: str) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _size(path: str) -> int | None:
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return None
