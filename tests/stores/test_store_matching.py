"""Dense and lexical match, neighbours and filters, each against a plain computation."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pytest
from filling import ANA, BEN, DIM, encode, extract, found, turn, unit

from hymem.errors import EncoderError
from hymem.stores.index.lexical import K1, B
from hymem.stores.sqlite import SQLiteStore
from hymem.text.words import terms
from hymem.types import Filter, Scope

TEXTS = [
    "I moved to Lyon in March",
    "Lyon has good bread and good cheese",
    "My cat is called Miso",
    "Miso sleeps on the bread box all day long and in the night as well",
    "We went to the sea",
    "bread bread bread",
]


def bm25(texts: Sequence[str], query: str) -> list[float]:
    """Okapi BM25 by the book."""
    documents = [Counter(terms(text)) for text in texts]
    mean = sum(sum(document.values()) for document in documents) / len(documents)
    scores = []
    for document in documents:
        score, norm = 0.0, K1 * (1 - B + B * sum(document.values()) / mean)
        for term in set(terms(query)):
            holding = sum(term in other for other in documents)
            idf = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
            score += idf * document[term] * (K1 + 1) / (document[term] + norm)
        scores.append(score)
    return scores


@pytest.mark.parametrize("query", ["bread in Lyon", "the cat Miso?", "sea", "bread bread unknown"])
def test_lexical_scores_are_bm25_of_the_scope_alone(store: SQLiteStore, query: str) -> None:
    store.add_turns(BEN, [turn("bread in Lyon")] * 20)
    ids = store.add_turns(ANA, [turn(text) for text in TEXTS])
    expected = dict(zip(ids, bm25(TEXTS, query), strict=True))
    got = store.candidates(ANA, None, query, 10)
    assert got.ids.tolist() == sorted(item for item, score in expected.items() if score > 0)
    np.testing.assert_allclose(got.lexical, [expected[i] for i in got.ids.tolist()], rtol=1e-4)


def test_lexical_max_counts_unknown_terms(store: SQLiteStore) -> None:
    store.add_turns(ANA, [turn(text) for text in TEXTS])
    alone = store.candidates(ANA, None, "bread", 5).lexical_max
    assert store.candidates(ANA, None, "bread zebra", 5).lexical_max > 2 * alone
    assert store.candidates(ANA, None, "the", 5).lexical_max == 0.0


def test_dense_scores_are_the_best_cosine_over_an_items_keys(store: SQLiteStore) -> None:
    turns = [turn(text, keys=1 + number % 3) for number, text in enumerate(TEXTS)]
    ids = store.add_turns(ANA, turns)
    query = encode("bread in Lyon")
    best = {i: float((one.vectors @ query).max()) for i, one in zip(ids, turns, strict=True)}  # type: ignore[operator]
    got = store.candidates(ANA, query, "", 3)
    assert got.ids.tolist() == sorted(sorted(ids, key=lambda i: -best[i])[:3])
    np.testing.assert_allclose(got.dense, [best[i] for i in got.ids.tolist()], atol=2e-3)
    assert not got.lexical.any()


def test_both_matches_are_united_and_both_scores_filled(store: SQLiteStore) -> None:
    ids = store.add_turns(ANA, [turn(text) for text in TEXTS])
    got = store.candidates(ANA, encode("went to the sea"), "cheese", 1)
    assert got.ids.tolist() == [ids[1], ids[4]]
    assert got.lexical.tolist()[0] > 0.0 == got.lexical.tolist()[1]
    assert got.dense[1] > 0.9
    assert got.dense[0] == pytest.approx(
        float(encode(TEXTS[1]) @ encode("went to the sea")), abs=2e-3
    )


def test_an_item_without_keys_has_cosine_zero(store: SQLiteStore) -> None:
    ids = store.add_turns(ANA, [turn("bread", keys=0)])
    got = store.candidates(ANA, encode("bread"), "bread", 5)
    assert (got.ids.tolist(), got.dense.tolist()) == (ids, [0.0])


def test_columns_describe_turns_and_units(store: SQLiteStore) -> None:
    ids = store.add_turns(
        ANA,
        [
            turn("Miso is a cat", "a", time=datetime(2026, 1, 1)),
            turn("nothing here", "b", speaker="Ben"),
            turn("yes, the cat", "b", speaker="Ana", time=None),
        ],
    )
    event, (unit_id,) = extract(store, ANA, ids[:1], [unit("Ana has a cat", ids[:1], tokens=4)])
    got = store.candidates(ANA, None, "cat", 10)
    assert got.ids.tolist() == [ids[0], ids[2], unit_id]
    assert got.is_unit.tolist() == [False, False, True]
    assert got.position.tolist() == [0, 2, 0]
    assert got.session[0] == got.session[2] != got.session[1]
    assert got.event.tolist() == [event, -1, event]
    assert got.tokens.tolist() == [4, 3, 4]
    assert got.time[0] == 1767225600.0
    assert math.isnan(got.time[1])
    assert [got.speakers[i] if i >= 0 else "" for i in got.speaker.tolist()] == ["Ana", "Ana", ""]
    assert list(got.sources) == [(ids[0],), (ids[2],), (ids[0],)]
    assert (got.sources[-1], got.sources[0:2]) == ((ids[0],), [(ids[0],), (ids[2],)])
    assert got.turns_total == 3


def test_neighbours_of_turns_and_of_units_sources(store: SQLiteStore) -> None:
    ids = store.add_turns(
        ANA, [turn(f"number {i}", "a" if i < 5 else "b", lexical=f"n{i}") for i in range(10)]
    )
    assert found(store, ANA, "n4", radius=2) == ids[2:5]
    assert found(store, ANA, "n0 n9", radius=1) == [ids[0], ids[1], ids[8], ids[9]]
    _, units = extract(store, ANA, ids[5:8], [unit("zebra", [ids[6], ids[7]])])
    assert found(store, ANA, "zebra") == [ids[6], ids[7], *units]
    assert found(store, ANA, "zebra", radius=1) == [*ids[5:9], *units]
    assert found(store, ANA, "zebra", radius=1, kinds=("unit",)) == units


def test_filters_hold_for_matches_and_neighbours(store: SQLiteStore) -> None:
    ids = store.add_turns(
        ANA,
        [
            turn("bread", "ab"[i // 4], time=datetime(2026, 1, 1 + i), metadata={"i": i})
            for i in range(8)
        ],
    )
    _, units = extract(store, ANA, ids[:1], [unit("bread again", ids[:1])])
    query = encode("bread")

    def ranked(where: Filter | None = None, **more: object) -> list[int]:
        return [int(i) for i in store.candidates(ANA, query, "bread", 20, where=where, **more).ids]  # type: ignore[arg-type]

    assert ranked() == [*ids, *units]
    assert ranked(Filter(session_id="b")) == ids[4:]
    assert ranked(Filter(session_id="nowhere")) == []
    assert ranked(Filter(after=datetime(2026, 1, 3), before=datetime(2026, 1, 4))) == ids[2:4]
    assert ranked(Filter(metadata={"i": 5}), radius=3) == [ids[5]]
    assert ranked(Filter(kind="unit")) == units
    assert ranked(kinds=("turn",)) == ids
    assert ranked(Filter(kind="unit"), kinds=("turn",)) == []
    assert ranked(kinds=()) == []


def test_superseded_and_duplicate_units_are_not_offered(store: SQLiteStore) -> None:
    ids = store.add_turns(ANA, [turn("I live in Lyon"), turn("I live in Paris now")])
    _, (old,) = extract(store, ANA, ids[:1], [unit("Ana lives in Lyon", ids[:1])])
    _, (new, same) = extract(
        store,
        ANA,
        ids[1:],
        [
            unit("Ana lives in Paris", ids[1:], supersedes=(old,)),
            unit("Ana lives in Paris, France", ids[1:], duplicate_of=old),
        ],
    )
    assert found(store, ANA, "lives", kinds=("unit",)) == [new]
    store.delete(ANA, new)
    assert found(store, ANA, "lives", kinds=("unit",)) == [old]
    store.delete(ANA, old)
    assert found(store, ANA, "lives", kinds=("unit",)) == [same]


def test_hidden_items_leave_the_statistics(store: SQLiteStore) -> None:
    ids = store.add_turns(ANA, [turn(text) for text in [*TEXTS, "bread and cheese for the cat"]])
    store.candidates(ANA, None, "bread", 5)
    store.delete(ANA, ids[-1])
    got = store.candidates(ANA, None, "bread cheese cat", 10)
    expected = dict(zip(ids, bm25(TEXTS, "bread cheese cat"), strict=False))
    np.testing.assert_allclose(got.lexical, [expected[i] for i in got.ids.tolist()], rtol=1e-4)
    assert got.turns_total == len(TEXTS)


@pytest.mark.parametrize(
    "query", ["", "?!", '"', "a AND (b OR", "NEAR/2 *", "\x00", "\ud800", "-x:y^2", "the of"]
)
def test_query_syntax_means_nothing(store: SQLiteStore, query: str) -> None:
    ids = store.add_turns(ANA, [turn("a b x y or near and")])
    got = store.candidates(ANA, encode("a"), query, 5)
    assert got.ids.tolist() == ids


def test_an_empty_or_unknown_scope_has_no_candidates(store: SQLiteStore) -> None:
    got = store.candidates(ANA, encode("bread"), "bread", 5, radius=2)
    assert (len(got.ids), got.turns_total, len(got.sources)) == (0, 0, 0)
    ids = store.add_turns(ANA, [turn("bread")])
    assert store.candidates(ANA, encode("bread"), "bread", 0).ids.tolist() == []
    assert found(store, ANA, "bread", limit=10**6) == ids


def test_frequent_terms_count_though_they_are_not_read_in_full(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hymem.stores.index.lexical.POSTINGS_BUDGET", 30)
    texts = [f"common w{i % 10} {'rare' * (i % 50 == 7)}" for i in range(200)]
    ids = store.add_turns(ANA, [turn(text) for text in texts])
    got = store.candidates(ANA, None, "common rare w7", 4)
    assert set(got.ids.tolist()) == {ids[7], ids[57], ids[107], ids[157]}
    expected = bm25(texts, "common rare w7")
    np.testing.assert_allclose(got.lexical, [expected[7]] * 4, rtol=1e-4)


def test_vectors_of_another_shape_are_refused(store: SQLiteStore) -> None:
    for wrong in (np.zeros((2, DIM // 2)), np.zeros(DIM), np.full((1, DIM), np.nan)):
        with pytest.raises(EncoderError, match=r"expected \[keys, 32\]"):
            store.add_turns(ANA, [turn("fine"), turn("x", vectors=wrong.astype(np.float32))])
    assert store.status().turns == 0
    with pytest.raises(EncoderError, match="shape"):
        store.candidates(ANA, np.zeros(DIM + 1, np.float32), "", 5)


def test_the_least_recently_searched_scopes_leave_memory(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hymem.stores.index.cache.INDEX_COUNT", 3)
    scopes = [Scope(f"user {i}") for i in range(6)]
    for scope in scopes:
        store.add_turns(scope, [turn(f"bread of {scope.user_id}")])
    for scope in (*scopes, scopes[3]):
        assert len(found(store, scope, "bread")) == 1
    assert list(store._indexes._held) == [scopes[4], scopes[5], scopes[3]]
    monkeypatch.setattr("hymem.stores.index.cache.INDEX_BYTES", 1)
    assert len(found(store, scopes[0], "bread")) == 1
    assert list(store._indexes._held) == list(store._indexes._sizes) == [scopes[0]]
    store.delete_all(scopes[0])
    assert store._indexes._bytes == 0
