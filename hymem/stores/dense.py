"""Nearest keys of one scope by cosine. An item has one key, several (a long turn) or none.

Every key is held in bfloat16, whose error in a cosine is below 0.0002. Small scopes are searched
exactly. A scope that outgrows that gets an inverted file of 4-bit product codes beside the exact
index (FAISS ``IndexIVFPQFastScan``): it names candidates, which are then scored exactly. It is
built in the background, while the exact index goes on serving.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from hymem.stores.columns import Column, Ragged, distinct

# Up to here an exact search takes about a third of a millisecond.
EXACT_KEYS = 8_192
# The inverted file is built anew when there are this many times the keys it was built for.
GROWTH = 4
# Share of its lists that a search opens, and candidates it scores exactly at the least.
PROBED = 1 / 8
DEPTH = 300
FEW_OF_ALL, FEW_OF_LISTS = 0.5, 0.02
_POINTS_PER_LIST = 40
_ITERATIONS = 8
_BATCH = 8192


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep FAISS on the calling thread: waking others takes longer than one query does, and on a
    busy machine very much longer."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class DenseIndex:
    """Rows are numbered by the scope's index; keys are unit vectors."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.owner = Ragged(Column(np.int64))  # the row of each key, -1 once it is replaced
        self.exact: Any = faiss.IndexScalarQuantizer(
            dim, faiss.ScalarQuantizer.QT_bf16, faiss.METRIC_INNER_PRODUCT
        )
        self.lists: Any = None
        self.built = 0  # keys that the inverted file was built for

    @property
    def codes(self) -> NDArray[np.uint16]:
        """All keys as bfloat16, ``uint16[keys, dim]``; a view, valid until the next change."""
        if not self.exact.ntotal:
            return np.zeros((0, self.dim), np.uint16)
        flat = faiss.rev_swig_ptr(self.exact.codes.data(), self.exact.codes.size())
        codes: NDArray[np.uint16] = flat.view(np.uint16).reshape(-1, self.dim)
        return codes

    def fill(self, codes: NDArray[np.uint16]) -> None:
        """Take over ``codes`` as all keys."""
        # FAISS's own reader would copy them three times.
        faiss.copy_array_to_vector(codes.view(np.uint8).ravel(), self.exact.codes)
        self.exact.ntotal = len(codes)

    @property
    def nbytes(self) -> int:
        per_key = 2 * self.dim
        if self.lists is not None:
            per_key += 8 + int(self.lists.code_size)  # ids and codes
        return self.owner.nbytes + per_key * int(self.exact.ntotal)

    @property
    def wasted(self) -> float:
        """Share of the keys that belong to no row any more."""
        keys = self.owner.values[0].view
        return np.count_nonzero(keys < 0) / max(len(keys), 1)

    @property
    def outgrown(self) -> bool:
        """Whether an inverted file should be built for the keys there are now."""
        return int(self.exact.ntotal) > max(EXACT_KEYS, GROWTH * self.built)

    def append(self, counts: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add the next rows: how many keys each has, and all keys one after the other."""
        first = self.owner.count.size
        self.owner.append(counts, np.repeat(np.arange(first, first + len(counts)), counts))
        self._add(vectors)

    def holds(self, row: int, vectors: NDArray[np.float32]) -> bool:
        """Whether these are the keys of a row already."""
        old = self._keys(np.arange(*self.owner.slice(row).indices(self.owner.values[0].size)))
        return old.shape == vectors.shape and np.allclose(old, vectors, rtol=0.01, atol=1e-4)

    def rewrite(self, row: int, vectors: NDArray[np.float32]) -> None:
        """Replace the keys of a row: the new ones are numbered after all others."""
        self.owner.values[0].view[self.owner.slice(row)] = -1
        self.owner.rewrite(row, np.full(len(vectors), row))
        self._add(vectors)

    def search(
        self, query: NDArray[np.float32], limit: int, allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        """Up to ``limit`` of the ``allowed`` rows (``bool[rows]``, ``None``: all) with the nearest
        keys, unordered."""
        total = int(self.exact.ntotal)
        share = 1.0 if allowed is None else np.count_nonzero(allowed) / max(len(allowed), 1)
        # Where few rows are allowed, looking at just those beats looking for them among all.
        few = share < (FEW_OF_ALL if self.lists is None else FEW_OF_LISTS)
        chosen = self._selector(allowed) if few and allowed is not None else None
        wanted = min(int(1.5 * limit / (1.0 if few else share)), total)
        while wanted:
            keys = self._nearest(query, wanted, chosen)
            rows = self.owner.values[0].view[keys]
            rows = rows[rows >= 0]
            if allowed is not None:
                rows = rows[allowed[rows]]
            first = distinct(rows)
            if len(first) >= limit or len(keys) < wanted or wanted == total:
                return rows[np.sort(first)[:limit]]
            wanted = min(wanted * 4, total)
        return np.zeros(0, np.int64)

    def scores(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The best cosine over each row's keys, ``float32[len(rows)]``; 0 without a key."""
        flat, owner = self.owner.gather(rows)
        best = np.full(len(rows), -1.0, np.float32)
        np.maximum.at(best, owner, self._score(query, flat))
        best[self.owner.count.view[rows] == 0] = 0.0
        return best

    def build(self, lock: AbstractContextManager[Any], stopped: Callable[[], bool]) -> None:
        """Make the inverted file. ``lock`` guards this index against its other users and is held
        for moments only; gives up once ``stopped()``."""
        with lock:
            total = int(self.exact.ntotal)
            size = min(total, int(total**0.5) * _POINTS_PER_LIST)
            sample = self._keys(np.random.default_rng(0).choice(total, size, replace=False))
        with _one_thread():
            lists = _trained(sample, int(total**0.5))
            while not stopped():
                with lock:
                    done = int(lists.ntotal)
                    batch = self._keys(np.arange(done, min(done + _BATCH, int(self.exact.ntotal))))
                    if not len(batch):
                        self.lists, self.built = lists, total
                        return
                lists.add(batch)

    def _add(self, vectors: NDArray[np.float32]) -> None:
        if not len(vectors):
            return
        vectors = np.ascontiguousarray(vectors, np.float32)
        with _one_thread():
            self.exact.add(vectors)
            if self.lists is not None:
                self.lists.add(vectors)

    def _keys(self, keys: NDArray[np.int64]) -> NDArray[np.float32]:
        halves = self.codes[keys].astype(np.uint32)
        halves <<= 16  # bfloat16 is the upper half of float32
        vectors: NDArray[np.float32] = halves.view(np.float32)
        return vectors

    def _score(self, query: NDArray[np.float32], keys: NDArray[np.int64]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = np.einsum("kd,d->k", self._keys(keys), query)
        return scores

    def _selector(self, allowed: NDArray[np.bool_]) -> Any:
        owner = self.owner.values[0].view
        bits = np.packbits((owner >= 0) & allowed[owner], bitorder="little")
        return faiss.IDSelectorBitmap(bits)

    def _nearest(self, query: NDArray[np.float32], wanted: int, chosen: Any) -> NDArray[np.int64]:
        """Up to ``wanted`` keys, the nearest first."""
        with _one_thread():
            if self.lists is None or chosen is not None:
                params = None if chosen is None else faiss.SearchParameters(sel=chosen)
                keys = self.exact.search(query[None], wanted, params=params)[1][0]
                found: NDArray[np.int64] = keys[keys >= 0]
                return found
            params = faiss.SearchParametersIVF(nprobe=max(int(PROBED * self.lists.nlist), 32))
            keys = self.lists.search(query[None], max(DEPTH, 6 * wanted), params=params)[1][0]
        found = keys[keys >= 0]
        return found[np.argsort(-self._score(query, found))[:wanted]]


def _trained(sample: NDArray[np.float32], lists: int) -> Any:
    dim = sample.shape[1]
    width = next(width for width in (4, 2, 1) if dim % width == 0)
    made = faiss.IndexIVFPQFastScan(
        faiss.IndexFlatIP(dim), dim, lists, dim // width, 4, faiss.METRIC_INNER_PRODUCT
    )
    made.cp.niter = made.pq.cp.niter = _ITERATIONS
    made.train(sample)
    return made
