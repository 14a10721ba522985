"""Which bytes of a page are unused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hymem.stores.sweep import dirty_gaps, page_size, sweep
from hymem.system.files import RawFile

SIZE = 512


@st.composite
def pages(draw: st.DrawFn) -> bytes:
    """Pages of any kind, of which a few bytes are not zero."""
    page = bytearray(SIZE)
    page[0] = draw(st.sampled_from([0, 1, 2, 5, 10, 13, 255]))
    page[3:5] = draw(st.integers(0, 80)).to_bytes(2, "big")
    page[5:7] = draw(st.integers(0, SIZE + 20)).to_bytes(2, "big")
    for place in draw(st.lists(st.integers(8, SIZE - 1), max_size=4)):
        page[place] = 7
    return bytes(page)


def gap_of(page: bytes, offset: int) -> tuple[int, int]:
    """One page by the book: https://www.sqlite.org/fileformat2.html#b_tree_pages"""
    kind, cells = page[offset], int.from_bytes(page[offset + 3 : offset + 5], "big")
    end = int.from_bytes(page[offset + 5 : offset + 7], "big") or 65536
    start = offset + (12 if kind in (2, 5) else 8) + 2 * cells
    return (start, end) if kind in (2, 5, 10, 13) and start <= end <= len(page) else (0, 0)


@given(st.lists(pages(), min_size=1, max_size=5), st.booleans())
def test_gaps_are_found_as_the_file_format_says(some: list[bytes], first: bool) -> None:
    if first:
        some[0] = bytes([9]) * 100 + some[0][:-100]
    expected = []
    for number, page in enumerate(some):
        start, end = gap_of(page, 100 if first and not number else 0)
        if any(page[start:end]):
            expected.append((number, start, end))
    assert dirty_gaps(np.array([list(page) for page in some], np.uint8), first=first) == expected


@pytest.mark.parametrize("size", [512, 4096, 65536])
def test_a_swept_file_is_the_same_database(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute(f"PRAGMA page_size = {size}")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE)")
    chance = np.random.default_rng(1)
    connection.execute("BEGIN")
    for number in chance.permutation(4000).tolist():
        name = f"name {number * 7919 % 4000} " * (1 + number % 40)
        connection.execute("INSERT INTO t VALUES (?, ?)", (number, name))
        if number % 3 == 0:
            connection.execute("UPDATE t SET name = name || 'longer' WHERE id = ?", (number // 2,))
    connection.execute("DELETE FROM t WHERE id % 7 = 0")
    connection.execute("COMMIT")
    rows = connection.execute("SELECT * FROM t ORDER BY id").fetchall()
    connection.close()
    file = RawFile(str(path))
    assert page_size(file.read(0, 100)) == size
    length = path.stat().st_size
    assert dirty_gaps(np.fromfile(path, np.uint8).reshape(-1, size), first=True)
    assert sum(sweep(file, size, start, size * 64) for start in range(0, length, size * 64)) == (
        length
    )
    file.close()
    assert dirty_gaps(np.fromfile(path, np.uint8).reshape(-1, size), first=True) == []
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("SELECT * FROM t ORDER BY id").fetchall() == rows
    connection.close()


def test_what_is_not_an_ordinary_database_is_not_swept() -> None:
    head = bytearray(100)
    head[16:18] = (4096).to_bytes(2, "big")
    assert page_size(bytes(head)) == 4096
    assert page_size(bytes(head[:50])) == 0
    for place, value in ((16, 17), (20, 8), (28, 255)):
        other = bytearray(head)
        other[place] = value
        assert page_size(bytes(other)) == 0
