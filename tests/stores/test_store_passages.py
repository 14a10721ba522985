"""Long turns in passages: matched by the best of them, which the candidates name."""

from __future__ import annotations

import numpy as np
import pytest
from filling import ANA, asked, codes_of, encode, found, tokens_of, turn
from hypothesis import given, settings
from hypothesis import strategies as st

from hymem.errors import EncoderError
from hymem.stores.base import NewPassage, NewTurn
from hymem.stores.index.maxsim import idf
from hymem.stores.index.passages import LOOKED_AT
from hymem.stores.sqlite import SQLiteStore
from hymem.types import Passage

PARTS = st.lists(
    st.sampled_from(["red cat", "green dog sea", "wine", "blue bird", "red sea wine", "sun"]),
    min_size=1,
    max_size=2 * LOOKED_AT,
)


def long_turn(parts: list[str], **more: object) -> NewTurn:
    """A turn of these passages, one a line."""
    text = "\n".join(parts)
    passages, place = [], 0
    for part in parts:
        passages.append(NewPassage(place, place + len(part), len(part.split()), part))
        place += len(part) + 1
    fields = {
        "vectors": np.array([encode(part) for part in parts]),
        "token_ids": [tokens_of(part) for part in parts],
        "passages": passages if len(parts) > 1 else (),
    }
    return turn(text, **{**fields, **more})


def match(part: str, query: str) -> float:
    return float(encode(part) @ encode(query))


def late_match(query: str, part: str, turns: list[list[str]]) -> float:
    wanted, held = tokens_of(query), [tokens_of(" ".join(parts)) for parts in turns]
    weights = idf(np.array([sum(token in ids for ids in held) for token in wanted]), len(held))
    best = (codes_of(wanted) @ codes_of(tokens_of(part)).T).max(axis=1, initial=0.0)
    return float(weights @ best / weights.sum())


@settings(max_examples=25)
@given(st.lists(PARTS, min_size=1, max_size=6), st.sampled_from(["red cat", "sea wine"]))
def test_a_turn_matches_as_its_best_passage(turns: list[list[str]], query: str) -> None:
    with SQLiteStore(":memory:", encoder_name="h", encoder_version="1", dim=32) as store:
        ids = store.add_turns(ANA, [long_turn(parts) for parts in turns])
        got = store.candidates(ANA, encode(query), query, 50, tokens=asked(query))
        assert got.ids.tolist() == ids
        for row, parts in enumerate(turns):
            best = max(match(part, query) for part in parts)
            assert got.dense[row] == pytest.approx(best, abs=0.01)
            late = max(late_match(query, part, turns) for part in parts)
            assert got.late[row] == pytest.approx(late, abs=1e-5)
            words = {word for word in query.split() if any(word in part for part in parts)}
            assert bool(got.lexical[row]) == bool(words)
            ranked = got.passages[row]
            if len(parts) == 1:
                assert ranked == ()
                continue
            assert len(set(ranked)) == len(ranked)
            assert got.passage_tokens[row] == len(parts[ranked[0]].split())
            assert max(ranked) < len(parts)
            if any(query in part for part in parts):
                assert query in parts[ranked[0]]


def test_of_many_passages_those_that_match_are_looked_at(store: SQLiteStore) -> None:
    parts = [f"filler number {number}" for number in range(300)]
    parts[123], parts[250] = "the spare key hangs behind the barometer", "a red cat"
    store.add_turns(ANA, [long_turn(parts), *(turn(f"bread {n}") for n in range(30))])
    for query, place in (("barometer key", 123), ("red cat", 250)):
        for vector, words in ((encode(query), query), (encode(query), ""), (None, query)):
            got = store.candidates(ANA, vector, words, 5, tokens=asked(query))
            assert got.passages[0][0] == place
            assert len(got.passages[0]) <= 2 * LOOKED_AT


def test_many_passages_of_one_turn_keep_no_other_turn_out(store: SQLiteStore) -> None:
    store.add_turns(ANA, [long_turn(["red cat"] * 400), turn("red dog"), turn("a red cat, really")])
    for vector, words in ((encode("red cat"), ""), (None, "red cat")):
        got = store.candidates(ANA, vector, words, 3)
        assert len(got.ids) == 3
    assert len(found(store, ANA, "red cat", 2)) == 2


def test_passages_come_with_their_turn_and_follow_updates(store: SQLiteStore) -> None:
    ids = store.add_turns(ANA, [long_turn(["red cat", "green dog"]), turn("bread")])
    long, short = store.turns(ANA, ids)
    assert list(long.passages) == [Passage(0, 7, 2), Passage(8, 17, 2)]
    assert [long.text[one.start : one.end] for one in long.passages] == ["red cat", "green dog"]
    assert long.passages[-1:] == (Passage(8, 17, 2),)
    assert short.passages == ()
    assert (long.tokens, short.tokens) == (4, 1)
    assert store.list_turns(ANA)[0] == long
    new = long_turn(["blue bird", "wine", "sun"])
    store.update_text(
        ANA, ids[0], new.text, new.lexical, 4, np.array(new.vectors), new.token_ids, new.passages
    )
    got = store.candidates(ANA, encode("wine"), "wine", 1)
    assert (got.ids.tolist(), got.passages[0][0]) == (ids[:1], 1)
    assert found(store, ANA, "cat") == []
    store.update_text(ANA, ids[0], "red sea", "red sea", 2, encode("red sea")[None])
    assert store.turns(ANA, ids[:1])[0].passages == ()
    got = store.candidates(ANA, encode("red sea"), "wine", 1)
    assert got.passages[0] == ()
    assert not got.lexical.any()
    store.delete(ANA, ids[0])
    assert found(store, ANA, "red") == []


def test_words_find_the_passage_while_there_are_no_vectors(store: SQLiteStore) -> None:
    parts = ["red cat", "green dog", "wine"]
    new = long_turn(parts)
    (one,) = store.add_turns(ANA, [long_turn(parts, vectors=None, token_ids=None)])
    got = store.candidates(ANA, encode("dog"), "dog", 5, tokens=asked("dog"))
    assert (got.ids.tolist(), got.passages[0][0]) == ([one], 1)
    assert not got.dense.any()
    assert len(store.unembedded(ANA, 9)[0].passages) == 3  # type: ignore[union-attr]
    store.set_vectors(
        ANA, [(store.turns(ANA, [one])[0], np.array(new.vectors), new.token_ids, new.passages)]
    )
    got = store.candidates(ANA, encode("dog"), "", 5, tokens=asked("dog"))
    assert got.passages[0][0] == 1
    assert got.late[0] > 0.99


def test_passages_that_are_known_only_with_the_vectors(store: SQLiteStore) -> None:
    parts = ["red cat", "green dog", "wine"]
    new = long_turn(parts)
    (one,) = store.add_turns(ANA, [long_turn(parts, vectors=None, token_ids=None, passages=())])
    assert store.candidates(ANA, None, "dog", 5).passages[0] == ()
    store.set_vectors(
        ANA, [(store.turns(ANA, [one])[0], np.array(new.vectors), new.token_ids, new.passages)]
    )
    assert store.candidates(ANA, None, "dog", 5).passages[0][0] == 1
    assert len(store.turns(ANA, [one])[0].passages) == 3


def test_a_passage_without_its_vector_is_refused(store: SQLiteStore) -> None:
    with pytest.raises(EncoderError, match="1 vectors for 2 passages"):
        store.add_turns(ANA, [long_turn(["a", "b"], vectors=encode("a")[None], token_ids=None)])
