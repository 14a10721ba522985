"""What it takes to delete for good: one turn, a small scope, a large one, and to give room back.

The texts are words at random, the vectors random numbers: deleting looks at neither. Beside one
large scope stand small ones of ten turns, written in between. While a scope is deleted or the file
compacted, another process adds turn after turn; its longest wait is reported.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from hymem.stores.base import NewTurn
from hymem.stores.erase import owed
from hymem.stores.sqlite import SQLiteStore
from hymem.types import Scope

DIM = 384
WORDS_PER_TURN = 30
BATCH = 2000
SMALL_TURNS = 10
TIMES = 5
LARGE = Scope("large")
_CHANCE = random.Random(0)
_RANDOM = np.random.default_rng(0)
_WORDS = ["".join(_CHANCE.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(20_000)]

WRITER = """
import os, sys, time
from evals.speed.erase import new_turns, open_store
from hymem.types import Scope
store, longest = open_store(sys.argv[1]), 0.0
print("ready", flush=True)
while not os.path.exists(sys.argv[2]):
    turns = new_turns(1)
    start = time.perf_counter()
    store.add_turns(Scope("writer"), turns)
    longest = max(longest, time.perf_counter() - start)
print(longest)
"""


@dataclass
class Row:
    """Seconds, unless the name says otherwise. ``delete_p50`` is one turn's deletion,
    ``delete_until_swept`` how long after it no byte of it is left. The first scope's deletion
    sweeps whatever the file was built with; those after it find little."""

    turns: int
    file_bytes: int
    delete_p50: float
    delete_until_swept: float
    delete_small_scope_first: float
    delete_small_scope_p50: float
    writer_waits_for_small: float
    delete_tenth: float
    compact: float
    compact_bytes_freed: int
    writer_waits_for_compact: float


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--folder", type=Path, help="where the database goes")
    parser.add_argument("--out", type=Path, help="file for the figures")


def run(arguments: argparse.Namespace) -> None:
    rows = []
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            rows.append(measure(Path(folder) / "erase.db", size))
        print(json.dumps(asdict(rows[-1])), flush=True)
    figures = {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        "rows": [asdict(row) for row in rows],
    }
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")


def measure(path: Path, size: int) -> Row:
    store = open_store(path)
    fill(store, size)
    length = store._db.bytes() + store._db.log_bytes()
    small = [scope for scope in store.scopes() if scope not in (LARGE, Scope("tenth"))]
    first = timed(lambda: store.delete_all(small[0]))
    with another_writer(path) as waits:
        more = [timed(partial(store.delete_all, scope)) for scope in small[1 : TIMES + 1]]
    ids = [turn.id for turn in store.list_turns(LARGE, limit=TIMES)]
    single = [timed(partial(store.delete, LARGE, item_id)) for item_id in ids]
    swept = timed(lambda: until_swept(store))
    tenth = timed(lambda: store.delete_all(Scope("tenth")))
    freed: list[int] = []
    with another_writer(path) as compact_waits:
        compact = timed(lambda: freed.append(store.compact()))
    store.close()
    return Row(
        turns=size,
        file_bytes=length,
        delete_p50=statistics.median(single),
        delete_until_swept=swept,
        delete_small_scope_first=first,
        delete_small_scope_p50=statistics.median(more),
        writer_waits_for_small=waits[0],
        delete_tenth=tenth,
        compact=compact,
        compact_bytes_freed=freed[0],
        writer_waits_for_compact=compact_waits[0],
    )


def open_store(path: str | Path) -> SQLiteStore:
    return SQLiteStore(str(path), encoder_name="random", encoder_version="1", dim=DIM)


def fill(store: SQLiteStore, size: int) -> None:
    """A tenth of the turns in one scope, ten in each small one, the rest in the large one."""
    for number, start in enumerate(range(0, size, BATCH)):
        store.add_turns(Scope(f"small {number}"), new_turns(SMALL_TURNS))
        store.add_turns(Scope("tenth"), new_turns(min(BATCH, size - start) // 10))
        store.add_turns(LARGE, new_turns(min(BATCH, size - start) * 9 // 10))
    for number in range(TIMES):
        store.add_turns(Scope(f"late {number}"), new_turns(SMALL_TURNS))


def new_turns(count: int) -> list[NewTurn]:
    rows = _RANDOM.standard_normal((count, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    texts = [" ".join(_CHANCE.choices(_WORDS, k=WORDS_PER_TURN)) for _ in range(count)]
    return [
        NewTurn("user", "user", text, text, WORDS_PER_TURN, rows[place : place + 1])
        for place, text in enumerate(texts)
    ]


def until_swept(store: SQLiteStore) -> None:
    while True:
        with store._db.read() as connection:
            if owed(connection) is None:
                return
        time.sleep(0.02)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def another_writer(path: Path) -> Iterator[list[float]]:
    """A process that writes during the block; then the list holds its longest wait."""
    stop = path.with_name("stop")
    command = [sys.executable, "-c", WRITER, str(path), str(stop)]
    root = Path(__file__).parents[2]  # where the program finds this module
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
    assert writer.stdout is not None
    waits: list[float] = []
    writer.stdout.readline()
    try:
        yield waits
    finally:
        stop.touch()
        waits.append(float(writer.communicate()[0]))
        stop.unlink()
