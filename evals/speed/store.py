"""How fast the store is, and how near its approximate search comes to the exact one.

--texts: one text a line, all distinct; 12,000 more than the largest size. Vectors come from the
default encoder, whose time is not counted here, or from --vectors, an array file with one row
per line that an earlier run of any encoder left. --folder says where the database goes
(deleted afterwards); choose the disk that is to be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from hymem.read.features import SAMPLE
from hymem.read.retrieve import CANDIDATES
from hymem.stores.base import AskedTokens, NewTurn
from hymem.stores.sqlite import SQLiteStore
from hymem.types import Encoder, Scope
from snn_encoder import SpikingEncoder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

QUERIES = 200
BATCH = 2048
OTHER_SCOPES = 10_000
SCOPE = Scope("speed")

FIRST_SEARCH = """
import sys, time
start = time.perf_counter()
import numpy as np
from hymem.stores.sqlite import SQLiteStore
from hymem.types import Scope
path, name, version, dim, vocabulary, query = sys.argv[1:]
store = SQLiteStore(
    path, encoder_name=name, encoder_version=version, dim=int(dim), vocabulary=vocabulary
)
vector = np.fromfile(query, np.float32)
found = store.candidates(Scope("speed"), vector, "where did we meet last summer", 128, radius=2)
assert len(found.ids)
print(time.perf_counter() - start)
"""


@dataclass
class Row:
    """Times in milliseconds unless the name says otherwise; ``search_cpu_p50`` is the processor
    time of the searching thread, which other programs on the machine disturb less."""

    turns: int
    add_p50: float
    add_p95: float
    added_per_s: float
    search_p50: float
    search_p95: float
    search_cpu_p50: float
    dense_p50: float
    lexical_p50: float
    recall_at_10: float
    first_search_s: float
    disk_bytes_per_turn: float
    index_bytes_per_turn_disk: float
    index_bytes_per_turn_memory: float


class Precomputed:
    """Hands out the rows of an array file in order, as the texts are read in order."""

    name, max_tokens = "precomputed", 256

    def __init__(self, path: Path) -> None:
        import numpy as np

        self.rows = np.load(path, mmap_mode="r")
        self.dim, self.version, self.next = int(self.rows.shape[1]), str(path.name), 0

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        rows = np.asarray(self.rows[self.next : self.next + len(texts)], np.float32)
        self.next += len(texts)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.maximum(length, 1e-9)  # type: ignore[no-any-return]


class Bench:
    """One growing scope in one database."""

    def __init__(self, path: Path, encoder: Encoder, texts: Iterator[str]) -> None:
        self.path = path
        self.encoder = encoder
        self.coder = SpikingEncoder.from_pretrained("small")  # of the texts' tokens
        self.queries = list(islice(texts, QUERIES))
        self.texts = texts
        self.vectors = self.encode(self.queries)
        self.stored: list[NDArray[np.float32]] = []
        self.seconds = 0.0
        self.added = 0
        self.store = self.open()

    def open(self) -> SQLiteStore:
        return SQLiteStore(
            str(self.path),
            encoder_name=self.encoder.name,
            encoder_version=self.encoder.version,
            dim=self.encoder.dim,
            vocabulary=self.coder.vocabulary,
        )

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        return np.asarray(self.encoder.encode(texts), np.float32)

    def grow(self, size: int) -> Row:
        """Add until the scope holds ``size`` turns, and measure there."""
        import numpy as np

        self.seconds, before = 0.0, self.added
        while self.added < size:
            self.add_many(min(BATCH, size - self.added))
        per_s = (self.added - before) / self.seconds
        self.settle()
        search = self.times(lambda i: self.search(self.vectors[i], self.queries[i]))
        cpu = self.times(lambda i: self.search(self.vectors[i], self.queries[i]), time.thread_time)
        dense = self.times(lambda i: self.search(self.vectors[i], ""))
        lexical = self.times(lambda i: self.search(None, self.queries[i]))
        recall = self.recall()
        memory = self.store._indexes._held[SCOPE][1].nbytes
        self.store.close()
        first = self.first_search()
        disk, index = folder_bytes(self.path)
        self.store = self.open()
        self.search(self.vectors[0], self.queries[0])
        single = self.add_singly()
        return Row(
            turns=size,
            add_p50=float(np.percentile(single, 50)),
            add_p95=float(np.percentile(single, 95)),
            added_per_s=per_s,
            search_p50=float(np.percentile(search, 50)),
            search_p95=float(np.percentile(search, 95)),
            search_cpu_p50=float(np.percentile(cpu, 50)),
            dense_p50=float(np.percentile(dense, 50)),
            lexical_p50=float(np.percentile(lexical, 50)),
            recall_at_10=recall,
            first_search_s=first,
            disk_bytes_per_turn=disk / size,
            index_bytes_per_turn_disk=index / size,
            index_bytes_per_turn_memory=memory / size,
        )

    def add_many(self, count: int) -> None:
        texts = list(islice(self.texts, count))
        if len(texts) < count:
            raise SystemExit("--texts holds too few lines for the largest size")
        vectors = self.encode(texts)
        turns = self.new_turns(texts, vectors)
        start = time.perf_counter()
        self.store.add_turns(SCOPE, turns)
        self.seconds += time.perf_counter() - start
        self.stored.append(vectors.astype("float16"))
        self.added += count

    def add_singly(self) -> list[float]:
        import numpy as np

        texts = list(islice(self.texts, QUERIES))
        vectors = self.encode(texts)
        self.stored.append(vectors.astype(np.float16))
        self.added += len(texts)
        turns = self.new_turns(texts, vectors)
        return self.times(lambda i: self.store.add_turns(SCOPE, turns[i : i + 1]))

    def new_turns(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> list[NewTurn]:
        ids = self.coder.token_ids(texts)
        return [
            NewTurn(
                role="user",
                speaker="user",
                text=text,
                lexical=f"user {text}",
                tokens=len(ids[number]),
                vectors=vectors[number : number + 1],
                token_ids=ids[number : number + 1],
                session_id=f"session {number // 20}",
            )
            for number, text in enumerate(texts)
        ]

    def search(self, vector: NDArray[np.float32] | None, query: str) -> object:
        """As ``HyMem.search`` asks for it."""
        (ids,) = self.coder.token_ids([query])
        tokens = AskedTokens(ids, self.coder.token_weights(ids), self.coder.token_codes)
        return self.store.candidates(SCOPE, vector, query, CANDIDATES, tokens=tokens, sample=SAMPLE)

    def times(
        self, work: Callable[[int], object], clock: Callable[[], float] = time.perf_counter
    ) -> list[float]:
        """Milliseconds of each of ``QUERIES`` calls."""
        spent = []
        for number in range(QUERIES):
            start = clock()
            work(number)
            spent.append(1000 * (clock() - start))
        return spent

    def recall(self) -> float:
        """Share of the exact ten nearest turns among the ten that the store finds first."""
        import numpy as np

        ids = np.array([turn.id for turn in self.store.list_turns(SCOPE)])
        best = exact_neighbours(self.stored, self.vectors, 10)
        hits = 0
        for vector, exact in zip(self.vectors, best, strict=True):
            found = self.store.candidates(SCOPE, vector, "", 10)
            hits += len(np.intersect1d(found.ids[np.argsort(-found.dense)[:10]], ids[exact]))
        return hits / (10 * len(best))

    def settle(self) -> None:
        """Wait until the index is what it will be for a scope of this size."""
        self.store._indexes.upkeep.settle()

    def first_search(self) -> float:
        """Seconds, the median of three new processes, from its first import to the result."""
        query = self.path.with_suffix(".query")
        self.vectors[0].tofile(query)
        encoder = self.encoder
        command = [sys.executable, "-c", FIRST_SEARCH, str(self.path), encoder.name]
        command += [encoder.version, str(encoder.dim), self.coder.vocabulary, str(query)]
        spent = [float(subprocess.check_output(command, text=True)) for _ in range(3)]
        query.unlink()
        return sorted(spent)[1]

    def crowd(self) -> tuple[float, float]:
        """p50 of a search before and after ``OTHER_SCOPES`` scopes move in."""
        import numpy as np

        def measure() -> float:
            spent = self.times(lambda i: self.search(self.vectors[i], self.queries[i]))
            return float(np.percentile(spent, 50))

        before = measure()
        texts = list(islice(self.texts, 5))
        vectors = self.encode(texts)
        turns = self.new_turns(texts, vectors)
        for number in range(OTHER_SCOPES):
            self.store.add_turns(Scope(f"other {number}"), turns)
        return before, measure()


def exact_neighbours(
    stored: Sequence[NDArray[np.float32]], queries: NDArray[np.float32], k: int
) -> NDArray[np.int64]:
    """``int64[queries, k]``: the nearest by an exhaustive search in full precision."""
    import numpy as np

    scores, places, start = [], [], 0
    for block in stored:
        block_scores = queries @ block.astype(np.float32).T
        best = np.argsort(-block_scores, axis=1)[:, :k]
        scores.append(np.take_along_axis(block_scores, best, axis=1))
        places.append(best + start)
        start += len(block)
    order = np.argsort(-np.concatenate(scores, axis=1), axis=1)[:, :k]
    return np.take_along_axis(np.concatenate(places, axis=1), order, axis=1)


def folder_bytes(path: Path) -> tuple[int, int]:
    """Bytes of the database and of the indexes beside it."""
    index = Path(f"{path}.index")
    files = index.iterdir() if index.is_dir() else ()
    return path.stat().st_size, sum(file.stat().st_size for file in files)


def lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from (line.rstrip("\n") for line in file)


def show(rows: Sequence[Row]) -> None:
    for name in asdict(rows[0]):
        values = [getattr(row, name) for row in rows]
        print(f"{name:28}" + "".join(f"{value:>14,.3f}" for value in values), flush=True)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--vectors", type=Path, help="rows for the texts, if encoded already")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--folder", type=Path, help="where the database goes")
    parser.add_argument("--out", type=Path, help="file for the figures")


def run(arguments: argparse.Namespace) -> None:
    encoder: Encoder
    if arguments.vectors:
        encoder = Precomputed(arguments.vectors)
    else:
        encoder = SpikingEncoder.from_pretrained("small")
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        texts = lines(arguments.texts)
        small = Bench(folder / "crowd.db", encoder, texts)
        small.grow(10_000)
        alone, crowded = small.crowd()
        small.store.close()
        bench = Bench(folder / "speed.db", encoder, texts)
        rows = []
        for size in arguments.sizes:
            rows.append(bench.grow(size))
            show(rows)
        bench.store.close()
    finally:
        shutil.rmtree(folder)
    print(
        f"10,000 turns, search p50: {alone:.3f} ms alone, {crowded:.3f} ms beside "
        f"{OTHER_SCOPES:,} other scopes"
    )
    figures = {
        "encoder": [encoder.name, encoder.version, encoder.dim],
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        "search_p50_ms_alone": alone,
        "search_p50_ms_beside_10000_scopes": crowded,
        "rows": [asdict(row) for row in rows],
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")
