"""The write path on the real store, encoder and segmenter."""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from hymem.cost.ledger import Ledger
from hymem.errors import EncoderError, LLMError, LLMOutputError, StoreError
from hymem.inputs.messages import parse_messages
from hymem.text.block import CLOSE, OPEN
from hymem.types import Budget, Scope, Statement, Turn
from hymem.wiring import default_encoder, open_store
from hymem.write import retry
from hymem.write.ingest import Ingestor
from hymem.write.segment import TopicSegmenter

ANA = Scope("ana")
ENCODER = default_encoder()


class EveryTurn:
    """An extractor that states each turn as it is, and fails on the word "poison"."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.poisonous = True

    def extract(self, events: Sequence[Sequence[Turn]]) -> list[list[Statement]]:
        if self.poisonous and any("poison" in turn.text for turns in events for turn in turns):
            raise LLMOutputError("no JSON in the reply")
        self.read += [turn.text for turns in events for turn in turns]
        return [
            [
                Statement(f"{turn.speaker} said {turn.text}", (number,), turn.time)
                for number, turn in enumerate(turns)
                if turn.text.strip()
            ]
            for turns in events
        ]


class Lives:
    """States where somebody lives, as a fact that can change."""

    def extract(self, events: Sequence[Sequence[Turn]]) -> list[list[Statement]]:
        return [
            [
                Statement(f"Ana lives in {turn.text}", (number,), turn.time, "Ana", "home city")
                for number, turn in enumerate(turns)
            ]
            for turns in events
        ]


class Unreachable:
    """The default encoder behind a line that can be cut."""

    name, version, dim = ENCODER.name, ENCODER.version, ENCODER.dim
    max_tokens = ENCODER.max_tokens
    cut = True

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        if self.cut:
            raise EncoderError("no route to the embedding endpoint")
        return ENCODER.encode(texts)


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path / "m.db", ENCODER)
    yield store
    store.close()


def make(store, extractor, encoder=ENCODER) -> Ingestor:
    return Ingestor(store, encoder, TopicSegmenter(), extractor, Ledger(store), Budget())


def say(ingestor: Ingestor, *texts: str, session: str = "s1", day: int = 1) -> list[int]:
    start = datetime(2026, 3, day, 9)
    messages = [
        {"role": "user", "name": "Ana", "content": text, "timestamp": start + timedelta(minutes=n)}
        for n, text in enumerate(texts)
    ]
    return ingestor.append(ANA, parse_messages(messages, session_id=session))


def settle(ingestor: Ingestor) -> None:
    ingestor.segment(ANA, close=True)
    ingestor.extract(ANA)


def test_turns_are_searchable_before_any_extraction(store):
    ids = say(make(store, EveryTurn()), "I keep bees on the roof.")
    found = store.candidates(ANA, ENCODER.encode(["Who keeps bees?"])[0], "bees", 5)
    assert list(found.ids) == ids


def test_the_newest_sessions_tail_stays_open_until_closed(store):
    ingestor = make(store, EveryTurn())
    say(ingestor, "Good morning!", "I bought a boat.", session="s1")
    say(ingestor, "The boat leaks.", session="s2", day=2)
    ingestor.segment(ANA, close=False)
    assert store.status(ANA).unsegmented == 1
    ingestor.segment(ANA, close=True)
    assert store.status(ANA).unsegmented == 0
    sessions = [event.session_id for event in store.events(ANA)]
    assert set(sessions) == {"s1", "s2"}


def test_every_turn_becomes_a_unit_once_although_events_overlap(store):
    ingestor = make(store, EveryTurn())
    texts = [f"Number {n}: {word}" for n, word in enumerate("abcdefghijklmnopqrstuvwxyz" * 2)]
    ids = say(ingestor, *texts)
    settle(ingestor)
    assert any(event.overlap for event in store.events(ANA))
    units = store.list_units(ANA)
    assert sorted(unit.source_turns for unit in units) == [(i,) for i in ids]


def test_one_poisoned_event_spoils_no_other_and_stays_visible(store):
    extractor = EveryTurn()
    ingestor = make(store, extractor)
    say(ingestor, "I like rain.", session="s1")
    say(ingestor, "This is poison.", session="s2", day=2)
    say(ingestor, "I like snow.", session="s3", day=3)
    settle(ingestor)
    assert store.status(ANA).events == {"done": 2, "failed": 1}
    (failed,) = [event for event in store.events(ANA) if event.status == "failed"]
    assert "no JSON" in (failed.error or "")
    assert len(store.list_units(ANA)) == 2
    extractor.poisonous = False
    store.retry_failed(ANA, store.failed(ANA))
    settle(ingestor)
    assert store.status(ANA).events == {"done": 3}
    assert len(store.list_units(ANA)) == 3


def test_an_endpoint_that_is_down_is_not_tried_event_by_event(store):
    class Down(EveryTurn):
        calls = 0
        down = True

        def extract(self, events):
            self.calls += 1
            if self.down:
                raise LLMError("connection refused", down=True)
            return super().extract(events)

    extractor = Down()
    ingestor = make(store, extractor)
    for number in range(20):
        say(ingestor, f"I like the number {number}.", session=f"s{number}")
    ingestor.drain([ANA])
    assert extractor.calls == 3  # the batch, then two events alone
    assert store.status(ANA).events == {"failed": 2, "pending": 18}
    extractor.down = False
    ingestor.drain([ANA])
    assert store.status(ANA).events == {"done": 20}


BEN, CAT = Scope("ben"), Scope("cat")


def tell(ingestor: Ingestor, scope: Scope, *texts: str) -> None:
    for number, text in enumerate(texts):
        ingestor.append(scope, parse_messages(text, session_id=str(number)))


ODD = [
    TypeError("an integer is required"),
    RecursionError(),
    MemoryError(),
    LLMError("refused"),
    LLMError("500", down=True),
    [],
    None,
    "nonsense",
    [["a statement"]],
    [[Statement("x", (7,))]],
    [[Statement("x", (-1,))]],
    [[Statement(5, (0,))]],  # type: ignore[arg-type]
    [[Statement("x", (0,), "yesterday")]],  # type: ignore[arg-type]
    [[Statement("x", None)]],  # type: ignore[arg-type]
    [None],
]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_an_event_that_provokes_anything_at_all_fails_alone(store, odd):
    class Odd(EveryTurn):
        def extract(self, events):
            if any("poison" in turn.text for turns in events for turn in turns):
                if isinstance(odd, Exception):
                    raise odd
                return odd
            return super().extract(events)

    ingestor = make(store, Odd())
    tell(ingestor, ANA, "poison")
    tell(ingestor, BEN, "I like rain.", "This is poison.", "I like snow.")
    tell(ingestor, CAT, "I like fog.")
    ingestor.drain([ANA, BEN, CAT])
    assert store.status(ANA).events == {"failed": 1}
    assert store.status(BEN).events == {"done": 2, "failed": 1}
    assert store.status(CAT).events == {"done": 1}
    assert store.status(BEN).last_error


def test_a_statement_no_database_could_hold_is_cleaned(store):
    class Surrogate(EveryTurn):
        def extract(self, events):
            return [[Statement("bad \ud800 text", (0,), None, "a\ud800", "b\ud800")]]

    ingestor = make(store, Surrogate())
    tell(ingestor, ANA, "hello")
    ingestor.drain([ANA])
    assert [unit.text for unit in store.list_units(ANA)] == ["bad \ufffd text"]


def test_events_that_bring_the_endpoint_down_hold_up_others_once_at_most(store):
    class Fragile(EveryTurn):
        def extract(self, events):
            if any("poison" in turn.text for turns in events for turn in turns):
                raise LLMError("502", down=True)
            return super().extract(events)

    ingestor = make(store, Fragile())
    tell(ingestor, ANA, "poison", "more poison", "I like hail.")
    tell(ingestor, BEN, "I like rain.")
    ingestor.drain([ANA, BEN])
    ingestor.drain([ANA, BEN])
    assert store.status(ANA).events == {"done": 1, "failed": 2}
    assert store.status(BEN).events == {"done": 1}


def test_a_failed_event_waits_longer_and_longer_and_is_at_last_given_up(store):
    extractor = EveryTurn()
    ingestor = make(store, extractor)
    tell(ingestor, ANA, "This is poison.")
    waits = []
    for _ in range(retry.MOST_ATTEMPTS):
        ingestor.drain([ANA])
        due = store.next_try()
        waits.append(None if due is None else round(due - time.time()))
    assert waits == [15, 60, 240, 960, 3600, 3600, 3600, None]
    assert store.status(ANA).given_up == 1
    assert "no JSON" in store.status(ANA).last_error
    extractor.poisonous = False
    ingestor.drain([ANA])  # a flush tries it all the same
    assert store.status(ANA).events == {"done": 1}


def test_a_damaged_scope_holds_up_no_other_and_says_so(store):
    ingestor = make(store, EveryTurn())
    for scope in (ANA, BEN):
        tell(ingestor, scope, "I like rain.")
        ingestor.segment(scope, close=True)
    with store._db.write() as connection:
        connection.execute("UPDATE events SET time = 'garbage' WHERE scope = 1")
    with pytest.raises(StoreError):
        ingestor.drain([ANA, BEN])
    assert store.status(BEN).events == {"done": 1}


class Cuts:
    """A segmenter that returns whatever it was given, or raises it."""

    def __init__(self, ranges) -> None:
        self.ranges = ranges

    def segment(self, turns, vectors):
        if isinstance(self.ranges, Exception):
            raise self.ranges
        return self.ranges


@pytest.mark.parametrize(
    "ranges",
    [ZeroDivisionError(), None, [], [(0, 1)], [(1, 3)], [(0, 2), (1, 2), (2, 3)], [(0, 9)], "ab"],
    ids=str,
)
def test_a_segmenter_that_fails_is_replaced_by_rules(store, ranges):
    ingestor = replace(make(store, EveryTurn()), segmenter=Cuts(ranges))
    say(ingestor, "I like rain.", "I like hail.", "I like snow.")
    ingestor.drain([ANA])
    assert store.status(ANA).unsegmented == 0
    assert len(store.list_units(ANA)) == 3


def test_one_event_of_very_many_turns_is_cut_all_the_same(store, monkeypatch):
    monkeypatch.setattr("hymem.write.ingest.TURNS_PER_SEGMENTATION", 4)
    ingestor = replace(make(store, EveryTurn()), segmenter=Cuts([(0, 4)]))
    say(ingestor, *(f"Number {n}." for n in range(8)))
    ingestor.drain([ANA])
    assert store.status(ANA).unsegmented == 0


def test_a_newer_fact_supersedes_the_older_whatever_the_order_of_arrival(store):
    ingestor = make(store, Lives())
    say(ingestor, "Rome", session="s1", day=5)
    settle(ingestor)
    say(ingestor, "Lyon", session="s2", day=9)
    settle(ingestor)
    say(ingestor, "Oslo", session="s0", day=2)
    settle(ingestor)
    by_text = {unit.text: unit for unit in store.list_units(ANA)}
    lyon, rome, oslo = (by_text[f"Ana lives in {city}"] for city in ("Lyon", "Rome", "Oslo"))
    assert lyon.superseded_by is None
    assert rome.superseded_by == lyon.id
    assert oslo.superseded_by == lyon.id
    assert [event["event"] for event in store.history(ANA, rome.id)][-1] == "supersede"


def test_a_repeated_statement_is_linked_not_offered_twice(store):
    ingestor = make(store, EveryTurn())
    say(ingestor, "My sister Lea plays the cello in Turin.", session="s1")
    settle(ingestor)
    say(ingestor, "My sister Lea plays the cello in Turin!", session="s2", day=2)
    say(ingestor, "My sister Lea plays the cello since 1999 in Turin.", session="s3", day=3)
    settle(ingestor)
    first, again, other = store.list_units(ANA)
    assert again.duplicate_of == first.id
    assert other.duplicate_of is None
    vector = ENCODER.encode(["cello"])[0]
    found = store.candidates(ANA, vector, "cello", 9, kinds=("unit",))
    assert set(found.ids) == {first.id, other.id}


def test_recalled_text_is_kept_raw_but_is_neither_key_nor_fact(store):
    extractor = EveryTurn()
    ingestor = make(store, extractor)
    block = f"{OPEN}\n[1 March 2026]\nAna: I own a zeppelin.\n{CLOSE}"
    only, mixed = say(ingestor, block, f"{block} What else do I own?")
    settle(ingestor)
    assert store.turns(ANA, [only])[0].text == block
    assert not any("zeppelin" in text for text in extractor.read)
    assert not any("zeppelin" in unit.text for unit in store.list_units(ANA))
    found = store.candidates(ANA, ENCODER.encode(["zeppelin"])[0], "zeppelin", 9)
    assert only not in found.ids
    assert not found.lexical.any()
    assert mixed in found.ids


def test_turns_survive_an_encoder_out_of_reach_and_are_embedded_later(store):
    encoder = Unreachable()
    ingestor = make(store, EveryTurn(), encoder)
    (turn,) = say(ingestor, "I fly to Quito on Monday.")
    assert store.status(ANA).unembedded == 1
    assert list(store.candidates(ANA, None, "Quito", 5).ids) == [turn]
    settle(ingestor)
    assert store.status(ANA).events == {"done": 1}  # a reply that was paid for is kept
    assert store.status(ANA).unembedded == 2
    assert not ingestor.embed_missing()
    encoder.cut = False
    assert ingestor.embed_missing([BEN])
    assert store.status(ANA).unembedded == 2
    assert ingestor.embed_missing()
    assert store.status(ANA).unembedded == 0
    found = store.candidates(ANA, ENCODER.encode(["I fly to Quito on Monday."])[0], "", 5)
    assert found.dense.max() > 0.7  # its key also names the speaker


@pytest.mark.parametrize(
    "answer",
    [
        lambda texts: ENCODER.encode(texts)[:-1],
        lambda texts: ENCODER.encode(texts)[:, :5],
        lambda texts: ENCODER.encode(texts) * float("nan"),
        lambda texts: [["a"] * ENCODER.dim] * len(texts),
        lambda texts: None,
        lambda texts: texts[len(texts)],
    ],
)
def test_an_encoder_that_fails_on_one_text_leaves_the_others_their_vectors(store, answer):
    class Odd(Unreachable):
        def encode(self, texts):
            if any("venom" in text for text in texts):
                return answer(texts)
            return ENCODER.encode(texts)

    ingestor = make(store, EveryTurn(), Odd())
    say(ingestor, *(f"Number {n}." for n in range(40)), "venom", "The last one.")
    ingestor.append(BEN, parse_messages("I like rain."))
    assert store.status(ANA).unembedded == 42
    ingestor.drain([ANA, BEN])
    assert [item.text for item in store.unembedded(ANA, 99)] == [
        "venom",
        "Ana said venom",
    ]
    assert store.status(BEN).unembedded == 0


def test_vectors_are_added_beside_deletes(store):
    encoder = Unreachable()
    ingestor = make(store, EveryTurn(), encoder)
    ids = say(ingestor, *(f"Number {n}." for n in range(20)))

    class DeletesMeanwhile(Unreachable):
        def encode(self, texts):
            for item_id in ids[::2]:
                store.delete(ANA, item_id)
            ids.clear()
            return ENCODER.encode(texts)

    assert make(store, EveryTurn(), DeletesMeanwhile()).embed_missing()
    assert store.status(ANA).unembedded == 0
    assert store.status(ANA).turns == 10


def test_a_turn_deleted_during_extraction_leaves_no_unit_behind(store):
    ingestor = make(store, EveryTurn())
    (turn,) = say(ingestor, "My secret is a tattoo.")

    class DeletesMeanwhile(EveryTurn):
        def extract(self, events):
            store.delete(ANA, turn)
            return super().extract(events)

    settle(make(store, DeletesMeanwhile()))
    settle(ingestor)
    assert store.list_units(ANA) == []


def test_an_update_replaces_text_keys_and_units(store):
    ingestor = make(store, EveryTurn())
    (turn,) = say(ingestor, "I play the tuba.")
    settle(ingestor)
    ingestor.update(ANA, store.turns(ANA, [turn])[0], "I play the oboe.")
    settle(ingestor)
    assert [unit.text for unit in store.list_units(ANA)] == ["Ana said I play the oboe."]
    assert not store.candidates(ANA, None, "tuba", 5).lexical.any()
    assert store.candidates(ANA, None, "oboe", 5).ids.size == 2
    assert [event["event"] for event in store.history(ANA, turn)] == ["add", "update"]


def test_a_lease_is_renewed_while_a_slow_extractor_works(store, monkeypatch):
    monkeypatch.setattr("hymem.write.ingest.LEASE_SECONDS", 0.3)

    class Slow(EveryTurn):
        def extract(self, events):
            time.sleep(1.0)
            assert store.lease_events(ANA, 5, 1.0) is None  # nobody else may have it
            return super().extract(events)

    ingestor = make(store, Slow())
    say(ingestor, "I paint boats.")
    settle(ingestor)
    assert store.status(ANA).units == 1


@pytest.mark.parametrize("error", [StoreError("damaged"), KeyboardInterrupt(), SystemExit(1)])
def test_a_lease_is_given_back_whatever_ends_its_extraction(store, error):
    class Ends(EveryTurn):
        def extract(self, events):
            raise error

    ingestor = make(store, Ends())
    say(ingestor, "I paint boats.")
    with pytest.raises(type(error)):
        settle(ingestor)
    assert not store.leased(ANA)
    settle(make(store, EveryTurn()))
    assert store.status(ANA).events == {"done": 1}
