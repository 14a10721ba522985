"""Filters: what a listing by SQL lets through, a search by the index does too, and both as said."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from filling import ANA, DIM, encode, extract, open_store, turn, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from hymem import HyMem, InputError
from hymem.inputs.conditions import OPERATORS, conditions
from hymem.stores.sqlite import SQLiteStore
from hymem.types import Filter

DAYS = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 6)]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([0.5, 1.0, "a", "b", "", "\ud800"]),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.just({"deep": 1}))
METADATA = st.dictionaries(st.sampled_from("xyz"), VALUES, max_size=3)
ORDERED = st.one_of(st.integers(-2, 2), st.sampled_from([0.5, "a"]))
WANTED = st.one_of(
    SCALARS,
    st.fixed_dictionaries(
        {},
        optional={
            "eq": VALUES,
            "ne": VALUES,
            "gt": ORDERED,
            "gte": ORDERED,
            "lt": ORDERED,
            "lte": ORDERED,
            "in": st.lists(VALUES, max_size=3),
            "nin": st.lists(VALUES, max_size=3),
            "contains": SCALARS,
        },
    ).filter(bool),
)
FILTERS = st.builds(
    Filter,
    session_id=st.one_of(
        st.none(), st.sampled_from(["s0", "s1", "nowhere"]), st.lists(st.sampled_from(["s0", "s2"]))
    ),
    after=st.one_of(st.none(), st.sampled_from(DAYS)),
    before=st.one_of(st.none(), st.sampled_from(DAYS)),
    metadata=st.dictionaries(st.sampled_from("xyz"), WANTED, max_size=2),
    kind=st.sampled_from([None, "turn", "unit"]),
    as_of=st.one_of(st.none(), st.sampled_from(DAYS)),
)


@dataclass(frozen=True)
class Said:
    session: str
    time: datetime | None
    metadata: dict[str, Any]


SAID = st.builds(
    Said,
    session=st.sampled_from(["s0", "s1", "s2"]),
    time=st.sampled_from([None, *DAYS]),
    metadata=METADATA,
)


def same(a: Any, b: Any) -> bool:
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def passes(name: str, held: Any, wanted: Any) -> bool:
    """One operator by the book."""
    number = (int, float)
    comparable = not isinstance(held, bool) and (
        (isinstance(held, str) and isinstance(wanted, str))
        or (isinstance(held, number) and isinstance(wanted, number))
    )
    return {
        "eq": lambda: same(held, wanted),
        "gt": lambda: comparable and held > wanted,
        "gte": lambda: comparable and held >= wanted,
        "lt": lambda: comparable and held < wanted,
        "lte": lambda: comparable and held <= wanted,
        "in": lambda: any(same(held, one) for one in wanted),
        "contains": lambda: isinstance(held, list) and any(same(one, wanted) for one in held),
    }[name]()


def lets_through(where: Filter, held: list[dict[str, Any]]) -> bool:
    for key, wanted in where.metadata.items():
        tests = dict(wanted) if isinstance(wanted, dict) else {"eq": wanted}
        values = [one[key] for one in held if key in one]
        for denied, name in (("ne", "eq"), ("nin", "in")):
            if denied in tests and any(passes(name, v, tests[denied]) for v in values):
                return False
            tests.pop(denied, None)
        if tests and not any(all(passes(n, v, w) for n, w in tests.items()) for v in values):
            return False
    return True


def searched(store: SQLiteStore, where: Filter) -> list[int]:
    return [int(i) for i in store.candidates(ANA, encode("bread"), "bread", 999, where=where).ids]


def listed(store: SQLiteStore, where: Filter) -> list[int]:
    """Without what a search never offers."""
    turns = [one.id for one in store.list_turns(ANA, where)]
    units = [one for one in store.list_units(ANA, where) if one.duplicate_of is None]
    if where.as_of is None:
        units = [one for one in units if one.superseded_by is None]
    return sorted([*turns, *(one.id for one in units)])


@settings(max_examples=60)
@given(data=st.data(), said=st.lists(SAID, min_size=1, max_size=8))
def test_listing_and_search_agree_and_do_as_documented(
    data: st.DataObject, said: list[Said]
) -> None:
    with open_store(":memory:") as store:
        texts = [
            turn(f"bread {n}", one.session, time=one.time, metadata=one.metadata)
            for n, one in enumerate(said)
        ]
        ids = store.add_turns(ANA, texts)
        held = {item: [one.metadata] for item, one in zip(ids, said, strict=True)}
        extra = [item for item in ids if data.draw(st.booleans())]
        if extra:
            searched(store, Filter(metadata={"x": 1}))  # the index is kept abreast from here on
            sources = data.draw(st.lists(st.sets(st.sampled_from(extra), min_size=1), max_size=4))
            units = [unit(f"bread unit {n}", sorted(some)) for n, some in enumerate(sources)]
            _, made = extract(store, ANA, extra, units)
            held |= {
                item: [m for turn_id in some for m in held[turn_id]]
                for item, some in zip(made, sources, strict=True)
            }
        if data.draw(st.booleans()):
            gone = data.draw(st.sampled_from(ids))
            store.delete(ANA, gone)
        for where in data.draw(st.lists(FILTERS, min_size=1, max_size=6)):
            found = searched(store, where)
            assert found == listed(store, where)
            plain = Filter(where.session_id, where.after, where.before, {}, where.kind, where.as_of)
            assert found == [i for i in searched(store, plain) if lets_through(where, held[i])]


def test_a_unit_has_the_metadata_of_its_turns(store: SQLiteStore) -> None:
    ids = store.add_turns(
        ANA,
        [
            turn("bread", metadata={"channel": "web", "year": 2019}),
            turn("bread", metadata={"channel": "web", "year": 2025, "tags": ["home"]}),
            turn("bread"),
        ],
    )
    _, (both, none) = extract(store, ANA, ids, [unit("b", ids[:2]), unit("c", ids[2:])])
    first, second = store.units(ANA, [both, none])
    assert (first.metadata, second.metadata) == ({"channel": "web", "tags": ["home"]}, {})

    def units(**metadata: Any) -> list[int]:
        where = Filter(metadata=metadata, kind="unit")
        assert searched(store, where) == listed(store, where)
        return listed(store, where)

    assert units(channel="web") == units(year=2019) == units(tags={"contains": "home"}) == [both]
    assert units(year={"gte": 2020, "lt": 2024}) == []  # not one of them by 2019, one by 2025
    assert units(year={"ne": 2019}) == units(year={"nin": [2025, 1]}) == [none]


def test_neighbours_and_facts_keep_to_the_filter_too(store: SQLiteStore) -> None:
    ids = store.add_turns(ANA, [turn("bread", metadata={"secret": n == 1}) for n in range(3)])
    public = Filter(metadata={"secret": False})
    assert [one.id for one in store.window(ANA, [0], 2, where=public)] == [ids[0], ids[2]]
    _, (hidden, shown) = extract(
        store,
        ANA,
        ids,
        [unit("rye", ids[1:2], fact="ana/bread"), unit("oat", ids[2:], fact="ana/bread")],
    )
    facts = store.current_facts(ANA, ["ana/bread"], where=public)
    assert [one.id for one in facts["ana/bread"]] == [shown]
    assert store.current_facts(ANA, ["ana/bread"], where=Filter(kind="turn")) == {}
    assert [one.id for one in store.current_facts(ANA, ["ana/bread"])["ana/bread"]] == [
        hidden,
        shown,
    ]


def test_another_process_adds_and_removes(opened: Callable[..., SQLiteStore]) -> None:
    here, there = opened(), opened()
    where = Filter(metadata={"a": 1})
    first = here.add_turns(ANA, [turn("bread", metadata={"a": 1})])
    assert searched(there, where) == first
    second = here.add_turns(ANA, [turn("bread", metadata={"a": n}) for n in (2, 1)])
    assert searched(there, where) == [*first, second[1]]
    here.delete(ANA, first[0])
    assert searched(there, where) == second[1:]


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [
        ({"year": {"$gte": 2020}}, r"\['year'\] is .*operators out of eq, gt"),
        ({"year": {}}, "operators out of"),
        ({"year": {"gte": None}}, r"\['year'\]\['gte'\] is None; pass a number or a string"),
        ({"day": {"lt": DAYS[0]}}, "as ISO 8601"),
        ({"tag": {"in": "work"}}, r"\['tag'\]\['in'\] is 'work'; pass a list"),
        ({"tag": object()}, "no JSON value"),
        ({"tag": float("nan")}, "no JSON value"),
        ({7: 1}, "keys are strings"),
    ],
)
def test_a_condition_that_means_nothing_is_told(metadata: Any, complaint: str) -> None:
    with HyMem(":memory:", llm=None, background=False) as memory:
        for call in (memory.get_all, lambda **more: memory.search("x", **more)):
            with pytest.raises(InputError, match=complaint):
                call(user_id="ana", where=Filter(metadata=metadata))


def test_every_operator_is_documented() -> None:
    assert Filter.__doc__
    for name in OPERATORS:
        assert f"``{name}``" in Filter.__doc__
    (condition,) = conditions({"tags": ("a", "b")})  # as JSON has it
    assert condition.met_by([["a", "b"]])


@pytest.mark.slow
def test_a_filtered_search_takes_milliseconds_at_100_000_turns() -> None:
    rows = np.random.default_rng(0).normal(size=(100_000, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with open_store(":memory:") as store:
        store.add_turns(
            ANA,
            [
                turn("bread", vectors=row[None], metadata={"n": n, "tag": "abcd"[n % 4]})
                for n, row in enumerate(rows)
            ],
        )
        where = Filter(metadata={"n": {"gte": 10, "lt": 20_000}, "tag": {"in": ["a", "b"]}})

        def once() -> float:
            started = time.process_time()
            store.candidates(ANA, rows[0], "bread", 30, radius=2, where=where)
            return time.process_time() - started

        once()
        assert min(once() for _ in range(5)) < 0.1  # reading the rows would take a second
