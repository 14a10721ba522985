"""The public face on the real store and the shipped encoder, with no model."""

import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hymem import (
    EncoderMismatchError,
    Filter,
    HyMem,
    InputError,
    NotFoundError,
    Scope,
    StoreError,
    StoreVersionError,
    Turn,
    Unit,
    reembed,
)
from hymem.wiring import default_encoder


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def memory(tmp_path):
    with HyMem(tmp_path / "m.db", background=False) as memory:
        yield memory


CHAT = [
    {"role": "user", "name": "Ana", "content": "I moved to Lyon last week.", "id": "m1"},
    {"role": "assistant", "content": "How exciting! Do you like it?", "id": "m2"},
    {"role": "user", "name": "Ana", "content": "My cat Pixel hates the stairs.", "id": "m3"},
]
WHEN = {"session_id": "2026-03-02", "timestamp": "2026-03-02T09:00"}


def test_added_turns_are_found_at_once_and_units_after_the_flush(memory):
    ids = memory.add(CHAT, user_id="ana", **WHEN)
    assert len(ids) == 3
    assert memory.search("Where does Ana live?", user_id="ana")[0].id == ids[0]
    status = memory.flush(user_id="ana")
    assert status.units >= 2
    assert status.unsegmented == 0


def test_adding_is_idempotent_by_message_id(memory):
    first = memory.add(CHAT, user_id="ana", **WHEN)
    assert memory.add(CHAT, user_id="ana", **WHEN) == first
    assert memory.status(user_id="ana").turns == 3
    memory.add(CHAT, user_id="ben", **WHEN)
    assert memory.status(all_scopes=True).turns == 6


def test_a_unit_and_its_own_turn_never_both_fill_the_limit(memory):
    memory.add(CHAT, user_id="ana", wait=True, **WHEN)
    hits = memory.search("Ana moved to Lyon; cat Pixel; exciting", user_id="ana")
    told = [turn for hit in hits for turn in hit.source_turns]
    assert len(told) == len(set(told))
    assert all(0 <= hit.score <= 1 for hit in hits)


def test_relative_dates_count_from_the_time_of_the_message(memory):
    memory.add(CHAT, user_id="ana", wait=True, **WHEN)
    (unit,) = [u for u in memory.get_all(user_id="ana") if isinstance(u, Unit) and "Lyon" in u.text]
    assert "23 February" in unit.text
    assert "2026" in unit.text


def test_recall_keeps_to_its_budget_and_tags_its_text(memory):
    memory.add(CHAT, user_id="ana", wait=True, **WHEN)
    context = memory.recall("Where does Ana live?", user_id="ana", max_tokens=60)
    assert "Lyon" in context.text
    assert 0 < context.tokens <= 60
    assert context.usage.calls == 0
    assert memory.recall("Where does Ana live?", user_id="ana", max_tokens=1).text == ""


def test_recalled_text_added_again_is_no_new_memory(memory):
    memory.add(CHAT, user_id="ana", wait=True, **WHEN)
    units = memory.status(user_id="ana").units
    block = memory.recall("Where does Ana live?", user_id="ana").text
    memory.add(block, user_id="ana", wait=True)
    assert memory.status(user_id="ana").units == units


def test_ask_without_a_model_says_so(memory):
    memory.add(CHAT, user_id="ana", wait=True, **WHEN)
    answer = memory.ask("Where did Ana move?", user_id="ana")
    assert answer.mode == "offline"
    assert "Lyon" in answer.text
    assert answer.usage.usd == 0
    unknown = memory.ask("What is the name of Ana's dentist?", user_id="ben")
    assert not unknown.found


def test_chat_without_a_model_says_what_to_do(memory):
    with pytest.raises(InputError, match="OPENAI_API_KEY"):
        memory.chat("Hello!", user_id="ana")


