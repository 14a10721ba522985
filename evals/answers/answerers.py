"""Who answers: a model that reads a system's context, or HyMem itself; and what each call cost.

All context systems are read under one prompt, so that their rows differ by their contexts alone.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from evals.answers.records import Build, Record
from evals.data.history import History
from evals.data.loaders import DataError
from evals.data.tasks import Question
from evals.systems.hymem import Memory, System

if TYPE_CHECKING:
    from hymem import HyMem
    from hymem.cost.prices import Prices
    from hymem.types import LLM, Completion, Config, Encoder

PROMPT_VERSION = 1
OFFLINE = "offline"
READ_HITS = 30
# How LOCOMO's score recognises that an answer was declined.
NOT_MENTIONED = "not mentioned"
_SYSTEM = (
    "You answer a question about conversations that took place in the past. Excerpts of them, or "
    "notes taken from them, come first; the date above a line is the day on which it was said. "
    'Use them alone. Work out dates that are told relative to the day of the line ("last week") '
    "and give the calendar date. Answer in as few words as the question allows, without a "
    "sentence around it. If the excerpts do not hold the answer, say: not mentioned."
)


class Answerer(Protocol):
    """Loads a history, then answers questions about it."""

    @property
    def name(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...
    @property
    def build_is_free(self) -> bool:
        """Whether loading a history costs nothing, so that it may be done ahead."""
        ...

    def load(self, history: History) -> Reader: ...
    def bound(self, history: History) -> tuple[int, int]:
        """Input and output tokens that one question will hardly exceed, to reserve money for."""
        ...


class Reader(Protocol):
    """One history, ready for questions. ``build`` is what loading it cost."""

    @property
    def build(self) -> Build: ...
    def answer(self, question: Question) -> Record:
        """Raises ``HyMemError`` when the model failed for good."""
        ...

    def close(self) -> None: ...


def answer_messages(context: str, question: Question) -> list[dict[str, str]]:
    """The prompt of every context system."""
    asked = f"Today is {question.asked:%A} {question.asked.day} {question.asked:%B %Y}."
    body = f"{context or 'No excerpt was found.'}\n\n{asked}\nQuestion: {question.text}"
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": body}]


def full_tokens(history: History) -> int:
    """Tokens of all that was said, with the speakers' names."""
    from hymem.text.tokens import count_many

    return sum(count_many([f"{item.speaker}: {item.text}" for item in history.messages]))


# -- a model reads a context ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ContextAnswerer:
    """A system's context, and one model call that reads it."""

    system: System
    llm: LLM
    prices: Prices
    budget: int
    build_is_free = True

    @property
    def name(self) -> str:
        return self.system.name

    @property
    def model(self) -> str:
        return self.llm.model

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"budget": self.budget, "answer prompt": PROMPT_VERSION}

    def load(self, history: History) -> ContextReader:
        return ContextReader(self, history)

    def bound(self, history: History) -> tuple[int, int]:
        context = full_tokens(history) if self.system.name == "full context" else self.budget
        return round(1.4 * context) + 500, 500


class ContextReader:
    def __init__(self, answerer: ContextAnswerer, history: History) -> None:
        started = time.perf_counter()
        self._answerer = answerer
        self._memory: Memory = answerer.system.load(history)
        self._full = full_tokens(history)
        self.build = Build(history.id, {}, time.perf_counter() - started)

    def answer(self, question: Question) -> Record:
        started = time.perf_counter()
        recalled = self._memory.recall(question.text, self._answerer.budget)
        llm = self._answerer.llm
        asked = time.perf_counter()
        messages = answer_messages(recalled.text, question)
        done = llm.complete(messages)
        ended = time.perf_counter()
        spent = call_usage(self._answerer.prices, llm, done, messages, ended - asked)
        return Record(
            question=question.id,
            group=question.group,
            answer=str(done.value).strip(),
            context=recalled.text,
            context_tokens=recalled.tokens,
            full_tokens=self._full,
            tier=recalled.tier,
            mode=llm.model,
            usage={"answer": spent},
            seconds=ended - started,
        )

    def close(self) -> None:
        self._memory.close()


