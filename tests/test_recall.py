"""Recall without a model: budget, tiers and trace, over a real store with the shipped encoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import SCOPE, TALK, add_unit, encoder, new_store

from hymem.deep import raw_context
from hymem.recall import by_value, recall
from hymem.retrieve import Retriever
from hymem.stores.sqlite import SQLiteStore
from hymem.tokens import count_tokens
from hymem.types import Config, Filter, Hit

NOW = datetime(2026, 5, 1)


@pytest.fixture(scope="module")
def talk() -> Iterator[tuple[SQLiteStore, list[int]]]:
    store, ids = new_store()
    with store:
        yield store, ids


def ask(store: SQLiteStore, question: str, config: Config | None = None, **options: Any) -> Any:
    config = config or Config()
    retriever = Retriever(store, encoder(), config)
    options = {"max_tokens": 1000, "now": NOW} | options
    return recall(store, retriever, config, SCOPE, question, **options)


def test_the_block_holds_the_evidence_with_its_day_and_speaker(talk: Any) -> None:
    found = ask(talk[0], "What is Ana allergic to?")
    assert "[Wednesday 11 February 2026]" in found.block.text
    assert f"Ana: {TALK[8][3]}" in found.block.text


def test_the_budget_is_never_exceeded_and_well_used(talk: Any) -> None:
    for budget in (40, 80, 150):
        for config in (Config(deep=False), Config(light=False)):
            found = ask(talk[0], "What instrument does Ben play?", config, max_tokens=budget)
            assert budget * 0.6 < found.block.tokens <= budget
            assert found.block.tokens == count_tokens(found.block.text)


def test_config_caps_each_tier(talk: Any) -> None:
    light = ask(talk[0], "Ben's cello?", Config(deep=False, light_tokens=60))
    deep = ask(talk[0], "Ben's cello?", Config(light=False, deep_tokens=90))
    assert light.tier, light.block.tokens <= 60
    assert deep.tier, 60 < deep.block.tokens <= 90


def test_a_switched_off_tier_leaves_the_other(talk: Any) -> None:
    assert ask(talk[0], "Where does Ana live?", Config(deep=False)).tier == "light"
    assert ask(talk[0], "Where does Ana live?", Config(light=False)).tier == "deep"


def test_nothing_found_is_an_empty_block(talk: Any) -> None:
    found = ask(talk[0], "Which kubernetes cluster runs the billing jobs?")
    assert (found.tier, found.block.text, found.block.used) == ("none", "", ())
    assert found.trace["found"] is False


def test_the_trace_tells_the_gates_score_and_what_was_seen(talk: Any) -> None:
    trace = ask(talk[0], "Where does Ana live?").trace
    assert 0 <= trace["score"] <= 1
    assert 0 < trace["threshold"] < 1
    assert trace["hits"] >= trace["items"] > 0
    assert trace["tokens"] > 0


def test_a_filter_narrows_the_light_block(talk: Any) -> None:
    config = Config(deep=False)
    found = ask(talk[0], "What about the cello?", config, where=Filter(session_id="s3"))
    assert {item.session_id for item in found.block.used} == {"s3"}


def test_raw_turns_are_shown_unless_they_are_no_keys() -> None:
    store, ids = new_store()
    with store:
        add_unit(store, "Ben owns a second-hand cello.", [ids[5]])
        config = Config(deep=False)
        assert {item.kind for item in ask(store, "Ben's cello?", config).block.used} == {"turn"}
        config = replace(config, raw_keys=False)
        assert {item.kind for item in ask(store, "Ben's cello?", config).block.used} == {"unit"}


def test_deep_reads_the_passage_around_a_hit(talk: Any) -> None:
    store, ids = talk
    hit = Hit(ids[7], "turn", TALK[7][3], None, 0.9, (ids[7],), "Ben", "s2")
    block = raw_context(store, SCOPE, [hit], 1000)
    # The whole session, and nothing of its neighbours.
    assert [item.id for item in block.used] == [ids[i] for i in (7, 8, 6, 9, 5)]
    small = raw_context(store, SCOPE, [hit], block.tokens // 2)
    assert small.used[0].id == ids[7]
    assert 0 < small.tokens <= block.tokens // 2


def hit(number: int, score: float, words: int) -> Hit:
    return Hit(number, "turn", "word " * words, None, score, (number,))


def test_of_equal_hits_the_shorter_goes_first() -> None:
    ranked = by_value([hit(1, 0.5, 60), hit(2, 0.5, 5), hit(3, 0.9, 60)])
    assert [item.id for item in ranked] == [3, 2, 1]


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 50)), max_size=12))
def test_by_value_keeps_every_hit(pairs: list[tuple[float, int]]) -> None:
    hits = [hit(number, score, words) for number, (score, words) in enumerate(pairs)]
    assert sorted(item.id for item in by_value(hits)) == [item.id for item in hits]
