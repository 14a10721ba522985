"""Files that hold memories: for their owner alone, and replaced as a whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PRIVATE = 0o600
# What a killed process left half written is removed by the next one that writes there; a file that
# somebody is still writing is never so old.
_STALE_SECONDS = 3600.0

# What SQLite lays beside a database, by the ends of their names.
_COMPANIONS = ("-wal", "-shm", "-journal")

# Reentrant: a signal handler may close.
_lock = threading.RLock()
# By device and inode: how many ``RawFile`` are open, and every handle that they ever had.
_open_files: dict[tuple[int, int], list[BinaryIO]] = {}
_users: dict[tuple[int, int], int] = {}


class RawFile:
    """The bytes of a database, beside SQLite's own handles; made, for its owner alone, if absent.

    POSIX takes every lock of a process on a file away when the process closes any handle of it,
    SQLite's locks included. So handles are closed only with the last ``RawFile`` of a file; close
    it after SQLite's connections.

    Raises ``OSError``. ``writable`` is false where only reading is permitted. ``identity``: device
    and inode.
    """

    def __init__(self, path: str) -> None:
        self.writable = True
        self._path = path
        try:
            self._file = _open_or_create(path)
        except OSError:
            if not os.path.isfile(path):
                raise
            self.writable = False
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115
        found = os.fstat(self._file.fileno())
        self.identity = (found.st_dev, found.st_ino)
        self._closed = False
        with _lock:
            _open_files.setdefault(self.identity, []).append(self._file)
            _users[self.identity] = _users.get(self.identity, 0) + 1

    def read(self, start: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``start`` on; fewer at the end of the file. One thread at a
        time may read or write."""
        self._file.seek(start)
        parts = []
        while count and (part := self._file.read(count)):
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def write(self, start: int, content: bytes) -> None:
        self._file.seek(start)
        while content:
            content = content[self._file.write(content) :]

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def reopen(self) -> None:
        """In a fork's child: a handle of its own, since the parent moves the place at which the
        other one reads and writes. Raises ``OSError``."""
        file = open(self._path, "rb+" if self.writable else "rb", buffering=0)  # noqa: SIM115
        found = os.fstat(file.fileno())
        if (found.st_dev, found.st_ino) != self.identity:
            file.close()
            raise FileNotFoundError(f"{self._path} is another file by now")
        self._file = file
        with _lock:
            _open_files[self.identity].append(file)

    def close(self) -> None:
        """Safe to call twice."""
        with _lock:
            if self._closed:
                return
            self._closed = True
            _users[self.identity] -= 1
            if not _users[self.identity]:
                del _users[self.identity]
                for file in _open_files.pop(self.identity):
                    file.close()


def is_database(path: str | Path) -> bool:
    """Whether ``path`` is an SQLite file, or would be taken for the log of one. Raises
    ``OSError``."""
    if is_companion(path):
        return True
    if not os.path.isfile(path):
        return False
    found = os.stat(path)
    if (found.st_dev, found.st_ino) in _open_files:
        return True
    with open(path, "rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def is_companion(path: str | Path) -> bool:
    """Whether SQLite would take ``path`` for the log of a database that is there: what somebody
    else writes into it costs that database its last changes. Raises ``OSError``."""
    name = os.path.realpath(path)
    return any(
        name.endswith(ending) and is_database(name.removesuffix(ending)) for ending in _COMPANIONS
    )


def is_named_as_companion(path: str | Path) -> bool:
    """Whether SQLite would take a database at ``path`` for the log of another, which may come
    later: opening that one would destroy it."""
    return str(path).endswith(_COMPANIONS) or os.path.realpath(path).endswith(_COMPANIONS)


def private_folder(path: Path) -> None:
    """Make the folder, for its owner alone, if it is not there. Raises ``OSError``."""
    with suppress(FileExistsError):
        path.mkdir(0o700)
        path.chmod(0o700)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A new file beside ``path``, for its owner alone, that takes the place of ``path`` when the
    block ends: durably, and only if the block succeeds. Raises ``OSError``."""
    target = Path(os.path.realpath(path))
    prefix = f".{target.name[:100]}."
    _remove_stale(target.parent, prefix)
    handle, name = tempfile.mkstemp(".partial", prefix, target.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb"):
            os.chmod(partial, PRIVATE)
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(target)
        _sync_folder(target.parent)
    finally:
        for rest in _with_companions(partial):
            rest.unlink(missing_ok=True)


def is_special(path: str | Path) -> bool:
    """Whether ``path`` is a pipe, a terminal or the like: written to, never replaced."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def _open_or_create(path: str) -> BinaryIO:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, PRIVATE)
    except FileExistsError:
        return open(path, "rb+", buffering=0)
    os.chmod(path, PRIVATE)  # whatever the umask took away
    return os.fdopen(handle, "rb+", buffering=0)


_BINARY = getattr(os, "O_BINARY", 0)


def _remove_stale(folder: Path, prefix: str) -> None:
    oldest = time.time() - _STALE_SECONDS
    with suppress(OSError):  # of no consequence
        for path in folder.iterdir():
            if path.name.startswith(prefix) and ".partial" in path.name:
                with suppress(OSError):
                    if path.stat().st_mtime < oldest:
                        path.unlink()


def _with_companions(path: Path) -> list[Path]:
    """The file and those that SQLite lays beside it."""
    return [Path(f"{path}{ending}") for ending in ("", *_COMPANIONS)]


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # Windows cannot open a folder, nor may everyone who writes into one
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
