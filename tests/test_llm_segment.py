"""Segmentation with a model's help, behind a real endpoint."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from openai_server import Fail, OpenAIServer, last_message

from hymem import HyMem
from hymem.llm.openai import OpenAIChat
from hymem.types import Turn
from hymem.write.segment import TURNS_PER_CALL, LLMSegmenter, TopicSegmenter

MORNING = datetime(2026, 3, 2, 9, tzinfo=UTC)


def talk(count: int, gaps: tuple[int, ...] = ()) -> tuple[list[Turn], np.ndarray]:
    """Turns a minute apart, with two hours of silence before each place in ``gaps``."""
    time, turns = MORNING, []
    for index in range(count):
        time += timedelta(hours=2) if index in gaps else timedelta(minutes=1)
        turns.append(Turn(100 + index, "user", "Ana", f"message {index}", time))
    return turns, np.tile(np.float32([1, 0]), (count, 1))


def starts(*numbers: int) -> str:
    return json.dumps({"starts": numbers})


@pytest.fixture
def segmenter(server: OpenAIServer) -> LLMSegmenter:
    return LLMSegmenter(OpenAIChat("test-model", base_url=server.url, max_retries=0))


def test_cuts_where_the_model_says(server: OpenAIServer, segmenter: LLMSegmenter) -> None:
    server.script(starts(4, 7))
    assert segmenter.segment(*talk(8)) == [(0, 3), (3, 6), (6, 8)]
    assert "4. Ana: message 3" in last_message(server.requests[0])


def test_silence_and_length_cut_too(server: OpenAIServer, segmenter: LLMSegmenter) -> None:
    server.script(starts(5), starts())
    assert segmenter.segment(*talk(8, gaps=(2,))) == [(0, 2), (2, 4), (4, 8)]
    ranges = segmenter.segment(*talk(40))
    assert all(end - start <= TopicSegmenter().max_turns for start, end in ranges)
    assert {index for start, end in ranges for index in range(start, end)} == set(range(40))


def test_numbers_that_were_not_shown_are_ignored(
    server: OpenAIServer, segmenter: LLMSegmenter
) -> None:
    server.script(starts(3, 99, 0, -2, 1))
    assert segmenter.segment(*talk(4)) == [(0, 2), (2, 4)]


def test_long_sessions_take_several_calls(server: OpenAIServer, segmenter: LLMSegmenter) -> None:
    def second(body: Any) -> str:
        return starts(2 if f"message {TURNS_PER_CALL}\n" in last_message(body) else 1)

    server.answer = second
    ranges = segmenter.segment(*talk(TURNS_PER_CALL + 3))
    assert server.calls == 2
    assert any(start == TURNS_PER_CALL + 1 for start, _ in ranges)


@pytest.mark.parametrize("failure", [Fail(500), "nonsense"])
def test_falls_back_to_the_rules(
    server: OpenAIServer, segmenter: LLMSegmenter, failure: Any
) -> None:
    server.answer = lambda body: failure
    turns, vectors = talk(30, gaps=(10,))
    assert segmenter.segment(turns, vectors) == TopicSegmenter().segment(turns, vectors)


def test_nothing_to_cut(server: OpenAIServer, segmenter: LLMSegmenter) -> None:
    assert segmenter.segment(*talk(0)) == []
    assert server.calls == 0


def test_behind_hymem(server: OpenAIServer) -> None:
    def answer(body: Any) -> str:
        if "divide a conversation" in body["messages"][0]["content"]:
            return starts(3)
        count = len(re.findall(r"^\d+\. ", last_message(body), re.MULTILINE))
        said = {"text": "Something.", "sources": [count], "date": None}
        return json.dumps({"statements": [said]})

    server.answer = answer
    llm = OpenAIChat("test-model", base_url=server.url)
    with HyMem(":memory:", llm=llm, segmenter=LLMSegmenter(llm), background=False) as memory:
        messages = [{"role": "user", "content": f"message {number}"} for number in range(4)]
        memory.add(messages, user_id="ana", timestamp=MORNING, wait=True)
        assert dict(memory.status(user_id="ana").events)["done"] == 2
        rows = {row["stage"]: row["calls"] for row in memory.costs(user_id="ana", by=("stage",))}
    assert rows == {"segment": 1, "extract": 1}
