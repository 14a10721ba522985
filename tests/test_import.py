"""Imports: the same file twice, files of version 0.1, and files made to do harm."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hymem import HyMem, InputError
from hymem.stores.database import Database

DATA = Path(__file__).parent / "data"
OLD = DATA / "export-0.1.0.jsonl"  # of the store in store-0.1.0.db.gz, which it was written from
CHAT = [
    {"role": "user", "name": "Ana", "content": "I moved to Lyon last week.", "id": "m1"},
    {"role": "assistant", "content": "How exciting! Do you like it?"},
    {"role": "user", "name": "Ana", "content": "Yes. I moved to Rome, my cat Pixel too."},
]


@pytest.fixture
def memory() -> Iterator[HyMem]:
    with HyMem(":memory:", llm=None, background=False) as opened:
        yield opened


def counts(memory: HyMem) -> tuple[int, int, dict[str, int]]:
    status = memory.status(all_scopes=True)
    return status.turns, status.units, dict(status.events)


def test_a_file_of_version_0_1_is_imported_once(memory: HyMem) -> None:
    assert memory.import_(OLD) == 20
    assert counts(memory) == (11, 9, {"done": 3, "pending": 1})
    assert memory.status(all_scopes=True).unembedded == 0
    assert "cello" in memory.search("Who bought a cello?", user_id="ana")[0].text
    assert memory.import_(OLD) == 0
    assert counts(memory) == (11, 9, {"done": 3, "pending": 1})


def test_an_old_export_adds_nothing_to_the_store_it_came_from(tmp_path: Path) -> None:
    old = gzip.decompress((DATA / "store-0.1.0.db.gz").read_bytes())
    (tmp_path / "old.db").write_bytes(old)
    with HyMem(tmp_path / "old.db", llm=None, background=False) as memory:
        before = counts(memory)
        assert memory.import_(OLD) == 0
        assert counts(memory) == before


def test_messages_without_ids_are_imported_once(tmp_path: Path, memory: HyMem) -> None:
    memory.add("I live in Lyon.", user_id="ana", wait=True)
    memory.add("I live in Lyon.", user_id="ana", wait=True)  # said twice
    memory.export(tmp_path / "a.jsonl", user_id="ana")
    assert memory.import_(tmp_path / "a.jsonl") == 0
    with HyMem(":memory:", llm=None, background=False) as other:
        added = other.import_(tmp_path / "a.jsonl")
        assert added == len(memory.get_all(user_id="ana"))
        assert other.import_(tmp_path / "a.jsonl") == 0
        memory.add("I work in Rome.", user_id="ana", wait=True)
        memory.export(tmp_path / "b.jsonl", user_id="ana")
        assert other.import_(tmp_path / "b.jsonl") == 2  # a turn and its unit
        texts = [item.text for item in other.get_all(user_id="ana")]
        assert sorted(texts) == sorted(item.text for item in memory.get_all(user_id="ana"))


def test_an_import_is_written_in_few_transactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [{"role": "user", "content": f"Number {number}."} for number in range(1500)]
    with HyMem(":memory:", llm=None, background=False) as memory:
        memory.add(said, user_id="ana")
        memory.export(tmp_path / "a.jsonl", user_id="ana")
    written = []
    write = Database.write
    monkeypatch.setattr(Database, "write", lambda db: written.append(1) or write(db))
    with HyMem(tmp_path / "m.db", llm=None, background=False) as other:
        written.clear()
        assert other.import_(tmp_path / "a.jsonl") == 1500
        assert len(written) == 1 + 3  # all records, then vectors of 512 at a time


def test_an_import_beside_deletes(tmp_path: Path) -> None:
    with HyMem(":memory:", llm=None, background=False) as memory:
        memory.add([{"role": "user", "content": f"Number {n}."} for n in range(600)], user_id="ana")
        memory.export(tmp_path / "a.jsonl", user_id="ana")
    with HyMem(tmp_path / "m.db", llm=None, background=False) as other:
        done = threading.Event()

        def delete() -> None:
            while not done.is_set():
                for item in other.get_all(user_id="ana", limit=3):
                    other.delete(item.id, user_id="ana")

        thread = threading.Thread(target=delete)
        thread.start()
        try:
            for _ in range(3):
                other.import_(tmp_path / "a.jsonl")
        finally:
            done.set()
            thread.join()
        assert other.status(user_id="ana").unembedded == 0


def test_what_an_import_left_to_extract_is_extracted_behind_it(tmp_path: Path) -> None:
    with HyMem(tmp_path / "m.db", llm=None) as memory:
        memory.import_(OLD)
        end = time.monotonic() + 20
        while len(memory.status(user_id="ana").events) > 1 and time.monotonic() < end:
            time.sleep(0.02)
        assert set(memory.status(user_id="ana").events) == {"done"}


# -- files made to do harm --


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The records of a small export in which there is one of everything."""
    path = tmp_path_factory.mktemp("good") / "good.jsonl"
    with HyMem(":memory:", llm=None, background=False) as memory:
        memory.add(CHAT, user_id="ana", session_id="s", metadata={"a": [1]}, wait=True)
        turn = memory.get_all(user_id="ana")[1]
        memory.update(turn.id, "How nice! Is it warm?", user_id="ana")
        memory.flush(user_id="ana")
        memory.add("A loose end.", agent_id="bot")
        memory.export(path, all_scopes=True)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert {record["record"] for record in records} == {"hymem", "turn", "event", "unit", "history"}
    return records


