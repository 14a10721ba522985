"""Updates, deletions and what the history keeps of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from filling import ANA, BEN, encode, extract, found, open_store, turn, unit

from hymem.errors import NotFoundError
from hymem.stores.sqlite import SQLiteStore


def update(store: SQLiteStore, item_id: int, text: str) -> None:
    store.update_text(ANA, item_id, text, text, len(text.split()), encode(text)[None])


def events_of(store: SQLiteStore, item_id: int) -> list[tuple[str, str | None]]:
    return [(entry["event"], entry["text"]) for entry in store.history(ANA, item_id)]


def test_an_updated_text_is_found_by_its_new_words_alone(store: SQLiteStore) -> None:
    ids = store.add_turns(ANA, [turn("a red car"), turn("a blue bus")])
    assert found(store, ANA, "red") == ids[:1]
    update(store, ids[0], "a green tram")
    assert found(store, ANA, "red") == []
    assert found(store, ANA, "tram") == ids[:1]
    near = store.candidates(ANA, encode("a green tram"), "", 1)
    assert near.ids.tolist() == ids[:1]
    assert near.dense[0] > 0.99
    assert store.turns(ANA, ids[:1])[0].text == "a green tram"
    assert events_of(store, ids[0]) == [("add", "a red car"), ("update", "a green tram")]


def test_an_updated_turn_is_extracted_again(store: SQLiteStore) -> None:
    ids = store.add_turns(ANA, [turn("I live in Lyon")])
    event, (old,) = extract(store, ANA, ids, [unit("Ana lives in Lyon", ids)])
    update(store, ids[0], "I live in Rome")
    assert store.units(ANA, [old]) == []
    lease = store.lease_events(ANA, 1, 60.0)
    assert lease is not None
    assert [one.id for one in lease.events] == [event]


def test_an_updated_unit_keeps_its_links(store: SQLiteStore) -> None:
    ids = store.add_turns(ANA, [turn("I live in Lyon")])
    _, (item_id,) = extract(store, ANA, ids, [unit("Ana lives in Lyon", ids, fact="home")])
    update(store, item_id, "Ana lives in Lyon 3e")
    (changed,) = store.units(ANA, [item_id])
    assert (changed.text, changed.source_turns) == ("Ana lives in Lyon 3e", tuple(ids))
    assert store.current_facts(ANA, ["home"])["home"] == [changed]
    assert store.status(ANA).events == {"done": 1}


def test_unknown_ids_and_other_scopes_are_not_found(store: SQLiteStore) -> None:
    (item_id,) = store.add_turns(ANA, [turn("mine")])
    for scope, wrong in ((BEN, item_id), (ANA, item_id + 1), (ANA, 2**70), (ANA, -1)):
        with pytest.raises(NotFoundError, match=str(wrong)):
            store.delete(scope, wrong)
        with pytest.raises(NotFoundError):
            store.update_text(scope, wrong, "x", "x", 1, np.zeros((1, 32), np.float32))
    assert store.history(BEN, item_id) == []
    assert store.turns(ANA, [item_id])[0].text == "mine"


def test_deleting_a_turn_removes_what_rests_on_it(store: SQLiteStore) -> None:
    ids = store.add_turns(ANA, [turn("alpha"), turn("beta"), turn("gamma")])
    first, (alone, apart) = extract(
        store, ANA, ids[:2], [unit("one alpha", ids[:1]), unit("two beta", ids[1:2])]
    )
    second, (both, also) = extract(
        store, ANA, ids[2:], [unit("alpha gamma", [ids[0], ids[2]]), unit("three", ids[2:])]
    )
    assert found(store, ANA, "alpha beta gamma three", radius=1)
    store.delete(ANA, ids[0])
    assert [one.id for one in store.list_units(ANA)] == [apart]
    status = {event.id: (event.status, event.turns) for event in store.events(ANA)}
    assert status == {first: ("done", (ids[1],)), second: ("pending", (ids[2],))}
    assert found(store, ANA, "alpha beta gamma three", radius=1) == [ids[1], ids[2], apart]
    for gone in (ids[0], alone, both, also):
        assert events_of(store, gone) == [("add", None), ("delete", None)]


def test_an_event_without_turns_goes_too(store: SQLiteStore) -> None:
    ids = store.add_turns(ANA, [turn("alpha")])
    extract(store, ANA, ids, [unit("one alpha", ids)])
    store.delete(ANA, ids[0])
    status = store.status(ANA)
    assert (status.turns, status.units, dict(status.events)) == (0, 0, {})


def test_a_worker_that_reads_a_deleted_turn_loses_its_lease(store: SQLiteStore) -> None:
    ids = store.add_turns(ANA, [turn("secret"), turn("other")])
    store.add_events(ANA, [(ids, ids)])
    lease = store.lease_events(ANA, 1, 60.0)
    assert lease is not None
    store.delete(ANA, ids[0])
    assert store.complete_event(lease, lease.events[0].id, [unit("a secret", ids)]) == []
    again = store.lease_events(ANA, 1, 60.0)
    assert again is not None
    assert again.events[0].turns == (ids[1],)


def test_ids_and_positions_of_deleted_turns_do_not_come_back(store: SQLiteStore) -> None:
    ids = store.add_turns(ANA, [turn("one"), turn("two")])
    store.delete(ANA, ids[1])
    (new,) = store.add_turns(ANA, [turn("three")])
    assert new > ids[1]
    assert [one.position for one in store.list_turns(ANA)] == [0, 2]


def test_delete_all_empties_one_scope(store: SQLiteStore) -> None:
    ids = store.add_turns(ANA, [turn("alpha"), turn("beta", source_id="b")])
    extract(store, ANA, ids, [unit("one alpha", ids)])
    store.add_turns(BEN, [turn("alpha of ben")])
    assert found(store, ANA, "alpha")
    assert store.delete_all(ANA) == 3
    assert store.delete_all(ANA) == 0
    assert found(store, ANA, "alpha") == []
    assert len(found(store, BEN, "alpha")) == 1
    assert store.scopes() == [BEN]
    (new,) = store.add_turns(ANA, [turn("beta", source_id="b")])
    assert found(store, ANA, "beta alpha") == [new]


def test_after_delete_all_no_file_holds_a_byte_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hymem.stores.index.upkeep.SMALLEST", 10)
    secret = "xylophonequartz"
    with open_store(tmp_path / "chat.db") as store:
        store.add_turns(BEN, [turn(f"ben {i}") for i in range(300)])
        ids = store.add_turns(
            ANA,
            [
                turn(
                    f"{secret} {i} " + secret * (i % 40 * 20),
                    secret,
                    speaker=secret,
                    source_id=f"{secret}{i}",
                    metadata={"k": secret},
                )
                for i in range(300)
            ],
        )
        extract(store, ANA, ids[:9], [unit(f"{secret} unit", ids[:2], fact=secret)])
        update(store, ids[3], f"{secret} changed")
        store.delete(ANA, ids[4])
        store.add_costs([{"scope": ANA, "stage": "light"}])
        found(store, ANA, secret)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert any(secret.encode() in path.read_bytes() for path in files)
        store.delete_all(ANA)
        for path in tmp_path.rglob("*"):
            assert path.is_dir() or secret.encode() not in path.read_bytes(), path.name
        assert not list(tmp_path.glob("chat.db.index/1.*")) or store.scopes() == [BEN]
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes(), path.name


def test_costs_outlive_their_scope_without_naming_it(store: SQLiteStore) -> None:
    store.add_turns(ANA, [turn("alpha")])
    store.add_costs([{"scope": ANA, "stage": "light", "usd": 0.5}])
    store.delete_all(ANA)
    (row,) = store.costs(None)
    assert (row["scope"], row["usd"]) == (None, 0.5)
