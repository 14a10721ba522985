"""What ``hymem.stores.base.Store`` owes, as tests that any backend can be run through.

A backend's tests subclass ``Contract``, or ``SharedContract`` if several stores and processes can
open one place, and define the fixture ``backend``. Nothing here knows of SQL, files or private
names: a store is looked at through its own methods.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import numpy as np
import pytest
from filling import ANA, BEN, asked, encode, extract, found, turn, unit

from hymem.errors import EncoderError, NotFoundError, SaidMeanwhileError, StoreError
from hymem.exports.records import parse
from hymem.stores.base import Lease, Store
from hymem.system.clock import Clock
from hymem.types import Event, Filter, Scope, Turn

DAYS = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 10)]
NOBODY = Scope("nobody")


class Backend(Protocol):
    """Places for stores, by name; each is empty at first, and closed at the test's end."""

    def open(self, place: str = "one") -> Store:
        """A store on this place, with the encoder of ``filling``."""
        ...

    def holds(self, text: str) -> bool:
        """Whether a byte string of this text is anywhere in what was written to disk."""
        ...

    def run(self, program: str, place: str = "one") -> Running:
        """Start another process: ``program`` with a ``store`` of its own, open on this place."""
        ...


class Running(Protocol):
    """A process, as ``subprocess.Popen`` with text pipes."""

    stdout: Any

    def communicate(self) -> tuple[str, str]: ...
    def kill(self) -> None: ...


def load(store: Store, records: Iterable[Any]) -> int:
    return store.load(parse(enumerate(records, 1), Clock("UTC")))


def dumped(store: Store, scope: Scope | None = None) -> list[str]:
    return [json.dumps(record) for record in store.dump(scope)]


def texts(items: Iterable[Any]) -> list[str]:
    return [one.text for one in items]


def leased(store: Store, scope: Scope | None = ANA, limit: int = 9, seconds: float = 60.0) -> Lease:
    lease = store.lease_events(scope, limit, seconds)
    assert lease is not None
    return lease


def update(store: Store, item_id: int, text: str) -> None:
    store.update_text(ANA, item_id, text, text, 2, encode(text)[None])


def days_of_talk(store: Store) -> tuple[list[int], int, int]:
    """Nine days of Ana's in three sessions: her turns, a unit of the first day, and one of the
    fifth that supersedes it."""
    said = [
        turn(f"day {n}", f"s{n // 3}", time=day, metadata={"n": n, "even": n % 2 == 0})
        for n, day in enumerate(DAYS)
    ]
    ids = store.add_turns(ANA, said)
    _, (old,) = extract(store, ANA, ids[:3], [unit("lives in Lyon", ids[:1], fact="home")])
    newer = unit("lives in Rome", ids[4:5], fact="home", supersedes=(old,))
    _, (new,) = extract(store, ANA, ids[3:6], [newer])
    return ids, old, new