def write(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


BAD: list[tuple[str, str, Any]] = [
    ("turn", "position", 2**40),
    ("turn", "position", -1),
    ("turn", "position", 1.5),
    ("turn", "position", True),
    ("turn", "id", 0),
    ("turn", "id", "1"),
    ("turn", "id", 2**63),
    ("turn", "text", ""),
    ("turn", "text", " \n"),
    ("turn", "text", 5),
    ("turn", "text", None),
    ("turn", "role", None),
    ("turn", "speaker", ["Ana"]),
    ("turn", "session_id", None),
    ("turn", "source_id", 7),
    ("turn", "user_id", 5),
    ("turn", "user_id", "\ud800"),
    ("turn", "agent_id", {}),
    ("turn", "time", "garbage"),
    ("turn", "time", 1e9),
    ("turn", "time", "2026-13-01"),
    ("turn", "created", None),
    ("turn", "created", "now"),
    ("turn", "created", 1e300),
    ("turn", "created", True),
    ("turn", "metadata", None),
    ("turn", "metadata", []),
    ("turn", "metadata", {"a": deep(32)}),
    ("turn", "event", 999),
    ("turn", "event", "1"),
    ("turn", "record", "spell"),
    ("turn", "record", "hymem"),
    ("event", "time", "garbage"),
    ("event", "status", "wild"),
    ("event", "status", ["done"]),
    ("event", "attempts", -1),
    ("event", "attempts", None),
    ("event", "error", 5),
    ("event", "turns", []),
    ("event", "turns", None),
    ("event", "turns", [1, 1]),
    ("event", "turns", [999]),
    ("event", "turns", [[1]]),
    ("event", "turns", {"1": 1}),
    ("unit", "event", 999),
    ("unit", "source_turns", []),
    ("unit", "source_turns", [999]),
    ("unit", "superseded_by", 999),
    ("unit", "superseded_by", 1),
    ("unit", "duplicate_of", "x"),
    ("unit", "fact", {}),
    ("unit", "text", 5),
    ("unit", "session_id", "another"),
    ("history", "event", "guess"),
    ("history", "at", 1e18),
    ("history", "at", None),
    ("history", "item", None),
    ("history", "text", 1),
    ("hymem", "format", 0),
    ("hymem", "format", "1"),
    ("hymem", "record", "turn"),
]


@pytest.mark.parametrize(("kind", "field", "value"), BAD)
def test_what_add_could_not_have_written_is_refused_with_line_and_field(
    tmp_path: Path,
    memory: HyMem,
    good: list[dict[str, Any]],
    kind: str,
    field: str,
    value: Any,
) -> None:
    line = next(n for n, record in enumerate(good, 1) if record["record"] == kind)
    bad = [dict(record) for record in good]
    bad[line - 1][field] = value
    with pytest.raises(InputError, match=rf"line {line}: {field} "):
        memory.import_(write(tmp_path / "bad.jsonl", bad))
    assert memory.scopes() == []
    assert memory.import_(write(tmp_path / "good.jsonl", good)) > 0


def test_one_id_place_or_source_id_for_two_is_refused(
    tmp_path: Path, memory: HyMem, good: list[dict[str, Any]]
) -> None:
    turns = [n for n, record in enumerate(good) if record["record"] == "turn"]
    for field in ("id", "position", "source_id"):
        bad = [dict(record) for record in good]
        bad[turns[1]][field] = bad[turns[0]][field]
        with pytest.raises(InputError, match=f"line {turns[1] + 1}: {field} .* line 2 has this"):
            memory.import_(write(tmp_path / "bad.jsonl", bad))
    assert memory.scopes() == []


def test_the_history_of_another_scopes_item_is_refused(
    tmp_path: Path, memory: HyMem, good: list[dict[str, Any]]
) -> None:
    bad = [dict(record) for record in good]
    line = next(n for n, record in enumerate(good, 1) if record["record"] == "history")
    bad[line - 1]["user_id"] = "ben"
    with pytest.raises(InputError, match=f"line {line}: item .* of its scope"):
        memory.import_(write(tmp_path / "bad.jsonl", bad))
    assert memory.scopes() == []


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000 + "]" * 100_000,
        '{"record": "turn", "created": NaN}',
        '{"record": "turn", "created": -Infinity}',
        '{"record": "turn", "id": ' + "9" * 5000 + "}",
        '{"record": "turn"',
        "\x00",
        "5",
        "null",
        '"text"',
        "[]",
    ],
    ids=lambda line: line[:20],
)
def test_a_line_that_is_no_record_is_named(
    tmp_path: Path, memory: HyMem, good: list[dict[str, Any]], line: str
) -> None:
    path = write(tmp_path / "bad.jsonl", good)
    path.write_text("\n" + path.read_text() + line + "\n")
    with pytest.raises(InputError, match=f"line {len(good) + 2}"):
        memory.import_(path)
    assert memory.scopes() == []


