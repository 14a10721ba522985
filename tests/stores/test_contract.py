"""The shipped backend keeps the contract of a store: on a file, and in memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract import Contract, SharedContract
from filling import PATHS, open_store

from hymem.stores.sqlite import SQLiteStore

OPEN = f"""import sys; sys.path[:0] = {PATHS!r}
from filling import ANA, BEN, open_store, turn, unit
store = open_store(sys.argv[1])
"""


class Files:
    """A backend for ``contract``: one file a place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: list[SQLiteStore] = []
        self._running: list[subprocess.Popen[str]] = []

    def open(self, place: str = "one") -> SQLiteStore:
        self._opened.append(open_store(self._path(place)))
        return self._opened[-1]

    def holds(self, text: str) -> bool:
        files = [path for path in self._folder.rglob("*") if path.is_file()]
        return any(text.encode() in path.read_bytes() for path in files)

    def run(self, program: str, place: str = "one") -> subprocess.Popen[str]:
        command = [sys.executable, "-c", OPEN + program, str(self._path(place))]
        pipe = subprocess.PIPE
        self._running.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True))
        return self._running[-1]

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.communicate()
        for store in self._opened:
            store.close()

    def _path(self, place: str) -> str | Path:
        return self._folder / f"{place}.db"


class Memory(Files):
    """Each store is a place of its own."""

    def _path(self, place: str) -> str:
        return ":memory:"


class TestFiles(SharedContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[Files]:
        files = Files(tmp_path)
        yield files
        files.close()


class TestMemory(Contract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[Files]:
        memory = Memory(tmp_path)
        yield memory
        memory.close()
