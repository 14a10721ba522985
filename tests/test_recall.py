"""Recall without a model: budget, tiers and trace, over a real store with the shipped encoder."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import SCOPE, TALK, add_unit, encoder, new_store

from hymem import EncoderError, HyMem, Statement
from hymem.offline import OfflineExtractor
from hymem.read.query import Query
from hymem.read.recall import NOT_FOUND_NOTE, raw_context, recall
from hymem.read.retrieve import Retriever
from hymem.stores.sqlite import SQLiteStore
from hymem.text.passages import ELLIPSIS
from hymem.text.tokens import count_tokens
from hymem.types import Config, Filter, Hit, Turn

NOW = datetime(2026, 5, 1)
STORE, _ = new_store()  # for properties, which share no fixture


@pytest.fixture(scope="module")
def talk() -> Iterator[tuple[SQLiteStore, list[int]]]:
    store, ids = new_store()
    with store:
        yield store, ids


def ask(store: SQLiteStore, question: str, config: Config | None = None, **options: Any) -> Any:
    config = config or Config()
    retriever = Retriever(store, encoder(), config, shows_units=options.pop("shows_units", False))
    query = Query(SCOPE, question, NOW, options.pop("where", None))
    return recall(retriever, query, **{"max_tokens": 1000} | options)


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


def shown(block: Any) -> dict[int, str]:
    """Texts by id, without the mark of what was cut."""
    return {item.id: item.text.removesuffix(ELLIPSIS).rstrip() for item in block.used}


@given(st.integers(1, 600), st.integers(1, 600), st.sampled_from(["Ben's cello?", "Lyon", "thx!"]))
def test_a_larger_budget_holds_what_a_smaller_one_held(one: int, other: int, text: str) -> None:
    small, large = sorted((one, other))
    less, more = (ask(STORE, text, max_tokens=budget).block for budget in (small, large))
    assert less.tokens <= small
    assert more.tokens <= large
    held = shown(more)
    assert all(held.get(item, "").startswith(words) for item, words in shown(less).items())


@given(st.integers(20, 400), st.integers(20, 400))
def test_so_does_a_larger_adaptive_budget(one: int, other: int) -> None:
    small, large = sorted((one, other))
    less, more = (
        ask(STORE, "Who teaches Ben?", max_tokens=budget, adaptive=True).block
        for budget in (small, large)
    )
    assert shown(less).keys() <= shown(more).keys()


def test_a_budget_without_end_holds_the_whole_memory(talk: Any) -> None:
    for text in ("Who teaches Ben the cello?", "kubernetes", "?", "🙂", "word " * 20_000):
        found = ask(talk[0], text, max_tokens=10_000_000)
        assert {item.text for item in found.block.used} == {text for *_, text in TALK}


def test_what_the_candidates_leave_out_follows_session_by_session() -> None:
    many = [(f"s{n // 10}", "2026-01-05", "Ana", f"Number {n} is {n * n}.") for n in range(900)]
    store, _ = new_store([*many, ("s91", "2026-01-06", "Ben", "The cello is mine.")])
    with store:
        found = ask(store, "Whose cello is it?", max_tokens=10_000_000)
        assert len(found.block.used) == 901
        assert found.block.used[0].text == "The cello is mine."
        half = ask(store, "Whose cello is it?", max_tokens=found.block.tokens // 2)
        assert found.block.used[: len(half.block.used) - 1] == half.block.used[:-1]


def test_a_switched_off_tier_leaves_the_other(talk: Any) -> None:
    assert ask(talk[0], "Where does Ana live?", Config(deep=False)).tier == "light"
    assert ask(talk[0], "Where does Ana live?", Config(light=False)).tier == "deep"


def test_a_block_is_never_silent_and_tells_that_nothing_was_found(talk: Any) -> None:
    found = ask(talk[0], "Which kubernetes cluster runs the billing jobs?")
    assert not found.retrieval.found
    assert found.block.used
    assert found.block.text.splitlines()[1] == NOT_FOUND_NOTE
    assert found.block.tokens == count_tokens(found.block.text)
    assert NOT_FOUND_NOTE not in ask(talk[0], "Who teaches Ben the cello?").block.text


def test_strict_recall_brings_nothing_rather_than_something_else(talk: Any) -> None:
    found = ask(talk[0], "Which kubernetes cluster runs the billing jobs?", strict=True)
    assert (found.tier, found.block.text, found.block.used) == ("none", "", ())
    assert found.trace["found"] is False
    assert ask(talk[0], "Who teaches Ben the cello?", strict=True).block.used


@pytest.mark.parametrize(
    "text", ["", " ", "?", "ok", "🙂🙂", "x" * 100_000, "thanks, that helped!", "co u Bena?"]
)
def test_whatever_is_typed_brings_the_best_lines_there_are(talk: Any, text: str) -> None:
    found = ask(talk[0], text, max_tokens=100)
    assert found.block.used
    assert 0 <= found.retrieval.confidence <= 1


class Unreachable:
    """The default encoder behind a line that can be cut."""

    name, version, dim = encoder().name, encoder().version, encoder().dim
    max_tokens, cut = encoder().max_tokens, False

    def encode(self, texts: Sequence[str]) -> Any:
        if self.cut:
            raise EncoderError("no route to the embedding endpoint")
        return encoder().encode(texts)


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "?"])
@pytest.mark.parametrize("cut", [False, True])
def test_an_empty_message_brings_lines_too(text: str, cut: bool) -> None:
    own = Unreachable()
    with HyMem(":memory:", llm=None, encoder=own, background=False) as memory:
        said = {"I moved to Lyon.", "My cello is second-hand."}
        memory.add([{"role": "user", "content": text} for text in said], user_id="u", wait=True)
        own.cut = cut
        found = memory.recall(text, user_id="u", max_tokens=100)
        assert {hit.text for hit in found.evidence} == said
        assert not found.found
        assert NOT_FOUND_NOTE in found.text
        assert memory.recall(text, user_id="u", strict=True).text == ""
        assert memory.recall(text, user_id="somebody else").text == ""


def test_a_budget_for_the_note_alone_holds_a_line_instead(talk: Any) -> None:
    for budget in range(1, 60):
        block = ask(talk[0], "Which kubernetes cluster is it?", max_tokens=budget).block
        assert block.tokens <= budget
        assert bool(block.used) == bool(block.text)
    assert block.used


def test_one_turn_is_a_memory_too() -> None:
    store, ids = new_store(TALK[:1])
    with store:
        for text in ("Where does Ana live?", "Which kubernetes cluster is it?"):
            assert [item.id for item in ask(store, text).block.used] == ids


def test_identical_turns_are_as_good_as_any() -> None:
    store, _ = new_store([TALK[0]] * 40)
    with store:
        found = ask(store, "Where does Ana live?", max_tokens=300)
        assert len(found.block.used) > 5
        assert 0 <= found.retrieval.confidence <= 1


def test_an_adaptive_budget_sends_less_and_says_so(talk: Any) -> None:
    full = ask(talk[0], "What is Ana allergic to?")
    less = ask(talk[0], "What is Ana allergic to?", adaptive=True)
    assert TALK[8][3] in less.block.text
    assert less.block.tokens < full.block.tokens
    assert less.trace["needed"] == full.trace["needed"] == less.trace["items"]


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


def short_units(store: SQLiteStore, ids: list[int]) -> SQLiteStore:
    """``store`` with a unit of few words for each turn."""
    for place, (_, _, speaker, text) in enumerate(TALK):
        add_unit(store, f"{speaker}: {' '.join(text.split()[:6])}", [ids[place]])
    return store


UNITS = short_units(*new_store())


@given(st.integers(1, 600), st.integers(1, 600), st.sampled_from(["Ben's cello?", "Lyon", "thx!"]))
def test_a_larger_budget_tells_what_a_smaller_one_told_by_units(
    one: int, other: int, text: str
) -> None:
    told = []
    for budget in sorted((one, other)):
        block = ask(UNITS, text, Config(deep=False), max_tokens=budget, shows_units=True).block
        assert block.tokens == count_tokens(block.text) <= budget
        sources = [
            turn
            for item in block.used
            for turn in (item.source_turns if isinstance(item, Hit) else (item.id,))
        ]
        assert len(sources) == len(set(sources))  # never a unit beside its turn
        told.append(set(sources))
    assert told[0] <= told[1]


def test_where_a_turn_does_not_fit_a_unit_tells_it() -> None:
    def kinds(config: Config, shows_units: bool) -> set[str]:
        blocks = [
            ask(UNITS, "Ben's cello?", config, max_tokens=budget, shows_units=shows_units).block
            for budget in range(40, 200, 3)
        ]
        return {item.kind for block in blocks for item in block.used if isinstance(item, Hit)}

    assert kinds(Config(deep=False), True) == {"turn", "unit"}
    assert kinds(Config(deep=False), False) == {"turn"}
    assert kinds(Config(light=False), True) == {"turn"}


@pytest.mark.parametrize("others", [[], [7], [13, 7]])
def test_a_unit_that_rests_on_several_turns_stands_for_none_of_them(others: list[int]) -> None:
    """A larger block that shows one of them would lose what it tells of the others."""
    store, ids = new_store()
    with store:
        add_unit(store, "Ben's cello.", [ids[place] for place in sorted([5, *others])])
        blocks = [
            ask(store, "Ben's cello?", Config(deep=False), max_tokens=budget, shows_units=True)
            for budget in range(20, 200)
        ]
        kinds = {item.kind for found in blocks for item in found.block.used}
        assert ("unit" in kinds) == (not others)


class Verbatim:
    """Makes a unit of each turn, as it is."""

    def extract(self, events: Sequence[Sequence[Turn]]) -> list[list[Statement]]:
        return [[Statement(turn.text, (n,)) for n, turn in enumerate(event)] for event in events]


def assert_larger_blocks_hold_smaller_ones(memory: HyMem, text: str, **options: Any) -> None:
    held: set[int] = set()
    for budget in range(30, 1200, 15):
        block = memory.recall(text, user_id="u", max_tokens=budget, **options)
        assert block.tokens <= budget
        ids = {hit.id for hit in block.evidence}
        assert held <= ids
        held = ids


def test_larger_blocks_of_units_hold_smaller_ones() -> None:
    long = "was planted by her father, and watered each week by the neighbours and their children"
    texts = [f"Note {n}: the garden has a tree." for n in range(25)]
    texts += [f"The walnut tree {n} in Ana's garden {long}, {long}." for n in range(12)]
    with HyMem(":memory:", llm=None, extractor=Verbatim(), background=False) as memory:
        said = [{"role": "user", "content": text} for text in texts]
        memory.add(said, user_id="u", timestamp="2026-01-01", wait=True)
        for text in ("Who planted the walnut tree in Ana's garden?", "tree in garden"):
            assert_larger_blocks_hold_smaller_ones(memory, text, where=Filter(kind="unit"))


def test_larger_blocks_of_earlier_texts_hold_smaller_ones() -> None:
    chance = random.Random(1)
    words = ["garden", "tree", "walnut", "house", "lamp", "river", "street", "Ana", "Ben", "bread"]

    def text() -> str:
        return " ".join(chance.choice(words) for _ in range(chance.randint(3, 40)))

    with HyMem(":memory:", llm=None, background=False) as memory:
        said = [{"role": "user", "content": text()} for _ in range(60)]
        ids = memory.add(said, user_id="u", timestamp="2026-01-01", wait=True)
        for turn in ids[::4]:
            memory.update(turn, text(), user_id="u")
        assert_larger_blocks_hold_smaller_ones(memory, "walnut tree garden", as_of="2026-06-01")


@pytest.mark.parametrize("own", [True, False])
def test_rule_made_units_are_never_shown_those_of_an_extractor_of_ones_own_may_be(
    own: bool,
) -> None:
    class Heads(OfflineExtractor):
        keys_only = False

    extractor = Heads() if own else None
    config = Config(deep=False)
    with HyMem(":memory:", llm=None, extractor=extractor, background=False, config=config) as said:
        text = "My sister Carla asked for the recipe. It took a while. I bought a cello on Monday."
        said.add([{"role": "user", "content": text}], user_id="ben", wait=True)
        blocks = [said.recall("cello?", user_id="ben", max_tokens=size) for size in range(15, 80)]
    kinds = {hit.kind for block in blocks for hit in block.evidence}
    assert ("unit" in kinds) == own


def test_deep_reads_the_passage_around_a_hit(talk: Any) -> None:
    store, ids = talk
    hit = Hit(ids[7], "turn", TALK[7][3], None, 0.9, (ids[7],), "Ben", "s2")
    block = raw_context(store, Query(SCOPE, ""), [hit], 1000)
    # The whole session, and nothing of its neighbours.
    assert [item.id for item in block.used] == [ids[i] for i in (7, 8, 6, 9, 5)]
    small = raw_context(store, Query(SCOPE, ""), [hit], block.tokens // 2)
    assert small.used[0].id == ids[7]
    assert 0 < small.tokens <= block.tokens // 2
