"""Chatting with the memory on: what the model is given, and what is remembered afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from openai_server import Drop, Fail, OpenAIServer, Raw, Say

from hymem import AsyncHyMem, Budget, BudgetError, HyMem, InputError, LLMError, Turn
from hymem.llm.openai import OpenAIChat
from hymem.text.block import CLOSE, OPEN

HELLO = [{"role": "user", "content": "Which city does Ana live in?"}]


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One turn is too little for the calibrated threshold, which is tested elsewhere."""
    monkeypatch.setattr("hymem.read.ranking.confidence", lambda *_: 1.0)


@pytest.fixture
def llm(server: OpenAIServer) -> OpenAIChat:
    server.answer = lambda body: "You live in Lyon, Ana."
    return OpenAIChat("test-model", base_url=server.url, max_retries=0)


@pytest.fixture
def memory(llm: OpenAIChat) -> Iterator[HyMem]:
    with HyMem(":memory:", llm=llm, background=False) as opened:
        opened.add("I moved to the city of Lyon last week.", user_id="ana", timestamp="2026-03-02")
        yield opened


def said(memory: HyMem) -> list[tuple[str, str]]:
    turns = memory.get_all(user_id="ana")
    return [(turn.role, turn.text) for turn in turns if isinstance(turn, Turn)][1:]


def test_recalls_replies_and_remembers_both_sides(memory: HyMem, server: OpenAIServer) -> None:
    messages = [{"role": "system", "content": "You are brief."}, *HELLO]
    reply = memory.chat(messages, user_id="ana", session_id="s2", now="2026-04-01")
    assert reply.text == "You live in Lyon, Ana."
    assert (reply.model, reply.usage.calls) == ("test-model", 1)
    assert reply.usage.input_tokens == server.input_tokens
    system, user = server.requests[0]["messages"]
    assert system["role"] == "system"
    assert system["content"].startswith("You are brief.\n\n")
    assert "Today is Wednesday 1 April 2026." in system["content"]
    assert reply.context.text in system["content"]
    assert (
        "[Monday 2 March 2026]\nuser: I moved to the city of Lyon last week." in reply.context.text
    )
    assert user == HELLO[0]
    assert said(memory) == [("user", HELLO[0]["content"]), ("assistant", reply.text)]
    assert {turn.session_id for turn in memory.get_all(user_id="ana")[1:]} == {"s2"}
    (row,) = memory.costs(user_id="ana", by=("stage",))
    assert (row["stage"], row["output_tokens"]) == ("chat", server.output_tokens)


def test_a_conversation_is_added_once(memory: HyMem) -> None:
    history = list(HELLO)
    for _ in range(2):
        history.append({"role": "assistant", "content": memory.chat(history, user_id="ana").text})
        history.append({"role": "user", "content": "And before?"})
    assert [role for role, _ in said(memory)] == ["user", "assistant"] * 2
    assert [text for _, text in said(memory)][2] == "And before?"


def test_several_messages_in_a_row_are_all_remembered_with_their_fields(memory: HyMem) -> None:
    new = [
        {"role": "user", "content": "One more thing.", "name": "Ana", "id": "m1"},
        {"role": "user", "content": "Where do I live?", "name": "Ana", "id": "m2"},
    ]
    memory.chat(new, user_id="ana")
    turns = memory.get_all(user_id="ana")[1:]
    assert [getattr(turn, "source_id", None) for turn in turns] == ["m1", "m2", None]
    assert [getattr(turn, "speaker", None) for turn in turns] == ["Ana", "Ana", "assistant"]


def test_without_memories_the_prompt_is_left_alone(memory: HyMem, server: OpenAIServer) -> None:
    memory.chat(HELLO, user_id="nobody")
    assert server.requests[0]["messages"] == HELLO


def test_the_block_is_kept_in_bounds(memory: HyMem, server: OpenAIServer) -> None:
    reply = memory.chat(HELLO, user_id="ana", max_tokens=5)
    assert reply.context.tokens == 0
    assert server.requests[0]["messages"] == HELLO


def test_recalled_text_is_not_remembered_as_new(memory: HyMem, server: OpenAIServer) -> None:
    block = memory.recall(HELLO[0]["content"], user_id="ana").text
    assert "Lyon" in block
    server.answer = lambda body: f"I see: {block}"
    memory.chat(HELLO, user_id="ana")
    turn = memory.get_all(user_id="ana")[-1]
    assert turn.text == f"I see: {block}"  # kept as it was said …
    again = memory.recall("I see", user_id="ana").text
    assert again.count(OPEN) == again.count(CLOSE) == 1
    shown: list[Any] = []
    server.answer = lambda body: shown.append(body) or '{"statements": []}'
    memory.flush(user_id="ana")
    assert sum(body["messages"][-1]["content"].count("of Lyon") for body in shown) == 1


def test_streams_and_remembers_the_whole(memory: HyMem, server: OpenAIServer) -> None:
    pieces = list(memory.chat_stream(HELLO, user_id="ana"))
    assert len(pieces) == 5
    assert said(memory)[-1] == ("assistant", "You live in Lyon, Ana.")
    assert memory.costs(user_id="ana", by=("stage",))[0]["input_tokens"] == server.input_tokens