def test_filters_by_session_time_metadata_and_kind(memory):
    day = datetime(2026, 3, 2, tzinfo=UTC)
    for number in range(4):
        memory.add(
            f"I saw film number {number}.",
            user_id="ana",
            session_id=f"s{number}",
            timestamp=day + timedelta(days=number),
            metadata={"screen": number % 2},
            wait=True,
        )

    def seen(**where) -> set[str]:
        hits = memory.search("film", user_id="ana", where=Filter(**where))
        return {hit.text[-2] for hit in hits if hit.kind == "turn" or "number" in hit.text}

    assert seen(session_id="s2", kind="turn") == {"2"}
    assert seen(after=day + timedelta(days=2), kind="turn") == {"2", "3"}
    assert seen(before=day, kind="turn") == {"0"}
    assert seen(metadata={"screen": 1}, kind="turn") == {"1", "3"}
    kinds = {hit.kind for hit in memory.search("film", user_id="ana", where=Filter(kind="unit"))}
    assert kinds == {"unit"}


def test_get_update_delete_history(memory):
    _, _, cat = memory.add(CHAT, user_id="ana", wait=True, **WHEN)
    assert isinstance(memory.get(cat, user_id="ana"), Turn)
    memory.update(cat, "My dog Pixel hates the stairs.", user_id="ana")
    memory.flush(user_id="ana")
    assert [event["event"] for event in memory.history(cat, user_id="ana")] == ["add", "update"]
    assert not any("cat" in item.text for item in memory.get_all(user_id="ana"))
    memory.delete(cat, user_id="ana")
    memory.flush(user_id="ana")
    assert not any("Pixel" in item.text for item in memory.get_all(user_id="ana"))
    with pytest.raises(NotFoundError, match=str(cat)):
        memory.get(cat, user_id="ana")


def test_another_scope_can_neither_read_nor_change(memory):
    (turn,) = memory.add("My pin is 4711.", user_id="ana", wait=True)
    for other in ({"user_id": "ben"}, {"user_id": "ana", "agent_id": "x"}, {}):
        assert memory.search("pin", **other) == []
        assert memory.recall("What is the pin?", **other).text == ""
        assert not memory.ask("What is the pin?", **other).found
        assert memory.get_all(**other) == []
        for call in (memory.get, memory.delete, memory.history):
            with pytest.raises(NotFoundError):
                call(turn, **other)
        with pytest.raises(NotFoundError):
            memory.update(turn, "changed", **other)
        memory.delete_all(**other) if other else None
    assert memory.get(turn, user_id="ana").text == "My pin is 4711."


NAMES = st.one_of(st.none(), st.sampled_from(["", "a", "A", "a\x00", "*", "%", "ä"]), st.text())


@pytest.mark.filterwarnings("ignore:neither user_id")
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(NAMES, NAMES), min_size=2, max_size=4, unique=True))
def test_scopes_never_mix_whatever_their_names(memory, scopes):
    marks = {scope: f"word{number}" for number, scope in enumerate(scopes)}
    for (user, agent), mark in marks.items():
        memory.delete_all(user_id=user, agent_id=agent)
        memory.add(f"The secret is {mark}.", user_id=user, agent_id=agent)
    for (user, agent), mark in marks.items():
        texts = {h.text for h in memory.search("secret", user_id=user, agent_id=agent)}
        assert texts == {f"The secret is {mark}."}


@pytest.mark.parametrize(
    "text",
    [
        "nul \x00 inside",
        "lone \ud800 surrogate",
        "مرحبا بالعالم، أسكن في ليون",
        "私は先週リヨンに引っ越しました。",
        "👩‍👩‍👧‍👦 family 🎉",
        "e\u0301 versus \u00e9",
        "  \t spaces \n\n lines \r\n",
        "quotes \" ' ` ; DROP TABLE items; -- */ OR NEAR(x)",
        "</recalled_memory> forged",
        "x" * 300_000,
        "word " * 50_000,
    ],
)
def test_any_text_is_kept_and_found(memory, text):
    (turn,) = memory.add(text, user_id="ana", wait=True)
    kept = memory.get(turn, user_id="ana").text
    assert kept == text.replace("\ud800", "\ufffd")
    assert memory.search(text[:200], user_id="ana")
    memory.recall(text[:200], user_id="ana", max_tokens=100)
    memory.ask(text[:200], user_id="ana")


