"""Any LangChain chat model. Needs the extra ``[langchain]``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hymem.errors import LLMError, LLMOutputError
from hymem.inputs.messages import clean_text
from hymem.llm.structured import Finish, Messages, Reply, converse, with_schema
from hymem.system.redact import as_ours, secrets_of
from hymem.text.tokens import reported_count
from hymem.types import Completion

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from pydantic import BaseModel

# Providers name the reason in their own words.
_CUT = {"length", "max_tokens", "MAX_TOKENS"}
_UNREACHABLE = {"httpx.TransportError", "httpx2.TransportError", "openai.APIConnectionError"}
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
        said: list[str] = []
        failure: LLMError | None = None
        try:
            for chunk in self._chat.stream(_messages(messages)):
                whole = chunk if whole is None else whole + chunk
                if piece := _text(chunk):
                    said.append(piece)
                    yield piece
        except Exception as error:  # every provider has errors of its own
            failure = self._failure(error)
        text = "".join(said)
        done = Completion(text, text, self._model, *_tokens(whole))
        if failure is not None:
            failure.spent = None if whole is None else done
            raise failure
        if (finish := _finish(whole)) != "stop":
            raise LLMOutputError(f"the reply was not whole ({finish})", done)
        if not said:
            raise LLMOutputError(f"{self._model} returned nothing", done)
        yield done

    def _send(self, messages: Messages, schema: type[BaseModel] | None) -> Reply:
        asked = messages if schema is None else with_schema(messages, schema)
        try:
            answer: Any = self._chat.invoke(_messages(asked))
            return Reply(_text(answer), _finish(answer), self._model, *_tokens(answer))
        except Exception as error:  # every provider has errors of its own
            failure = self._failure(error)
        raise failure

    def _failure(self, error: Exception) -> LLMError:
        failure = as_ours(LLMError, self._model, error, secrets_of(self._chat))
        failure.down = _is_down(error)
        return failure


def _messages(messages: Messages) -> list[Any]:
    from langchain_core.messages import convert_to_messages

    return list(convert_to_messages([dict(message) for message in messages]))


def _is_down(error: Exception) -> bool:
    """Whether the endpoint could not be reached, as far as a provider's errors tell."""
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    return isinstance(error, OSError) or not kinds.isdisjoint(_UNREACHABLE)


def _text(message: Any) -> str:
    """The text of a message or chunk, whatever parts its content has."""
    return clean_text(str(message.text))


def _finish(message: Any) -> Finish:
    about = getattr(message, "response_metadata", None)
    if not isinstance(about, dict):
        return "stop"
    reason = about.get("finish_reason") or about.get("stop_reason") or about.get("done_reason")
    if str(reason) in _CUT:
        return "length"
    return "refusal" if str(reason) in _REFUSED else "stop"


def _tokens(message: Any) -> tuple[int | None, int | None, int | None]:
    usage = getattr(message, "usage_metadata", None)
    if not isinstance(usage, dict):
        return None, None, None
    details = usage.get("input_token_details")
    cached = reported_count(details.get("cache_read")) if isinstance(details, dict) else None
    sent = reported_count(usage.get("input_tokens"))
    return sent, reported_count(usage.get("output_tokens")), cached or 0
