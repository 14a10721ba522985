"""SIGKILL at random points of ingestion: what was acknowledged is there, nothing is doubled, and
extraction goes on where it stopped."""

import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from hymem import HyMem

# Adds numbered turns for ever and prints each number once its turn is acknowledged.
WRITER = """
import itertools, sys
from hymem import HyMem
memory = HyMem(sys.argv[1], llm=None)
for number in itertools.count(int(sys.argv[2])):
    memory.add(
        {"role": "user", "name": "Ana", "id": str(number),
         "content": f"I bought book number {number} in town number {number % 89}."},
        user_id="ana", session_id=str(number // 7), timestamp=1_770_000_000 + 3600 * number,
    )
    print(number, flush=True)
"""


def kill_while_writing(path: Path, first: int, pause: float) -> list[int]:
    """Start a writer, kill it; the numbers that it acknowledged."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(first)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    seen = [writer.stdout.readline()]  # killed at a random time after its first turn, not before
    try:
        writer.wait(pause)
    except subprocess.TimeoutExpired:
        writer.send_signal(signal.SIGKILL)
    seen += writer.stdout.read().splitlines(keepends=True)
    writer.wait()
    writer.stdout.close()
    assert writer.returncode == -signal.SIGKILL
    return [int(line) for line in seen if line.endswith("\n")]


# Imports a file again and again, and says when it has begun.
IMPORTER = """
import sys
from hymem import HyMem
memory = HyMem(sys.argv[1], llm=None, background=False)
print("begun", flush=True)
memory.import_(sys.argv[2])
"""


def kill_while_importing(path: Path, file: Path, pause: float) -> None:
    importer = subprocess.Popen(
        [sys.executable, "-c", IMPORTER, str(path), str(file)], stdout=subprocess.PIPE, text=True
    )
    assert importer.stdout is not None
    assert importer.stdout.readline() == "begun\n"
    try:
        importer.wait(pause)
    except subprocess.TimeoutExpired:
        importer.send_signal(signal.SIGKILL)
    importer.wait()
    importer.stdout.close()


def import_and_crash(folder: Path, times: int, seed: int) -> None:
    chance = random.Random(seed)
    said = [{"role": "user", "content": f"I bought book number {n}."} for n in range(1500)]
    with HyMem(folder / "from.db", llm=None, background=False) as memory:
        memory.add(said, user_id="ana")
        memory.export(folder / "all.jsonl", user_id="ana")
    for number in range(times):
        path = folder / f"to-{number}.db"
        kill_while_importing(path, folder / "all.jsonl", chance.uniform(0.0, 1.5))
        with HyMem(path, llm=None, background=False) as memory:
            assert memory.status(user_id="ana").turns in (0, 1500)
            assert memory.import_(folder / "all.jsonl") in (0, 1500)
            status = memory.flush(user_id="ana")
            assert (status.turns, status.unembedded) == (1500, 0)


def check(path: Path, acknowledged: list[int]) -> None:
    with HyMem(path, llm=None, background=False) as memory:
        turns = memory.get_all(user_id="ana")
        texts = Counter(item.text for item in turns if type(item).__name__ == "Turn")
        assert max(texts.values()) == 1
        numbers = {text.split()[4] for text in texts}
        assert {str(number) for number in acknowledged} <= numbers
        status = memory.flush(user_id="ana")
        assert set(status.events) == {"done"}
        assert status.unsegmented == status.unembedded == 0
        units = [item for item in memory.get_all(user_id="ana") if type(item).__name__ == "Unit"]
        told = Counter(turn for unit in units for turn in unit.source_turns)
        assert len(told) == len(texts)
        assert max(told.values()) == 1
        last = max(acknowledged)
        hits = memory.search(f"book number {last}", user_id="ana", limit=5)
        assert any(f"number {last} in" in hit.text for hit in hits)


def crash(path: Path, times: int, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged: list[int] = []
    for _ in range(times):
        first = max(acknowledged, default=-1) + 1
        acknowledged += kill_while_writing(path, first, chance.uniform(0.0, 0.6))
    check(path, acknowledged)


@pytest.mark.parametrize("seed", range(2))
def test_nothing_acknowledged_is_lost(tmp_path, seed):
    crash(tmp_path / "m.db", 10, seed)


def test_an_import_is_there_whole_or_not_at_all(tmp_path):
    import_and_crash(tmp_path, 3, seed=0)


@pytest.mark.slow
def test_an_import_is_there_whole_or_not_at_all_however_often(tmp_path):
    import_and_crash(tmp_path, 60, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 24))
def test_nothing_acknowledged_is_lost_however_often(tmp_path, seed):
    crash(tmp_path / "m.db", 30, seed)
