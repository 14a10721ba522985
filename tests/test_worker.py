"""The background thread: work goes on behind ``add``, and what a process left is taken up."""

import time
from collections.abc import Callable

import pytest
from test_ingest import ANA, ENCODER, EveryTurn, make, say

import hymem.worker
from hymem.defaults import open_store
from hymem.worker import Worker


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path / "m.db", ENCODER)
    yield store
    store.close()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(hymem.worker, "IDLE_SECONDS", 0.2)


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


def test_the_thread_survives_a_broken_extractor(store, quick, caplog):
    class Broken(EveryTurn):
        broken = True

        def extract(self, events):
            if self.broken:
                self.broken = False
                raise ZeroDivisionError
            return super().extract(events)

    ingestor = make(store, Broken())
    worker = Worker(ingestor)
    say(ingestor, "one", session="s1")
    worker.notify(ANA)
    assert until(lambda: "background extraction stopped" in caplog.text)
    say(ingestor, "two", session="s2", day=2)
    worker.notify(ANA)
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
