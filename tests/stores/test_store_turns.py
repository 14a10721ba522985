"""Adding and reading turns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from filling import ANA, BEN, DIM, encode, found, turn

from hymem.errors import InputError, StoreError
from hymem.stores.sqlite import SQLiteStore
from hymem.types import Filter, Scope


def test_turns_come_back_as_they_were_added(store: SQLiteStore) -> None:
    time = datetime(2026, 3, 2, 14, 30, tzinfo=timezone(timedelta(hours=1)))
    new = turn("I moved to Lyon", "march", time=time, source_id="m1", metadata={"a": [1, None]})
    (item_id,) = store.add_turns(ANA, [new])
    (back,) = store.turns(ANA, [item_id])
    assert (back.text, back.role, back.speaker, back.session_id) == (
        "I moved to Lyon",
        "user",
        "Ana",
        "march",
    )
    assert (back.time, back.source_id, back.metadata) == (time, "m1", {"a": [1, None]})
    assert back.time is not None
    assert back.time.utcoffset() == timedelta(hours=1)


def test_a_naive_time_stays_naive_and_is_compared_as_utc(store: SQLiteStore) -> None:
    store.add_turns(ANA, [turn("early", time=datetime(2026, 1, 1)), turn("late", time=None)])
    first, second = store.list_turns(ANA)
    assert (first.time, second.time) == (datetime(2026, 1, 1), None)
    where = Filter(before=datetime(2026, 1, 1, tzinfo=UTC))
    assert [one.text for one in store.list_turns(ANA, where)] == ["early"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a\x00b",
        "שלום עולם",
        "猫が好き",
        "🎂👩‍👩‍👧",
        "'; DROP TABLE items; --",
        "word " * 300_000,
    ],
)
def test_any_text_is_kept(store: SQLiteStore, text: str) -> None:
    ids = store.add_turns(ANA, [turn(text, keys=0)])
    assert store.turns(ANA, ids)[0].text == text


def test_lone_surrogates_become_the_replacement_character(store: SQLiteStore) -> None:
    ids = store.add_turns(
        ANA, [turn("a\ud800b", "s\udfff", speaker="x\ud800", metadata={"k\ud800": "v\ud800"})]
    )
    (back,) = store.turns(ANA, ids)
    assert (back.text, back.session_id, back.speaker) == ("a\ufffdb", "s\ufffd", "x\ufffd")
    assert back.metadata == {"k\ud800": "v\ud800"}


def test_a_scope_is_refused_rather_than_changed(store: SQLiteStore) -> None:
    with pytest.raises(InputError, match="lone surrogate"):
        store.add_turns(Scope("a\ud800"), [turn("x")])


def test_positions_count_the_scope_and_ids_the_store(store: SQLiteStore) -> None:
    first = store.add_turns(ANA, [turn("one"), turn("two")])
    other = store.add_turns(BEN, [turn("three")])
    assert len({*first, *other}) == 3
    assert [one.position for one in store.list_turns(ANA)] == [0, 1]
    assert [one.position for one in store.list_turns(BEN)] == [0]


def test_a_source_id_is_added_once_per_scope(store: SQLiteStore) -> None:
    first = store.add_turns(ANA, [turn("one", source_id="a"), turn("again", source_id="a")])
    second = store.add_turns(ANA, [turn("new", source_id="b"), turn("more", source_id="a")])
    other = store.add_turns(BEN, [turn("ben's", source_id="a")])
    assert first[0] == first[1] == second[1]
    assert [one.text for one in store.list_turns(ANA)] == ["one", "new"]
    assert store.turns(BEN, other)[0].text == "ben's"


def test_ids_of_another_scope_are_left_out(store: SQLiteStore) -> None:
    (mine,) = store.add_turns(ANA, [turn("mine")])
    (hers,) = store.add_turns(BEN, [turn("hers")])
    assert [one.id for one in store.turns(ANA, [hers, mine, 999, -1, 2**70])] == [mine]
    assert store.units(ANA, [mine]) == []


def test_more_ids_than_one_statement_takes(store: SQLiteStore) -> None:
    ids = store.add_turns(ANA, [turn(f"turn {i}") for i in range(1200)])
    assert [one.id for one in store.turns(ANA, ids[::-1])] == ids[::-1]


def test_listing_by_session_time_metadata_and_page(store: SQLiteStore) -> None:
    ids = store.add_turns(
        ANA,
        [
            turn(f"turn {i}", f"s{i % 2}", time=datetime(2026, 1, 1 + i), metadata={"n": i % 3})
            for i in range(9)
        ],
    )

    def listed(where: Filter | None = None, **more: int) -> list[int]:
        return [ids.index(one.id) for one in store.list_turns(ANA, where, **more)]

    assert listed(Filter(session_id="s1")) == [1, 3, 5, 7]
    assert listed(Filter(after=datetime(2026, 1, 3), before=datetime(2026, 1, 5))) == [2, 3, 4]
    assert listed(Filter(metadata={"n": 0})) == [0, 3, 6]
    assert listed(Filter(metadata={"n": 0}), limit=2) == [0, 3]
    assert listed(limit=3, after_id=ids[3]) == [4, 5, 6]
    assert listed(Filter(kind="unit")) == []
    assert listed(limit=0) == []


def test_a_window_stays_in_its_session(store: SQLiteStore) -> None:
    store.add_turns(ANA, [turn(f"t{i}", "a" if i < 4 else "b") for i in range(8)])
    assert [one.text for one in store.window(ANA, [3, 7], 1)] == ["t2", "t3", "t6", "t7"]
    assert [one.text for one in store.window(ANA, [4, 5], 1)] == ["t4", "t5", "t6"]
    assert store.window(ANA, [99, -1], 1) == store.window(BEN, [0], 1) == []


def test_turns_saved_without_vectors_are_found_by_words_and_embedded_later(
    store: SQLiteStore,
) -> None:
    (item_id,) = store.add_turns(ANA, [turn("a cat named Miso", vectors=None)])
    assert found(store, ANA, "cats") == [item_id]
    assert store.unembedded(ANA, 10) == store.turns(ANA, [item_id])
    assert store.unembedded(ANA, 10, after_id=item_id) == store.unembedded(BEN, 10) == []
    assert store.without_vectors() == [ANA]
    assert store.status(ANA).unembedded == 1
    (item,) = store.turns(ANA, [item_id])
    store.set_vectors(ANA, [(item, encode("a cat named Miso")[None], None, ())])
    assert store.unembedded(ANA, 10) == store.without_vectors() == []
    near = store.candidates(ANA, encode("cat named"), "", 5)
    assert near.ids.tolist() == [item_id]
    assert near.dense[0] > 0.5


def test_vectors_that_come_late_replace_no_newer_ones_and_revive_nothing(
    store: SQLiteStore,
) -> None:
    texts = ("red cat", "red dog", "red bird", "red wine")
    ids = store.add_turns(ANA, [turn(text, vectors=None) for text in texts])
    late = [(item, encode("red")[None], None, ()) for item in store.unembedded(ANA, 9)]
    _, changed, gone, waiting = ids
    store.update_text(ANA, changed, "blue sea", "blue sea", 2, encode("blue sea")[None])
    store.update_text(ANA, waiting, "blue sky", "blue sky", 2, None)
    store.delete(ANA, gone)
    store.set_vectors(ANA, late)
    store.set_vectors(BEN, late)
    assert store.candidates(ANA, encode("blue sea"), "", 1).ids.tolist() == [changed]
    assert [item.id for item in store.unembedded(ANA, 9)] == [waiting]


def test_an_item_updated_without_vectors_waits_for_new_ones(store: SQLiteStore) -> None:
    (item_id,) = store.add_turns(ANA, [turn("red cat")])
    assert store.candidates(ANA, encode("red cat"), "", 5).dense[0] > 0.5
    store.update_text(ANA, item_id, "blue sea", "blue sea", 2, None)
    assert store.unembedded(ANA, 9) == store.turns(ANA, [item_id])
    assert store.candidates(ANA, encode("red cat"), "", 5).ids.tolist() == []
    assert found(store, ANA, "sea") == [item_id]


def test_ids_of_the_application_lead_to_turns_and_all_their_texts(store: SQLiteStore) -> None:
    first, _ = store.add_turns(ANA, [turn("one", source_id="a"), turn("two", source_id="b")])
    store.add_turns(BEN, [turn("three", source_id="c")])
    store.update_text(ANA, first, "uno", "uno", 1, encode("uno")[None])
    found = store.said_before(ANA, ["b", "a", "a", "c", "\ud800"])
    assert {source: texts for source, (_, texts) in found.items()} == {
        "a": ["uno", "one", "uno"],
        "b": ["two"],
    }
    assert found["a"][0] == store.turns(ANA, [first])[0]


def test_mean_vectors(store: SQLiteStore) -> None:
    ids = store.add_turns(ANA, [turn("one"), turn("two", keys=3), turn("three", keys=0)])
    means = store.vectors(ANA, [ids[1], ids[2], ids[0], 999])
    assert means.shape == (4, DIM)
    expected = np.mean(turn("two", keys=3).vectors, axis=0)
    np.testing.assert_allclose(means[0], expected, atol=1e-3)
    np.testing.assert_allclose(means[2], encode("one"), atol=1e-3)
    assert not means[[1, 3]].any()
    assert not store.vectors(BEN, ids).any()


def test_status_counts_a_scope_or_everything(store: SQLiteStore) -> None:
    store.add_turns(ANA, [turn("one", "a"), turn("two", "b")])
    store.add_turns(BEN, [turn("three")])
    mine, all_of_it = store.status(ANA), store.status()
    assert (mine.turns, mine.sessions, mine.unsegmented, mine.scopes) == (2, 2, 2, 1)
    assert (all_of_it.turns, all_of_it.sessions, all_of_it.scopes) == (3, 3, 2)
    assert store.status(Scope("nobody")).turns == 0
    assert store.scopes() == [ANA, BEN]


def test_scopes_are_exact_pairs(store: SQLiteStore) -> None:
    scopes = [Scope(), Scope(""), Scope("a"), Scope(None, "a"), Scope("a", "a"), Scope("a", "")]
    for scope in scopes:
        store.add_turns(scope, [turn(repr(scope))])
    for scope in scopes:
        assert [one.text for one in store.list_turns(scope)] == [repr(scope)]


def test_a_closed_store_says_so(store: SQLiteStore) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.turns(ANA, [1])
    with pytest.raises(StoreError, match="closed"):
        store.add_turns(ANA, [turn("x")])
