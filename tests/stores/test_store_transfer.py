"""Export, import and backup."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from filling import ANA, BEN, encode, extract, found, open_store, turn, unit

from hymem.errors import StoreError
from hymem.exports.records import parse
from hymem.stores.sqlite import SQLiteStore
from hymem.system.clock import Clock

Opened = Callable[..., SQLiteStore]


def fill(store: SQLiteStore) -> None:
    ids = store.add_turns(
        ANA,
        [
            turn("gone"),
            turn(
                "I live in Lyon\x00",
                time=datetime(2026, 3, 2, tzinfo=UTC),
                source_id="a",
                lexical="Ana lyon",
            ),
            turn("in Rome now", "b", metadata={"x": 1}, recalled=True),
            turn("a loose end", "b"),
        ],
    )
    _, (old,) = extract(store, ANA, ids[:2], [unit("Ana lives in Lyon", ids[1:2], fact="home")])
    extract(
        store,
        ANA,
        ids[1:3],
        [
            unit("Ana lives in Rome", ids[2:3], fact="home", supersedes=(old,), metadata={"y": 2}),
            unit("Rome is home", ids[2:3], duplicate_of=old),
        ],
    )
    store.update_text(ANA, ids[3], "a loose string", "a loose string", 3, encode("x")[None])
    store.delete(ANA, ids[0])
    store.add_events(ANA, [(ids[3:], ids[3:])])
    store.lease_events(ANA, 1, 60.0)
    store.add_turns(BEN, [turn("hello from ben", source_id="a")])


def load(store: SQLiteStore, records: Iterable[Any]) -> int:
    return store.load(parse(enumerate(records, 1), Clock("UTC")))


def lines(store: SQLiteStore) -> list[str]:
    return [json.dumps(record) for record in store.dump()]


def test_a_round_trip_into_an_empty_store_changes_nothing_but_ids(opened: Opened) -> None:
    first, second, third = opened("1.db"), opened("2.db"), opened("3.db")
    fill(first)
    exported = lines(first)
    assert load(second, map(json.loads, exported)) == 7
    assert load(third, map(json.loads, lines(second))) == 7
    assert lines(second) == lines(third)
    for scope in (ANA, BEN):
        olds, news = first.list_turns(scope), second.list_turns(scope)
        new_id = {old.id: new.id for old, new in zip(olds, news, strict=True)}
        for old, new in zip(olds, news, strict=True):
            assert (new.text, new.time, new.session_id) == (old.text, old.time, old.session_id)
            assert (new.source_id, new.metadata, new.speaker) == (
                old.source_id,
                old.metadata,
                old.speaker,
            )
        units = first.list_units(scope), second.list_units(scope)
        for old_unit, new_unit in zip(*units, strict=True):
            new_id[old_unit.id] = new_unit.id
            assert new_unit.text == old_unit.text
        for old_unit, new_unit in zip(*units, strict=True):
            assert new_unit.source_turns == tuple(new_id[i] for i in old_unit.source_turns)
            assert new_unit.superseded_by == new_id.get(old_unit.superseded_by or 0)
            assert new_unit.duplicate_of == new_id.get(old_unit.duplicate_of or 0)
        old_events, new_events = first.events(scope), second.events(scope)
        assert [
            (tuple(new_id[i] for i in event.turns), event.status.replace("leased", "pending"))
            for event in old_events
        ] == [(event.turns, event.status) for event in new_events]
        for old_id, item_id in new_id.items():
            assert second.history(scope, item_id) == first.history(scope, old_id)


def test_imported_items_are_found_by_words_and_wait_for_vectors(opened: Opened) -> None:
    first, second = opened("1.db"), opened("2.db")
    fill(first)
    load(second, first.dump(ANA))
    assert second.scopes() == [ANA]
    (lyon,) = second.list_turns(ANA)[:1]
    assert found(second, ANA, "lyon", kinds=("turn",)) == [lyon.id]
    waiting = second.unembedded(ANA, 100)
    assert len(waiting) == second.status().unembedded == 6
    assert lyon in waiting


def test_an_import_adds_to_what_is_there(opened: Opened) -> None:
    first, second = opened("1.db"), opened("2.db")
    fill(first)
    mine = second.add_turns(ANA, [turn("I was here", source_id="a"), turn("second")])
    assert found(second, ANA, "second") == mine[1:]
    assert load(second, first.dump()) == 6
    texts = [one.text for one in second.list_turns(ANA)]
    assert texts == ["I was here", "second", "in Rome now", "a loose string"]
    positions = [one.position for one in second.list_turns(ANA)]
    assert positions == sorted(set(positions))
    second.add_turns(ANA, [turn("third")])
    assert found(second, ANA, "second third Rome", kinds=("turn",)) == [
        one.id for one in second.list_turns(ANA) if one.text in ("second", "in Rome now", "third")
    ]


def test_an_import_adds_nothing_twice(opened: Opened) -> None:
    first, second = opened("1.db"), opened("2.db")
    fill(first)
    before = lines(first)
    assert load(first, map(json.loads, before)) == 0
    assert lines(first) == before
    assert load(second, map(json.loads, before)) == 7
    once = lines(second)
    assert load(second, map(json.loads, before)) == 0
    assert load(second, map(json.loads, once)) == 0
    assert load(first, map(json.loads, once)) == 0
    assert lines(second) == once
    assert lines(first) == before


def test_what_was_changed_since_is_not_added_again_and_what_was_deleted_is(
    opened: Opened,
) -> None:
    store = opened()
    same = [turn("same"), turn("same"), turn("other"), turn("gone")]
    ids = store.add_turns(ANA, same)
    exported = lines(store)
    store.update_text(ANA, ids[2], "changed", "changed", 1, encode("changed")[None])
    store.delete(ANA, ids[3])
    assert load(store, map(json.loads, exported)) == 1
    texts = [one.text for one in store.list_turns(ANA)]
    assert texts == ["same", "same", "changed", "gone"]


def test_turns_added_in_one_moment_are_told_apart(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = opened("1.db"), opened("2.db")
    with monkeypatch.context() as coarse:
        coarse.setattr("hymem.stores.tables.items.clock.time", lambda: 1_770_000_000.0)
        first.add_turns(ANA, [turn(text) for text in ("red", "red", "blue", "green")])
    exported = lines(first)
    assert load(second, map(json.loads, exported[:3])) == 2
    assert load(second, map(json.loads, exported)) == 2
    assert [one.text for one in second.list_turns(ANA)] == ["red", "red", "blue", "green"]
    assert load(second, map(json.loads, exported)) == 0


def test_an_import_is_one_transaction(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = opened("1.db"), opened("2.db")
    fill(first)
    parts = parse(enumerate(first.dump(), 1), Clock("UTC"))
    monkeypatch.setattr("hymem.stores.transfer.name_id", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        second.load(parts)
    monkeypatch.undo()
    assert second.scopes() == []
    assert second.load(parts) == 7


def test_failed_events_are_imported_as_due(opened: Opened) -> None:
    first, second = opened("1.db"), opened("2.db")
    ids = first.add_turns(ANA, [turn("hello")])
    first.add_events(ANA, [(ids, ids)])
    lease = first.lease_events(ANA, 1, 60.0)
    assert lease is not None
    first.fail_event(lease, lease.events[0].id, "no")
    load(second, first.dump())
    assert second.due() == [ANA]
    assert second.events(ANA)[0].error == "no"


def test_a_backup_is_the_live_store_at_that_moment(opened: Opened, tmp_path: Path) -> None:
    store = opened()
    fill(store)
    before = lines(store)
    store.backup(str(tmp_path / "copy.db"))
    store.add_turns(ANA, [turn("later")])
    with open_store(tmp_path / "copy.db") as copy:
        assert lines(copy) == before
        assert found(copy, ANA, "Rome", kinds=("unit",)) == found(
            store, ANA, "Rome", kinds=("unit",)
        )
    assert sorted(path.name for path in tmp_path.glob("copy*")) == ["copy.db"]


def test_a_backup_that_fails_leaves_the_older_one(opened: Opened, tmp_path: Path) -> None:
    store = opened()
    fill(store)
    with pytest.raises(StoreError):
        store.backup(str(tmp_path / "no" / "folder.db"))


def test_a_backup_never_replaces_a_database_whose_log_would_be_read_into_it(
    opened: Opened, tmp_path: Path
) -> None:
    store, other = opened(), opened("other.db")
    fill(store)
    other.add_turns(BEN, [turn("mine")])
    for name in ("chat.db", "other.db"):
        with pytest.raises(StoreError, match="in use"):
            store.backup(str(tmp_path / name))
    other.close()
    store.backup(str(tmp_path / "other.db"))
    with open_store(tmp_path / "other.db") as copy:
        assert lines(copy) == lines(store)
