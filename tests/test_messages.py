from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hymem.errors import InputError
from hymem.inputs.messages import as_utc, clean_text, metadata_problem, parse_messages
from hymem.system.clock import Clock


def test_a_string_is_one_user_message_said_now():
    (said,) = parse_messages("I moved to Lyon.")
    assert (said.role, said.speaker, said.text) == ("user", "user", "I moved to Lyon.")
    assert said.time is not None
    assert abs(datetime.now(UTC) - said.time) < timedelta(minutes=1)


def test_a_message_overrides_the_defaults_of_the_call():
    own = {
        "role": "user",
        "name": "Ana",
        "content": "hi there",
        "timestamp": "2026-03-02T09:30",
        "id": "m1",
        "session_id": "s2",
        "metadata": {"channel": "web"},
    }
    (said,) = parse_messages(
        [own],
        session_id="s1",
        timestamp="2020-01-01",
        metadata={"app": "x", "channel": "cli"},
        clock=Clock("Europe/Warsaw"),
    )
    assert said.speaker == "Ana"
    assert said.time == datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
    assert (said.session_id, said.source_id) == ("s2", "m1")
    assert said.metadata == {"app": "x", "channel": "web"}


def test_instructions_and_empty_messages_hold_nothing_to_remember():
    messages = [
        {"role": "system", "content": "You are helpful."},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "  \n"},
        {"role": "user", "content": "kept"},
    ]
    assert [said.text for said in parse_messages(messages)] == ["kept"]


def test_roles_of_other_libraries_and_in_capitals_are_the_same_roles():
    roles = ["USER", "human", "Human", "model", "AI", "Assistant", "SYSTEM", "Developer", "Tom"]
    said = parse_messages([{"role": role, "content": role} for role in roles])
    assert [(one.role, one.speaker) for one in said] == [
        *[("user", "user")] * 3,
        *[("assistant", "assistant")] * 3,
        ("Tom", "Tom"),
    ]


def test_text_parts_of_a_content_list_are_joined():
    parts = [{"type": "text", "text": "look"}, {"type": "image_url"}, {"type": "text", "text": "!"}]
    assert parse_messages({"role": "user", "content": parts})[0].text == "look\n!"
    assert parse_messages({"role": "user", "content": ["plain", "text"]})[0].text == "plain\ntext"


@pytest.mark.parametrize("value", ["next Tuesday", "", float("nan"), 1e30, True, [2026]])
def test_a_bad_time_is_named(value):
    with pytest.raises(InputError, match=r"messages\[0\]\.timestamp .*ISO 8601"):
        parse_messages([{"role": "user", "content": "x", "timestamp": value}])


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        (7, "messages is int"),
        ([7], r"messages\[0\] is int"),
        ([("user", "x")], r"messages\[0\] is tuple"),
        (b"bytes", "messages is bytes"),
        ({"role": "user", "text": "x"}, "messages has no content"),
        ([{"role": 3, "content": "x"}], r"messages\[0\]\.role is int"),
        ([{"role": "user", "content": 3}], r"messages\[0\]\.content is int"),
        ([{"role": "user", "content": "x", "metadata": 3}], r"metadata is int"),
        ([{"role": "user", "content": "x", "metadata": {"a": object()}}], "as JSON"),
    ],
)
def test_malformed_messages_are_named(messages, complaint):
    with pytest.raises(InputError, match=complaint):
        parse_messages(messages)


@dataclass
class Own:
    """An application's own message."""

    role: str
    content: str
    name: str | None = None
    timestamp: datetime | None = None
    metadata: dict[str, str] = field(default_factory=dict)


class Role(StrEnum):
    USER = "user"


def test_openais_message_objects_are_taken():
    from openai.types.chat import ChatCompletionMessage

    reply = ChatCompletionMessage(role="assistant", content="Lyon is lovely.")
    call = ChatCompletionMessage.model_validate(
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        }
    )
    said = parse_messages([{"role": "user", "content": "I moved."}, call, reply])
    assert [(one.role, one.text) for one in said] == [
        ("user", "I moved."),
        ("assistant", "Lyon is lovely."),
    ]


