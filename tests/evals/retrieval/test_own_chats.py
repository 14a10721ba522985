"""A user's own chats as a benchmark, from a real store."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_data import WordEncoder

from evals import cli
from evals.data.files import DataError
from evals.retrieval import own_chats
from evals.systems import encoders
from evals.systems.hymem import hymem_systems
from hymem import HyMem

SAID = [
    "My sister opened a pottery workshop beside the old harbour in April.",
    "Ok.",
    "The surgeon says that my left knee needs about twelve weeks of patience.",
    "We planted seventeen apple trees behind the grey barn last autumn.",
]


@pytest.fixture
def store(tmp_path: Path, encoder: WordEncoder, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with one scope of four turns, written with the tests' encoder."""
    monkeypatch.setattr("hymem.wiring.default_encoder", lambda: encoder)
    path = tmp_path / "chat.db"
    with HyMem(path, llm=None, encoder=encoder, background=False) as memory:
        for day, text in enumerate(SAID, 1):
            memory.add(text, user_id="ana", timestamp=f"2026-03-0{day}", session_id=str(day))
    return path


def test_clozes_have_a_gap_and_a_known_source(store: Path) -> None:
    history = own_chats.read_history(store, "ana")
    assert [message.text for message in history.messages] == SAID
    clozes = own_chats.make_clozes(history, 10)
    assert len(clozes) == 3  # "Ok." makes no question
    texts = {message.id: message.text for message in history.messages}
    for cloze in clozes:
        assert cloze.text.count(own_chats.GAP) == 1
        assert cloze.answer in texts[cloze.source]
        assert cloze.answer not in cloze.text
        assert len(cloze.text.split()) <= own_chats.WINDOW + 1
    assert own_chats.make_clozes(history, 10) == clozes
    assert len(own_chats.make_clozes(history, 2)) == 2


def test_recall_of_the_sources_is_measured(store: Path, encoder: WordEncoder) -> None:
    history = own_chats.read_history(store, "ana")
    clozes = own_chats.make_clozes(history, 10)
    (system,) = hymem_systems(encoder, ["deep only"])
    rows = own_chats.summarise(list(own_chats.evaluate(system, history, clozes)))
    assert {row.budget: row.value for row in rows}[4000] == 1.0
    assert all(row.n == 3 for row in rows)


def test_the_store_is_only_read(store: Path) -> None:
    before = store.read_bytes()
    own_chats.read_history(store, "ana")
    assert store.read_bytes() == before


def test_what_cannot_be_read_is_told(store: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no turns"):
        own_chats.read_history(store, "ben")
    with pytest.raises(DataError, match="does not exist"):
        own_chats.read_history(tmp_path / "none.db")
    broken = tmp_path / "broken.db"
    broken.write_text("no database at all, " * 100)
    with pytest.raises(DataError, match="no readable database"):
        own_chats.read_history(broken, "ana")


def test_turns_too_short_for_a_question_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with HyMem(tmp_path / "short.db", llm=None, background=False) as memory:
        memory.add([{"role": "user", "content": "Good morning."}], user_id="ana")
    assert cli.main(["mine", str(tmp_path / "short.db"), "--user", "ana"]) == 1
    assert "none of the 1 turns is long enough" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--questions", "0"], ["--questions", "many"]])
def test_a_count_of_questions_is_a_whole_number_above_zero(store: Path, wrong: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["mine", str(store), *wrong])


def test_weights_that_are_not_there_are_told(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["mine", str(store), "--user", "ana", "--encoder", "spiking:none"]) == 1
    assert "No spiking encoder at none" in capsys.readouterr().err


def test_the_command_compares_encoders(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(encoders, "load_encoder", lambda name: WordEncoder())
    chosen = ["--encoder", "one", "--encoder", "two", "--user", "ana"]
    assert cli.main(["mine", str(store), *chosen]) == 0
    shown = capsys.readouterr().out
    assert "3 cloze questions from 4 turns" in shown
    assert "| deep only, two |" in shown
    assert "hymem, one − deep only, one" in shown
