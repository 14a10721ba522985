"""Events, leases on them and the units they yield."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from filling import ANA, BEN, extract, found, turn, unit

from hymem.stores.sqlite import SQLiteStore


@pytest.fixture
def ids(store: SQLiteStore) -> list[int]:
    texts = ["I moved to Lyon", "when?", "last week", "and my cat too"]
    return store.add_turns(ANA, [turn(text, time=datetime(2026, 3, 2)) for text in texts])


def test_turns_wait_until_an_event_covers_them(store: SQLiteStore, ids: list[int]) -> None:
    assert [one.id for one in store.unsegmented(ANA, 2)] == ids[:2]
    store.add_events(ANA, [(ids[:2], ids[:2]), (ids[1:3], ids[2:3])])
    assert [one.id for one in store.unsegmented(ANA, 9)] == ids[3:]
    first, second = store.events(ANA)
    assert (first.turns, second.turns) == (tuple(ids[:2]), tuple(ids[1:3]))
    assert (first.status, first.session_id, first.time) == ("pending", "s1", datetime(2026, 3, 2))
    assert store.events(ANA, [second.id, 999, first.id]) == [second, first]
    assert store.status(ANA).events == {"pending": 2}
    assert store.candidates(ANA, None, "Lyon week", 9).event.tolist() == [first.id, second.id]


def test_turns_that_another_process_covered_are_skipped(store: SQLiteStore, ids: list[int]) -> None:
    store.add_events(ANA, [(ids[:2], ids[:2])])
    store.add_events(ANA, [(ids[:2], ids[:2]), ([999], [999])])
    assert len(store.events(ANA)) == 1


def test_turns_of_another_scope_make_no_event(store: SQLiteStore, ids: list[int]) -> None:
    store.add_turns(BEN, [turn("hello")])
    store.add_events(BEN, [(ids, ids)])
    assert store.events(BEN) == []
    assert len(store.unsegmented(ANA, 9)) == 4


def test_a_leased_event_is_nobody_elses(store: SQLiteStore, ids: list[int]) -> None:
    store.add_events(ANA, [([one], [one]) for one in ids])
    first = store.lease_events(ANA, 3, 60.0)
    second = store.lease_events(None, 3, 60.0)
    assert first is not None
    assert second is not None
    assert [len(first.events), len(second.events)] == [3, 1]
    assert (first.scope, first.events[0].status) == (ANA, "leased")
    assert store.lease_events(None, 3, 60.0) is None
    assert store.lease_events(BEN, 3, 60.0) is None


def test_an_expired_lease_is_taken_over_and_its_loser_changes_nothing(
    store: SQLiteStore, ids: list[int]
) -> None:
    store.add_events(ANA, [(ids, ids)])
    slow = store.lease_events(ANA, 1, -1.0)
    quick = store.lease_events(ANA, 1, 60.0)
    assert slow is not None
    assert quick is not None
    event = slow.events[0].id
    units = [unit("Ana moved to Lyon", ids[:1])]
    assert store.complete_event(slow, event, units) == []
    store.fail_event(slow, event, "too late")
    assert len(store.complete_event(quick, event, units)) == 1
    assert store.complete_event(quick, event, units) == []
    assert store.status(ANA).units == 1
    assert store.events(ANA)[0].status == "done"


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_clock_that_jumps_neither_ends_nor_prolongs_a_lease(
    store: SQLiteStore, ids: list[int], monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    store.add_events(ANA, [(ids[:2], ids[:2])])
    held = store.lease_events(ANA, 1, 0.5)
    real = time.time
    monkeypatch.setattr("time.time", lambda: real() + jump)
    assert store.lease_events(ANA, 1, 60.0) is None
    time.sleep(0.3)
    store.renew(held, 0.5)
    time.sleep(0.3)
    assert store.lease_events(ANA, 1, 60.0) is None
    time.sleep(0.3)
    assert store.lease_events(ANA, 1, 60.0) is not None


@pytest.mark.parametrize("clock", [5.0, 2_000_000.0])
def test_a_lease_of_before_a_restart_of_the_machine_is_free(
    store: SQLiteStore, ids: list[int], monkeypatch: pytest.MonkeyPatch, clock: float
) -> None:
    store.add_events(ANA, [(ids[:2], ids[:2])])
    monkeypatch.setattr("time.monotonic", lambda: 1_000_000.0)
    assert store.lease_events(ANA, 1, 60.0) is not None
    assert store.lease_events(ANA, 1, 60.0) is None
    monkeypatch.setattr("time.monotonic", lambda: clock)
    assert store.lease_events(ANA, 1, 60.0) is not None


def test_a_late_worker_may_finish_what_nobody_took(store: SQLiteStore, ids: list[int]) -> None:
    store.add_events(ANA, [(ids, ids)])
    lease = store.lease_events(ANA, 1, -1.0)
    assert lease is not None
    assert len(store.complete_event(lease, lease.events[0].id, [unit("x", ids)])) == 1


def test_a_failed_event_waits_to_be_retried(store: SQLiteStore, ids: list[int]) -> None:
    store.add_events(ANA, [(ids, ids)])
    lease = store.lease_events(ANA, 1, 60.0)
    assert lease is not None
    store.fail_event(lease, lease.events[0].id, "no \ud800 reply")
    (event,) = store.events(ANA)
    assert (event.status, event.attempts, event.error) == ("failed", 1, "no \ufffd reply")
    assert store.lease_events(None, 1, 60.0) is None
    assert (store.failed(BEN), store.failed(ANA)) == ([], [event.id])
    store.retry_failed(BEN, [event.id])
    assert store.failed(ANA)
    store.retry_failed(ANA, [event.id, 999])
    assert store.failed(ANA) == []
    again = store.lease_events(None, 1, 60.0)
    assert again is not None
    store.complete_event(again, event.id, [])
    (event,) = store.events(ANA)
    assert (event.status, event.attempts, event.error) == ("done", 2, None)


def fail(store: SQLiteStore, error: str, retry_in: float | None) -> int:
    lease = store.lease_events(ANA, 1, 60.0)
    assert lease is not None
    store.fail_event(lease, lease.events[0].id, error, retry_in)
    return lease.events[0].id


def test_a_failed_event_may_be_leased_again_when_its_time_has_come(
    store: SQLiteStore, ids: list[int]
) -> None:
    store.add_events(ANA, [(ids[:2], ids[:2]), (ids[2:], ids[2:])])
    assert store.next_try() is None
    later, due = fail(store, "later", 3600.0), fail(store, "now", -1.0)
    assert store.due() == [ANA]
    lease = store.lease_events(None, 9, 60.0)
    assert lease is not None
    assert [event.id for event in lease.events] == [due]
    store.fail_event(lease, due, "for good")
    status = store.status(ANA)
    assert (status.events, status.given_up, status.last_error) == ({"failed": 2}, 1, "for good")
    assert status.next_try is not None
    assert store.next_try() == pytest.approx(time.time() + 3600, abs=60)
    assert status.next_try.timestamp() == pytest.approx(store.next_try())
    assert store.due() == []
    assert store.status(BEN).last_error is store.status(BEN).next_try is None
    store.retry_failed(ANA, store.failed(ANA))
    assert later in [event.id for event in store.events(ANA) if event.status == "pending"]


def test_a_clock_that_is_set_back_keeps_no_event_from_being_tried(
    store: SQLiteStore, ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add_events(ANA, [(ids, ids)])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 7 * 86400)
    fail(store, "a week ahead", 60.0)
    monkeypatch.setattr(time, "time", lambda: now)
    assert store.due() == [ANA]
    assert store.lease_events(ANA, 1, 60.0)


def test_what_failed_before_is_leased_last_and_alone(store: SQLiteStore, ids: list[int]) -> None:
    store.add_events(ANA, [([one], [one]) for one in ids])
    failed = [fail(store, "no", -1.0), fail(store, "no", -1.0)]
    leases = [store.lease_events(ANA, 9, 60.0) for _ in range(4)]
    assert [len(lease.events) if lease else 0 for lease in leases] == [2, 1, 1, 0]
    assert [lease.events[0].id for lease in leases[1:3] if lease] == failed


def test_what_is_given_back_is_pending_again(store: SQLiteStore, ids: list[int]) -> None:
    store.add_events(ANA, [([one], [one]) for one in ids])
    lease = store.lease_events(ANA, 3, 60.0)
    assert lease is not None
    store.complete_event(lease, lease.events[0].id, [])
    store.fail_event(lease, lease.events[1].id, "no")
    store.give_back(lease)
    assert store.status(ANA).events == {"done": 1, "failed": 1, "pending": 2}
    assert store.complete_event(lease, lease.events[2].id, []) == []


def test_units_carry_their_links(store: SQLiteStore, ids: list[int]) -> None:
    event, (first, second) = extract(
        store,
        ANA,
        ids,
        [
            unit("Ana lives in Lyon", [ids[2], ids[0]], fact="ana/home", metadata={"a": 1}),
            unit("Ana has a cat", [ids[3], 999]),
        ],
    )
    home, cat = store.units(ANA, [first, second])
    assert (home.source_turns, cat.source_turns) == ((ids[0], ids[2]), (ids[3],))
    said = datetime(2026, 3, 2, tzinfo=UTC)
    assert (home.event_id, home.session_id, home.time) == (event, "s1", said)
    assert home.metadata == {"a": 1}
    assert store.list_units(ANA) == [home, cat]
    assert store.candidates(ANA, None, "cat", 9, kinds=("unit",)).position.tolist() == [3]


def test_newer_facts_supersede_older_ones(store: SQLiteStore, ids: list[int]) -> None:
    _, (old,) = extract(store, ANA, ids[:1], [unit("Ana lives in Lyon", ids[:1], fact="home")])
    _, (new,) = extract(
        store, ANA, ids[1:], [unit("Ana lives in Rome", ids[2:], fact="home", supersedes=(old,))]
    )
    facts = store.current_facts(ANA, ["home", "job"])
    assert [one.id for one in facts["home"]] == [new]
    assert list(facts) == ["home"]
    assert store.units(ANA, [old])[0].superseded_by == new
    assert [entry["event"] for entry in store.history(ANA, old)] == ["add", "supersede"]
    assert store.current_facts(BEN, ["home"]) == {}


def test_a_unit_can_arrive_already_superseded(store: SQLiteStore, ids: list[int]) -> None:
    _, (new,) = extract(store, ANA, ids[:1], [unit("Ana lives in Rome", ids[:1], fact="home")])
    _, (old,) = extract(
        store, ANA, ids[1:], [unit("Ana lives in Lyon", ids[1:], fact="home", superseded_by=new)]
    )
    assert [one.id for one in store.current_facts(ANA, ["home"])["home"]] == [new]
    assert found(store, ANA, "lives", kinds=("unit",)) == [new]
    assert store.units(ANA, [old])[0].superseded_by == new


def test_units_of_another_scope_cannot_be_superseded(store: SQLiteStore, ids: list[int]) -> None:
    _, (mine,) = extract(store, ANA, ids, [unit("Ana lives in Lyon", ids)])
    other = store.add_turns(BEN, [turn("hello")])
    extract(store, BEN, other, [unit("Ben lives in Rome", other, supersedes=(mine,))])
    assert store.units(ANA, [mine])[0].superseded_by is None
