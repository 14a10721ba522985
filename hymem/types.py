"""The data model: small frozen records that every stage shares.

``Turn`` and ``Unit`` live in one id space per database, so an ``id`` names exactly one item.
Times are aware ``datetime``, each with the offset of the place where it was said; what an
application passes may be naive and is then read in the memory's own time zone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal, NotRequired, Protocol, TypedDict, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["turn", "unit"]
Tier = Literal["light", "deep", "none"]
GateMode = Literal["llm", "score", "hybrid"]


class Message(TypedDict):
    """One chat message as an application passes it to ``add`` or ``chat``."""

    role: str
    content: str
    name: NotRequired[str]
    timestamp: NotRequired[datetime | date | str | float]
    id: NotRequired[str]
    session_id: NotRequired[str]
    metadata: NotRequired[Mapping[str, Any]]


class MessageObject(Protocol):
    """A message of another library (OpenAI, LangChain, your own model or dataclass): ``content``
    and ``role``, or LangChain's ``type``, and as far as it has them the fields of ``Message``."""

    @property
    def content(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose memory: the exact pair. ``None`` is a value of its own, never a wildcard."""

    user_id: str | None = None
    agent_id: str | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a long text, ``text[start:end]``, of ``tokens`` tokens by HyMem's own counter."""

    start: int
    end: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Turn:
    """Level-2: one message as it was said, uncompressed.

    ``speaker`` is the message's ``name`` or, failing that, its role. ``position`` counts the turns
    of the scope in the order in which they were added. ``source_id`` is the application's own id.
    ``tokens`` is the length of ``text`` by HyMem's own counter, 0 if it is not known; ``passages``
    are those that a long text was cut into, in order.
    """

    id: int
    role: str
    speaker: str
    text: str
    time: datetime | None = None
    session_id: str = ""
    position: int = 0
    source_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tokens: int = 0
    passages: Sequence[Passage] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Event:
    """A topic-coherent run of turns of one session; what extraction reads in one piece.

    ``overlap`` are those of its ``turns`` that it repeats from the event before: context only.
    ``status``: ``pending`` (waits for extraction), ``leased`` (a worker is at it), ``done``,
    ``failed`` (``error`` says why; it is tried again later and later, at last by ``flush`` alone).
    """

    id: int
    session_id: str
    turns: tuple[int, ...]
    overlap: frozenset[int] = frozenset()
    time: datetime | None = None
    status: Literal["pending", "leased", "done", "failed"] = "pending"
    attempts: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """Level-1: one concise, self-contained, dated statement with its links.

    ``time`` is what the extractor gave, else the event's: when it was said. What happened at
    another time says so in the text, with relative dates resolved. ``metadata`` is that of its
    source turns, without the keys on which they differ.
    ``superseded_by`` names the newer unit that changed this fact; ``duplicate_of`` the unit that
    already said it. Such units stay in the history and are not offered as current facts.
    """

    id: int
    text: str
    time: datetime | None
    event_id: int | None
    source_turns: tuple[int, ...]
    session_id: str = ""
    superseded_by: int | None = None
    duplicate_of: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result. ``score`` is the probability, 0 to 1, that it is evidence for the
    question, calibrated on the development collections of ``evals``; what joined as context has 0.

    ``tokens`` is the length of ``text`` by HyMem's own counter, 0 if it is not known; ``passages``
    are those that a long turn was cut into, in order, and ``best`` the numbers of those that match
    the question, best first.
    """

    id: int
    kind: Kind
    text: str
    time: datetime | None
    score: float
    source_turns: tuple[int, ...]
    speaker: str = ""
    session_id: str = ""
    tokens: int = 0
    passages: Sequence[Passage] = field(default=(), repr=False)
    best: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """Narrows a search inside a scope. Times are inclusive, and a date alone (``date(2026, 3, 2)``
    or ``"2026-03-02"``) means its whole day in the memory's time zone; ``session_id`` is one or
    several.

    ``metadata``: for each key the value it must have, or a dict of operators, all of which must
    hold: ``{"channel": "web", "year": {"gte": 2020, "lt": 2024}, "tag": {"in": ["a", "b"]}}``.
    The operators are ``eq``, ``ne``, ``gt``, ``gte``, ``lt``, ``lte`` (numbers with numbers,
    strings with strings), ``in``, ``nin`` (a list of values) and ``contains`` (the value held is a
    list with this in it). What lacks the key passes ``ne`` and ``nin`` alone. A unit has the
    metadata of all turns it rests on: ``ne`` and ``nin`` must hold for each of these values, the
    others together for one of them.

    ``as_of``: memory as it was at that moment. What was said later does not count, a fact that
    changed later is current again, and a memory that was updated later shows its text of then.
    """

    session_id: str | Collection[str] | None = None
    after: datetime | date | str | float | None = None
    before: datetime | date | str | float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    kind: Kind | None = None
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class StageUsage:
    """What one stage spent. ``usd`` is ``None`` where the model's price is unknown."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    usd: float | None = 0.0
    seconds: float = 0.0
    estimated: bool = False

    def __add__(self, other: StageUsage) -> StageUsage:
        return StageUsage(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
            None if self.usd is None or other.usd is None else self.usd + other.usd,
            self.seconds + other.seconds,
            self.estimated or other.estimated,
        )


@dataclass(frozen=True, slots=True)
class Usage(StageUsage):
    """What one request spent, in total and by stage. ``estimated``: some tokens were counted by us,
    because the endpoint reported none."""

    by_stage: Mapping[str, StageUsage] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """A block of recalled text, ready for a prompt.

    ``text`` is dated, attributed and tagged as recalled; ``tokens`` is its length by HyMem's own
    counter, never over the budget asked for. It holds the best lines there are, empty only for an
    empty memory, a budget too small for one line, or with ``strict``. ``confidence``: the
    probability, 0 to 1, that memory holds anything on the question; ``found``: whether that is
    likely enough. Where it is not, the block itself says so too.
    """

    text: str
    evidence: tuple[Hit, ...]
    tokens: int
    tier: Tier
    usage: Usage
    trace: Mapping[str, Any] = field(default_factory=dict)
    found: bool = True
    confidence: float = 1.0


# What an answer says where the memory holds none.
NOT_FOUND = "The memory does not say."


@dataclass(frozen=True, slots=True)
class Answer:
    """HyMem's own answer.

    ``mode`` names who wrote it: the model's name, or ``offline`` for the extractive rules.
    ``found`` is false when the memory does not hold the answer; ``budget_reached`` tells that a cap
    stopped the search and this is the best answer so far.
    """

    text: str
    evidence: tuple[Hit, ...]
    tokens: int
    tier: Tier
    mode: str
    usage: Usage
    found: bool = True
    budget_reached: bool = False
    trace: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Budget:
    """Caps in tokens (input and output together) or dollars. ``None`` means no cap."""

    tokens: int | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """What a user may turn. The defaults are the ones that the tables were measured with.

    ``k`` Level-1 hits go to the light tier and ``n`` to the deep tier (15 and 30 in
    arXiv 2602.13933's public release). The switches exist for ablations.
    """

    k: int = 15
    n: int = 30
    gate: GateMode = "hybrid"
    max_rounds: int = 2
    light_tokens: int = 1500
    deep_tokens: int = 5000
    lexical: bool = True
    raw_keys: bool = True
    light: bool = True
    deep: bool = True
    reflection: bool = True
    question_budget: Budget = Budget()
    scope_budget: Budget = Budget()


@dataclass(frozen=True, slots=True)
class Statement:
    """What an extractor says about an event, before it is stored as a ``Unit``.

    ``sources`` are indices into the event's turns. ``subject`` and ``attribute`` name a fact that
    can change ("Ana", "home city"), so that a newer statement can supersede an older one.
    """

    text: str
    sources: tuple[int, ...]
    time: datetime | None = None
    subject: str | None = None
    attribute: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """One model reply: ``value`` is the parsed object (the text itself where no schema was given).

    Token counts are ``None`` where the endpoint did not report them.
    """

    value: Any
    text: str
    model: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None


@runtime_checkable
class Encoder(Protocol):
    """Texts to unit vectors. ``version`` changes whenever the vectors would."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """``len(texts)`` strings to ``float32[len(texts), dim]`` with rows of length 1."""
        ...


@runtime_checkable
class TokenCoder(Protocol):
    """What an ``Encoder`` may offer besides, for late interaction: codes of single tokens.

    Where it does, the ids of each memory's tokens are kept (two bytes a token), and a question is
    matched token by token (``hymem.stores.index.maxsim``). An encoder without it works all the
    same.
    """

    @property
    def vocabulary(self) -> str:
        """Name and version of the tokenizer; changes whenever a text's ids would. A store whose ids
        come from another vocabulary counts as one of another encoder."""
        ...

    def token_ids(self, texts: Sequence[str]) -> list[NDArray[np.uint16]]:
        """``uint16[tokens]`` per text, without special tokens; as much of it as the encoder's
        window holds."""
        ...

    def token_codes(self, ids: NDArray[np.uint16]) -> NDArray[np.float32]:
        """``uint16[n]`` to ``float32[n, d]``, rows of length 1 that depend on the id alone. Called
        at every search, with some thousand distinct ids: rows should be kept."""
        ...

    def token_weights(self, ids: NDArray[np.uint16]) -> NDArray[np.float32]:
        """``float32[n]``, 0 or more: how much each token of a question says by itself, "the" little
        and "goalkeeper" much. Only their ratios count; all 1 if nothing is known."""
        ...


class LLM(Protocol):
    """A chat model. Retries, time-outs and structured output are the implementation's business."""

    @property
    def model(self) -> str: ...
    def complete(
        self, messages: Sequence[Mapping[str, str]], schema: type[Any] | None = None
    ) -> Completion:
        """Answer ``messages`` (role and content). With ``schema``, a pydantic model class, the
        reply's ``value`` is an instance of it.

        Raises ``LLMError`` when every retry is spent, ``LLMOutputError`` when the reply cannot be
        brought into the schema."""
        ...

    def stream(self, messages: Sequence[Mapping[str, str]]) -> Any:
        """Yield ``str`` pieces of the reply, then one final ``Completion``."""
        ...


@runtime_checkable
class Segmenter(Protocol):
    """Cuts the turns of one session into events."""

    def segment(self, turns: Sequence[Turn], vectors: NDArray[np.float32]) -> list[tuple[int, int]]:
        """``turns`` in order with one vector each → half-open index ranges, in order, that cover
        all turns; neighbouring ranges may overlap by a turn or two."""
        ...


@runtime_checkable
class Extractor(Protocol):
    """Turns events into Level-1 statements. May be called from several threads at once. With a true
    attribute ``keys_only`` they find turns and are never shown in their place by ``recall``."""

    def extract(
        self, events: Sequence[Sequence[Turn]]
    ) -> Sequence[Sequence[Statement] | Exception]:
        """One list of statements per event, in order. In the place of an event that failed alone
        may stand its error, so that the others keep theirs. Whatever is raised counts for all of
        them: each is then tried again alone. An ``LLMError`` with ``down`` set says that the
        model's endpoint is at fault, not the event."""
        ...


class CallCounter(Protocol):
    """Where a stage's paid calls are counted: in the costs, and against the budgets, of whatever
    request is under way."""

    def ambient_llm(self, llm: LLM, stage: str) -> LLM:
        """``llm``, with every call checked against the caps and counted under ``stage``."""
        ...


@runtime_checkable
class PaidStage(Protocol):
    """For a ``Segmenter`` or ``Extractor`` of your own that calls a model. ``HyMem`` asks it once
    for the copy that it will use; without this method its calls are nobody's costs and stop at no
    budget."""

    def metered(self, counter: CallCounter) -> Any:
        """This stage, with its model replaced by ``counter.ambient_llm(model, "extract")``."""
        ...


@runtime_checkable
class PaidEncoder(Protocol):
    """For an ``Encoder`` of your own whose calls cost money. ``model`` names the price; if there is
    a ``base_url`` too, it names the endpoint."""

    @property
    def model(self) -> str: ...
    def encode_counted(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], int | None]:
        """As ``encode``, and the tokens that the endpoint charged (``None`` if it does not say)."""
        ...
