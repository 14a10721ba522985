"""The command line, end to end on a real file."""

import contextlib
import io
import json
import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hymem.cli import _EXAMPLES, _parser, main

CHAT = [
    {"role": "user", "name": "Ana", "content": "I moved to Lyon last week.", "id": "m1"},
    {"role": "assistant", "content": "How exciting! Do you like it?", "id": "m2"},
    {"role": "user", "name": "Ana", "content": "My cat Pixel hates the stairs.", "id": "m3"},
]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder; its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def run(*arguments: str) -> tuple[int, str]:
        code = main(list(arguments))
        return code, capsys.readouterr().out

    return run


@pytest.fixture
def filled(run):
    Path("chat.jsonl").write_text("\n".join(json.dumps(message) for message in CHAT))
    code, out = run("add", "--file", "chat.jsonl", "--user", "ana", "--time", "2026-03-02")
    assert (code, out) == (0, "saved 3 turns\n")
    return run


def test_add_flushes_before_it_exits(filled):
    _, out = filled("status", "--user", "ana", "--json")
    status = json.loads(out)
    assert status["turns"] == 3
    assert status["units"] > 0
    assert status["unsegmented"] == 0


def test_add_reads_the_pipe(run, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(CHAT[0])))
    assert run("add", "--file", "-", "--user", "ana")[0] == 0


def test_a_known_message_with_a_new_text(filled, capsys):
    Path("again.jsonl").write_text(json.dumps({**CHAT[0], "content": "I moved to Oslo."}))
    again = ["add", "--file", "again.jsonl", "--user", "ana", "--on-known"]
    assert main([*again, "error"]) == 1
    assert "'m1' came before" in capsys.readouterr().err
    assert filled(*again, "update")[0] == 0
    assert "Oslo" in filled("get-all", "--user", "ana")[1]


def test_search_as_table_and_as_json(filled):
    code, out = filled("search", "cat", "--user", "ana")
    assert code == 0
    assert "Pixel" in out
    _, out = filled("search", "cat", "--user", "ana", "--limit", "1", "--json")
    (hit,) = json.loads(out)
    assert "Pixel" in hit["text"]


def test_recall_keeps_to_its_budget(filled):
    code, out = filled("recall", "Where does Ana live?", "--user", "ana", "--max-tokens", "60")
    assert code == 0
    assert "Lyon" in out
    _, out = filled("recall", "Where does Ana live?", "--user", "ana", "--json")
    assert json.loads(out)["tokens"] <= 1000


def test_ask_shows_tier_evidence_and_cost(filled):
    code, out = filled("ask", "Where did Ana move?", "--user", "ana")
    assert code == 0
    assert "Lyon" in out
    assert "mode offline" in out
    assert "$0" in out


def test_nothing_found_has_its_own_exit_code(filled):
    assert filled("search", "cat", "--user", "ben")[0] == 3
    assert filled("recall", "Where does Ana live?", "--user", "ben")[0] == 3


def test_get_update_history_and_delete(filled):
    _, out = filled("search", "cat stairs", "--user", "ana", "--json")
    turn = json.loads(out)[0]["source_turns"][0]
    assert filled("update", str(turn), "My dog Pixel hates the stairs.", "--user", "ana")[0] == 0
    _, out = filled("history", str(turn), "--user", "ana", "--json")
    assert [event["event"] for event in json.loads(out)] == ["add", "update"]
    assert "dog" in filled("get", str(turn), "--user", "ana")[1]
    assert filled("delete", str(turn), "--user", "ana")[0] == 0
    assert "Pixel" not in filled("get-all", "--user", "ana")[1]


def test_an_unknown_id_is_an_error(filled, capsys):
    assert main(["get", "999", "--user", "ana"]) == 1
    assert "no memory 999" in capsys.readouterr().err


def test_delete_all_asks_for_yes(filled, capsys):
    assert main(["delete-all", "--user", "ana"]) == 1
    assert "--yes" in capsys.readouterr().err
    assert filled("delete-all", "--user", "ana", "--yes")[0] == 0
    assert filled("get-all", "--user", "ana")[0] == 3