class Contract:
    """For any backend."""

    @pytest.fixture
    def store(self, backend: Backend) -> Store:
        return backend.open()

    # -- order --
    def test_ids_grow_with_every_item_and_positions_count_the_scope(self, store: Store) -> None:
        first = store.add_turns(ANA, [turn("one"), turn("two")])
        other = store.add_turns(BEN, [turn("three")])
        later = store.add_turns(ANA, [turn("four")])
        ids = [*first, *other, *later]
        assert all(item_id > 0 for item_id in ids)
        assert ids == sorted(set(ids))
        assert [one.position for one in store.list_turns(ANA)] == [0, 1, 2]
        assert [one.position for one in store.list_turns(BEN)] == [0]
        store.delete(ANA, later[0])
        (again,) = store.add_turns(ANA, [turn("five")])
        assert again > later[0]
        assert store.turns(ANA, [again])[0].position == 3

    def test_what_is_asked_for_comes_in_that_order(self, store: Store) -> None:
        ids, old, new = days_of_talk(store)
        wanted = random.Random(0).sample(ids, len(ids))
        assert [one.id for one in store.turns(ANA, [999_999, *wanted, -1, 2**70])] == wanted
        assert [one.id for one in store.units(ANA, [new, ids[0], old])] == [new, old]
        assert store.turns(ANA, [old]) == []

    def test_pages_of_a_list_make_the_whole(self, store: Store) -> None:
        ids, old, new = days_of_talk(store)
        pages: list[Turn] = []
        while page := store.list_turns(ANA, limit=4, after_id=pages[-1].id if pages else 0):
            pages += page
        assert [one.id for one in pages] == ids
        assert pages == store.list_turns(ANA)
        assert [one.id for one in store.list_units(ANA)] == [old, new]

    def test_a_window_stays_in_its_session(self, store: Store) -> None:
        days_of_talk(store)
        assert texts(store.window(ANA, [2, 7], 1)) == ["day 1", "day 2", "day 6", "day 7", "day 8"]
        assert texts(store.window(ANA, [3], 1, where=Filter(before=DAYS[3]))) == ["day 3"]
        assert store.window(ANA, [99, -1], 1) == store.window(BEN, [0], 1) == []

    def test_a_turn_comes_back_as_it_was_added(self, store: Store) -> None:
        said = datetime.fromisoformat("2026-03-02T14:30:00+01:00")
        new = turn("a\x00שלום 🎂 ", "march", time=said, source_id="m", metadata={"a": [1, None]})
        (item_id,) = store.add_turns(ANA, [new])
        (back,) = store.turns(ANA, [item_id])
        for field in ("text", "role", "speaker", "session_id", "time", "source_id", "metadata"):
            assert getattr(back, field) == getattr(new, field)
        assert back.time is not None
        assert back.time.utcoffset() == timedelta(hours=1)

    # -- idempotence --
    def test_a_source_id_is_one_turn(self, store: Store) -> None:
        first = store.add_turns(ANA, [turn("one", source_id="a"), turn("again", source_id="a")])
        again = store.add_turns(ANA, [turn("new", source_id="b"), turn("more", source_id="a")])
        assert first[0] == first[1] == again[1]
        with pytest.raises(SaidMeanwhileError):
            store.add_turns(ANA, [turn("x"), turn("y", source_id="a")], new=["a"])
        assert texts(store.list_turns(ANA)) == ["one", "new"]
        update(store, first[0], "uno")
        said = store.said_before(ANA, ["a", "b", "c"])
        assert {source: set(held) for source, (_, held) in said.items()} == {
            "a": {"uno", "one"},
            "b": {"new"},
        }

    def test_a_turn_is_newly_covered_by_one_event(self, store: Store) -> None:
        ids = store.add_turns(ANA, [turn(f"turn {n}") for n in range(4)])
        store.add_events(ANA, [(ids[:2], ids[:2])])
        store.add_events(ANA, [(ids[:2], ids[:2]), (ids[1:3], ids[1:3]), ([999], [999])])
        assert [one.id for one in store.unsegmented(ANA, 9)] == ids[3:]
        first, second = leased(store).events
        assert (first.turns, first.overlap) == (tuple(ids[:2]), frozenset())
        assert (second.turns, second.overlap) == (tuple(ids[1:3]), frozenset(ids[1:2]))

    def test_an_event_is_completed_once(self, store: Store) -> None:
        ids = store.add_turns(ANA, [turn("one")])
        store.add_events(ANA, [(ids, ids)])
        lease = leased(store)
        event = lease.events[0].id
        assert len(store.complete_event(lease, event, [unit("a fact", ids)])) == 1
        assert store.complete_event(lease, event, [unit("a fact", ids)]) == []
        store.fail_event(lease, event, "too late")
        assert texts(store.list_units(ANA)) == ["a fact"]
        assert store.status(ANA).events == {"done": 1}

    def test_late_vectors_fill_gaps_alone(self, store: Store) -> None:
        words = ("red cat", "red dog", "red sea")
        _, changed, gone = store.add_turns(ANA, [turn(text, vectors=None) for text in words])
        late = [(one, encode(one.text)[None], None, ()) for one in store.unembedded(ANA, 9)]
        assert store.without_vectors() == [ANA]
        update(store, changed, "blue sky")
        store.delete(ANA, gone)
        for scope in (BEN, ANA, ANA):
            store.set_vectors(scope, late)
        assert store.unembedded(ANA, 9) == store.without_vectors() == []
        near = store.candidates(ANA, encode("blue sky"), "", 1)
        assert (near.ids.tolist(), near.dense[0] > 0.99) == ([changed], True)

    def test_vectors_that_cannot_be_are_refused_and_nothing_is_added(self, store: Store) -> None:
        for wrong in (np.zeros((1, 5), np.float32), np.full((1, 32), np.nan, np.float32)):
            with pytest.raises(EncoderError):
                store.add_turns(ANA, [turn("good"), turn("bad", vectors=wrong)])
        assert store.scopes() == []

    # -- isolation --
    def test_nobody_sees_or_changes_what_is_anothers(self, store: Store) -> None:
        ids, old, new = days_of_talk(store)
        store.add_events(ANA, [(ids[6:], ids[6:])])
        store.add_turns(BEN, [turn("day of mine", "s0", source_id="b")])
        mine = dumped(store, ANA)
        everything = [*ids, old, new]
        assert store.turns(BEN, everything) == store.units(BEN, everything) == []
        assert store.unembedded(BEN, 9) == store.list_units(BEN) == store.failed(BEN) == []
        assert store.nearest_units(BEN, encode("lives in Rome")[None], 9) == [[]]
        assert store.current_facts(BEN, ["home"]) == store.said_before(BEN, ["a"]) == {}
        assert not store.vectors(BEN, everything).any()
        assert store.lease_events(BEN, 9, 60.0) is None
        assert texts(store.turns(BEN, found(store, BEN, "day lives", radius=9))) == ["day of mine"]
        for item_id in everything:
            assert store.history(BEN, item_id) == []
            with pytest.raises(NotFoundError):
                store.delete(BEN, item_id)
            with pytest.raises(NotFoundError):
                store.update_text(BEN, item_id, "x", "x", 1, None)
        store.add_events(BEN, [(ids, ids)])
        store.delete_all(NOBODY)
        assert dumped(store, ANA) == mine
        counted = [store.status(scope).turns for scope in (ANA, BEN, NOBODY, None)]
        assert counted == [9, 1, 0, 10]

    def test_a_unit_links_to_its_own_scope_alone(self, store: Store) -> None:
        _, _, new = days_of_talk(store)
        hers = store.add_turns(BEN, [turn("hello")])
        extract(store, BEN, hers, [unit("Ben", [*hers, 1], supersedes=(new,))])
        assert store.units(ANA, [new])[0].superseded_by is None
        assert store.list_units(BEN)[0].source_turns == tuple(hers)

    def test_scopes_are_exact_pairs(self, store: Store) -> None:
        scopes = [Scope(), Scope(""), Scope("a"), Scope(None, "a"), Scope("a", "a"), Scope("a", "")]
        for scope in scopes:
            store.add_turns(scope, [turn(repr(scope))])
        assert store.scopes() == scopes
        for scope in scopes:
            assert texts(store.list_turns(scope)) == [repr(scope)]
        store.delete_all(scopes[0])
        assert store.scopes() == scopes[1:]

    # -- leases --
    def test_at_most_one_has_an_event(self, store: Store) -> None:
        ids = store.add_turns(ANA, [turn(f"turn {n}") for n in range(4)])
        assert store.unfinished() == [ANA]
        store.add_events(ANA, [([one], [one]) for one in ids])
        first, second = leased(store, ANA, 3), leased(store, None, 3)
        assert [len(first.events), len(second.events)] == [3, 1]
        assert (first.scope, second.scope, store.leased(ANA)) == (ANA, ANA, True)
        assert store.lease_events(None, 3, 60.0) is None
        assert store.unfinished() == [ANA]
        store.give_back(first)
        assert store.complete_event(first, first.events[0].id, []) == []
        assert [event.id for event in leased(store).events] == [e.id for e in first.events]

    def test_a_lease_runs_out_and_can_be_renewed_before(self, store: Store) -> None:
        ids = store.add_turns(ANA, [turn("one")])
        store.add_events(ANA, [(ids, ids)])
        kept = leased(store, seconds=0.3)
        store.renew(kept, 60.0)
        time.sleep(0.4)
        assert store.lease_events(ANA, 1, 60.0) is None
        store.renew(kept, -1.0)
        taken = leased(store)
        store.renew(kept, -1.0)
        assert store.lease_events(ANA, 1, 60.0) is None
        event = taken.events[0].id
        assert store.complete_event(kept, event, [unit("late", ids)]) == []
        store.fail_event(kept, event, "late")
        assert len(store.complete_event(taken, event, [unit("in time", ids)])) == 1
        assert texts(store.list_units(ANA)) == ["in time"]

    def test_what_failed_waits_for_its_time_or_to_be_asked_for(self, store: Store) -> None:
        ids = store.add_turns(ANA, [turn(f"turn {n}") for n in range(3)])
        store.add_events(ANA, [([one], [one]) for one in ids])
        lease = leased(store)
        later, due, given_up = [event.id for event in lease.events]
        assert store.next_try() is None
        store.fail_event(lease, later, "busy", 3600.0)
        store.fail_event(lease, due, "busy", -1.0)
        store.fail_event(lease, given_up, "for good")
        assert (store.failed(ANA), store.failed(BEN)) == ([later, due, given_up], [])
        assert store.due() == [ANA]
        assert 0 < (store.next_try() or 0) < time.time()
        status = store.status(ANA)
        assert (status.given_up, status.last_error) == (1, "for good")
        assert [(event.id, event.attempts) for event in leased(store).events] == [(due, 1)]
        assert store.next_try() == pytest.approx(time.time() + 3600, abs=60)
        assert store.lease_events(None, 9, 60.0) is None
        store.retry_failed(BEN, [given_up])
        assert given_up in store.failed(ANA)
        store.retry_failed(ANA, [given_up, 999])
        assert [event.id for event in leased(store).events] == [given_up]

    def test_what_was_tried_before_comes_last_and_alone(self, store: Store) -> None:
        ids = store.add_turns(ANA, [turn(f"turn {n}") for n in range(4)])
        store.add_events(ANA, [([one], [one]) for one in ids])
        tried = leased(store, limit=2)
        for event in tried.events:
            store.fail_event(tried, event.id, "no", -1.0)
        rounds: list[Sequence[Event]] = [leased(store).events for _ in range(3)]
        assert [len(events) for events in rounds] == [2, 1, 1]
        assert [events[0].id for events in rounds[1:]] == [event.id for event in tried.events]

    def test_a_changed_or_deleted_turn_withdraws_the_lease_on_it(self, store: Store) -> None:
        ids = store.add_turns(ANA, [turn("secret"), turn("other")])
        store.add_events(ANA, [(ids, ids)])
        for change in (lambda: update(store, ids[1], "another"), lambda: store.delete(ANA, ids[0])):
            lease = leased(store)
            change()
            assert store.complete_event(lease, lease.events[0].id, [unit("a secret", ids)]) == []
        assert leased(store).events[0].turns == (ids[1],)

    # -- erasure --
    def test_nothing_of_a_deleted_memory_is_left(self, store: Store, backend: Backend) -> None:
        mark = "xylophonequartz"
        ids = store.add_turns(ANA, [turn(f"{mark} {n}", source_id=f"{n}") for n in range(30)])
        _, (alone, shared) = extract(
            store, ANA, ids, [unit(f"{mark} unit", ids[:1]), unit("kept", ids[1:3])]
        )
        update(store, ids[0], f"{mark} again")
        assert found(store, ANA, mark)
        for item_id in ids:
            store.delete(ANA, item_id)
        assert found(store, ANA, mark, radius=3) == store.list_turns(ANA) == []
        assert store.units(ANA, [alone, shared]) == []
        assert mark not in "".join(dumped(store))
        for item_id in (*ids, alone):
            assert {entry["text"] for entry in store.history(ANA, item_id)} == {None}
            assert store.history(ANA, item_id)[-1]["event"] == "delete"
        assert store.status(ANA).events == {}
        assert not backend.holds(mark)

    def test_nothing_of_a_deleted_scope_is_left(self, store: Store, backend: Backend) -> None:
        mark = "xylophonequartz"
        ids = store.add_turns(
            ANA, [turn(f"{mark} {n}", mark, speaker=mark, metadata={"k": mark}) for n in range(30)]
        )
        extract(store, ANA, ids, [unit(f"{mark} unit", ids, fact=mark)])
        store.add_turns(BEN, [turn("I stay")])
        store.add_costs([{"scope": ANA, "stage": "extract", "usd": 0.5}])
        assert store.delete_all(ANA) == 31
        assert store.delete_all(ANA) == 0
        assert store.scopes() == [BEN]
        assert texts(store.turns(BEN, found(store, BEN, "stay"))) == ["I stay"]
        assert found(store, ANA, mark) == []
        assert [(row["scope"], row["usd"]) for row in store.costs(None)] == [(None, 0.5)]
        assert mark not in "".join(dumped(store))
        assert not backend.holds(mark)

    def test_a_deletion_reopens_what_it_leaves_half_grounded(self, store: Store) -> None:
        ids = store.add_turns(ANA, [turn("alpha"), turn("beta")])
        extract(store, ANA, ids, [unit("both", ids), unit("beta alone", ids[1:])])
        store.delete(ANA, ids[0])
        assert store.list_units(ANA) == []
        assert leased(store).events[0].turns == (ids[1],)

    # -- filters --
    @pytest.mark.parametrize(
        ("where", "days"),
        [
            (Filter(), range(9)),
            (Filter(session_id="s1"), [3, 4, 5]),
            (Filter(session_id=["s0", "s2", "nowhere"]), [0, 1, 2, 6, 7, 8]),
            (Filter(session_id=[]), []),
            (Filter(after=DAYS[2], before=DAYS[4]), [2, 3, 4]),
            (Filter(metadata={"n": 3}), [3]),
            (Filter(metadata={"even": True, "n": {"gte": 4}}), [4, 6, 8]),
            (Filter(metadata={"n": {"in": [1, 2, "3"]}}), [1, 2]),
            (Filter(metadata={"missing": {"ne": 1}}, before=DAYS[1]), [0, 1]),
            (Filter(kind="unit"), []),
            (Filter(as_of=DAYS[3]), [0, 1, 2, 3]),
        ],
    )
    def test_a_filter_means_the_same_everywhere(
        self, store: Store, where: Filter, days: Sequence[int]
    ) -> None:
        ids, _, _ = days_of_talk(store)
        wanted = [ids[n] for n in days]
        assert [one.id for one in store.list_turns(ANA, where)] == wanted
        assert found(store, ANA, "day", 99, where=where, kinds=("turn",)) == wanted
        dense = store.candidates(ANA, encode("day"), "", 99, where=where, kinds=("turn",))
        assert dense.ids.tolist() == wanted
        if where.kind is None:
            around = store.window(ANA, [1, 4, 7], 1, where=where)
            assert [one.id for one in around] == wanted

    def test_as_of_shows_what_was_known_then(self, store: Store) -> None:
        ids, old, new = days_of_talk(store)
        for moment, current in ((DAYS[3], old), (DAYS[5], new)):
            where = Filter(as_of=moment)
            assert found(store, ANA, "lives", where=where, kinds=("unit",)) == [current]
            facts = store.current_facts(ANA, ["home", "job"], where=where)
            assert {fact: [one.id for one in held] for fact, held in facts.items()} == {
                "home": [current]
            }
        assert found(store, ANA, "lives", kinds=("unit",)) == [new]
        update(store, ids[0], "changed")
        assert store.older_texts(ANA, ids, datetime.now(UTC) - timedelta(days=1)) == {
            ids[0]: "day 0"
        }
        assert store.older_texts(ANA, ids, datetime.now(UTC)) == {}

    # -- matching --
    def test_a_match_tells_what_it_rests_on(self, store: Store) -> None:
        ids, old, new = days_of_talk(store)
        held = store.candidates(
            ANA, encode("lives in Rome"), "Rome", 99, radius=1, tokens=asked("lives in Rome")
        )
        assert held.ids.tolist() == [*ids, new]
        place = len(ids)
        assert held.is_unit.tolist() == [False] * place + [True]
        assert int(held.dense.argmax()) == int(held.late.argmax()) == place
        assert held.lexical[place] > 0 == held.lexical[0]
        assert (held.sources[place], held.position[place]) == ((ids[4],), 4)
        assert (held.turns_total, list(held.speakers)) == (9, ["Ana"])
        near = store.nearest_units(ANA, encode("lives in Rome")[None], 5)
        assert [item_id for item_id, _ in near[0]] == [new]
        assert store.units(ANA, [old])[0].superseded_by == new

    # -- transfer --
    def test_a_dump_makes_the_same_memory_elsewhere(self, backend: Backend) -> None:
        first, second, third = (backend.open(place) for place in ("one", "two", "three"))
        ids, _, _ = days_of_talk(first)
        update(first, ids[8], "changed")
        first.delete(ANA, ids[7])
        first.add_turns(BEN, [turn("from ben", source_id="a")])
        exported = dumped(first)
        assert load(second, map(json.loads, exported)) == 11
        assert load(second, map(json.loads, exported)) == 0
        assert load(first, map(json.loads, exported)) == 0
        assert load(third, map(json.loads, dumped(second))) == 11
        assert (dumped(first), dumped(third)) == (exported, dumped(second))
        for scope in (ANA, BEN):
            assert texts(first.list_turns(scope)) == texts(second.list_turns(scope))
            assert texts(first.list_units(scope)) == texts(second.list_units(scope))
        assert second.status().unembedded == 11
        assert texts(second.turns(ANA, found(second, ANA, "changed"))) == ["changed"]
        (old, new) = second.list_units(ANA)
        assert old.superseded_by == new.id
        assert [one.id for one in second.current_facts(ANA, ["home"])["home"]] == [new.id]

    def test_one_scope_can_be_dumped_alone(self, store: Store) -> None:
        days_of_talk(store)
        store.add_turns(BEN, [turn("from ben")])
        records = list(store.dump(BEN))
        assert [record["record"] for record in records] == ["hymem", "turn"]
        assert len(list(store.dump())) > len(records)

    # -- costs, the end --
    def test_costs_are_summed_by_scope_and_stage(self, store: Store) -> None:
        store.add_costs([{"scope": ANA, "stage": "light", "input_tokens": 3, "usd": 0.5}] * 2)
        store.add_costs([{"scope": BEN, "stage": "deep"}, {"scope": ANA, "stage": "light"}])
        rows = {(row["stage"], row["usd"]): row for row in store.costs(ANA)}
        assert {key: row["calls"] for key, row in rows.items()} == {
            ("light", 1.0): 2,
            ("light", None): 1,
        }
        assert rows["light", 1.0]["input_tokens"] == 6
        assert sum(row["calls"] for row in store.costs(None)) == 4
        assert store.costs(NOBODY) == store.costs(None, since=DAYS[8] + timedelta(days=9999)) == []

    def test_a_closed_store_says_so(self, store: Store) -> None:
        store.close()
        store.close()
        with pytest.raises(StoreError, match="closed"):
            store.turns(ANA, [1])
        with pytest.raises(StoreError, match="closed"):
            store.add_turns(ANA, [turn("x")])


