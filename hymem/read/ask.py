"""Questions answered from memory, and context for the app's own prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from hymem.cost.ledger import Ledger, Meter
from hymem.errors import BudgetError, InputError, LLMError
from hymem.prompts import load
from hymem.read.query import Query
from hymem.read.recall import NOT_FOUND_NOTE, raw_context, recall
from hymem.read.retrieve import Retriever, as_hits
from hymem.read.rounds import Inquiry, Outcome
from hymem.read.tiers import select
from hymem.text.block import Rendered
from hymem.types import LLM, NOT_FOUND, Answer, Budget, Context, Scope

_STAGES = ("light", "select", "deep", "reflect")


class Answerer(Protocol):
    """Who answers: a model, or rules."""

    def answer(self, query: Query, meter: Meter) -> Answer:
        """The answer with its evidence and cost, whose calls ``meter`` counts."""


class ModelAnswerer:
    """Answers with ``llm``, round by round. When a budget is reached, or the model fails in a later
    round, the best answer so far comes back."""

    def __init__(self, retriever: Retriever, llm: LLM) -> None:
        self._retriever, self._llm = retriever, llm

    def answer(self, query: Query, meter: Meter) -> Answer:
        """Raises ``LLMError``, ``PriceError``, and ``BudgetError`` when no answer fits the
        budget."""
        return _run(Inquiry(query, self._retriever, self._llm, meter))


class Asker:
    """Recalls and answers from one store: recalls without a model, unless ``llm`` is to choose what
    is read, and answers with ``answerer``. Safe to use from several threads."""

    def __init__(
        self, retriever: Retriever, answerer: Answerer, llm: LLM | None, ledger: Ledger
    ) -> None:
        self._retriever, self._answerer = retriever, answerer
        self._llm, self._ledger = llm, ledger

    def recall(
        self,
        query: Query,
        *,
        max_tokens: int,
        strict: bool = False,
        adaptive: bool = False,
        deep: Literal["llm"] | None = None,
        meter: Meter | None = None,
    ) -> Context:
        """A block of at most ``max_tokens``; see ``HyMem.recall``. No model is called unless
        ``deep="llm"``: then one call chooses what the deep tier reads. ``meter``: that of a larger
        request that this is part of.

        Raises ``InputError`` for ``deep="llm"`` without a model, ``LLMError``, ``BudgetError``.
        """
        if deep not in (None, "llm"):
            raise InputError(f"deep is {deep!r}; pass 'llm' or None")
        if deep == "llm" and self._llm is None:
            raise InputError('deep="llm" needs a model, and none is configured')
        meter = meter or self._meter(query.scope, None)
        with meter.charging():
            query = self._retriever.encoded(query)
            found = recall(
                self._retriever, query, max_tokens=max_tokens, strict=strict, adaptive=adaptive
            )
            block, trace = found.block, found.trace
            if found.tier == "deep" and deep == "llm" and self._llm is not None:
                llm = meter.llm(self._llm, "select", "deep")
                block = self._chosen(llm, query, max_tokens, trace)
        evidence = as_hits(block.used, found.retrieval.hits)
        return Context(
            block.text,
            evidence,
            block.tokens,
            found.tier,
            meter.usage,
            trace,
            found.retrieval.found,
            found.retrieval.confidence,
        )

    def ask(self, query: Query, budget: Budget | None = None) -> Answer:
        """The answer with its evidence and cost; see ``HyMem.ask``. Raises as ``answerer`` does."""
        return self._answerer.answer(query, self._meter(query.scope, budget))

    def _chosen(self, llm: LLM, query: Query, max_tokens: int, trace: dict[str, Any]) -> Rendered:
        """The raw text behind the hits that the model chooses."""
        retrieval = self._retriever.retrieve(query, self._retriever.config.n)
        chosen = select(llm, query, retrieval.hits, self._retriever.config)
        trace["selected"] = [hit.id for hit in chosen.hits]
        trace["unknown_selected"] = chosen.unknown
        note = "" if trace["found"] else NOT_FOUND_NOTE
        return raw_context(self._retriever.store, query, chosen.hits, max_tokens, note)

    def _meter(self, scope: Scope, budget: Budget | None) -> Meter:
        config = self._retriever.config
        own = config.question_budget if budget is None else budget
        return self._ledger.meter(scope, own, config.scope_budget)


def _run(inquiry: Inquiry) -> Answer:
    """The last answer there was: it knew what the earlier rounds had learned. A round that finds
    none does not take back an earlier one's."""
    outcome: Outcome | None = None
    trace: dict[str, Any] = {"rounds": inquiry.rounds, "prompts": _versions()}
    reached = False
    try:
        for latest in inquiry.outcomes():
            if outcome is None or latest.reading.enough or not outcome.reading.enough:
                outcome = latest
    except BudgetError:
        if outcome is None:
            raise
        reached = True
    except LLMError as error:
        if outcome is None:
            raise
        trace["error"] = str(error)  # an answer in hand is worth more than none
    mode = inquiry.llm.model
    if outcome is None:
        usage = inquiry.meter.usage
        return Answer(NOT_FOUND, (), 0, "none", mode, usage, found=False, trace=trace)
    reading = outcome.reading
    return Answer(
        text=reading.text or NOT_FOUND,
        evidence=as_hits(reading.sources, outcome.hits),
        tokens=reading.block.tokens,
        tier=outcome.tier,
        mode=mode,
        usage=inquiry.meter.usage,
        found=reading.enough,
        budget_reached=reached,
        trace=trace,
    )


def _versions() -> Mapping[str, int]:
    return {stage: load(stage).version for stage in _STAGES}