def test_export_import_and_backup(filled):
    _, out = filled("get-all", "--user", "ana", "--json")
    assert filled("export", "out.jsonl", "--user", "ana")[0] == 0
    assert filled("import", "out.jsonl", "--db", "other.db")[0] == 0
    _, copy = filled("get-all", "--user", "ana", "--db", "other.db", "--json")
    assert [item["text"] for item in json.loads(copy)] == [item["text"] for item in json.loads(out)]
    assert filled("backup", "copy.db")[0] == 0
    assert "Pixel" in filled("search", "cat", "--user", "ana", "--db", "copy.db")[1]


@pytest.mark.parametrize("command", ["export", "import", "backup"])
def test_a_dash_is_no_file(filled, capsys, command):
    with pytest.raises(SystemExit) as stopped:
        main([command, "-"])
    assert stopped.value.code == 2
    assert "a file is needed" in capsys.readouterr().err
    assert not Path("-").exists()


def test_all_scopes_are_named_by_an_option(filled):
    filled("add", "It rains.")
    turns = [
        json.loads(filled(*words, "--json")[1])["turns"]
        for words in (("status",), ("flush",), ("status", "--all"), ("flush", "--all"))
    ]
    assert turns == [1, 1, 4, 4]
    assert filled("export", "all.jsonl", "--all")[0] == 0
    assert "Pixel" in Path("all.jsonl").read_text()
    assert main(["status", "--all", "--user", "ana"]) == 1


def test_costs_are_empty_without_a_model(filled):
    code, out = filled("costs", "--user", "ana", "--json")
    assert (code, json.loads(out)) == (0, [])


def test_costs_of_an_unknown_group_are_refused(filled, capsys):
    assert main(["costs", "--by", "moon", "--user", "ana"]) == 1
    assert "moon" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["add"], "either a text or --file"),
        (["add", "--file", "missing.jsonl"], "cannot read missing.jsonl"),
        (["add", "hello", "--time", "someday"], "ISO 8601"),
        (["add", "--file", "latin.jsonl"], "latin.jsonl is not UTF-8"),
        (["search", "  ", "--user", "ana"], "at least one character"),
        (["search", "x", "--limit", "0", "--user", "ana"], "at least 1"),
        (["get-all", "--limit", "-1"], "--limit must be 0"),
        (["delete-user", "ana"], "--yes"),
        (["chat"], "needs a model"),
        (["ask", "x", "--base-url", "http://localhost:1/v1"], "--base-url needs --model"),
        (["status", "--db", "typo.db"], "there is no typo.db"),
        (["reembed", "--db", "typo.db"], "there is no typo.db"),
    ],
)
def test_errors_say_what_to_do(filled, capsys, monkeypatch, arguments, complaint):
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\n"))
    Path("latin.jsonl").write_text('{"role": "user", "content": "café"}', encoding="latin-1")
    assert main(arguments) == 1
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["search"],
        ["search", "x", "--after", "soon"],
        ["get-all", "--metadata", "channel"],
        ["get-all", "--kind", "turns"],
        ["ask", "x", "--budget", "0.5"],
        ["recall", "x", "--now", "soon"],
    ],
)
def test_wrong_usage_exits_with_2(run, arguments):
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2