ADD_THE_SAME = """
for n in range(40):
    store.add_turns(ANA, [turn(f"equal {n}", source_id=f"m{n}")])
    store.add_turns(BEN, [turn(f"own {n}")])
"""
EXTRACT = """
while lease := store.lease_events(None, 1, 60.0):
    for event in lease.events:
        store.complete_event(lease, event.id, [unit(f"unit of {event.turns}", event.turns)])
"""
ADD_UNTIL_KILLED = """
for n in range(100_000):
    store.add_turns(ANA, [turn(f"{n} {part}", source_id=f"{n}-{part}") for part in (0, 1)])
    print(n, flush=True)
"""
HOLD_A_LEASE = """
store.lease_events(ANA, 9, 0.5)
print("held", flush=True)
import time
time.sleep(60)
"""


class SharedContract(Contract):
    """For a backend of which several stores, in several processes, can open one place."""

    def test_two_stores_on_one_place_agree_after_every_change(self, backend: Backend) -> None:
        one, two = backend.open(), backend.open()
        ids = one.add_turns(ANA, [turn("a red cat"), turn("a blue sea")])
        assert found(two, ANA, "cat") == ids[:1]
        more = two.add_turns(ANA, [turn("another cat")])
        assert found(one, ANA, "cat") == [ids[0], *more]
        update(one, ids[0], "a red dog")
        assert found(two, ANA, "cat") == more
        assert two.candidates(ANA, encode("a red dog"), "", 1).ids.tolist() == ids[:1]
        event, (item,) = extract(two, ANA, ids, [unit("Ana saw a cat", ids)])
        assert found(one, ANA, "saw", kinds=("unit",)) == [item]
        assert one.candidates(ANA, None, "dog", 1, kinds=("turn",)).event.tolist() == [event]
        one.delete(ANA, more[0])
        assert found(two, ANA, "another") == []
        two.delete_all(ANA)
        assert found(one, ANA, "dog sea") == []
        again = one.add_turns(ANA, [turn("a new cat")])
        assert found(two, ANA, "cat") == again

    def test_what_was_written_is_there_when_it_is_opened_again(self, backend: Backend) -> None:
        store = backend.open()
        ids, _, new = days_of_talk(store)
        before = dumped(store)
        store.close()
        again = backend.open()
        assert dumped(again) == before
        assert found(again, ANA, "day lives", 99) == [*ids, new]

    def test_processes_that_add_the_same_add_it_once(self, backend: Backend) -> None:
        store = backend.open()
        for process in [backend.run(ADD_THE_SAME) for _ in "ab"]:
            assert process.communicate()[1] == ""
        sources = [one.source_id or "" for one in store.list_turns(ANA)]
        assert sorted(sources) == sorted(f"m{n}" for n in range(40))
        assert [one.position for one in store.list_turns(BEN)] == list(range(80))
        assert len(found(store, ANA, "equal", limit=500)) == 40

    def test_processes_that_extract_share_the_events(self, backend: Backend) -> None:
        store = backend.open()
        ids = store.add_turns(ANA, [turn(f"turn {n}") for n in range(40)])
        store.add_events(ANA, [([one], [one]) for one in ids])
        for process in [backend.run(EXTRACT) for _ in "ab"]:
            assert process.communicate()[1] == ""
        assert store.status(ANA).events == {"done": 40}
        assert sorted(one.source_turns for one in store.list_units(ANA)) == [(one,) for one in ids]

    def test_a_killed_writer_loses_nothing_it_acknowledged(self, backend: Backend) -> None:
        process = backend.run(ADD_UNTIL_KILLED)
        acknowledged = [int(process.stdout.readline()) for _ in range(20)]
        process.kill()
        lines = process.communicate()[0].splitlines(keepends=True)
        acknowledged += [int(line) for line in lines if line.endswith("\n")]
        store = backend.open()
        sources = [one.source_id or "" for one in store.list_turns(ANA)]
        assert {f"{n}-{part}" for n in acknowledged for part in (0, 1)} <= set(sources)
        assert len(sources) == len(set(sources)) == len(found(store, ANA, "0 1", 10**6))
        assert len(sources) % 2 == 0

    def test_a_killed_workers_lease_runs_out(self, backend: Backend) -> None:
        store = backend.open()
        ids = store.add_turns(ANA, [turn("one")])
        store.add_events(ANA, [(ids, ids)])
        process = backend.run(HOLD_A_LEASE)
        assert process.stdout.readline() == "held\n"
        process.kill()
        process.communicate()
        assert store.leased(ANA)
        time.sleep(0.6)
        assert leased(store).events[0].turns == tuple(ids)
