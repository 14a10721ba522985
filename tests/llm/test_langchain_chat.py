"""LangChain models: real ``BaseChatModel`` classes of langchain-core."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from pydantic import BaseModel

from hymem.errors import LLMError, LLMOutputError
from hymem.llm.langchain import LangChainChat
from hymem.types import Completion

ASK = [
    {"role": "system", "content": "You are brief."},
    {"role": "user", "content": "Where does Ana live?"},
]
USAGE = {
    "input_tokens": 9,
    "output_tokens": 4,
    "total_tokens": 13,
    "input_token_details": {"cache_read": 5},
}


class City(BaseModel):
    city: str


class Scripted(GenericFakeChatModel):
    """Replies in turn, errors included; keeps what it was sent."""

    seen: list[list[BaseMessage]] = []  # noqa: RUF012  (a pydantic field, copied per instance)
    breaks: bool = False

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        self.seen.append(messages)
        return super()._generate(messages, *args, **kwargs)

    def _stream(self, messages: Any, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        reply = next(self.messages)
        assert isinstance(reply, AIMessage)
        for word in str(reply.content).split(" "):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
            if self.breaks:
                raise ConnectionError("gone")
        last = AIMessageChunk(content="", usage_metadata=reply.usage_metadata)
        last.response_metadata = reply.response_metadata
        yield ChatGenerationChunk(message=last)


def replies(*texts: str, finish: str = "stop", **fields: Any) -> Any:
    about = {"finish_reason": finish}
    return iter(
        AIMessage(text, usage_metadata=USAGE, response_metadata=about, **fields) for text in texts
    )


def test_reports_text_and_tokens() -> None:
    chat = Scripted(messages=replies("In Lyon."))
    done = LangChainChat(chat, model="my-model").complete(ASK)
    assert done == Completion("In Lyon.", "In Lyon.", "my-model", 9, 4, 5)
    assert [message.type for message in chat.seen[0]] == ["system", "human"]


def test_structured_output_is_asked_for_checked_and_corrected() -> None:
    chat = Scripted(messages=replies("Lyon, I think.", 'Here: {"city": "Lyon"}'))
    done = LangChainChat(chat).complete(ASK, City)
    assert done.value == City(city="Lyon")
    assert (done.input_tokens, done.output_tokens) == (18, 8)
    assert "JSON Schema" in str(chat.seen[0][-1].content)
    with pytest.raises(LLMOutputError):
        LangChainChat(Scripted(messages=replies("a", "b", "c"))).complete(ASK, City)


def test_errors_of_any_provider_become_ours() -> None:
    with pytest.raises(LLMError, match=r"StopIteration|RuntimeError"):
        LangChainChat(Scripted(messages=replies())).complete(ASK)


def test_tokens_are_none_when_not_reported() -> None:
    done = LangChainChat(GenericFakeChatModel(messages=iter(["In Lyon."]))).complete(ASK)
    assert (done.input_tokens, done.output_tokens) == (None, None)
    assert done.model == "GenericFakeChatModel"


def test_streams_pieces_then_the_whole() -> None:
    *pieces, done = LangChainChat(Scripted(messages=replies("In Lyon."))).stream(ASK)
    assert pieces == ["In", "Lyon."]
    assert done == Completion("InLyon.", "InLyon.", "Scripted", 9, 4, 5)


def test_a_stream_that_breaks_or_is_cut_off_raises() -> None:
    broken = Scripted(messages=replies("In Lyon."), breaks=True)
    with pytest.raises(LLMError, match="gone") as caught:
        list(LangChainChat(broken).stream(ASK))
    assert caught.value.spent is not None
    assert caught.value.spent.text == "In"
    with pytest.raises(LLMOutputError, match="length"):
        list(LangChainChat(Scripted(messages=replies("In", finish="max_tokens"))).stream(ASK))


SECRET = "sk-very-secret-key-123456"


class Odd:
    """Stands where a LangChain model should, and does as it likes."""

    model_name = "odd"

    def __init__(self, reply: Any) -> None:
        self._reply = reply
        self.api_key = SECRET

    def invoke(self, messages: Any) -> Any:
        if isinstance(self._reply, Exception):
            raise self._reply
        return self._reply

    def stream(self, messages: Any) -> Any:
        return iter([self.invoke(messages)])


def odd_message(content: Any = "", **fields: Any) -> Any:
    """A message with contents that its class would not let in."""
    return AIMessageChunk("x").model_copy(update={"content": content} | fields)


@pytest.mark.parametrize(
    "reply",
    [
        None,
        "a text",
        7,
        [1],
        odd_message(None),
        odd_message(7),
        odd_message([None, 3, {"type": "image"}]),
        ValueError("no"),
        TimeoutError("slow"),
        StopIteration("over"),
        RecursionError("deep"),
        KeyError(SECRET),
        RuntimeError(f"401: Authorization: Bearer {SECRET}"),
    ],
    ids=repr,
)
def test_odd_replies_are_ours(reply: Any) -> None:
    llm = LangChainChat(Odd(reply))  # type: ignore[arg-type]
    for call in (
        lambda: llm.complete(ASK),
        lambda: llm.complete(ASK, City),
        lambda: list(llm.stream(ASK)),
    ):
        with pytest.raises(LLMError) as caught:
            call()
        assert SECRET not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"usage_metadata": {"input_tokens": -5, "output_tokens": "many"}},
        {"usage_metadata": {"input_token_details": [1]}},
        {"usage_metadata": [1, 2]},
        {"usage_metadata": 3, "response_metadata": None},
        {"response_metadata": {"finish_reason": ["stop"]}},
    ],
)
def test_what_is_odd_beside_the_text_is_left_out(fields: dict[str, Any]) -> None:
    llm = LangChainChat(Odd(odd_message("In Ly\ud800on.", **fields)))  # type: ignore[arg-type]
    done = llm.complete(ASK)
    assert done.text == "In Ly\ufffdon."
    assert (done.input_tokens, done.output_tokens) == (None, None)
    *_, last = llm.stream(ASK)
    assert last == done


def test_the_cause_is_chained_where_it_shows_no_key() -> None:
    with pytest.raises(LLMError) as caught:
        LangChainChat(Odd(ValueError("too long"))).complete(ASK)  # type: ignore[arg-type]
    assert isinstance(caught.value.__cause__, ValueError)
