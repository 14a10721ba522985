"""Memory as it was at an earlier moment: nothing said later, what held then, its text of then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hymem import Config, Filter, HyMem, InputError, Statement, Turn, Unit

MOVES = [
    ("2026-01-10", "I live in Lyon, near the old bridge."),
    ("2026-03-02", "My cat Tiger likes the garden."),
    ("2026-06-10", "I live in Porto now, in a flat by the river."),
    ("2026-09-01", "We went to the seaside with Ben."),
]
WHERE = "Where does Ana live?"


class Homes:
    """An extractor that knows one changing fact."""

    def extract(self, events: Sequence[Sequence[Turn]]) -> list[list[Statement]]:
        return [
            [
                Statement(f"Ana says: {turn.text}", (at,), subject="Ana", attribute="home city")
                for at, turn in enumerate(event)
                if "I live in" in turn.text
            ]
            for event in events
        ]


@pytest.fixture
def memory() -> Iterator[HyMem]:
    with HyMem(":memory:", llm=None, extractor=Homes(), background=False) as opened:
        for day, text in MOVES:
            message = {"role": "user", "name": "Ana", "content": text}
            opened.add([message], user_id="ana", session_id=day, timestamp=day, wait=True)
        yield opened


def texts(memory: HyMem, as_of: str | datetime | None, **options: object) -> list[str]:
    hits = memory.search(WHERE, user_id="ana", limit=50, as_of=as_of, **options)  # type: ignore[arg-type]
    return [hit.text for hit in hits]


def test_a_fact_that_changed_later_is_current_again(memory: HyMem) -> None:
    only_units = Filter(kind="unit")
    assert texts(memory, None, where=only_units) == [f"Ana says: {MOVES[2][1]}"]
    assert texts(memory, "2026-05-01", where=only_units) == [f"Ana says: {MOVES[0][1]}"]
    facts = memory._store.current_facts  # what the offline reader asks
    key = "ana/home city"
    scope = memory._store.scopes()[0]
    (then,) = facts(scope, [key], where=Filter(as_of=datetime(2026, 5, 1)))[key]
    (now,) = facts(scope, [key])[key]
    assert ("Lyon" in then.text, "Porto" in now.text) == (True, True)


def test_no_path_shows_what_was_said_later(memory: HyMem) -> None:
    for config in ({}, {"light": False}, {"deep": False}):
        memory._parts.retriever.config = Config(**config)
        block = memory.recall(WHERE, user_id="ana", as_of="2026-05-01").text
        assert "Lyon" in block
        assert "Porto" not in block
        assert "seaside" not in block
    assert "Lyon" in memory.ask(WHERE, user_id="ana", as_of="2026-05-01").text
    assert "Porto" in memory.ask(WHERE, user_id="ana").text


@pytest.mark.parametrize(
    "before",
    [
        "2025-12-31",
        datetime(2025, 12, 31),
        datetime(2026, 1, 9, 20, tzinfo=timezone(-timedelta(hours=2))),
    ],
)
def test_before_the_first_turn_there_is_nothing(memory: HyMem, before: str | datetime) -> None:
    assert texts(memory, before) == []
    assert memory.recall(WHERE, user_id="ana", as_of=before).evidence == ()
    assert memory.ask(WHERE, user_id="ana", as_of=before).found is False


@pytest.mark.parametrize("after", [datetime(2030, 1, 1), datetime(2030, 1, 1, tzinfo=UTC)])
def test_after_the_last_turn_it_is_today(memory: HyMem, after: datetime) -> None:
    assert texts(memory, after) == texts(memory, None)


def test_an_updated_memory_shows_the_text_it_had(memory: HyMem) -> None:
    first = memory.get_all(user_id="ana")[0]
    memory.update(first.id, "I live in Grenoble, near the old bridge.", user_id="ana")
    today = memory.recall(WHERE, user_id="ana")
    assert "Grenoble" in today.text
    then = memory.recall(WHERE, user_id="ana", as_of="2026-05-01")
    assert "Lyon" in then.text
    assert "Grenoble" not in then.text


def test_an_undated_turn_is_known_from_when_it_was_added() -> None:
    with HyMem(":memory:", llm=None, background=False) as memory:
        (item,) = memory.add("I live in Lyon.", user_id="ana")
        memory._store._db._writer.execute("UPDATE items SET time = NULL, seconds = NULL")
        assert [hit.id for hit in memory.search(WHERE, user_id="ana")] == [item]
        assert memory.search(WHERE, user_id="ana", as_of="2020-01-01") == []
        later = datetime.now(UTC) + timedelta(minutes=1)
        assert [hit.id for hit in memory.search(WHERE, user_id="ana", as_of=later)] == [item]


def test_last_week_counts_from_as_of(memory: HyMem) -> None:
    said = memory.search("What did Ana say this year?", user_id="ana", as_of="2026-02-01")
    assert [hit.time.date() for hit in said if hit.time] == [date(2026, 1, 10)] * len(said)


def test_last_week_counts_from_the_filters_as_of_too(memory: HyMem) -> None:
    question, moment = "What did Ana say last week?", "2026-06-15"
    where = Filter(as_of=datetime(2026, 6, 15, 23, 59, 59))
    given = memory.search(question, user_id="ana", as_of=moment)
    assert "Porto" in given[0].text
    scores = {hit.id: round(hit.score, 6) for hit in given}
    filtered = memory.search(question, user_id="ana", where=where)
    assert {hit.id: round(hit.score, 6) for hit in filtered} == scores
    of_today = memory.search(question, user_id="ana", where=where, now="2026-11-24")
    assert {hit.id: round(hit.score, 6) for hit in of_today} != scores
    shown = memory.recall(question, user_id="ana", where=where)
    assert shown.confidence == memory.recall(question, user_id="ana", as_of=moment).confidence


def test_a_time_that_is_none_is_refused(memory: HyMem) -> None:
    with pytest.raises(InputError, match="as_of"):
        memory.search(WHERE, user_id="ana", as_of="the day before yesterday")


def test_history_tells_when_it_was_taken_in_and_since_when_it_holds(memory: HyMem) -> None:
    (old,) = [
        one
        for one in memory.get_all(user_id="ana", where=Filter(kind="unit"))
        if isinstance(one, Unit) and one.superseded_by
    ]
    added, superseded = memory.history(old.id, user_id="ana")
    assert (added["event"], superseded["event"]) == ("add", "supersede")
    assert added["time"].date() == date(2026, 1, 10)
    assert superseded["time"].date() == date(2026, 6, 10)
    assert added["at"].date() == superseded["at"].date() == datetime.now(UTC).date()


def test_a_correction_inside_one_event_supersedes_what_it_corrects() -> None:
    with HyMem(":memory:", llm=None, extractor=Homes(), background=False) as memory:
        talk = ["I live in Lyon.", "Sorry, I mean: I live in Lens.", "And I live in peace."]
        memory.add(
            [{"role": "user", "content": text} for text in talk],
            user_id="ana",
            session_id="a",
            timestamp="2026-01-10",
            wait=True,
        )
        units = memory.get_all(user_id="ana", where=Filter(kind="unit"))
        by_text = {one.text: one for one in units if isinstance(one, Unit)}
        lyon, lens, peace = (by_text[f"Ana says: {text}"] for text in talk)
        assert (lyon.superseded_by, lens.superseded_by) == (lens.id, peace.id)
        assert peace.superseded_by is None


@settings(max_examples=25, deadline=None)
@given(
    days=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    moment=st.integers(-1, 41),
)
def test_search_and_listing_agree_on_what_was_known(days: list[int], moment: int) -> None:
    start = datetime(2026, 1, 1, 12, tzinfo=UTC)
    with HyMem(":memory:", llm=None, extractor=Homes(), background=False) as memory:
        for number, day in enumerate(days):
            memory.add(
                f"I live in town number {number}.",
                user_id="ana",
                session_id=str(number),
                timestamp=start + timedelta(days=day),
            )
        memory.flush(user_id="ana")
        as_of = start + timedelta(days=moment, hours=1)
        listed = memory.get_all(user_id="ana", where=Filter(as_of=as_of, kind="turn"))
        found = memory.search(
            WHERE, user_id="ana", limit=50, as_of=as_of, where=Filter(kind="turn")
        )
        expected = sum(day <= moment for day in days)
        assert len(listed) == len(found) == expected
        assert {one.id for one in listed} == {hit.id for hit in found}
