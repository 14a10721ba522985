"""Training batches: cached teacher vectors with token ids, and hard batches of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snn_encoder.distill.teacher import VectorCache
from snn_encoder.tokenizer import load_tokenizer

_PARTS = ("_ids", "_ends", "vectors", "cluster")  # cluster last: it marks a whole save


class Corpus:
    """Token ids and teacher vectors of all chunks whose vectors are cached.

    Args:
        chunks: texts, as `text_chunks` yields them.
        cache: teacher vectors; chunks that are not in it yet are left out.
        max_tokens: longer texts are cut.
        clusters: how many to form of the vectors.

    Attributes:
        vectors: float16 [n, dim].
        cluster: of each text, int64 [n]; see `neighbours`.
    """

    vectors: np.ndarray
    cluster: np.ndarray

    def __init__(
        self,
        chunks: Iterable[list[str]],
        cache: VectorCache,
        max_tokens: int,
        clusters: int,
        seed: int = 0,
    ) -> None:
        tokenizer = load_tokenizer()
        ids: list[np.ndarray] = []
        lengths: list[np.ndarray] = []
        vectors: list[np.ndarray] = []
        for texts in chunks:
            found = cache.load(texts)
            if found is None:
                continue
            encoded = [
                e.ids[:max_tokens]
                for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            ]
            keep = [i for i, row in enumerate(encoded) if row]
            ids.append(np.array([t for i in keep for t in encoded[i]], dtype=np.uint16))
            lengths.append(np.array([len(encoded[i]) for i in keep]))
            vectors.append(found[keep])
        if not vectors:
            raise FileNotFoundError("No teacher vectors are cached: run snn_encoder.distill first.")
        self._ids = np.concatenate(ids)
        self._ends = np.cumsum(np.concatenate(lengths))
        self.vectors = np.concatenate(vectors)
        self.cluster = neighbours(self.vectors, clusters, seed)

    def save(self, folder: Path) -> None:
        """Keep the corpus with its run: a resumed run must see the same, and starts at once."""
        for name in _PARTS:
            np.save(folder / f"corpus-{name.strip('_')}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path) -> Corpus | None:
        """Return the corpus that `save` left in a folder (vectors stay on disk), or None."""
        if not (folder / "corpus-cluster.npy").exists():
            return None
        corpus = cls.__new__(cls)
        for name in _PARTS:
            path = folder / f"corpus-{name.strip('_')}.npy"
            setattr(corpus, name, np.load(path, mmap_mode="r"))
        return corpus

    def __len__(self) -> int:
        return len(self.vectors)

    def tokens(self, index: int) -> np.ndarray:
        """Return the token ids of one text."""
        return self._ids[self._ends[index - 1] if index else 0 : self._ends[index]]

    def batch(self, rows: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the token ids of some texts and their teacher vectors, float32 [n, dim]."""
        return [self.tokens(int(i)) for i in rows], self.vectors[rows].astype(np.float32)


def neighbours(vectors: np.ndarray, clusters: int, seed: int, rounds: int = 6) -> np.ndarray:
    """Return the spherical k-means cluster of each unit vector, int64 [n].

    Batches of one cluster are near neighbours of one another, hence hard negatives.
    """
    rng = np.random.default_rng(seed)
    sample = vectors[rng.choice(len(vectors), min(len(vectors), 64 * clusters), replace=False)]
    points = torch.from_numpy(sample.astype(np.float32))
    centres = points[:clusters].clone()
    for _ in range(rounds):
        nearest = _nearest(points, centres)
        sums = torch.zeros_like(centres).index_add(0, nearest, points)
        empty = sums.norm(dim=1) == 0
        centres = torch.nn.functional.normalize(torch.where(empty[:, None], centres, sums), dim=1)
    parts = (
        _nearest(torch.from_numpy(vectors[i : i + 65536].astype(np.float32)), centres)
        for i in range(0, len(vectors), 65536)
    )
    return torch.cat(list(parts)).numpy()


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    return torch.cat([(part @ centres.T).argmax(1) for part in torch.split(points, 8192)])


class Batches:
    """Hard batches: each is some runs of near neighbours or of one dialogue's turns.

    The batch of a step depends on the seed and the step alone, so a resumed run continues with
    the batches that it would have seen.

    Args:
        cluster: of each text; -1 rows are left out.
        size: texts a batch.
        run: texts of one cluster or dialogue next to one another.
        dialogue: share of runs that are consecutive texts rather than neighbours.
    """

    def __init__(
        self, cluster: np.ndarray, size: int, run: int, dialogue: float, seed: int
    ) -> None:
        self.cluster, self.size, self.run = cluster, size, run
        self.dialogue, self.seed = dialogue, seed
        if size % run:
            raise ValueError(f"A batch of {size} texts is not made of whole runs of {run}.")
        self._per_epoch = (len(cluster) // run - 1) // (size // run)
        if self._per_epoch < 1:
            raise ValueError(
                f"{len(cluster)} texts are too few for batches of {size} in runs of {run}: give "
                "more text, or set a smaller `batch` and `run` in the configuration."
            )
        self._epoch = -1
        self._order = np.empty((0, size), dtype=np.int64)

    def _shuffle(self, epoch: int) -> None:
        rng = np.random.default_rng((self.seed, epoch))
        count = len(self.cluster)
        by_cluster = np.lexsort((rng.random(count), self.cluster))
        by_cluster = np.roll(by_cluster, int(rng.integers(self.run)))
        start = int(rng.integers(self.run))
        whole = (count - start) // self.run * self.run
        near = by_cluster[:whole].reshape(-1, self.run)
        turns = np.arange(start, start + whole).reshape(-1, self.run)
        runs = np.where(rng.random((len(near), 1)) < self.dialogue, turns, near)
        runs = runs[rng.permutation(len(runs))]
        per_batch = self.size // self.run
        full = len(runs) // per_batch * per_batch
        self._order, self._epoch = runs[:full].reshape(-1, self.size), epoch

    def __getitem__(self, step: int) -> np.ndarray:
        """Return the rows of a step's batch, int64 [size]."""
        epoch, place = divmod(step, self._per_epoch)
        if epoch != self._epoch:
            self._shuffle(epoch)
        rows: np.ndarray = self._order[place % len(self._order)]
        return rows
