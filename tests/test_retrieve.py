"""Retrieval over a real store with the shipped encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from talk import SCOPE, TALK, add, add_unit, encoder, new_store

from hymem.errors import EncoderError
from hymem.read import ranking
from hymem.read.features import NAMES, above_chance, table
from hymem.read.query import Query
from hymem.read.retrieve import Retriever
from hymem.stores.base import Candidates
from hymem.stores.sqlite import SQLiteStore
from hymem.types import Config, Filter, Scope

NOW = datetime(2026, 5, 1)


@pytest.fixture
def talk() -> Iterator[tuple[SQLiteStore, list[int], Retriever]]:
    store, ids = new_store()
    with store:
        yield store, ids, Retriever(store, encoder(), Config())


def texts(retriever: Retriever, question: str, limit: int = 3, **options: Any) -> list[str]:
    found = retriever.retrieve(Query(SCOPE, question, NOW, **options), limit)
    return [hit.text for hit in found.hits]


@pytest.mark.parametrize(
    ("question", "evidence"),
    [
        ("Which instrument did Ben get?", 5),  # by meaning
        ("What is Okafor's part in this?", 7),  # by a rare word
        ("What can Ana no longer eat?", 8),
        ("When is Ben's concert?", 13),
    ],
)
def test_evidence_is_among_the_best_five(talk: Any, question: str, evidence: int) -> None:
    assert TALK[evidence][3] in texts(talk[2], question, limit=5)


def test_hits_are_ranked_by_calibrated_scores(talk: Any) -> None:
    found = talk[2].retrieve(Query(SCOPE, "Where does Ana work?"), 6)
    scores = [hit.score for hit in found.hits]
    assert len(scores) == 6
    assert scores == sorted(scores, reverse=True)
    assert 0 <= scores[-1] < scores[0] <= 1
    assert 0 <= found.confidence <= 1


def test_the_newer_of_two_homes_comes_first_when_asked_for_now(talk: Any) -> None:
    ranked = texts(talk[2], "Where does Ana live now?", limit=16)
    assert ranked.index(TALK[10][3]) < ranked.index(TALK[0][3])


def test_a_date_in_the_question_is_matched(talk: Any) -> None:
    store, _, retriever = talk
    add(
        store,
        [("s4", "2026-03-02", "Ben", "We went hiking."), ("s5", "2026-03-16", "Ben", "We hiked.")],
    )
    assert texts(retriever, "Did Ben go hiking on 2 March 2026?", limit=1) == ["We went hiking."]
    assert texts(retriever, "Did Ben go hiking on 16 March 2026?", limit=1) == ["We hiked."]


def test_unit_and_its_turn_never_both_fill_the_limit(talk: Any) -> None:
    store, ids, retriever = talk
    unit = add_unit(store, "Ben owns a cello that he bought second-hand.", ids[5:8])
    for question in ("Does Ben own a cello?", "Who teaches Ben the cello?", "Ana moved to Lyon"):
        hits = retriever.retrieve(Query(SCOPE, question), 12).hits
        sources = [source for hit in hits for source in hit.source_turns]
        assert len(sources) == len(set(sources))
    hits = retriever.retrieve(Query(SCOPE, "Who owns a cello that was bought second-hand?"), 3).hits
    assert (unit, "unit") in [(hit.id, hit.kind) for hit in hits]


@pytest.mark.parametrize("kind", ["turn", "unit"])
def test_one_kind_can_be_asked_for(talk: Any, kind: Any) -> None:
    store, ids, retriever = talk
    add_unit(store, "Ben owns a cello.", [ids[5]])
    hits = retriever.retrieve(Query(SCOPE, "Ben's cello", where=Filter(kind=kind)), 8).hits
    assert hits
    assert {hit.kind for hit in hits} == {kind}


def test_filters_narrow_the_search(talk: Any) -> None:
    hits = talk[2].retrieve(Query(SCOPE, "cello", where=Filter(session_id="s3")), 20).hits
    assert {hit.session_id for hit in hits} == {"s3"}


def test_units_alone_when_raw_keys_are_off(talk: Any) -> None:
    store, ids, _ = talk
    unit = add_unit(store, "Ben owns a cello.", [ids[5]])
    hits = (
        Retriever(store, encoder(), Config(raw_keys=False)).retrieve(Query(SCOPE, "cello"), 5).hits
    )
    assert [hit.id for hit in hits] == [unit]


def test_nothing_is_found_for_what_was_never_spoken_of(talk: Any) -> None:
    retriever = talk[2]
    for question in (
        "Which cello did Ben buy?",
        "Where does Ana live?",
        "What is Ana allergic to?",
    ):
        assert retriever.retrieve(Query(SCOPE, question), 5).found, question
    for question in (
        "What did Priya's tax advisor say about the Delaware filing?",
        "Which kubernetes cluster runs the billing jobs?",
        "What is the maximum dose of ibuprofen for Oleg's toddler?",
    ):
        assert not retriever.retrieve(Query(SCOPE, question), 5).found, question


@pytest.mark.parametrize(
    ("speaker", "question", "named"),
    [
        ("user", "How do I add a user to a Postgres database?", False),
        ("assistant", "What is the best voice assistant for Linux?", False),
        ("User 1", "Which user pays 1 euro?", False),
        ("May", "May I ask the capital of Peru? It may rain.", False),
        ("May", "Where does May live?", True),
        ("Ana", "where does ana live?", True),
        ("Ana Silva", "Ana's home?", True),
    ],
)
def test_a_role_or_a_mere_word_names_nobody(speaker: str, question: str, named: bool) -> None:
    store, _ = new_store([("s1", "2026-01-05", speaker, "The neighbours painted their fence.")])
    with store:
        retriever = Retriever(store, encoder(), Config())
        _, items = retriever.examine(retriever.encoded(Query(SCOPE, question)), 5)
        assert items.values[:, NAMES.index("named")].tolist() == [named]


def test_a_memory_of_a_few_turns_bears_on_every_question(talk: Any) -> None:
    few = Scope("few")
    add(talk[0], [("s1", "2026-03-02", "user", "I moved to Lyon last week.")], few)
    for question in ("Where do I live?", "What is my home town?"):
        assert talk[2].retrieve(Query(few, question), 5).found, question


@pytest.mark.parametrize("turns", [10, 200])
def test_what_every_turn_is_about_is_found(turns: int) -> None:
    store, _ = new_store(
        [
            ("s1", "2026-01-05", "user", f"Today I ran {5 + day % 7} kilometres in the park.")
            for day in range(turns)
        ]
    )
    with store:
        retriever = Retriever(store, encoder(), Config())
        for question in ("How many kilometres did I run?", "How far do I run in the park?"):
            assert retriever.retrieve(Query(SCOPE, question), 5).found, question
        for question in ("What is the capital of Peru?", "How many books did I read?"):
            assert not retriever.retrieve(Query(SCOPE, question), 5).found, question


def test_an_empty_scope_finds_nothing(talk: Any) -> None:
    found = talk[2].retrieve(Query(Scope("nobody"), "Where does Ana live?"), 5)
    assert (found.hits, found.found, found.confidence) == ((), False, 0.0)


def test_a_given_vector_spares_the_encoder(talk: Any) -> None:
    store, ids, _ = talk
    vector = encoder().encode(["second-hand cello"])[0]
    hits = Retriever(store, Unreachable(), Config()).retrieve(
        Query(SCOPE, "second-hand cello", vector=vector), 1
    )
    assert hits.hits[0].id == ids[5]


def test_words_alone_decide_when_the_encoder_is_out_of_reach(talk: Any) -> None:
    store, ids, _ = talk
    found = Retriever(store, Unreachable(), Config()).retrieve(Query(SCOPE, "Okafor"), 1)
    assert [hit.id for hit in found.hits] == [ids[7]]
    assert found.query_vector is None


def failing(*_: Any) -> Any:
    raise OSError("the tokenizer is down")


def not_a_number(ids: Any) -> Any:
    return np.full((len(ids), 4), np.nan, np.float32)


@pytest.mark.parametrize(
    ("method", "broken"),
    [
        ("token_ids", failing),
        ("token_weights", failing),
        ("token_weights", not_a_number),
        ("token_codes", failing),
        ("token_codes", not_a_number),
    ],
)
def test_without_tokens_that_can_be_used_the_vector_and_words_decide(
    talk: Any, method: str, broken: Any
) -> None:
    coder = copy(encoder())
    setattr(coder, method, broken)
    store, ids, _ = talk
    found = Retriever(store, coder, Config()).retrieve(Query(SCOPE, "Okafor"), 1)
    assert [hit.id for hit in found.hits] == [ids[7]]
    assert found.query_vector is not None


@pytest.mark.parametrize("lexical", [True, False])
def test_one_match_alone_tells_whether_anything_is_found(talk: Any, lexical: bool) -> None:
    source = Unreachable() if lexical else encoder()
    retriever = Retriever(talk[0], source, Config(lexical=lexical))
    assert retriever.retrieve(Query(SCOPE, "Mr Okafor from the music school"), 5).found
    assert not retriever.retrieve(Query(SCOPE, "kubernetes billing jobs in Delaware"), 5).found


def test_a_question_longer_than_the_window_is_read_to_its_end(talk: Any) -> None:
    padding = "And so on, and so forth, as one says. " * 60

    def vector(question: str) -> Any:
        return talk[2].retrieve(Query(SCOPE, question), 1).query_vector

    wanted = vector("Who teaches Ben the cello?")
    assert vector(padding + "Who teaches Ben the cello?") @ wanted > vector(padding) @ wanted


class Unreachable:
    name, version, dim, max_tokens = "unreachable", "0", 384, 256

    def encode(self, texts: Sequence[str]) -> Any:
        raise EncoderError("no connection")


# -- features ------------------------------------------------------------------------------------


def candidates(
    dense: Sequence[float], lexical: Sequence[float], session: Sequence[int], units: Any = ()
) -> Candidates:
    """Turns 1 to n at positions 0 to n - 1, then units given as (dense, lexical, sources)."""
    n, m = len(dense), len(units)
    return Candidates(
        ids=np.arange(1, n + m + 1),
        is_unit=np.arange(n + m) >= n,
        dense=np.array([*dense, *(unit[0] for unit in units)], np.float32),
        lexical=np.array([*lexical, *(unit[1] for unit in units)], np.float32),
        late=np.zeros(n + m, np.float32),
        late_window=np.zeros(n + m, np.float32),
        passage_tokens=np.full(n + m, 10),
        passages=[()] * (n + m),
        time=np.full(n + m, np.nan),
        position=np.array([*range(n), *(unit[2][0] - 1 for unit in units)]),
        session=np.array([*session, *(session[min(unit[2][0], n) - 1] for unit in units)]),
        event=np.full(n + m, -1),
        tokens=np.full(n + m, 10),
        speaker=np.array([0] * n + [-1] * m, np.int32),
        speakers=("Ana",),
        sources=[*((i,) for i in range(1, n + 1)), *(unit[2] for unit in units)],
        lexical_max=4.0,
        turns_total=n,
        sample=np.arange(n + m) < n,
    )


def column(found: Candidates, name: str) -> list[float]:
    n = len(found.ids)
    values = table(found, np.zeros(n, bool), np.zeros(n)).values
    return [round(float(value), 4) for value in values[:, NAMES.index(name)]]


def test_a_question_is_covered_by_neighbours_of_the_same_session_only() -> None:
    found = candidates([0.5, 0.4, 0.3, 0.2], [2.0, 1.0, 0.0, 0.0], [1, 1, 2, 2])
    assert column(found, "coverage") == [0.5, 0.25, 0.0, 0.0]
    assert column(found, "coverage_window") == [0.5, 0.5, 0.0, 0.0]


def test_a_match_counts_by_what_it_is_above_chance() -> None:
    # Alike but for one; what is usual here is nothing special, however high.
    for level in (0.1, 0.7):
        found = candidates([level + 0.2, *[level] * 200], [0.0] * 201, range(201))
        best, *rest = above_chance(found)[0].tolist()
        assert best > 5
        assert max(rest) < best / 5


def test_length_alone_is_no_match() -> None:
    random = np.random.default_rng(1)
    tokens = random.integers(5, 120, 300)
    dense = 0.1 * np.log(tokens + 5) + random.normal(0, 0.02, 300)
    found = candidates(dense.tolist(), [0.0] * 300, range(300))
    assert np.corrcoef(dense, np.log(tokens))[0, 1] > 0.9
    above = above_chance(replace(found, passage_tokens=tokens))[0]
    assert abs(np.corrcoef(above, np.log(tokens))[0, 1]) < 0.3


def test_what_the_question_was_not_matched_by_counts_nothing() -> None:
    found = candidates([0.0] * 5, [1.0, 0.0, 0.0, 0.0, 0.0], [1] * 5)
    assert not above_chance(found).any()


def test_a_turn_knows_the_best_unit_that_rests_on_it() -> None:
    found = candidates(
        [0.5, 0.1], [0.0, 0.0], [1, 1], [(0.2, 0.0, (2,)), (0.4, 2.0, (2, 99)), (0.3, 0.0, (98,))]
    )
    items = table(found, np.zeros(5, bool), np.zeros(5))
    # The last unit's turn is no candidate, so the unit is scored itself.
    assert sorted(items.rows.tolist()) == [0, 1, 4]
    assert items.unit[items.rows.tolist().index(1)] == 3
    assert items.unit[items.rows.tolist().index(0)] == -1
    assert items.unit_leads[items.rows.tolist().index(1)]


@given(st.integers(1, 30), st.randoms(use_true_random=False))
def test_features_are_finite_whatever_the_candidates(n: int, random: Any) -> None:
    found = candidates(
        [random.uniform(-1, 1) for _ in range(n)],
        [random.choice([0.0, random.uniform(0, 9)]) for _ in range(n)],
        sorted(random.randint(1, 4) for _ in range(n)),
        [
            (random.uniform(-1, 1), 0.0, (random.randint(1, n),))
            for _ in range(random.randint(0, 5))
        ],
    )
    size = len(found.ids)
    items = table(found, np.zeros(size, bool), np.zeros(size))
    assert np.isfinite(items.values).all()
    assert items.values.shape == (n, len(NAMES))
    chances = ranking.relevance(ranking.scores(items), 0.5)
    assert ((chances >= 0) & (chances <= 1)).all()
