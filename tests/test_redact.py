"""Keys and passwords in what others wrote."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hymem.errors import LLMError
from hymem.system.redact import HIDDEN, SHOWN_CHARACTERS, as_ours, guarded, redact, secrets_of

KEY = "Zx81-this.is+the/key=="


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        f"bad key {KEY}.",
        f"{{'Authorization': 'Bearer {KEY}'}}",
        f"?api_key={KEY}&x=1",
        f"{KEY}{KEY}",
        f"it begins with {KEY[:9]} and ends with {KEY[-9:]}",
        "x" * 490 + KEY,
    ],
)
def test_a_known_key_is_hidden_whole_or_in_part(text: str) -> None:
    shown = redact(text, [KEY])
    assert len(shown) <= SHOWN_CHARACTERS
    assert not any(KEY[i : i + 8] in shown for i in range(len(KEY) - 7))


@given(
    st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=8, max_size=40),
    st.text(max_size=100),
    st.text(max_size=100),
    st.integers(0, 30),
)
def test_no_eight_characters_of_a_key_get_through(
    key: str, before: str, after: str, cut: int
) -> None:
    shown = redact(f"{before}{key[cut:]}{after}{key}", [key])
    for part in (key[i : i + 8] for i in range(len(key) - 7)):
        assert part not in shown.replace(HIDDEN, "\0")


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-proj-abcdefgh12345678",
        "headers {'authorization': 'Bearer eyJhbGciOi'}",
        "Proxy-Authorization: Basic YW5hOmh1bnRlcjI=",
        "could not reach https://ana:hunter2@host.example/v1",
        'api_key="abcdef123456" is not valid',
        "password: hunter2",
        "gsk_abcdefgh12345678",
        "API key not valid: AIzaSyabcdef-GHIJKLmnopqrstuvwxyz_012345",
        "The AWS Access Key Id AKIAABCDEF1234567890 does not exist",
        "InvalidClientTokenId: asiaabcdef1234567890",
        "token=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdef_-signature expired",
    ],
)
def test_what_looks_like_a_key_is_hidden(text: str) -> None:
    shown = redact(text)
    assert HIDDEN in shown
    for secret in ("abcdef", "eyJ", "YW5h", "hunter2"):
        assert secret not in shown


@pytest.mark.parametrize(
    "text",
    [
        "context length of 8192 tokens exceeded",
        "the API key is missing; set OPENAI_API_KEY",
        "https://host.example/v1/chat not found",
        "the task-force of risk-management is asking",
        "Aizawa and Asia: see eyJ.a.b and version 1.2.3",
        "model k of the series k, and the none of them",
    ],
)
def test_other_words_stay(text: str) -> None:
    assert redact(text, ["k", "no", ""]) == text


def test_a_short_key_is_hidden_as_a_word_only() -> None:
    assert redact("tea and teapot: tea1, tea.", ["tea1"]) == f"tea and teapot: {HIDDEN}, tea."


def test_the_keys_of_an_object_are_found() -> None:
    from pydantic import BaseModel, SecretStr

    class Client(BaseModel):
        key_in_model: SecretStr = SecretStr("abcdefgh")
        api_key: str = "ijklmnop"
        max_tokens: int = 7
        name: str = "client"

    assert secrets_of(Client()) == ["abcdefgh", "ijklmnop"]
    assert secrets_of(3) == []


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_an_error_of_any_kind_becomes_ours() -> None:
    assert str(as_ours(LLMError, "m", UnspeakableError())) == "m: UnspeakableError"
    kept = ValueError("too long")
    assert as_ours(LLMError, "m", kept).__cause__ is kept
    assert as_ours(LLMError, "m", ValueError(KEY), [KEY]).__cause__ is None


def test_no_key_stands_in_the_traceback() -> None:
    def call() -> Any:
        try:
            raise KeyError("inner " + KEY)
        except KeyError as error:
            raise ValueError("outer") from error

    with pytest.raises(LLMError, match="m: ValueError: outer") as caught:
        guarded(LLMError, "m", call, lambda: [KEY])
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None
