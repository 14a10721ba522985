"""Nearest keys of one scope by cosine. An item has one key, several (a long turn) or none.

Small scopes are searched exactly, in half precision. A scope that outgrows that gets an inverted
file with 8-bit codes (FAISS ``IVF,SQ8``), which is built while the exact index goes on serving.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from hymem.stores.columns import Column, Ragged

# Up to here an exact search takes about half a millisecond.
EXACT_KEYS = 16_384
# An inverted file is built anew when it holds this many times the keys it was built for.
GROWTH = 4
_BATCH = 16_384
_POINTS_PER_LIST = 64
_ITERATIONS = 8
# Share of the keys that a search of an inverted file looks at, and the fewest lists it opens.
_PROBED = 1 / 32
_FEWEST_LISTS = 16


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
        self.index: Any = faiss.IndexScalarQuantizer(
            dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        self.built = 0  # keys that the inverted file was built for, 0 while search is exact

    @property
    def nbytes(self) -> int:
        # An inverted file holds each key's id in its list and its place in the direct map.
        size = self.dim + 16 if self.built else 2 * self.dim
        return self.owner.nbytes + size * int(self.index.ntotal)

    @property
    def outgrown(self) -> bool:
        """Whether an inverted file should be built for the keys there are now."""
        return int(self.index.ntotal) > max(EXACT_KEYS, GROWTH * self.built)

    def append(self, counts: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add the next rows: how many keys each has, and all keys one after the other."""
        first = self.owner.count.size
        self.owner.append(counts, np.repeat(np.arange(first, first + len(counts)), counts))
        self._add(vectors)

    def rewrite(self, row: int, vectors: NDArray[np.float32]) -> None:
        """Replace the keys of a row."""
        old = self._keys(np.arange(*self.owner.slice(row).indices(self.owner.values[0].size)))
        if old.shape == vectors.shape and np.allclose(old, vectors, atol=0.004):
            return
        self.owner.values[0].view[self.owner.slice(row)] = -1
        self.owner.rewrite(row, np.full(len(vectors), row))
        self._add(vectors)

    def search(
        self, query: NDArray[np.float32], limit: int, allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        """Up to ``limit`` of the ``allowed`` rows (``bool[rows]``, ``None``: all) with the nearest
        keys."""
        total = int(self.index.ntotal)
        share = 1.0 if allowed is None else np.count_nonzero(allowed) / max(len(allowed), 1)
        wanted = min(limit + limit // 2, total)
        chosen = None if share > 0.5 or allowed is None else self._selector(allowed)
        while wanted:
            keys = self._nearest(query, wanted, share, chosen)
            rows = self.owner.values[0].view[keys]
            rows = rows[rows >= 0]
            if allowed is not None:
                rows = rows[allowed[rows]]
            _, first = np.unique(rows, return_index=True)
            if len(first) >= limit or len(keys) < wanted or wanted == total:
                return rows[np.sort(first)[:limit]]
            wanted = min(wanted * 4, total)
        return np.zeros(0, np.int64)

    def scores(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The best cosine over each row's keys, ``float32[len(rows)]``; 0 without a key."""
        flat, owner = self.owner.gather(rows)
        best = np.full(len(rows), -1.0, np.float32)
        np.maximum.at(best, owner, np.einsum("kd,d->k", self._keys(flat), query))
        best[self.owner.count.view[rows] == 0] = 0.0
        return best

    def _add(self, vectors: NDArray[np.float32]) -> None:
        if len(vectors):
            with _one_thread():
                self.index.add(np.ascontiguousarray(vectors, np.float32))

    def _keys(self, keys: NDArray[np.int64]) -> NDArray[np.float32]:
        if not len(keys):
            return np.zeros((0, self.dim), np.float32)
        if self.built:
            return np.asarray(self.index.reconstruct_batch(keys), np.float32)
        codes = self.index.codes
        rows: NDArray[np.float16] = faiss.rev_swig_ptr(codes.data(), codes.size()).view(np.float16)
        return rows.reshape(-1, self.dim)[keys].astype(np.float32)

    def _selector(self, allowed: NDArray[np.bool_]) -> Any:
        owner = self.owner.values[0].view
        bits = np.packbits((owner >= 0) & allowed[owner], bitorder="little")
        return faiss.IDSelectorBitmap(bits)

    def _nearest(
        self, query: NDArray[np.float32], wanted: int, share: float, chosen: Any
    ) -> NDArray[np.int64]:
        params = None
        if self.built:
            lists = max(self.index.nlist * _PROBED, _FEWEST_LISTS) / max(share, 0.001)
            params = faiss.SearchParametersIVF(sel=chosen, nprobe=min(int(lists), self.index.nlist))
        elif chosen is not None:
            params = faiss.SearchParameters(sel=chosen)
        with _one_thread():
            _, keys = self.index.search(query[None], wanted, params=params)
        found: NDArray[np.int64] = keys[0][keys[0] >= 0]
        return found

    def build(self, lock: AbstractContextManager[Any], stopped: Callable[[], bool]) -> None:
        """Move to an inverted file. ``lock`` guards this index against its other users and is held
        for moments only; gives up once ``stopped()``."""
        with lock:
            total = int(self.index.ntotal)
            size = min(total, int(total**0.5) * _POINTS_PER_LIST)
            sample = self._keys(np.random.default_rng(0).choice(total, size, replace=False))
        made = self._trained(sample, int(total**0.5))
        while not stopped():
            with lock:
                done = int(made.ntotal)
                batch = self._keys(np.arange(done, min(done + _BATCH, int(self.index.ntotal))))
                if not len(batch):
                    self.index, self.built = made, total
                    return
            made.add(batch)

    def _trained(self, sample: NDArray[np.float32], lists: int) -> Any:
        quantizer = faiss.IndexFlatIP(self.dim)
        # Codes independent of their list can be moved to a larger file without further loss.
        made = faiss.IndexIVFScalarQuantizer(
            quantizer,
            self.dim,
            lists,
            faiss.ScalarQuantizer.QT_8bit,
            faiss.METRIC_INNER_PRODUCT,
            False,
        )
        made.cp.niter = _ITERATIONS
        # Later vectors may lie a little outside the range of the sample.
        made.sq.rangestat_arg = 0.1
        made.train(sample)
        if self.built:
            faiss.copy_array_to_vector(
                faiss.vector_to_array(self.index.sq.trained), made.sq.trained
            )
        made.set_direct_map_type(faiss.DirectMap.Array)
        return made
