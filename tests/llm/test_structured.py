"""Reading JSON that models wrap, mangle or leave open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from hymem.llm.structured import parse


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
    ],
)
def test_mends_the_wrapping(text: str) -> None:
    assert parse(text, Note) == NOTE


def test_keeps_line_breaks_inside_strings() -> None:
    assert parse('{"text": "a\nb", "ids": []}', Note) == Note(text="a\nb", ids=[])


@pytest.mark.parametrize(
    "text", ["", "no object", '{"text": "a", "ids": [1', '["a"]', "{" * 20000, "}{ " * 5000]
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
