"""Late interaction: the kernel against the formula, and its columns in a store's candidates."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from filling import ANA, BEN, encode, extract, turn, unit
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hymem.errors import EncoderError
from hymem.stores.base import AskedTokens
from hymem.stores.index.maxsim import TokenIndex, best_matches, idf, weighted
from hymem.stores.sqlite import SQLiteStore

VOCABULARY = 50
CODES = np.random.default_rng(5).normal(size=(VOCABULARY, 8)).astype(np.float32)
CODES /= np.linalg.norm(CODES, axis=1, keepdims=True)
texts = st.lists(st.lists(st.integers(0, VOCABULARY - 1), max_size=9), max_size=12)
questions = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=6)


def codes(ids: NDArray[np.uint16]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = CODES[ids]
    return found


def ids(*tokens: int) -> NDArray[np.uint16]:
    return np.array(tokens, np.uint16)


def weight(token: int, corpus: list[list[int]]) -> float:
    total = sum(1 for text in corpus if text)
    found = sum(token in text for text in corpus)
    return math.log1p((total - found + 0.5) / (found + 0.5))


def naive(asked: list[int], text: list[int], corpus: list[list[int]]) -> float:
    """The formula, term by term."""
    if not text:
        return 0.0
    weights = [weight(token, corpus) for token in asked]
    best = [max(0.0, *(float(CODES[i] @ CODES[j]) for j in text)) for i in asked]
    return sum(w * b for w, b in zip(weights, best, strict=True)) / sum(weights)


@given(questions, texts)
def test_the_kernel_is_the_formula(asked: list[int], corpus: list[list[int]]) -> None:
    index = TokenIndex()
    counts = np.array([len(text) for text in corpus], np.int64)
    flat = ids(*(token for text in corpus for token in text))
    index.append(counts, flat)
    index.count(np.repeat(np.arange(len(corpus)), counts), flat, 1)
    question = ids(*asked)
    scores = weighted(best_matches(question, flat, counts, codes), index.weights(question))
    expected = [naive(asked, text, corpus) for text in corpus]
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@given(texts, st.sets(st.integers(0, 11)))
def test_statistics_follow_what_is_taken_out(corpus: list[list[int]], out: set[int]) -> None:
    index = TokenIndex()
    for number, text in enumerate(corpus):
        index.count(np.full(len(text), number), ids(*text), 1)
    for number in out:
        if number < len(corpus):
            index.count(np.full(len(corpus[number]), number), ids(*corpus[number]), -1)
    kept = [text for number, text in enumerate(corpus) if number not in out and text]
    held = Counter(token for text in kept for token in set(text))
    found = np.array([held[token] for token in range(VOCABULARY)])
    np.testing.assert_allclose(index.weights(ids(*range(VOCABULARY))), idf(found, len(kept)))


def asked(*tokens: int) -> AskedTokens:
    return AskedTokens(ids(*tokens), np.ones(len(tokens), np.float32), codes)


def test_candidates_are_scored_with_their_windows(store: SQLiteStore) -> None:
    corpus = [[1, 2], [3, 4, 5], [6], [7, 8], [9, 1]]
    sessions = ["s1", "s1", "s1", "s2", "s2"]
    new = [
        turn(f"bread {n}", session, token_ids=[ids(*tokens)])
        for n, (tokens, session) in enumerate(zip(corpus, sessions, strict=True))
    ]
    store.add_turns(ANA, new)
    store.add_turns(BEN, [turn("bread", token_ids=[ids(1, 2, 3)])])  # counts in no other scope
    got = store.candidates(ANA, None, "bread", 9, tokens=asked(1, 9, 20))
    expected = [naive([1, 9, 20], text, corpus) for text in corpus]
    np.testing.assert_allclose(got.late, expected, atol=1e-5)
    windows = [corpus[0] + corpus[1], corpus[0] + corpus[1] + corpus[2], corpus[1] + corpus[2]]
    windows += [corpus[3] + corpus[4]] * 2
    expected = [naive([1, 9, 20], window, corpus) for window in windows]
    np.testing.assert_allclose(got.late_window, expected, atol=1e-5)
    without = store.candidates(ANA, None, "bread", 9)
    assert not without.late.any()
    assert not without.late_window.any()


def test_updates_and_removals_reach_matches_and_weights(store: SQLiteStore) -> None:
    first, second, third = store.add_turns(
        ANA, [turn("bread", token_ids=[ids(n, 2)]) for n in (1, 1, 4)]
    )
    assert store.candidates(ANA, None, "bread", 9, tokens=asked(1)).late[0] > 0.99
    vector = encode("bread")[None]
    store.update_text(ANA, first, "bread", "bread", 1, vector, [ids(3)])
    store.delete(ANA, second)
    got = store.candidates(ANA, None, "bread", 9, tokens=asked(3, 1))
    assert got.ids.tolist() == [first, third]
    expected = [naive([3, 1], text, [[3], [4, 2]]) for text in ([3], [4, 2])]
    np.testing.assert_allclose(got.late, expected, atol=1e-5)


def test_of_several_keys_the_best_counts(store: SQLiteStore) -> None:
    store.add_turns(ANA, [turn("bread", keys=2, token_ids=[ids(1, 2), ids(3)])])
    for token in (2, 3):
        got = store.candidates(ANA, None, "bread", 9, tokens=asked(token))
        assert got.late[0] == pytest.approx(1.0, abs=1e-5)
    both = store.candidates(ANA, None, "bread", 9, tokens=asked(2, 3)).late[0]
    assert both == pytest.approx(max(naive([2, 3], key, []) for key in ([1, 2], [3])), abs=1e-5)


def test_a_unit_is_matched_by_its_own_tokens_and_the_turns_it_rests_on(store: SQLiteStore) -> None:
    turns = store.add_turns(ANA, [turn("bread", token_ids=[ids(n)]) for n in (1, 2, 3)])
    extract(store, ANA, turns, [unit("bread", turns[1:2], token_ids=[ids(8)])])
    got = store.candidates(ANA, None, "bread", 9, tokens=asked(8, 3))
    assert got.is_unit.tolist() == [False, False, False, True]
    corpus = [[1], [2], [3]]  # a unit counts in no statistic
    assert got.late[3] == pytest.approx(naive([8, 3], [8], corpus), abs=1e-5)
    assert got.late_window[3] == pytest.approx(naive([8, 3], [8, 1, 2, 3], corpus), abs=1e-5)
    only = store.candidates(ANA, None, "bread", 9, tokens=asked(8, 3), kinds=("unit",))
    assert only.late_window[0] == pytest.approx(only.late[0])


def test_tokens_without_a_key_are_refused(store: SQLiteStore) -> None:
    with pytest.raises(EncoderError, match="token ids of 2 texts for 1"):
        store.add_turns(ANA, [turn("bread", token_ids=[ids(1), ids(2)])])


def test_a_text_without_tokens_leaves_none_of_the_old_one(store: SQLiteStore) -> None:
    (one,) = store.add_turns(ANA, [turn("bread", token_ids=[ids(1, 2)])])
    assert store.candidates(ANA, None, "bread", 9, tokens=asked(2)).late[0] > 0.99
    store.update_text(ANA, one, "bread", "bread", 1, encode("bread")[None])
    assert not store.candidates(ANA, None, "bread", 9, tokens=asked(2)).late.any()
