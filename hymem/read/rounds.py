"""One question's rounds through the tiers of arXiv 2602.13933, with a model: light module, gate,
deep module, reflection.

Model calls of a round: 1 on the light path; on the deep path 3 where the model itself is the gate,
2 where the score is; 1 more for the reflection that decides on a further round. An answer that the
model is certain of is spared reflection only where no gate doubted it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hymem.cost.ledger import Meter
from hymem.read.gate import decide
from hymem.read.query import Query
from hymem.read.recall import raw_context
from hymem.read.reflect import Judgement, judge
from hymem.read.retrieve import Retrieval, Retriever
from hymem.read.tiers import Reading, read, read_light, select
from hymem.text.block import render
from hymem.types import LLM, Config, Hit, Tier


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one round came to. ``final``: a further round could not do better."""

    reading: Reading
    tier: Tier
    hits: tuple[Hit, ...]
    final: bool


@dataclass(slots=True)
class Inquiry:
    """A question on its way.

    Rewritten wordings are searched for, but it is always ``query`` that the tiers answer, from what
    they find and from ``learned``, the buffer that reflection fills. ``rounds`` records what
    each round saw and did, for ``Answer.trace``.
    """

    query: Query
    retriever: Retriever
    llm: LLM
    meter: Meter
    learned: list[str] = field(default_factory=list)
    rounds: list[dict[str, Any]] = field(default_factory=list)

    @property
    def _config(self) -> Config:
        return self.retriever.config

    def outcomes(self) -> Iterator[Outcome]:
        """One per round, until the answer is settled, the rounds are used up, or reflection has
        nothing new to ask. None when there is nothing to read.

        Raises ``LLMError`` and ``BudgetError``.
        """
        wording, asked = self.query.text, set[str]()
        limit = self._config.max_rounds if self._config.reflection else 1
        for number in range(1, limit + 1):
            asked.add(_normal(wording))
            outcome = self._round(wording, first=number == 1)
            if outcome is None:
                return
            yield outcome
            if outcome.final or number == limit:
                return
            verdict = self._reflect(outcome)
            if verdict.good or not verdict.question or _normal(verdict.question) in asked:
                return
            self.learned += [note for note in verdict.learned if note not in self.learned]
            wording = verdict.question

    def _round(self, wording: str, *, first: bool) -> Outcome | None:
        with self.meter.charging():
            retrieval = self.retriever.retrieve(self.query.reworded(wording), self._config.n)
        self.rounds.append(
            {"question": wording, "hits": len(retrieval.hits), "found": retrieval.found}
        )
        if not retrieval.hits:
            return None
        if self._begins_light(retrieval, first):
            reading = self._read_light(retrieval)
            if reading.enough or not self._may_escalate(retrieval):
                return _outcome(reading, "light", retrieval, doubted=not retrieval.found)
        doubted = first and self._config.light
        return _outcome(self._read_deep(wording, retrieval), "deep", retrieval, doubted=doubted)

    def _begins_light(self, retrieval: Retrieval, first: bool) -> bool:
        if not self._config.light or not self._config.deep:
            return self._config.light
        if not first:  # what the light tier can tell has been told
            return False
        if self._config.gate == "llm" or not retrieval.found:
            return True
        decision = decide(retrieval)
        self.rounds[-1] |= {"score": decision.score, "threshold": decision.threshold}
        return decision.tier != "deep"

    def _may_escalate(self, retrieval: Retrieval) -> bool:
        """After "not enough": the deep tier follows if the model is the gate, and if there is
        anything to the question in memory at all."""
        return self._config.deep and self._config.gate != "score" and retrieval.found

    def _read_light(self, retrieval: Retrieval) -> Reading:
        llm = self.meter.llm(self.llm, "light", "light")
        reading = read_light(llm, self.query, retrieval.hits, self._config, self.learned)
        self._note("light", reading)
        return reading

    def _read_deep(self, wording: str, retrieval: Retrieval) -> Reading:
        llm = self.meter.llm(self.llm, "select", "deep")
        query = self.query.reworded(wording)
        chosen = select(llm, query, retrieval.hits, self._config, self.learned)
        self.rounds[-1] |= {
            "selected": [hit.id for hit in chosen.hits],
            "unknown_selected": chosen.unknown,
        }
        budget = self._config.deep_tokens
        raw = raw_context(self.retriever.store, query, chosen.hits, budget)
        block = render(raw.used, budget, numbered=True)
        llm = self.meter.llm(self.llm, "deep", "deep")
        reading = read(llm, "deep", self.query, block, self.learned)
        self._note("deep", reading)
        return reading

    def _reflect(self, outcome: Outcome) -> Judgement:
        llm = self.meter.llm(self.llm, "reflect", outcome.tier)
        verdict = judge(llm, self.query, outcome.reading, self._config, self.learned)
        self.rounds[-1]["reflection"] = {"good": verdict.good, "question": verdict.question}
        return verdict

    def _note(self, stage: str, reading: Reading) -> None:
        self.rounds[-1][stage] = {
            "enough": reading.enough,
            "certain": reading.certain,
            "context_tokens": reading.block.tokens,
            "unknown_sources": reading.unknown,
        }


def _outcome(reading: Reading, tier: Tier, retrieval: Retrieval, *, doubted: bool) -> Outcome:
    """``doubted``: by a gate, be it retrieval's score or the model's own "not enough"."""
    final = reading.certain and not doubted if reading.enough else not retrieval.found
    return Outcome(reading, tier, retrieval.hits, final)


def _normal(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(" ?.!")
