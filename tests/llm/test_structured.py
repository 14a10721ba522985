"""Reading JSON that models wrap, mangle or leave open."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from hymem.llm.structured import REPLY_CHARACTERS, Reply, parse, read


class Note(BaseModel):
    text: str
    ids: list[int]
    sure: bool | None = None


NOTE = Note(text='a {b} "c"', ids=[1, 2])


@pytest.mark.parametrize(
    "text",
    [
        r'{"text": "a {b} \"c\"", "ids": [1, 2]}',
        r"```json" "\n" r'{"text": "a {b} \"c\"", "ids": [1, 2]}' "\n```",
        r'Here you are: {"text": "a {b} \"c\"", "ids": [1, 2]} I hope that {helps}.',
        r'Note {draft: {"text": "a {b} \"c\"", "ids": [1, 2]}',
        r'{"other": 1} {"text": "a {b} \"c\"", "ids": [1, 2]}',
        r'{"text": "a {b} \"c\"", "ids": [1, 2,],}',
        r"{'text': 'a {b} \"c\"', 'ids': [1, 2], 'sure': None}",
        r"""{'text': "a {b} \"c\"", 'ids': [1, 2], 'sure': None}""",
        r'Ana\'s note {it\'s 5" long}: {"text": "a {b} \"c\"", "ids": [1, 2]}',
    ],
)
def test_mends_the_wrapping(text: str) -> None:
    assert parse(text, Note) == NOTE


def test_keeps_line_breaks_inside_strings() -> None:
    assert parse('{"text": "a\nb", "ids": []}', Note) == Note(text="a\nb", ids=[])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no object",
        '{"text": "a", "ids": [1',
        '["a"]',
        "{" * 20000,
        "}{ " * 5000,
        "{[1]: 2}",
        "{'text'}",
        "{'text': " + "9" * 5000 + "}",
        "{'text': 'x' * 10000000000}",
    ],
)
def test_never_guesses_the_content(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a JSON object|did not fit"):
        parse(text, Note)


def test_says_which_field_is_wrong() -> None:
    with pytest.raises(ValueError, match="ids"):
        parse('{"text": "a", "ids": ["one"]}', Note)


@given(st.text(), st.lists(st.integers()), st.text(alphabet=st.characters(exclude_characters="{}")))
def test_reads_back_any_object_in_any_prose(text: str, ids: list[int], prose: str) -> None:
    note = Note(text=text, ids=ids)
    assert parse(f"{prose}{note.model_dump_json()}{prose}", Note) == note


# What once took time that grew with the square of the reply, and forms that might.
HOSTILE = {
    "escaped quotes": '{"' + '\\"' * 400_000,
    "escaped apostrophes": "{'" + "\\'" * 400_000,
    "open braces": "{" * 1_000_000,
    "open strings": '{"a' * 300_000,
    "one long string": '{"text": "' + "x" * 900_000,
    "lists in lists": '{"text": ' + "[" * 400_000 + "]" * 400_000 + "}",
    "objects in objects": '{"text": ' * 90_000 + "1" + "}" * 90_000,
    "signs": '{"text": ' + "-" * 40_000 + "1,}",
    "sums": '{"text": ' + "1+" * 20_000 + "1j,}",
    "brackets": '{"text": ' + "(" * 20_000 + ")" * 20_000 + ",}",
    "objects that do not fit": "{'a': 1} " * 100_000,
    "many numbers": "{'a': [" + "1," * 24_000 + "]}",
    "commas": "{" + ", " * 400_000 + "}",
    "spaces": "{1," + " " * 900_000 + "}",
    "unfinished thoughts": "<think>" * 140_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_reply_takes_long_to_read(name: str) -> None:
    started = time.process_time()
    with pytest.raises(ValueError, match=r"not a JSON object|did not fit"):
        read(Reply(HOSTILE[name], "stop", "m", None, None, None), Note)
    assert time.process_time() - started < 2


def test_a_runaway_reply_is_not_read_at_all() -> None:
    with pytest.raises(ValueError, match="longer than 1000000 characters"):
        read(Reply("x" * (REPLY_CHARACTERS + 1), "stop", "m", None, None, None), None)


@pytest.mark.parametrize(
    "text", [r'{"text": "a\ud800", "ids": []}', r"{'text': 'a\ud800', 'ids': []}"]
)
def test_lone_surrogates_do_not_get_through(text: str) -> None:
    assert parse(text, Note) == Note(text="a\ufffd", ids=[])