def call_usage(
    prices: Prices,
    llm: LLM,
    done: Completion,
    messages: Sequence[Mapping[str, str]],
    seconds: float,
) -> dict[str, Any]:
    """One call as usage: the endpoint's own tokens, or ours marked ``estimated``."""
    from hymem.text.tokens import count_many

    sent, said = done.input_tokens, done.output_tokens
    estimated = sent is None or said is None
    if sent is None:
        sent = sum(count_many([message["content"] for message in messages]))
    if said is None:
        said = sum(count_many([done.text]))
    cached = done.cached_tokens or 0
    return {
        "calls": 1,
        "input_tokens": sent,
        "output_tokens": said,
        "cached_tokens": cached,
        "usd": prices.usd(done.model, getattr(llm, "base_url", None), sent, said, cached),
        "seconds": seconds,
        "estimated": estimated,
    }


# -- HyMem answers -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HyMemAnswerer:
    """HyMem's own ``ask``: with ``llm`` its tiers, gate and reflection, and units that the model
    extracted; without, its extractive rules. Stores are kept in ``folder``, each model's and
    configuration's apart, so that an interrupted run does not pay twice for extraction."""

    name: str
    encoder: Encoder
    config: Config
    folder: Path
    llm: LLM | None = None
    prices: Mapping[str, tuple[float, float]] | None = None
    session_events: bool = False

    @property
    def model(self) -> str:
        return OFFLINE if self.llm is None else self.llm.model

    @property
    def build_is_free(self) -> bool:
        return self.llm is None

    @property
    def settings(self) -> Mapping[str, Any]:
        return {
            "encoder": self.encoder.version,
            "config": asdict(self.config),
            "session events": self.session_events,
        }

    @property
    def stores(self) -> Path:
        """Where this model's stores under this configuration are."""
        made_by = json.dumps([self.model, self.settings], sort_keys=True, default=str)
        return self.folder / hashlib.sha256(made_by.encode()).hexdigest()[:12]

    def load(self, history: History) -> HyMemReader:
        return HyMemReader(self, history)

    def bound(self, history: History) -> tuple[int, int]:
        rounds = self.config.max_rounds
        one = self.config.light_tokens + 2 * self.config.deep_tokens + 3000
        return round(1.4 * rounds * one), 1500 * rounds


class HyMemReader:
    def __init__(self, answerer: HyMemAnswerer, history: History) -> None:
        from evals.systems.hymem import SessionEvents, as_messages
        from hymem import HyMem

        started = time.perf_counter()
        answerer.stores.mkdir(parents=True, exist_ok=True)
        self._history = history
        self._full = full_tokens(history)
        self._memory: HyMem = HyMem(
            answerer.stores / f"{history.id}.db",
            llm=answerer.llm,
            encoder=answerer.encoder,
            config=answerer.config,
            prices=answerer.prices,
            segmenter=SessionEvents() if answerer.session_events else None,
            background=False,
        )
        self._memory.add(as_messages(history), user_id=history.id)
        status = self._memory.flush(user_id=history.id)
        seconds = time.perf_counter() - started
        failed = sum(status.events.values()) - status.events.get("done", 0)
        self.build = Build(history.id, self._built(), seconds, failed)

    def answer(self, question: Question) -> Record:
        from hymem.types import NOT_FOUND

        done = self._memory.ask(question.text, user_id=self._history.id, now=question.asked)
        shown = "\n".join(
            f"[{hit.time:%d %B %Y}] {hit.text}" if hit.time else hit.text for hit in done.evidence
        )
        return Record(
            question=question.id,
            group=question.group,
            answer=NOT_MENTIONED if done.text == NOT_FOUND else done.text,
            context=shown,
            context_tokens=done.tokens,
            full_tokens=self._full,
            tier=done.tier,
            rounds=max(len(done.trace.get("rounds", ())), 1),
            found=done.found,
            mode=done.mode,
            usage={stage: asdict(spent) for stage, spent in done.usage.by_stage.items()},
            seconds=done.usage.seconds,
        )

    def close(self) -> None:
        self._memory.close()

    def _built(self) -> dict[str, dict[str, Any]]:
        """What this store has cost to build so far, by stage, earlier runs included: calls for
        questions have a tier, these have none."""
        rows = self._memory.costs(by=("stage", "tier"), user_id=self._history.id)
        return {
            row["stage"]: {key: row[key] for key in row if key not in ("stage", "tier")}
            for row in rows
            if row["tier"] == "none"
        }