def test_who_leaves_early_is_remembered_with_what_was_shown(memory: HyMem) -> None:
    stream = memory.chat_stream(HELLO, user_id="ana")
    assert [next(stream), next(stream)] == ["You", " live"]
    stream.close()
    assert said(memory) == [("user", HELLO[0]["content"]), ("assistant", "You live")]
    assert memory.costs(user_id="ana", by=("stage",))[0]["estimated"] is True


@pytest.mark.parametrize("failure", [Drop(2, "You live in Lyon."), Say("You", finish="length")])
def test_a_broken_stream_raises_and_saves_nothing(
    memory: HyMem, server: OpenAIServer, failure: Any
) -> None:
    server.script(failure)
    shown: list[str] = []
    with pytest.raises(LLMError):
        shown.extend(memory.chat_stream(HELLO, user_id="ana"))
    assert shown
    assert said(memory) == []


def test_a_failed_reply_saves_nothing_so_that_it_can_be_tried_again(
    memory: HyMem, server: OpenAIServer
) -> None:
    server.script(Fail(500))
    with pytest.raises(LLMError):
        memory.chat(HELLO, user_id="ana")
    assert said(memory) == []
    memory.chat(HELLO, user_id="ana")
    assert len(said(memory)) == 2


def test_budget_is_kept(memory: HyMem, server: OpenAIServer) -> None:
    for method in (memory.chat, memory.chat_stream):
        with pytest.raises(BudgetError):
            list(method(HELLO, user_id="ana", budget=Budget(tokens=3)))  # type: ignore[arg-type]
    assert server.calls == 0


@pytest.mark.parametrize(
    "messages", [[], [{"role": "assistant", "content": "Hi"}], [{"role": "user", "content": " "}]]
)
def test_the_user_must_have_said_something(memory: HyMem, messages: Any) -> None:
    with pytest.raises(InputError, match="must end with"):
        memory.chat(messages, user_id="ana")


def test_what_is_no_message_is_named(memory: HyMem) -> None:
    for messages in (["hi"], [None, {"role": "user", "content": "hi"}]):
        with pytest.raises(InputError, match=r"messages\[0\] is"):
            memory.chat(messages, user_id="ana")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="max_tokens"):
        memory.chat(HELLO, user_id="ana", max_tokens=0)  # type: ignore[arg-type]


def test_async_twin_streams_too(llm: OpenAIChat) -> None:
    async def talk() -> tuple[str, list[str]]:
        async with AsyncHyMem(":memory:", llm=llm, background=False) as memory:
            reply = await memory.chat(HELLO, user_id="ana")
            pieces = [piece async for piece in memory.chat_stream(HELLO, user_id="ana")]
            return reply.text, pieces

    text, pieces = asyncio.run(talk())
    assert text == "".join(pieces) == "You live in Lyon, Ana."


def test_a_cancelled_stream_frees_the_model(server: OpenAIServer) -> None:
    """Also where the next piece is not in sight."""
    stuck = Raw([b"HTTP/1.1 200 OK\r\n\r\ndata: ", PIECE, b"\n\n", 30.0])
    server.script(*[stuck] * 4)
    llm = OpenAIChat("test-model", base_url=server.url, concurrency=2, timeout=60.0)

    async def read(memory: AsyncHyMem, who: str) -> list[str]:
        return [piece async for piece in memory.chat_stream("Hello!", user_id=who)]

    async def main() -> None:
        async with AsyncHyMem(":memory:", llm=llm, background=False) as memory:
            for names in (("ana", "ben"), ("cem", "dea")):
                readers = [asyncio.create_task(read(memory, name)) for name in names]
                while len(server.requests) < 2 or server.busy < 2:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.3)
                for reader in readers:
                    reader.cancel()
                done = await asyncio.gather(*readers, return_exceptions=True)
                assert [type(one) for one in done] == [asyncio.CancelledError] * 2
                server.busy = 0  # the server does not look whether anybody listens
            server.answer = lambda body: "Hello, Eve."
            reply = await asyncio.wait_for(read(memory, "eve"), 10)
            assert "".join(reply) == "Hello, Eve."
            turns = await memory.get_all(user_id="ana")
            assert [turn.text for turn in turns] == ["Hello!", "Hi"]
            async for _ in memory.chat_stream("Hello!", user_id="fay"):
                break  # a reader who leaves

    asyncio.run(main())


PIECE = b'{"choices": [{"index": 0, "delta": {"content": "Hi"}}]}'


def test_conversations_of_other_libraries_are_taken(memory: HyMem, server: OpenAIServer) -> None:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

    conversation = [
        SystemMessage("You are brief."),
        HumanMessage("How many boxes?"),
        AIMessage("", tool_calls=[{"name": "count", "args": {}, "id": "c1"}]),
        ToolMessage("42", tool_call_id="c1"),
        AIMessage("Forty-two."),
        HumanMessage([{"type": "text", "text": HELLO[0]["content"]}, {"type": "image_url"}]),
    ]
    reply = memory.chat((one for one in conversation), user_id="ana")
    prompt = server.requests[-1]["messages"]
    assert [one["role"] for one in prompt] == ["system", "user", "assistant", "user"]
    assert prompt[-1]["content"] == HELLO[0]["content"]
    assert said(memory) == [("user", HELLO[0]["content"]), ("assistant", reply.text)]
    with pytest.raises(InputError, match="whose role is 'user'"):
        memory.chat(conversation[:4], user_id="ana")
