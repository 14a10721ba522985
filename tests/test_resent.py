"""Messages sent again under a known id, and lists of any length."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_ingest import ENCODER, Unreachable

from hymem import HyMem, InputError, StoreError
from hymem.errors import SaidMeanwhileError
from hymem.types import Turn


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[HyMem]:
    with HyMem(tmp_path / "m.db", llm=None, background=False) as opened:
        yield opened


def say(text: str, source: str | None = None) -> dict[str, Any]:
    return {"role": "user", "content": text} | ({} if source is None else {"id": source})


def texts(memory: HyMem) -> list[str]:
    return [item.text for item in memory.get_all(user_id="ana") if isinstance(item, Turn)]


HISTORY = [say("I live in Lyon.", "1"), say("I like tea.", "2"), say("Hello.")]


def test_a_history_sent_again_is_taken_in_silence(
    memory: HyMem, caplog: pytest.LogCaptureFixture
) -> None:
    ids = memory.add(HISTORY[:2], user_id="ana")
    for on_known in ("ignore", "update", "error"):
        assert memory.add(HISTORY[:2], user_id="ana", on_known=on_known) == ids
    assert texts(memory) == ["I live in Lyon.", "I like tea."]
    assert caplog.records == []


def test_a_new_text_under_a_known_id_is_said_to_be_left_out(
    memory: HyMem, caplog: pytest.LogCaptureFixture
) -> None:
    ids = memory.add(HISTORY, user_id="ana")
    assert memory.add([say("I live in Rome.", "1"), say("Bye.")], user_id="ana")[0] == ids[0]
    assert texts(memory) == ["I live in Lyon.", "I like tea.", "Hello.", "Bye."]
    (warned,) = caplog.records
    assert warned.levelno == logging.WARNING
    assert "1 messages" in warned.getMessage()
    assert "on_known" in warned.getMessage()
    assert "Rome" not in warned.getMessage()


def test_a_new_text_under_a_known_id_replaces_the_old_one_if_wanted(memory: HyMem) -> None:
    ids = memory.add(HISTORY, user_id="ana", wait=True)
    again = [say("I live in Rome.", "1"), say("I like tea.", "2"), say("Bye.")]
    assert memory.add(again, user_id="ana", on_known="update", wait=True)[:2] == ids[:2]
    assert texts(memory) == ["I live in Rome.", "I like tea.", "Hello.", "Bye."]
    assert [change["event"] for change in memory.history(ids[0], user_id="ana")] == [
        "add",
        "update",
    ]
    units = [item.text for item in memory.get_all(user_id="ana") if not isinstance(item, Turn)]
    assert any("Rome" in text for text in units)
    assert not any("Lyon" in text for text in units)


def test_a_correction_made_here_outlives_the_history_sent_again(
    memory: HyMem, caplog: pytest.LogCaptureFixture
) -> None:
    first, _ = memory.add(HISTORY[:2], user_id="ana")
    memory.update(first, "I live in Grenoble.", user_id="ana")
    for on_known in ("ignore", "update", "error"):
        memory.add(HISTORY[:2], user_id="ana", on_known=on_known)
    assert texts(memory) == ["I live in Grenoble.", "I like tea."]
    assert caplog.records == []


def test_a_new_text_under_a_known_id_is_refused_if_wanted(memory: HyMem) -> None:
    memory.add(HISTORY[:2], user_id="ana")
    with pytest.raises(InputError, match="id '1' came before"):
        memory.add([say("Bye."), say("I live in Rome.", "1")], user_id="ana", on_known="error")
    assert texts(memory) == ["I live in Lyon.", "I like tea."]
    with pytest.raises(InputError, match="on_known is 'replace'; pass one of 'ignore', 'update'"):
        memory.add("x", user_id="ana", on_known="replace")  # type: ignore[arg-type]


def test_an_id_twice_in_one_list(memory: HyMem, caplog: pytest.LogCaptureFixture) -> None:
    twice = [say("I live in Lyon.", "1"), say("Hello."), say("I live in Rome.", "1")]
    with pytest.raises(InputError, match="id '1'"):
        memory.add(twice, user_id="ana", on_known="error")
    first, _, last = memory.add(twice, user_id="ana")
    assert first == last
    assert texts(memory) == ["I live in Lyon.", "Hello."]
    assert len(caplog.records) == 1
    memory.add(twice, user_id="ben", on_known="update")
    assert [item.text for item in memory.get_all(user_id="ben")] == ["I live in Rome.", "Hello."]


def test_another_scopes_ids_are_not_known(memory: HyMem) -> None:
    memory.add(HISTORY, user_id="ana")
    memory.add([say("I live in Rome.", "1")], user_id="ben", on_known="error")


def test_an_update_survives_an_encoder_out_of_reach(tmp_path: Path) -> None:
    encoder = Unreachable()
    encoder.cut = False
    with HyMem(tmp_path / "m.db", llm=None, encoder=encoder, background=False) as memory:
        (first,) = memory.add([say("I live in Lyon.", "1")], user_id="ana")
        encoder.cut = True
        memory.add([say("I live in Rome.", "1")], user_id="ana", on_known="update")
        assert memory.status(user_id="ana").unembedded == 1
        memory.update(first, "I live in Oslo.", user_id="ana")
        encoder.cut = False
        assert memory.flush(user_id="ana").unembedded == 0
        vector = ENCODER.encode(["user: I live in Oslo."])[0]
        assert memory.search("x", user_id="ana", vector=vector)[0].text == "I live in Oslo."


def test_a_list_of_any_length_is_saved_whole_or_not_at_all(
    memory: HyMem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hymem.write.ingest.TURNS_PER_ENCODING", 64)
    said = [say(f"Number {number}. {'So it goes. ' * 20}") for number in range(400)]
    store: Any = memory._store
    with store._db.write() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 60}")  # room for some, not for all
    with pytest.raises(StoreError, match="full"):
        memory.add(said, user_id="ana")
    assert texts(memory) == []
    assert memory.add(said[:50], user_id="ana")
    with store._db.write() as connection:
        connection.execute("PRAGMA max_page_count = 1073741823")
    assert len(memory.add(said, user_id="ana")) == 400
    assert len(texts(memory)) == 450


@pytest.mark.parametrize("on_known", ["ignore", "update", "error"])
def test_two_who_send_one_id_at_once_lose_no_text_in_silence(
    memory: HyMem, on_known: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for source in map(str, range(12)):
        barrier, refused = threading.Barrier(2), []

        def send(
            text: str, source: str = source, barrier: Any = barrier, refused: list[str] = refused
        ) -> None:
            barrier.wait()
            try:
                memory.add([say(text, source)], user_id="ana", on_known=on_known)
            except InputError:
                refused.append(text)

        caplog.clear()
        threads = [threading.Thread(target=send, args=(text,)) for text in ("tea", "coffee")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (turn,) = [one for one in memory.get_all(user_id="ana") if source == one.source_id]  # type: ignore[union-attr]
        had = {change["text"] for change in memory.history(turn.id, user_id="ana")}
        if on_known == "ignore":
            assert "is not kept" in caplog.text
        else:
            assert had | {*refused} == {"tea", "coffee"}
            assert len(refused) == (on_known == "error")


def test_an_id_that_is_taken_and_never_found_ends_in_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def taken(*_: object, **__: object) -> list[int]:
        raise SaidMeanwhileError("taken")

    with HyMem(":memory:", llm=None, background=False) as memory:
        monkeypatch.setattr(type(memory._store), "add_turns", taken)
        with pytest.raises(StoreError, match="is taken, but its turn is not found"):
            memory.add({"role": "user", "content": "I moved.", "id": "a"}, user_id="ana")
