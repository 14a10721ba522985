"""Chatting with the memory on: recall, let the model reply, remember both sides."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hymem.cost.ledger import Ledger, Meter
from hymem.errors import InputError, StoreClosedError
from hymem.inputs.messages import clean_text, parse_messages
from hymem.inputs.shapes import text_of
from hymem.llm.streams import Closable
from hymem.prompts import load
from hymem.read.ask import Asker
from hymem.read.query import Query
from hymem.text.block import format_day
from hymem.types import LLM, Budget, Completion, Config, Context, Filter, Scope, Usage

log = logging.getLogger(__name__)

Message = Mapping[str, Any]
# Results of the application's tools: without the calls, which have no text, no endpoint takes them.
_TOOLS = ("tool", "function")
Save = Callable[[Sequence[Message]], object]


@dataclass(frozen=True, slots=True)
class ChatReply:
    """The model's reply, the context it was given, and what both cost."""

    text: str
    context: Context
    model: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class _Turn:
    """One exchange: what goes to the model, and the user's new messages, which it answers."""

    prompt: list[dict[str, str]]
    new: Sequence[Message]
    context: Context
    meter: Meter
    llm: LLM


class Chatter:
    """Replies with ``llm`` from what ``asker`` recalls. Safe to use from several threads."""

    def __init__(self, asker: Asker, llm: LLM, ledger: Ledger, config: Config) -> None:
        self._asker, self._llm, self._ledger, self._config = asker, llm, ledger, config

    def reply(
        self,
        scope: Scope,
        messages: Sequence[Message],
        save: Save,
        *,
        max_tokens: int,
        now: datetime,
        where: Filter | None = None,
        budget: Budget | None = None,
    ) -> ChatReply:
        """The reply to the conversation ``messages``, which ends with the user's words.

        At most ``max_tokens`` of memory go into the prompt, as a system message. Afterwards
        ``save`` gets the user's messages since the last reply, and the reply; earlier messages are
        taken as saved before. If the model fails, nothing is saved: the application can try again.

        Raises ``InputError``, ``LLMError``, ``BudgetError``, ``PriceError``.
        """
        turn = self._prepare(scope, messages, max_tokens, where, now, budget)
        text = turn.llm.complete(turn.prompt).text
        _save(save, turn, text)
        return ChatReply(text, turn.context, turn.llm.model, turn.meter.usage)

    def stream(
        self,
        scope: Scope,
        messages: Sequence[Message],
        save: Save,
        *,
        max_tokens: int,
        now: datetime,
        where: Filter | None = None,
        budget: Budget | None = None,
    ) -> Closable[str]:
        """As ``reply``, in pieces. A reader who leaves early is remembered with what was shown;
        ``close`` of the iterator may be called from any thread, and ends the request at once.

        A connection that drops raises ``LLMError``; the pieces shown so far are then no whole reply
        and are not saved.
        """
        turn = self._prepare(scope, messages, max_tokens, where, now, budget)
        source = turn.llm.stream(turn.prompt)
        return Closable(_pieces(source, turn, save), source)

    def _prepare(
        self,
        scope: Scope,
        messages: Sequence[Message],
        max_tokens: int,
        where: Filter | None,
        now: datetime,
        budget: Budget | None,
    ) -> _Turn:
        new = _unanswered(messages)
        said = parse_messages(new)
        if not said:
            raise InputError("messages must end with what the user says, and it is empty")
        own = self._config.question_budget if budget is None else budget
        meter = self._ledger.meter(scope, own, self._config.scope_budget)
        query = Query(scope, said[-1].text, now, where)
        context = self._asker.recall(query, max_tokens=max_tokens, meter=meter)
        prompt = [
            {"role": message.get("role") or "user", "content": text}
            for message in messages
            if message.get("role") not in _TOOLS and (text := _text(message)).strip()
        ]
        if context.text:
            prompt = _with_memory(prompt, context, now)
        return _Turn(prompt, new, context, meter, meter.llm(self._llm, "chat", context.tier))


def _pieces(
    source: Iterator[str | Completion], turn: _Turn, save: Save
) -> Generator[str, None, None]:
    shown: list[str] = []
    try:
        for piece in source:
            if not isinstance(piece, Completion):
                shown.append(piece)
                yield piece
    except GeneratorExit:
        try:
            _save(save, turn, "".join(shown))
        except StoreClosedError:  # the reader outlived the memory
            log.warning("a reply that was left early is not remembered: the memory is closed")
        raise
    _save(save, turn, "".join(shown))


def _unanswered(messages: Sequence[Message]) -> list[Message]:
    """The user's messages at the end. Raises ``InputError`` if there are none, or no messages."""
    new: list[Message] = []
    for message in reversed(messages):
        if (message.get("role") or "user") != "user":
            break
        new.insert(0, message)
    if not new:
        raise InputError("messages must end with a message whose role is 'user'")
    return new


def _text(message: Message) -> str:
    """The text of any message, instructions included, whatever form its content has."""
    return clean_text(text_of(message.get("content"), "a message"))


def _with_memory(
    prompt: list[dict[str, str]], context: Context, now: datetime
) -> list[dict[str, str]]:
    """One system message in first place, since many chat templates accept no other."""
    memory = load("chat").system.substitute(today=format_day(now), memory=context.text)
    if prompt[0]["role"] in ("system", "developer"):
        head, rest = prompt[0], prompt[1:]
        return [{**head, "content": f"{head['content']}\n\n{memory}"}, *rest]
    return [{"role": "system", "content": memory}, *prompt]


def _save(save: Save, turn: _Turn, text: str) -> None:
    if text.strip():
        reply = {"role": "assistant", "content": text, "timestamp": datetime.now(UTC)}
        save([*turn.new, reply])
