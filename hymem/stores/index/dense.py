"""Nearest keys of one scope by cosine, a key for each passage.

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

from hymem.system import forks

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
    """Keys are unit vectors, numbered as they are added; zeros stand for a missing one."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
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
        """Take over ``codes`` as all keys. Raises ``ValueError`` for an array of another form:
        FAISS would read beyond its end."""
        if codes.dtype != np.uint16 or codes.shape[1:] != (self.dim,):
            raise ValueError(f"no keys: {codes.dtype}{codes.shape}")
        # FAISS's own reader would copy them three times.
        faiss.copy_array_to_vector(codes.view(np.uint8).ravel(), self.exact.codes)
        self.exact.ntotal = len(codes)

    def pack_lists(self) -> NDArray[np.uint8]:
        """The inverted file as bytes."""
        packed: NDArray[np.uint8] = faiss.serialize_index(self.lists)
        return packed

    def fill_lists(self, packed: NDArray[np.uint8]) -> None:
        """Take over an inverted file of the keys there are. Raises ``ValueError`` for one that is
        not, and what FAISS raises."""
        lists = faiss.deserialize_index(packed)
        if type(lists) is not faiss.IndexIVFPQFastScan or (lists.d, lists.ntotal) != (
            self.dim,
            self.size,
        ):
            raise ValueError("an inverted file of other keys")
        self.lists = lists

    @property
    def nbytes(self) -> int:
        per_key = 2 * self.dim
        if self.lists is not None:
            per_key += 8 + int(self.lists.code_size)  # ids and codes
        return per_key * self.size

    @property
    def size(self) -> int:
        return int(self.exact.ntotal)

    @property
    def few(self) -> float:
        """Up to which share of the keys it is quicker to look at those alone."""
        return FEW_OF_ALL if self.lists is None else FEW_OF_LISTS

    @property
    def outgrown(self) -> bool:
        """Whether an inverted file should be built for the keys there are now."""
        return int(self.exact.ntotal) > max(EXACT_KEYS, GROWTH * self.built)

    def append(self, vectors: NDArray[np.float32]) -> None:
        """Add keys."""
        if not len(vectors):
            return
        vectors = np.ascontiguousarray(vectors, np.float32)
        with _one_thread():
            self.exact.add(vectors)
            if self.lists is not None:
                self.lists.add(vectors)

    def holds(self, keys: NDArray[np.int64], vectors: NDArray[np.float32]) -> bool:
        """Whether the keys with these numbers are these vectors."""
        return np.allclose(self._keys(keys), vectors, rtol=0.01, atol=1e-4)

    def nearest(
        self, query: NDArray[np.float32], wanted: int, chosen: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        """Numbers of up to ``wanted`` keys, the nearest first; of those ``chosen``, ``bool[keys]``,
        if it is given."""
        with _one_thread():
            if self.lists is None or chosen is not None:
                params = None
                if chosen is not None:
                    bits = np.packbits(chosen, bitorder="little")
                    params = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
                scores, keys = self.exact.search(query[None], wanted, params=params)
                found: NDArray[np.int64] = keys[0][(keys[0] >= 0) & (scores[0] != 0)]
                return found
            params = faiss.SearchParametersIVF(nprobe=max(int(PROBED * self.lists.nlist), 32))
            keys = self.lists.search(query[None], max(DEPTH, 6 * wanted), params=params)[1][0]
        found = keys[keys >= 0]
        return found[np.argsort(-self.scores(query, found))[:wanted]]

    def scores(self, query: NDArray[np.float32], keys: NDArray[np.int64]) -> NDArray[np.float32]:
        """The cosine of each of these keys, ``float32[len(keys)]``."""
        scores: NDArray[np.float32] = np.einsum("kd,d->k", self._keys(keys), query)
        return scores

    def build(self, lock: AbstractContextManager[Any], stopped: Callable[[], bool]) -> None:
        """Make the inverted file. ``lock`` guards this index against its other users and is held
        for moments only; gives up once ``stopped()``."""
        with lock:
            total = int(self.exact.ntotal)
            size = min(total, int(total**0.5) * _POINTS_PER_LIST)
            sample = self._keys(np.random.default_rng(0).choice(total, size, replace=False))
        with _one_thread():
            with forks.working():
                lists = _trained(sample, int(total**0.5))
            while not stopped():
                with lock:
                    done = int(lists.ntotal)
                    batch = self._keys(np.arange(done, min(done + _BATCH, int(self.exact.ntotal))))
                    if not len(batch):
                        self.lists, self.built = lists, total
                        return
                with forks.working():
                    lists.add(batch)

    def _keys(self, keys: NDArray[np.int64]) -> NDArray[np.float32]:
        halves = self.codes[keys].astype(np.uint32)
        halves <<= 16  # bfloat16 is the upper half of float32
        vectors: NDArray[np.float32] = halves.view(np.float32)
        return vectors


def _trained(sample: NDArray[np.float32], lists: int) -> Any:
    dim = sample.shape[1]
    width = next(width for width in (4, 2, 1) if dim % width == 0)
    made = faiss.IndexIVFPQFastScan(
        faiss.IndexFlatIP(dim), dim, lists, dim // width, 4, faiss.METRIC_INNER_PRODUCT
    )
    made.cp.niter = made.pq.cp.niter = _ITERATIONS
    made.train(sample)
    return made