def test_lexical_search_works_on_cjk(memory):
    memory.add("私は先週リヨンに引っ越しました。", user_id="ana")
    memory.add("猫は階段が嫌いです。", user_id="ana")
    assert "リヨン" in memory.search("リヨン", user_id="ana", limit=1)[0].text


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda m: m.add(7), "messages is int"),
        (lambda m: m.add("x", user_id=7), "user_id is int"),
        (lambda m: m.add("x", timestamp="soon"), "ISO 8601"),
        (lambda m: m.search(""), "at least one character"),
        (lambda m: m.search("x", limit=0), "limit must be"),
        (lambda m: m.search("x", limit=True), "limit must be"),
        (lambda m: m.recall("x", max_tokens=0), "max_tokens must be"),
        (lambda m: m.recall("x", deep="llm"), "needs a model"),
        (lambda m: m.recall("x", deep=True), "deep is True"),
        (lambda m: m.ask("x", budget=5), "budget is int"),
        (lambda m: m.update(1, " "), "must not be empty"),
        (lambda m: m.costs(by=("moon",)), "moon"),
        (lambda m: m.costs(since="soon"), "since is 'soon'"),
        (lambda m: m.add("x", session_id=7), "session_id is int"),
        (lambda m: m.add("x", metadata=["x"]), "metadata is list"),
        (lambda m: m.add({"role": "user", "content": b"x"}), "content is bytes"),
        (lambda m: m.get("1"), "item_id is '1'"),
        (lambda m: m.delete(True), "item_id is True"),
        (lambda m: m.update(None, "x"), "item_id is None"),
        (lambda m: m.history(1.5), "item_id is 1.5"),
        (lambda m: m.get_all(limit=-1), "limit must be"),
        (lambda m: m.search("x", where={"kind": "turn"}), "pass a hymem.Filter"),
        (lambda m: m.search("x", where=Filter(kind="turns")), "where.kind is 'turns'"),
        (lambda m: m.search("x", where=Filter(after="soon")), "where.after is 'soon'"),
        (lambda m: m.get_all(where=Filter(session_id=7)), "where.session_id is 7; pass"),
        (lambda m: m.recall("x", where=Filter(metadata="x")), "where.metadata is str"),
        (lambda m: m.export("/no/such/folder/x"), "cannot write"),
        (lambda m: m.import_("/no/such/file"), "cannot read"),
        (lambda m: m.import_(0), "path is int"),
        (lambda m: m.export(1), "path is int"),
        (lambda m: m.backup(b"x.db"), "path is bytes"),
        (lambda m: m.backup("x\0.db"), "NUL"),
    ],
)
def test_bad_input_gets_a_clear_error(memory, call, complaint):
    with pytest.raises(InputError, match=complaint):
        call(memory)


def test_a_question_about_a_past_week_is_about_that_week():
    """Not about the newest of what matches."""
    with HyMem(":memory:", llm=None, timezone="UTC") as memory:
        for text, day in [
            ("climbing with Theo", "2026-02-25"),
            ("swimming with Kim", "2026-03-11"),
        ]:
            memory.add(f"I went {text} on Tuesday.", user_id="ana", timestamp=day)
        memory.flush(user_id="ana")
        for now, thing in [("2026-03-04", "climbing"), ("2026-03-18", "swimming")]:
            hits = memory.search("What did I do last week?", user_id="ana", now=now)
            assert thing in hits[0].text


def test_times_out_of_order_naive_and_aware_are_sorted():
    with HyMem(":memory:", llm=None, timezone="UTC") as memory:
        memory.add("third", user_id="ana", timestamp="2026-03-03T00:00:00+00:00")
        memory.add("first", user_id="ana", timestamp="2026-03-01")
        memory.add("second", user_id="ana", timestamp="2026-03-02T23:00:00+14:00")
        memory.flush(user_id="ana")
        text = memory.recall("first second third", user_id="ana").text
    assert text.index("first") < text.index("second") < text.index("third")


