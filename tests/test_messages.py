from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hymem.errors import InputError
from hymem.messages import as_utc, clean_text, parse_messages, parse_time


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
        [own], session_id="s1", timestamp="2020-01-01", metadata={"app": "x", "channel": "cli"}
    )
    assert said.speaker == "Ana"
    assert said.time == datetime(2026, 3, 2, 9, 30)
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


def test_text_parts_of_a_content_list_are_joined():
    parts = [{"type": "text", "text": "look"}, {"type": "image_url"}, {"type": "text", "text": "!"}]
    assert parse_messages({"role": "user", "content": parts})[0].text == "look\n!"
    assert parse_messages({"role": "user", "content": ["plain", "text"]})[0].text == "plain\ntext"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        ("2026-03-02", datetime(2026, 3, 2)),
        ("2026-03-02T10:00:00+01:00", datetime(2026, 3, 2, 9, tzinfo=UTC)),
        (datetime(2026, 3, 2), datetime(2026, 3, 2)),
    ],
)
def test_times(value, expected):
    assert parse_time(value, "timestamp") == expected


@pytest.mark.parametrize("value", ["next Tuesday", "", float("nan"), 1e30, True, [2026]])
def test_a_bad_time_is_named(value):
    with pytest.raises(InputError, match=r"messages\[0\]\.timestamp .*ISO 8601"):
        parse_messages([{"role": "user", "content": "x", "timestamp": value}])


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        (7, "messages is int"),
        ([7], r"messages\[0\] is int"),
        ([{"role": 3, "content": "x"}], r"messages\[0\]\.role is int"),
        ([{"role": "user", "content": 3}], r"messages\[0\]\.content is int"),
        ([{"role": "user", "content": "x", "metadata": 3}], r"metadata is int"),
        ([{"role": "user", "content": "x", "metadata": {"a": object()}}], "as JSON"),
    ],
)
def test_malformed_messages_are_named(messages, complaint):
    with pytest.raises(InputError, match=complaint):
        parse_messages(messages)


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
