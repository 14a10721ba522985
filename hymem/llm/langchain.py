"""Any LangChain chat model. Needs the extra ``[langchain]``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hymem.errors import LLMError, LLMOutputError
from hymem.llm.structured import Finish, Messages, Reply, converse, with_schema
from hymem.types import Completion

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage
    from pydantic import BaseModel

# Providers name the reason in their own words.
_CUT = {"length", "max_tokens", "MAX_TOKENS"}
_REFUSED = {"content_filter", "refusal", "SAFETY"}


class LangChainChat:
    """``LLM`` on a LangChain ``BaseChatModel``.

    ``model`` is the name for the ledger and its prices (default: the model's own). Time-outs and
    retries are set on the LangChain model itself. Structured output is asked for in words and
    checked, which every model understands; ``with_structured_output`` is not the same for all.
    """

    def __init__(self, chat: BaseChatModel, *, model: str | None = None) -> None:
        self._chat = chat
        own = getattr(chat, "model_name", None) or getattr(chat, "model", None)
        self._model = model or str(own or type(chat).__name__)

    @property
    def model(self) -> str:
        return self._model

    def __repr__(self) -> str:
        return f"LangChainChat({self._model!r})"

    def complete(
        self, messages: Sequence[Mapping[str, str]], schema: type[BaseModel] | None = None
    ) -> Completion:
        """One answer; see ``hymem.types.LLM``. Raises ``LLMError`` and ``LLMOutputError``."""
        return converse(lambda dialogue: self._send(dialogue, schema), messages, schema)

    def stream(self, messages: Sequence[Mapping[str, str]]) -> Iterator[str | Completion]:
        """Yield the reply's pieces as they come, then the whole as a ``Completion``.

        Raises ``LLMError`` when it breaks off, ``LLMOutputError`` when it is empty or cut off.
        """
        whole: Any = None
        pieces: list[str] = []
        try:
            for chunk in self._chat.stream(_messages(messages)):
                whole = chunk if whole is None else whole + chunk
                if chunk.text:
                    pieces.append(str(chunk.text))
                    yield pieces[-1]
        except Exception as error:  # every provider has errors of its own
            spent = None if whole is None else self._completion(pieces, whole)
            raise LLMError(f"{self._model}: {type(error).__name__}: {error}", spent) from error
        if whole is None:
            raise LLMOutputError(f"{self._model} returned nothing")
        done = self._completion(pieces, whole)
        if (finish := _finish(whole)) != "stop" or not pieces:
            raise LLMOutputError(f"the reply was not whole ({finish})", done)
        yield done

    def _send(self, messages: Messages, schema: type[BaseModel] | None) -> Reply:
        asked = messages if schema is None else with_schema(messages, schema)
        try:
            answer = self._chat.invoke(_messages(asked))
        except Exception as error:  # every provider has errors of its own
            problem = f"{self._model}: {type(error).__name__}: {error}"
            raise LLMError(problem, down=_is_down(error)) from error
        return Reply(str(answer.text), _finish(answer), self._model, *_tokens(answer))

    def _completion(self, pieces: Sequence[str], message: AIMessage) -> Completion:
        text = "".join(pieces)
        return Completion(text, text, self._model, *_tokens(message))


def _messages(messages: Messages) -> list[Any]:
    from langchain_core.messages import convert_to_messages

    return list(convert_to_messages([dict(message) for message in messages]))


def _is_down(error: Exception) -> bool:
    """Whether the endpoint could not be reached, as far as a provider's errors tell."""
    import httpx
    import openai

    return isinstance(error, (OSError, httpx.TransportError, openai.APIConnectionError))


def _finish(message: AIMessage) -> Finish:
    about = message.response_metadata
    reason = about.get("finish_reason") or about.get("stop_reason") or about.get("done_reason")
    if reason in _CUT:
        return "length"
    return "refusal" if reason in _REFUSED else "stop"


def _tokens(message: AIMessage) -> tuple[int | None, int | None, int | None]:
    usage = message.usage_metadata
    if usage is None:
        return None, None, None
    cached = usage.get("input_token_details", {}).get("cache_read", 0)
    return usage["input_tokens"], usage["output_tokens"], cached