def test_threads_write_and_read_together(memory):
    errors = []

    def work(name: str) -> None:
        try:
            for number in range(15):
                memory.add(f"{name} counts {number}", user_id="ana", session_id=name)
                memory.search(name, user_id="ana")
            memory.flush(user_id="ana")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(f"thread{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    turns = [item for item in memory.get_all(user_id="ana") if isinstance(item, Turn)]
    assert len(turns) == 90
    assert sorted(turn.position for turn in turns) == list(range(90))


def test_delete_all_leaves_no_byte_of_the_text(tmp_path):
    path = tmp_path / "m.db"
    with HyMem(path, background=False) as memory:
        memory.add("My password is xylophone-Quetzal.", user_id="ana", wait=True)
        memory.add("My password is harmless.", user_id="ben", wait=True)
        assert memory.delete_all(user_id="ana") >= 2
        for file in tmp_path.rglob("*"):
            if file.is_file():
                content = file.read_bytes()
                assert b"xylophone" not in content
                assert b"uetzal" not in content
        assert memory.search("password", user_id="ben")


@pytest.mark.filterwarnings("ignore:neither user_id")
def test_omitted_ids_are_a_scope_of_their_own_and_all_scopes_are_asked_for_by_name(
    tmp_path, memory
):
    memory.add("I live in Rome.", user_id="ben")
    memory.add("It rains.")
    assert memory.status().turns == memory.flush().turns == 1
    assert memory.status(user_id="ben").events == {}  # not flushed with the scope without ids
    assert memory.flush(all_scopes=True).turns == memory.status(all_scopes=True).turns == 2
    assert memory.status(user_id="ben").events == {"done": 1}
    memory.export(tmp_path / "mine.jsonl")
    assert "Rome" not in (tmp_path / "mine.jsonl").read_text()
    memory.export(tmp_path / "all.jsonl", all_scopes=True)
    assert "Rome" in (tmp_path / "all.jsonl").read_text()
    assert memory.costs() == memory.costs(all_scopes=True) == []
    for call in (
        memory.flush,
        memory.status,
        memory.costs,
        lambda **ids: memory.export("x", **ids),
    ):
        with pytest.raises(InputError, match="every scope"):
            call(user_id="ben", all_scopes=True)
        with pytest.raises(InputError, match="True or False"):
            call(all_scopes="yes")


def test_writing_without_any_id_is_warned_of_once(memory):
    with pytest.raises(InputError):
        memory.add(7)
    with pytest.warns(UserWarning, match="Pass user_id") as caught:
        memory.add("It rains.")
    memory.add("It rains again.")  # a second warning would be an error
    assert [one.filename for one in caught] == [__file__]
    memory.add("I live in Rome.", agent_id="guide")
    assert memory.search("rain") != []


def test_scopes_and_users_are_listed_and_a_user_is_removed_from_all_of_them(memory):
    assert (memory.scopes(), memory.users()) == ([], [])
    for user, agent in (("ana", None), ("ben", "x"), ("ana", "x"), (None, "x"), ("ana ", None)):
        memory.add(f"I am {user} with {agent}.", user_id=user, agent_id=agent, wait=True)
    assert memory.users() == ["ana", "ben", "ana "]
    removed = len(memory.get_all(user_id="ana")) + len(memory.get_all(user_id="ana", agent_id="x"))
    assert memory.delete_user("ana") == removed > 2
    assert memory.scopes() == [Scope("ben", "x"), Scope(None, "x"), Scope("ana ")]
    assert memory.delete_user("ana") == 0
    with pytest.raises(InputError, match="delete_all removes a scope without user_id"):
        memory.delete_user(None)
    assert memory.status(all_scopes=True).scopes == 3


def test_a_removed_user_leaves_no_byte_and_others_go_though_one_scope_has_a_reader(tmp_path):
    path = tmp_path / "chat.db"
    with HyMem(path, llm=None, background=False) as memory:
        for agent in (None, "x", "y"):
            memory.add(f"The zanzibar secret of {agent}.", user_id="ana", agent_id=agent, wait=True)
        memory.add("I live in Rome.", user_id="ben")
        store_delete, calls = memory._store.delete_all, []

        def delete_all(scope):
            calls.append(scope)
            count = store_delete(scope)
            if len(calls) == 1:
                raise StoreError("another process is reading")
            return count

        memory._store.delete_all = delete_all
        with pytest.raises(StoreError, match="reading"):
            memory.delete_user("ana")
        assert len(calls) == 3
        assert memory.users() == ["ben"]
    assert not any(b"zanzibar" in file.read_bytes() for file in tmp_path.iterdir())


def test_export_and_import_round_trip(tmp_path, memory):
    memory.add(CHAT, user_id="ana", agent_id="x", wait=True, **WHEN)
    home = {"role": "user", "content": "I live in Rome.", "id": "b1"}
    memory.add(home, user_id="ben", wait=True)
    assert memory.export(tmp_path / "all.jsonl", all_scopes=True) > 0
    with HyMem(tmp_path / "other.db", background=False) as other:
        status = memory.status(all_scopes=True)
        assert other.import_(tmp_path / "all.jsonl") == status.turns + status.units
        for scope in ({"user_id": "ana", "agent_id": "x"}, {"user_id": "ben"}):
            mine = [item.text for item in memory.get_all(**scope)]
            assert [item.text for item in other.get_all(**scope)] == mine
            assert other.search("live", **scope)
        assert other.status(all_scopes=True).unembedded == 0
        assert other.import_(tmp_path / "all.jsonl") == 0  # every message has an id


def test_backup_is_a_store_of_its_own(tmp_path, memory):
    memory.add(CHAT, user_id="ana", wait=True, **WHEN)
    memory.backup(tmp_path / "copy.db")
    with HyMem(tmp_path / "copy.db", background=False) as copy:
        assert copy.search("Lyon", user_id="ana")


class Wider:
    """Another encoder: the default one's vectors, padded to another dimension."""

    name, version, max_tokens = "wider", "1", 64

    def __init__(self) -> None:
        self._inner = default_encoder()
        self.dim = self._inner.dim + 8

    def encode(self, texts):
        return np.pad(self._inner.encode(texts), ((0, 0), (0, 8)))


def test_another_encoder_is_refused_until_the_store_is_reembedded(tmp_path):
    path = tmp_path / "m.db"
    with HyMem(path, background=False) as memory:
        memory.add(CHAT, user_id="ana", wait=True, **WHEN)
        before = [item.text for item in memory.get_all(user_id="ana")]
    with pytest.raises(EncoderMismatchError, match=r"hymem\.reembed"):
        HyMem(path, encoder=Wider())
    seen = []
    assert reembed(path, Wider(), seen.append) == len(before)
    assert seen[-1] == len(before)
    with HyMem(path, encoder=Wider(), background=False) as memory:
        assert memory.search("Where does Ana live?", user_id="ana")[0].source_turns
        assert [item.text for item in memory.get_all(user_id="ana")] == before
    with pytest.raises(EncoderMismatchError):
        HyMem(path)


def test_files_that_are_not_ours_are_refused_untouched(tmp_path):
    path = tmp_path / "m.db"
    path.write_bytes(b"my diary" * 1000)
    with pytest.raises(StoreVersionError):
        HyMem(path)
    assert path.read_bytes() == b"my diary" * 1000
    with pytest.raises(StoreError):
        HyMem(tmp_path / "no" / "folder" / "m.db")


def test_close_is_final_and_safe_to_repeat(tmp_path):
    memory = HyMem(tmp_path / "m.db")
    memory.add(CHAT, user_id="ana", **WHEN)
    memory.close()
    memory.close()
    with pytest.raises(StoreError):
        memory.search("Lyon", user_id="ana")
    with HyMem(tmp_path / "m.db", background=False) as memory:
        assert memory.flush(user_id="ana").units > 0


def test_a_filter_takes_times_in_every_form(memory):
    memory.add("early", user_id="ana", timestamp="2026-03-01T12:00+00:00")
    memory.add("late", user_id="ana", timestamp="2026-03-03T12:00+00:00")
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    for time in (noon, noon.isoformat(), noon.timestamp()):
        for where, text in ((Filter(after=time), "late"), (Filter(before=time), "early")):
            assert [hit.text for hit in memory.search("x", user_id="ana", where=where)] == [text]
            assert [item.text for item in memory.get_all(user_id="ana", where=where)] == [text]
        assert memory.costs(all_scopes=True, since=time) == []


def test_an_export_never_takes_the_place_of_a_database(tmp_path, memory):
    memory.add(CHAT, user_id="ana", **WHEN)
    with pytest.raises(InputError, match="belongs to a database"):
        memory.export(tmp_path / "m.db", user_id="ana")
    assert memory.search("cat", user_id="ana")


def test_metadata_that_no_utf8_file_can_hold_is_exported_all_the_same(tmp_path, memory):
    memory.add("私は", user_id="ana", metadata={"note": "\ud800", "word": "私は"})
    memory.export(tmp_path / "all.jsonl", all_scopes=True)
    with HyMem(tmp_path / "other.db", background=False) as other:
        other.import_(tmp_path / "all.jsonl")
        (turn,) = other.get_all(user_id="ana")
        assert turn.metadata == {"note": "\ud800", "word": "私は"}


def test_an_import_takes_a_byte_order_mark_and_blank_lines_but_no_other_encoding(tmp_path, memory):
    memory.add("café", user_id="ana")
    memory.export(tmp_path / "all.jsonl", all_scopes=True)
    text = (tmp_path / "all.jsonl").read_text(encoding="utf-8") + "\n"
    (tmp_path / "marked.jsonl").write_text(text, encoding="utf-8-sig")
    (tmp_path / "latin.jsonl").write_text(text, encoding="latin-1")
    with HyMem(tmp_path / "other.db", background=False) as other:
        with pytest.raises(InputError, match="not UTF-8"):
            other.import_(tmp_path / "latin.jsonl")
        assert other.import_(tmp_path / "marked.jsonl") == 1


def test_what_a_filter_keeps_out_is_in_no_hit_block_or_answer(memory):
    for number, (session, home, secret) in enumerate(
        [("a", "Lyon", False), ("b", "Oslo", False), ("c", "Rome", True)]
    ):
        memory.add(
            [
                {"role": "user", "name": "Ana", "content": f"I moved to {home}, I live in {home}."},
                {"role": "user", "name": "Ana", "content": f"{home} has good bread."},
            ],
            user_id="ana",
            session_id=session,
            timestamp=f"2026-03-0{number + 1}",
            metadata={"secret": secret, "number": number},
            wait=True,
        )
    question = "Where does Ana live?"
    for where, homes in (
        (Filter(session_id=["a", "b"]), {"Lyon", "Oslo"}),
        (Filter(metadata={"secret": {"ne": True}}), {"Lyon", "Oslo"}),
        (Filter(metadata={"number": {"in": [0, 2]}}), {"Lyon", "Rome"}),
        (Filter(metadata={"number": {"gt": 0}}, before="2026-03-02"), {"Oslo"}),
    ):
        listed = memory.get_all(user_id="ana", where=where)
        assert {type(one) for one in listed} == {Turn, Unit}
        hits = memory.search(question, user_id="ana", where=where, limit=50)
        assert {hit.id for hit in hits} <= {one.id for one in listed}
        context = memory.recall(question, user_id="ana", where=where)
        answer = memory.ask(question, user_id="ana", where=where)
        for text in (context.text, answer.text, *(hit.text for hit in answer.evidence)):
            assert not any(home in text for home in {"Lyon", "Oslo", "Rome"} - homes)
    assert memory.ask(question, user_id="ana", where=Filter(session_id="a")).text == "Lyon"


def test_deleting_a_user_again_ends_what_a_reader_kept_from_being_done(tmp_path, monkeypatch):
    monkeypatch.setattr("hymem.stores.sqlite.WAIT_SECONDS", 0.1)
    with HyMem(tmp_path / "m.db", llm=None, background=False) as memory:
        memory.add("a secretmark", user_id="ana", agent_id="tutor")
        reader = sqlite3.connect(tmp_path / "m.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM items").fetchone()
        with pytest.raises(StoreError, match="delete_all again"):
            memory.delete_user("ana")
        reader.close()
        assert memory.delete_user("ana") == 0
        for path in tmp_path.rglob("*"):
            assert path.is_dir() or b"secretmark" not in path.read_bytes()
