"""Systems under test behind one small interface, and HyMem in each of its ablations."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from evals.data.history import History
from evals.metrics import verbatim

if TYPE_CHECKING:
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

    from hymem import Config, HyMem
    from hymem.types import Encoder, Hit, Message, Statement, Turn


@dataclass(frozen=True, slots=True)
class Recalled:
    """The context that an answering model would be given.

    ``messages`` are the ids of messages whose full text stands in ``text``; ``cited`` the source
    messages of each unit in it; ``tokens`` its length with everything that it holds.
    """

    text: str
    tokens: int
    messages: frozenset[str]
    cited: tuple[tuple[str, ...], ...] = ()
    tier: str = "none"
    trace: Mapping[str, Any] = field(default_factory=dict)


class Memory(Protocol):
    """One history, loaded into a system."""

    def recall(self, question: str, budget: int) -> Recalled:
        """The context for ``question`` within ``budget`` tokens."""
        ...

    def rank(self, question: str, limit: int) -> list[str]:
        """Message ids, best first, at most ``limit``."""
        ...

    def close(self) -> None: ...


class System(Protocol):
    """A memory system: loads histories, each into a ``Memory`` of its own."""

    @property
    def name(self) -> str: ...

    def load(self, history: History) -> Memory: ...


# -- HyMem ---------------------------------------------------------------------------------------


class GivenFacts:
    """An extractor that hands out the data's own facts instead of extracting some."""

    def __init__(self, history: History) -> None:
        self._facts: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        for fact in history.facts:
            if fact.sources:
                self._facts.setdefault(fact.sources[0], []).append((fact.text, fact.sources))

    def extract(self, events: Sequence[Sequence[Turn]]) -> list[list[Statement]]:
        return [self._statements(turns) for turns in events]

    def _statements(self, turns: Sequence[Turn]) -> list[Statement]:
        from hymem.types import Statement

        place = {turn.source_id: index for index, turn in enumerate(turns)}
        return [
            Statement(text, tuple(place[source] for source in sources if source in place))
            for turn in turns
            for text, sources in self._facts.get(turn.source_id or "", ())
        ]


class SessionEvents:
    """One session = one event, as HyMem's public release segments."""

    def segment(self, turns: Sequence[Turn], vectors: NDArray[np.float32]) -> list[tuple[int, int]]:
        return [(0, len(turns))] if turns else []


@dataclass(frozen=True, slots=True)
class HyMemSystem:
    """HyMem through its public API, without a model unless ``llm`` is given.

    ``given_facts`` takes the data's facts as Level-1 units; ``session_events`` makes each session
    one event; without ``extract`` there are raw turns only.
    """

    name: str
    encoder: Encoder
    config: Config
    given_facts: bool = False
    session_events: bool = False
    extract: bool = True

    def load(self, history: History) -> HyMemMemory:
        from hymem import HyMem

        folder = tempfile.TemporaryDirectory(prefix="hymem-eval-")
        memory = HyMem(
            Path(folder.name) / "memory.db",
            llm=None,
            encoder=self.encoder,
            config=self.config,
            background=False,
            extractor=GivenFacts(history) if self.given_facts else None,
            segmenter=SessionEvents() if self.session_events else None,
        )
        ids = memory.add(
            as_messages(history),
            user_id=history.id,
        )
        if self.extract:
            memory.flush(user_id=history.id)
        return HyMemMemory(memory, history, ids, folder)


def as_messages(history: History) -> list[Message]:
    """The history as ``HyMem.add`` takes it."""
    return [
        {
            "role": message.role,
            "name": message.speaker,
            "content": message.text,
            "timestamp": message.time,
            "id": message.id,
            "session_id": message.session,
        }
        for message in history.messages
    ]


class HyMemMemory:
    """A loaded HyMem store that lives as long as this object is open."""

    def __init__(
        self,
        memory: HyMem,
        history: History,
        ids: Sequence[int],
        folder: tempfile.TemporaryDirectory[str],
    ) -> None:
        self.hymem = memory
        self.user_id = history.id
        self.now = history.now
        self._folder = folder
        self._source = dict(zip(ids, (message.id for message in history.messages), strict=True))
        self._texts = {message.id: message.text for message in history.messages}

    def recall(self, question: str, budget: int, *, adaptive: bool = False) -> Recalled:
        context = self.hymem.recall(
            question,
            user_id=self.user_id,
            max_tokens=budget,
            adaptive=adaptive,
            now=self.now,
        )
        return Recalled(
            context.text,
            context.tokens,
            frozenset(self.verbatim(context.text, context.evidence)),
            tuple(self.sources(hit) for hit in context.evidence if hit.kind == "unit"),
            context.tier,
            context.trace,
        )

    def verbatim(self, text: str, evidence: Sequence[Hit]) -> set[str]:
        """Messages behind ``evidence`` whose full text stands in ``text``. Both are asked for, so
        that a short "Thanks!" does not count because another message holds the word."""
        named = {source for hit in evidence for source in self.sources(hit)}
        return verbatim(text, {source: self._texts[source] for source in named})

    def rank(self, question: str, limit: int, *, as_of: datetime | None = None) -> list[str]:
        """As ``Memory.rank``; with ``as_of``, of memory as it was then, asked then."""
        hits = self.hymem.search(
            question, user_id=self.user_id, limit=limit, now=as_of or self.now, as_of=as_of
        )
        return list(dict.fromkeys(source for hit in hits for source in self.sources(hit)))

    def sources(self, hit: Hit) -> tuple[str, ...]:
        """The message ids behind a hit."""
        return self.messages(hit.source_turns)

    def messages(self, turns: Sequence[int]) -> tuple[str, ...]:
        """The message ids of turns of the store."""
        return tuple(self._source[turn] for turn in turns)

    def close(self) -> None:
        self.hymem.close()
        self._folder.cleanup()


# What each ablation changes in ``Config``.
ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "hymem": {"gate": "score"},
    "light only": {"gate": "score", "deep": False},
    "deep only": {"gate": "score", "light": False},
    "no reflection": {"gate": "score", "reflection": False},
    "no lexical": {"gate": "score", "lexical": False},
    "no raw keys": {"gate": "score", "raw_keys": False},
}


def hymem_systems(
    encoder: Encoder, names: Sequence[str] = tuple(ABLATIONS), *, given_facts: bool = False
) -> list[HyMemSystem]:
    """HyMem in each of the named ablations. Raises ``KeyError`` for an unknown one."""
    from hymem import Config

    suffix = " + observations" if given_facts else ""
    return [
        HyMemSystem(f"{name}{suffix}", encoder, replace(Config(), **ABLATIONS[name]), given_facts)
        for name in names
    ]