def test_nothing_is_left_out_of_a_narrow_table(filled, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert "…" not in filled("get-all", "--user", "ana")[1]
    assert "…" not in filled("costs", "--user", "ana")[1]


def test_a_terminal_that_lacks_letters_gets_question_marks_and_json_gets_escapes(filled):
    filled("add", "私は", "--user", "ana")
    shell = [sys.executable, "-m", "hymem.cli", "get-all", "--user", "ana"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    table = subprocess.run(shell, env=environment, capture_output=True, check=True)
    assert b"??" in table.stdout
    asked = subprocess.run([*shell, "--json"], env=environment, capture_output=True, check=True)
    assert json.loads(asked.stdout)[-1]["text"].endswith("私は")


def test_output_that_cannot_be_written_is_an_error_and_a_closed_pipe_is_none(filled):
    shell = [sys.executable, "-m", "hymem.cli", "get-all", "--user", "ana", "--json"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(shell, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"hymem: ")
    assert done.stderr.count(b"\n") == 1
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(shell, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("add --file deep.jsonl", "deep.jsonl, line 1 is not JSON"),
        ("add --file - <&-", "standard input"),
        ("status >&-", ""),
        ('search Lyon --metadata "a=$(cat deep.jsonl)"', ""),
    ],
)
def test_no_traceback_for_odd_streams_and_deep_lines(tmp_path, command, complaint):
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    shell = f"{sys.executable} -m hymem --db m.db {command}"
    done = subprocess.run(
        ["sh", "-c", shell], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_chat_remembers_both_sides(run, server, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("My boat is called Otter.\n\n"))
    endpoint = ("--model", "scripted", "--base-url", server.url, "--user", "ana")
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    code, _ = run("chat", *endpoint)
    assert code == 0
    monkeypatch.delenv("OPENAI_API_KEY")
    _, out = run("get-all", "--user", "ana", "--json")
    assert "Otter" in out
    assert any(item.get("role") == "assistant" for item in json.loads(out))


def test_a_foreign_file_is_refused_untouched(run, capsys):
    Path("notes.db").write_bytes(b"these are my notes, not a database")
    assert main(["status", "--db", "notes.db"]) == 1
    assert "notes.db" in capsys.readouterr().err
    assert Path("notes.db").read_bytes() == b"these are my notes, not a database"


@pytest.fixture
def several(run):
    """A database with four scopes, and metadata."""
    for user, agent, channel in (
        ("ana", None, "web"),
        ("ana", "guide", "web"),
        ("ben", None, "phone"),
        (None, "guide", "42"),
    ):
        names = [*(("--user", user) if user else ()), *(("--agent", agent) if agent else ())]
        metadata = ("--metadata", f"channel={channel}", "--metadata", 'tags=["x", "y"]')
        assert run("add", f"I moved to {channel} town.", *names, *metadata)[0] == 0
    return run


def test_options_of_every_command_stand_before_it_or_after(filled):
    os.rename("hymem.db", "other.db")
    before = filled("--db", "other.db", "--user", "ana", "--json", "status")
    after = filled("status", "--db", "other.db", "--user", "ana", "--json")
    assert (
        before
        == after
        == filled("--db", "no.db", "--json", "status", "--db", "other.db", "--user", "ana")
    )
    assert json.loads(before[1])["turns"] == 3


def test_it_runs_as_a_module(filled):
    shell = [sys.executable, "-m", "hymem", "--user", "ana", "get-all"]
    done = subprocess.run(shell, capture_output=True, text=True, check=True)
    assert "Pixel" in done.stdout


def test_a_scope_that_is_not_there_is_told_with_the_likest_ones(several, capsys):
    for command in (["search", "x"], ["status"], ["get-all"], ["export", "x.jsonl"], ["costs"]):
        assert main([*command, "--user", "Anna"]) == 3
        told = capsys.readouterr()
        assert told.out == ""
        assert "no such scope: --user Anna. There is: --user ana; " in told.err
    assert not Path("x.jsonl").exists()
    assert main(["status"]) == 3
    assert "neither --user nor --agent" in capsys.readouterr().err
    assert several("status", "--all")[0] == 0
    for number in range(9):
        several("add", "hello", "--user", f"user {number}")
    assert main(["delete-all", "--user", "user", "--yes"]) == 3
    assert "--user 'user 0'; " in (told := capsys.readouterr().err)
    assert "and 8 more (hymem scopes lists them)" in told


def test_scopes_and_users_are_listed_and_a_user_removed(several, capsys):
    assert several("users") == (0, "ana\nben\n")
    _, out = several("scopes")
    assert [line.split("\t")[2] for line in out.splitlines()] == [
        "--user ana",
        "--user ana --agent guide",
        "--user ben",
        "--agent guide",
    ]
    assert json.loads(several("scopes", "--json")[1])[1] == {"user_id": "ana", "agent_id": "guide"}
    assert several("delete-user", "ana", "--yes")[0] == 0
    assert several("users") == (0, "ben\n")
    assert main(["delete-user", "ana", "--yes"]) == 3
    assert "no such scope: --user ana" in capsys.readouterr().err


def test_lists_are_narrowed_by_kind_metadata_and_sessions(several):
    def texts(*options: str) -> list[str]:
        _, out = several("get-all", "--user", "ana", "--json", *options)
        return [item["text"] for item in json.loads(out)]

    assert texts("--kind", "turn") == ["I moved to web town."]
    assert texts("--kind", "unit") == ["user: I moved to web town."]
    assert len(texts("--metadata", "channel=web")) == 2
    assert len(texts("--metadata", 'tags={"contains": "x"}', "--metadata", "channel=web")) == 2
    assert texts("--metadata", "channel=phone") == []
    code, out = several("search", "town", "--agent", "guide", "--metadata", "channel=42", "--json")
    assert (code, len(json.loads(out))) == (0, 1)
    several("add", "It rains.", "--user", "ana", "--session", "s1")
    several("add", "It snows.", "--user", "ana", "--session", "s2")
    assert texts("--session", "s1", "--session", "s2", "--kind", "turn") == [
        "It rains.",
        "It snows.",
    ]


def test_last_week_counts_from_now(filled):
    _, out = filled("ask", "When did Ana move?", "--user", "ana", "--now", "2026-03-09", "--json")
    assert json.loads(out)["found"]
    _, out = filled("ask", "When did Ana move?", "--user", "ana", "--now", "2020-01-01", "--json")
    assert not json.loads(out)["found"]  # nothing had been said by then


def test_a_budget_stops_a_question(filled, server, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    ask = ["ask", "Where does Ana live?", "--user", "ana", "--model", "m", "--base-url", server.url]
    assert main([*ask, "--budget", "1"]) == 1
    assert "the cap of 1 tokens" in capsys.readouterr().err
    assert server.requests == []


def test_what_a_list_leaves_out_is_told(run, capsys):
    Path("chat.jsonl").write_text(
        "\n".join(json.dumps({"role": "user", "content": f"I am number {n}."}) for n in range(120))
    )
    run("add", "--file", "chat.jsonl", "--user", "ana")
    assert main(["get-all", "--user", "ana", "--kind", "turn"]) == 0
    listed = capsys.readouterr()
    assert len(listed.out.splitlines()) == 100
    assert listed.err == "hymem: … and 20 more; --limit 0 shows all\n"
    assert main(["get-all", "--user", "ana", "--kind", "turn", "--limit", "0"]) == 0
    listed = capsys.readouterr()
    assert (len(listed.out.splitlines()), listed.err) == (120, "")


def test_into_a_pipe_each_memory_is_one_line(run):
    run("add", "Two\nlines\tand a tab " + "long " * 60, "--user", "ana")
    (line,) = run("get-all", "--user", "ana", "--kind", "turn")[1].splitlines()
    assert line.split("\t")[-1].startswith("Two lines and a tab long long")


def on_a_terminal(arguments: list[str], **environment: str) -> str:
    """What the command shows on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    shell = [sys.executable, "-m", "hymem", *arguments]
    known = {
        "TERM": "xterm-256color",
        "COLUMNS": "80",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    done = subprocess.Popen(shell, stdout=theirs, env={**known, **environment})
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # Linux's way to say that the other side is closed
        while piece := os.read(ours, 1 << 16):
            shown += piece
    os.close(ours)
    assert done.wait() == 0
    return shown.decode()


def test_on_a_terminal_there_are_tables_and_no_colour_if_none_is_wanted(run):
    run("add", "I moved \x1b[2Jto \x07Lyon.", "--user", "ana")
    coloured = on_a_terminal(["get-all", "--user", "ana"])
    assert "\x1b[1m" in coloured
    assert "speaker" in coloured
    plain = on_a_terminal(["get-all", "--user", "ana"], NO_COLOR="1")
    assert "\x1b" not in plain
    assert "I moved ?[2Jto ?Lyon." in plain
    assert "\x1b[2J" not in coloured + on_a_terminal(["recall", "Lyon?", "--user", "ana"])


def test_the_examples_of_the_help_are_taken():
    examples = [
        shlex.split(line.strip().split("      ")[0])[1:]
        for line in _EXAMPLES.splitlines()
        if line.startswith("  hymem ")
    ]
    assert len(examples) > 8
    for example in examples:
        _parser().parse_args(example)
