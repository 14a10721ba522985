"""Zeros for the unused room inside a database's pages, where old copies of rows stay behind.

With ``secure_delete`` SQLite overwrites a row that is deleted, where it lies. But when it spreads
the rows of a full page over its neighbours, the page keeps, in the gap between its pointers and its
first row, copies of rows that have moved. If such a row is deleted later, its copy stays. SQLite
never reads a gap, so it may be zeroed behind its back, as long as nobody else writes pages into the
file. Layout: https://www.sqlite.org/fileformat2.html#b_tree_pages
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hymem.system.files import RawFile

_LEAVES, _INNER = (13, 10), (5, 2)  # of tables, of indexes
_FILE_HEAD = 100  # bytes of the first page before its own head
_WORD = 8
_AT_ONCE = 8 << 20
_SIZES = {1 << power for power in range(9, 17)}
# With more pages, the number that begins an overflow page could pass for a page's type.
_MOST_PAGES = 1 << 25


def page_size(head: bytes) -> int:
    """Bytes of a page, from the file's first 100 bytes; 0 for a file that cannot be swept."""
    if len(head) < _FILE_HEAD:
        return 0
    size, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
    size = 65536 if size == 1 else size
    return size if size in _SIZES and head[20] == 0 and pages < _MOST_PAGES else 0


def sweep(file: RawFile, size: int, start: int, count: int) -> int:
    """Zero the gaps of the pages in ``count`` bytes from ``start`` on, both multiples of the page
    ``size``; how many bytes there were, 0 at the end of the file. Raises ``OSError``."""
    done = 0
    while done < count:
        content = file.read(start + done, min(_AT_ONCE, count - done))
        whole = len(content) // size * size
        if not whole:
            break
        pages = np.frombuffer(content, np.uint8, whole).reshape(-1, size)
        for page, first, end in dirty_gaps(pages, first=start + done == 0):
            file.write(start + done + page * size + first, bytes(end - first))
        done += whole
    return done


def dirty_gaps(pages: NDArray[np.uint8], *, first: bool) -> list[tuple[int, int, int]]:
    """(page, start, end) of every gap that is not all zero. ``pages``: ``uint8[n, size]``;
    ``first``: they begin with the file's first page."""
    start, end = _gaps(pages, first)
    found = np.flatnonzero(_any_between(pages, start, end))
    return [(int(page), int(start[page]), int(end[page])) for page in found]


def _gaps(pages: NDArray[np.uint8], first: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and end of each page's gap, both 0 for a page without one; ``int64[n]`` each."""
    heads = pages[:, :_WORD].astype(np.int64)
    offset = np.zeros(len(pages), np.int64)
    if first:
        heads[0], offset[0] = pages[0, _FILE_HEAD : _FILE_HEAD + _WORD], _FILE_HEAD
    kind, cells = heads[:, 0], heads[:, 3] * 256 + heads[:, 4]
    inner = np.isin(kind, _INNER)
    start = offset + np.where(inner, 12, 8) + 2 * cells
    end = heads[:, 5] * 256 + heads[:, 6]
    end[end == 0] = 65536
    held = (inner | np.isin(kind, _LEAVES)) & (start <= end) & (end <= pages.shape[1])
    return np.where(held, start, 0), np.where(held, end, 0)


def _any_between(
    pages: NDArray[np.uint8], start: NDArray[np.int64], end: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether any byte of each page from its ``start`` up to its ``end`` is not zero."""
    # Whole words first, which is an eighth of the work; then the bytes at both ends.
    low, high = -(-start // _WORD), end // _WORD
    place = np.arange(pages.shape[1] // _WORD)
    within = (place >= low[:, None]) & (place < high[:, None])
    found: NDArray[np.bool_] = ((pages.view(np.uint64) != 0) & within).any(axis=1)
    head, tail = np.minimum(low * _WORD, end), np.maximum(high * _WORD, start)
    for begin, stop in ((start, head), (tail, end)):
        place = begin[:, None] + np.arange(_WORD)
        within = place < stop[:, None]
        rows = np.arange(len(pages))[:, None]
        found |= (within & (pages[rows, np.where(within, place, 0)] != 0)).any(axis=1)
    return found