def test_of_a_responses_items_only_what_was_said_is_kept():
    from openai.types.responses import (
        ResponseFunctionToolCall,
        ResponseOutputMessage,
        ResponseOutputRefusal,
        ResponseOutputText,
        ResponseReasoningItem,
    )

    thought = ResponseReasoningItem.model_validate(
        {
            "id": "r1",
            "type": "reasoning",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "She moved, so …"}],
        }
    )
    call = ResponseFunctionToolCall(type="function_call", name="f", arguments="{}", call_id="c1")
    message = ResponseOutputMessage(
        id="msg_1",
        type="message",
        role="assistant",
        status="completed",
        content=[
            ResponseOutputText(type="output_text", text="Lyon", annotations=[]),
            ResponseOutputRefusal(type="refusal", refusal="I cannot"),
            ResponseOutputText(type="output_text", text="is lovely.", annotations=[]),
        ],
    )
    for items in (
        [thought, call, message],
        [item.model_dump() for item in (thought, call, message)],
    ):
        (said,) = parse_messages(items)
        assert (said.role, said.text, said.source_id) == ("assistant", "Lyon\nis lovely.", "msg_1")


def test_langchains_messages_are_taken():
    from langchain_core.messages import (
        AIMessage,
        AIMessageChunk,
        ChatMessage,
        HumanMessage,
        SystemMessage,
        ToolMessage,
    )

    said = parse_messages(
        [
            SystemMessage("Be brief."),
            HumanMessage("I moved.", name="Ana"),
            AIMessage([{"type": "reasoning", "reasoning": "so"}, {"type": "text", "text": "Oh!"}]),
            AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "c1"}]),
            ToolMessage("42 boxes", tool_call_id="c1"),
            AIMessageChunk("Where to?", id="lc_run--1"),
            ChatMessage("To Lyon.", role="user"),
        ]
    )
    assert [(one.role, one.speaker, one.text, one.source_id) for one in said] == [
        ("user", "Ana", "I moved.", None),
        ("assistant", "assistant", "Oh!", None),
        ("tool", "tool", "42 boxes", None),
        ("assistant", "assistant", "Where to?", "lc_run--1"),
        ("user", "user", "To Lyon.", None),
    ]


def test_objects_of_the_same_shape_are_taken_alone_and_in_any_iterable():
    from pydantic import BaseModel

    class Model(BaseModel):
        role: Role
        content: str

    own = Own("user", "I moved.", "Ana", datetime(2026, 3, 2), {"channel": "web"})
    (said,) = parse_messages(own, clock=Clock("UTC"))
    assert (said.speaker, said.time, said.metadata) == (
        "Ana",
        datetime(2026, 3, 2, tzinfo=UTC),
        {"channel": "web"},
    )
    (said,) = parse_messages(Model(role=Role.USER, content="I moved."))
    assert (said.role, type(said.role)) == ("user", str)
    assert len(parse_messages(one for one in [own, {"role": "user", "content": "x"}])) == 2
    assert len(parse_messages({1: own}.values())) == 1
    assert parse_messages(iter(())) == []


def test_a_record_without_content_is_no_message_and_not_iterated():
    from openai.types.chat import ChatCompletion

    whole = ChatCompletion(id="1", choices=[], created=0, model="m", object="chat.completion")
    with pytest.raises(InputError, match="messages is ChatCompletion"):
        parse_messages(whole)
    with pytest.raises(InputError, match=r"messages\[0\] is ChatCompletion"):
        parse_messages([whole])


def test_naive_and_aware_times_compare():
    aware = datetime(2026, 3, 2, 12, tzinfo=timezone(timedelta(hours=5)))
    assert as_utc(datetime(2026, 3, 2, 8)) > as_utc(aware)


@given(st.text())
def test_clean_text_keeps_every_encodable_text(text):
    assert clean_text(text) == text  # hypothesis draws no surrogates here


@given(st.text(st.characters(categories=["Cs", "Ll"])))
def test_clean_text_always_encodes(text):
    clean_text(text).encode()


def test_surrogate_pairs_become_their_character_and_lone_ones_are_replaced():
    assert clean_text("\ud83d\ude00 \udc80") == "😀 \ufffd"


def test_metadata_is_kept_up_to_a_depth():
    def deep(levels: int) -> dict[str, Any]:
        value: dict[str, Any] = {"v": 1}
        for number in range(levels - 1):
            value = {"a": value} if number % 2 else {"a": [value]}
        return value

    assert metadata_problem(deep(20)) is None
    around: dict[str, Any] = {}
    around["a"] = around
    for metadata in (deep(40), deep(5000), around):
        with pytest.raises(InputError, match=r"messages\[0\].metadata is nested deeper than 32"):
            parse_messages("x", metadata=metadata)