# -- no model at all -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OfflineAnswerer:
    """A ranking system read by HyMem's extractive rules: a floor, and labelled so."""

    system: System
    encoder: Encoder
    model = OFFLINE
    build_is_free = True

    @property
    def name(self) -> str:
        return self.system.name

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"read hits": READ_HITS}

    def load(self, history: History) -> OfflineReading:
        return OfflineReading(self, history)

    def bound(self, history: History) -> tuple[int, int]:
        return 0, 0


class OfflineReading:
    def __init__(self, answerer: OfflineAnswerer, history: History) -> None:
        started = time.perf_counter()
        self._encoder = answerer.encoder
        self._messages = {message.id: message for message in history.messages}
        self._memory = answerer.system.load(history)
        self._full = full_tokens(history)
        self.build = Build(history.id, {}, time.perf_counter() - started)

    def answer(self, question: Question) -> Record:
        from hymem.offline import OfflineReader
        from hymem.text.tokens import count_many
        from hymem.types import Hit

        started = time.perf_counter()
        ranked = self._memory.rank(question.text, READ_HITS)
        if not ranked:
            raise DataError("a system that ranks nothing cannot be read offline: use a model")
        found = [self._messages[message] for message in ranked]
        hits = [
            Hit(place, "turn", item.text, item.time, 0.0, (place,), item.speaker, item.session)
            for place, item in enumerate(found)
        ]
        done = OfflineReader(self._encoder.encode).answer(question.text, hits, question.asked)
        return Record(
            question=question.id,
            group=question.group,
            answer=done.text or NOT_MENTIONED,
            context="\n".join(f"{hit.speaker}: {hit.text}" for hit in hits),
            context_tokens=sum(count_many([hit.text for hit in hits])),
            full_tokens=self._full,
            found=done.found,
            mode=OFFLINE,
            seconds=time.perf_counter() - started,
        )

    def close(self) -> None:
        self._memory.close()


# -- counting without paying ---------------------------------------------------------------------


class CountingLLM:
    """Answers nothing of use, counts what it is sent, costs nothing: for predicting a bill.

    Every reply says that the answer was found, so that a gate which asks the model stays light.
    """

    def __init__(self, model: str, base_url: str | None) -> None:
        self.model, self.base_url = model, base_url
        self.input_tokens = 0
        self.calls = 0

    def complete(
        self, messages: Sequence[Mapping[str, str]], schema: type[Any] | None = None
    ) -> Completion:
        from hymem.text.tokens import count_many
        from hymem.types import Completion

        sent = sum(count_many([message["content"] for message in messages]))
        self.input_tokens += sent
        self.calls += 1
        value = "counted" if schema is None else _plausible(schema)
        return Completion(value, "counted", self.model, sent, 0, 0)

    def stream(self, messages: Sequence[Mapping[str, str]]) -> Any:
        yield self.complete(messages)


def _plausible(schema: type[Any]) -> Any:
    values = {
        "answer": "counted",
        "enough": True,
        "certain": True,
        "good": True,
        "sources": [1],
        "numbers": list(range(1, 9)),
        "statements": [],
        "starts": [],
    }
    return schema(**{name: values[name] for name in schema.model_fields if name in values})


def uncapped(config: Config) -> Config:
    """``config`` without caps in dollars: nothing is paid while counting."""
    from hymem.types import Budget

    return replace(config, question_budget=Budget(), scope_budget=Budget())
