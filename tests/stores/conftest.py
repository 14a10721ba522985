"""Stores to test on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filling import open_store

from hymem.stores.sqlite import SQLiteStore

pytest.register_assert_rewrite("contract")


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SQLiteStore]:
    path = tmp_path / "chat.db" if request.param == "file" else ":memory:"
    with open_store(path) as opened:
        yield opened


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., SQLiteStore]]:
    """Opens stores by file name and closes them at the end."""
    stores: list[SQLiteStore] = []

    def open_one(name: str = "chat.db", **more: Any) -> SQLiteStore:
        stores.append(open_store(tmp_path / name, **more))
        return stores[-1]

    yield open_one
    for one in stores:
        one.close()