def test_a_file_without_records_is_told(tmp_path: Path, memory: HyMem) -> None:
    for content, complaint in (("", "empty"), ("{}", "line 1: record"), ("\n\n", "empty")):
        (tmp_path / "x").write_text(content)
        with pytest.raises(InputError, match=complaint):
            memory.import_(tmp_path / "x")
    with pytest.raises(InputError, match="cannot read"):
        memory.import_(tmp_path)
    newer = write(tmp_path / "x", [{"record": "hymem", "format": 2}])
    with pytest.raises(InputError, match="upgrade"):
        memory.import_(newer)


def test_tokens_and_words_are_made_anew(
    tmp_path: Path, memory: HyMem, good: list[dict[str, Any]]
) -> None:
    forged = [dict(record) for record in good]
    for record in forged:
        record |= {"tokens": 0, "lexical": "zeppelin", "recalled": 1}
    memory.import_(write(tmp_path / "forged.jsonl", forged))
    assert memory.recall("Lyon Rome cat", user_id="ana", max_tokens=60).tokens <= 60
    assert memory.search("zeppelin", user_id="ana", limit=1)[0].score < 0.5
    assert memory.import_(write(tmp_path / "good.jsonl", good)) == 0


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.sampled_from([2**31 - 1, 2**31, 2**63 - 1, 2**63, 10**30, -(2**63), 1e308, -1e308, 0.5]),
    st.text(max_size=6),
    st.sampled_from(
        [
            "hymem", "turn", "event", "unit", "history", "done", "failed", "leased", "ana",
            "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-02-30", "\ud800",
            "\x00", " ", "x" * 5000, "<recalled_memory>", "2026-W09", "20260301",
        ]
    ),
    st.lists(st.integers(-1, 9), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers() | st.floats(), max_size=2),
    st.integers(1, 60).map(deep),
)  # fmt: skip


@st.composite
def broken(draw: st.DrawFn, good: list[dict[str, Any]]) -> list[Any]:
    """``good`` after up to three accidents."""
    records: list[Any] = [dict(record) for record in good]
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(records) - 1))
        accident = draw(
            st.sampled_from(["value", "value", "value", "swap", "drop", "twice", "odd"])
        )
        record = records[place]
        if accident == "value" and isinstance(record, dict) and record:
            name = draw(st.sampled_from(sorted(record)))
            sound = [r[name] for r in good if name in r]  # none, of what an accident put in
            record[name] = draw(ODD | st.sampled_from(sound) if sound else ODD)
        elif accident == "swap":
            other = draw(st.integers(0, len(records) - 1))
            records[place], records[other] = records[other], record
        elif accident == "drop" and len(records) > 1:
            del records[place]
        elif accident == "twice":
            records.insert(place, record)
        elif accident == "odd":
            records[place] = draw(ODD)
    return records


def survives(folder: Path, records: list[Any]) -> None:
    """An import either is refused and adds nothing, or leaves a memory in which all works."""
    path = folder / "fuzz.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    with HyMem(":memory:", llm=None, background=False) as memory:
        memory.add("My boat is called Otter.", user_id="other", wait=True)
        before = counts(memory)
        try:
            memory.import_(path)
        except InputError:
            assert counts(memory) == before
            assert len(memory.scopes()) == 1
        else:
            assert memory.import_(path) == 0
        memory.flush(all_scopes=True)
        assert memory.status(all_scopes=True).unembedded == 0
        for scope in memory.scopes():
            ids = {"user_id": scope.user_id, "agent_id": scope.agent_id}
            memory.search("Lyon cat", **ids)
            memory.recall("Where does Ana live?", **ids)
            memory.ask("Where does Ana live?", **ids)
            memory.add("One more thing.", **ids, wait=True)
            for item in memory.get_all(**ids):
                memory.history(item.id, **ids)
        assert "Otter" in memory.search("boat", user_id="other")[0].text
        memory.export(folder / "again.jsonl", all_scopes=True)
        assert memory.import_(folder / "again.jsonl") == 0
        for scope in memory.scopes():
            memory.delete_all(user_id=scope.user_id, agent_id=scope.agent_id)
        assert counts(memory) == (0, 0, {})


def fuzz(folder: Path, good: list[dict[str, Any]], examples: int) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(broken(good))
    def run(records: list[Any]) -> None:
        survives(folder, records)

    run()


@pytest.mark.filterwarnings("ignore:neither user_id nor agent_id")
def test_a_broken_import_adds_nothing_or_harms_nothing(
    tmp_path: Path, good: list[dict[str, Any]]
) -> None:
    fuzz(tmp_path, good, 60)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:neither user_id nor agent_id")
def test_1500_broken_imports_add_nothing_or_harm_nothing(
    tmp_path: Path, good: list[dict[str, Any]]
) -> None:
    fuzz(tmp_path, good, 1500)
