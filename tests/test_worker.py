"""The background thread: work goes on behind ``add``, and what a process left is taken up."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from test_ingest import ANA, ENCODER, EveryTurn, Unreachable, make, say

import hymem.write.retry
import hymem.write.worker
from hymem.errors import LLMError, StoreError
from hymem.inputs.messages import parse_messages
from hymem.types import Scope
from hymem.wiring import open_store
from hymem.write.worker import Worker


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path / "m.db", ENCODER)
    yield store
    store.close()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(hymem.write.worker, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(hymem.write.retry, "FIRST_SECONDS", 0.05)
    monkeypatch.setattr(hymem.write.worker, "FIRST_SECONDS", 0.05)


def until(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return False


def test_a_conversation_at_rest_is_extracted(store, quick):
    ingestor = make(store, EveryTurn())
    worker = Worker(ingestor)
    say(ingestor, "I have a parrot.")
    worker.notify(ANA)
    assert until(lambda: store.status(ANA).units == 1)
    worker.stop()


def test_what_another_process_left_is_resumed(store, quick):
    ingestor = make(store, EveryTurn())
    say(ingestor, "I have a parrot.")
    ingestor.segment(ANA, close=True)
    assert store.lease_events(ANA, 5, seconds=0.5)  # as by a worker that was killed
    worker = Worker(ingestor)
    worker.resume()
    assert until(lambda: store.status(ANA).units == 1)
    worker.stop()


class Failing(EveryTurn):
    """Fails in some way until it is mended."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error: Exception | None = error
        self.calls = 0

    def extract(self, events):
        self.calls += 1
        if self.error is not None:
            raise self.error
        return super().extract(events)


@pytest.mark.parametrize("error", [ZeroDivisionError(), LLMError("503", down=True)], ids=str)
def test_what_failed_is_tried_again_behind_add_and_in_a_new_process(store, quick, error):
    extractor = Failing(error)
    ingestor = make(store, extractor)
    worker = Worker(ingestor)
    for number in range(3):
        say(ingestor, f"Number {number}.", session=f"s{number}", day=number + 1)
    worker.notify(ANA)
    assert until(lambda: store.status(ANA).events.get("failed", 0) > 0)
    extractor.error = None
    assert until(lambda: store.status(ANA).events == {"done": 3})
    extractor.error = error
    say(ingestor, "one more", session="s4", day=9)
    worker.notify(ANA)
    assert until(lambda: store.status(ANA).events.get("failed", 0) > 0)
    worker.stop()
    new = Worker(make(store, EveryTurn()))
    new.resume()
    assert until(lambda: store.status(ANA).events == {"done": 4})
    new.stop()


def test_an_endpoint_that_is_down_is_left_alone_for_longer_and_longer(store, quick):
    extractor = Failing(LLMError("503", down=True))
    ingestor = make(store, extractor)
    worker = Worker(ingestor)
    for number in range(3):
        say(ingestor, f"Number {number}.", session=f"s{number}", day=number + 1)
    worker.notify(ANA)
    assert until(lambda: extractor.calls >= 3)
    for _ in range(20):
        worker.notify(ANA)
        time.sleep(0.05)
    assert extractor.calls < 20
    worker.stop()


def test_vectors_owed_are_added_behind_add_and_in_a_new_process(store, quick):
    encoder = Unreachable()
    ingestor = make(store, EveryTurn(), encoder)
    worker = Worker(ingestor)
    say(ingestor, "I have a parrot.")
    worker.notify(ANA)
    assert until(lambda: store.status(ANA).units == 1)
    assert store.status(ANA).unembedded == 2
    encoder.cut = False
    assert until(lambda: store.status(ANA).unembedded == 0)
    encoder.cut = True
    say(ingestor, "I have a dog.", session="s2", day=2)
    worker.stop()
    new = Worker(make(store, EveryTurn()))
    new.resume()
    assert until(lambda: store.status(ANA).unembedded == 0)
    new.stop()


def test_a_damaged_scope_holds_up_no_other(store, quick):
    ingestor = make(store, EveryTurn())
    worker = Worker(ingestor)
    other = Scope("ben")
    for scope in (ANA, other):
        ingestor.append(scope, parse_messages("I have a parrot."))
        ingestor.segment(scope, close=True)
    with store._db.write() as connection:
        connection.execute("UPDATE events SET time = 'garbage' WHERE scope = 1")
    worker.resume()
    assert until(lambda: store.status(other).units == 1)
    worker.stop()


def test_a_damaged_scope_without_vectors_holds_up_no_other(store, quick):
    down = make(store, EveryTurn(), encoder=Unreachable())
    down.append(ANA, parse_messages("I have a parrot."))
    with store._db.write() as connection:
        connection.execute("UPDATE items SET time = 'garbage'")
    ingestor, ben, eve = make(store, EveryTurn()), Scope("ben"), Scope("eve")
    for scope in (ben, eve):
        ingestor.append(scope, parse_messages("I have a parrot."))
    with pytest.raises(StoreError):
        ingestor.drain([ANA, ben])
    assert store.status(ben).units == 1
    worker = Worker(ingestor)
    worker.resume()
    assert until(lambda: store.status(eve).units == 1)
    worker.stop()


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(1), GeneratorExit()])
def test_the_thread_survives_whatever_a_part_raises(store, quick, error):
    class Cut:
        def segment(self, turns, vectors):
            if "poison" in turns[0].text:
                raise error
            return [(0, len(turns))]

    ingestor = replace(make(store, EveryTurn()), segmenter=Cut())
    worker, ben = Worker(ingestor), Scope("ben")
    ingestor.append(ANA, parse_messages("poison"))
    worker.notify(ANA)
    ingestor.append(ben, parse_messages("I have a parrot."))
    worker.notify(ben)
    assert until(lambda: store.status(ben).units == 1)
    worker.stop()


def test_the_thread_survives_a_store_that_fails(store, quick, caplog, monkeypatch):
    ingestor = make(store, EveryTurn())
    worker = Worker(ingestor)
    without_vectors = store.without_vectors
    monkeypatch.setattr(store, "without_vectors", lambda: 1 / 0)
    say(ingestor, "I have a parrot.")
    worker.notify(ANA)
    assert until(lambda: "stopped for a while" in caplog.text)
    monkeypatch.setattr(store, "without_vectors", without_vectors)
    assert until(lambda: store.status(ANA).units == 1)
    worker.stop()


def test_a_stopped_worker_does_nothing_more(store, quick):
    ingestor = make(store, EveryTurn())
    worker = Worker(ingestor)
    worker.stop()
    worker.stop()
    say(ingestor, "I have a parrot.")
    worker.notify(ANA)
    time.sleep(0.5)
    assert store.status(ANA).units == 0
