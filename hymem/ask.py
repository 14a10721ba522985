"""Questions answered from memory, with a model or without, and context for the app's own prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from hymem.context import Rendered
from hymem.cost import Ledger, Meter
from hymem.encoders.rows import encode
from hymem.errors import BudgetError, InputError, LLMError
from hymem.keys import unit_key
from hymem.offline import NOTHING, SURE, OfflineReader
from hymem.passages import excerpt
from hymem.prompts import load
from hymem.query import Query
from hymem.recall import choose_tier, raw_context, recall
from hymem.retrieve import Retriever, as_known
from hymem.rounds import Inquiry, Outcome
from hymem.tiers import select
from hymem.tokens import count_many
from hymem.types import LLM, Answer, Budget, Config, Context, Encoder, Hit, Scope, Turn

NOT_FOUND = "The memory does not say."
_STAGES = ("light", "select", "deep", "reflect")
# So much of a long text the rules read: eight passages.
READ_TOKENS = 1024


class Asker:
    """Answers questions from one store. Without ``llm`` it answers by rules, for which it compares
    sentences with ``encoder``; ``Answer.mode`` is then ``offline``.

    Safe to use from several threads. Raises ``InputError`` when ``config`` switches both tiers off.
    """

    def __init__(
        self, retriever: Retriever, llm: LLM | None, ledger: Ledger, encoder: Encoder
    ) -> None:
        self._retriever, self._llm, self._ledger = retriever, llm, ledger
        self._reader = OfflineReader(
            lambda texts: encode(encoder, [unit_key(text, encoder.max_tokens) for text in texts])
        )

    @property
    def _config(self) -> Config:
        return self._retriever.config

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
        """The answer with its evidence and cost; see ``HyMem.ask``. When a budget is reached, or
        the model fails in a later round, the best answer so far comes back.

        Raises ``LLMError``, ``PriceError``, and ``BudgetError`` when no answer fits the budget.
        """
        meter = self._meter(query.scope, budget)
        if self._llm is None:
            return self._ask_offline(meter, query)
        return _run(Inquiry(query, self._retriever, self._llm, meter))

    def _ask_offline(self, meter: Meter, query: Query) -> Answer:
        """Extractive answering: there is no judge, so no reflection and no second round.

        The light tier reads the best ``k`` hits. Where these do not tell, or one passage cannot,
        the deep tier reads twice ``n``, because rules read for nothing, and the current facts of
        the kind asked for. Where retrieval found nothing, only a sure answer counts, unless
        several passages bear it: retrieval judges by the best one.
        """
        config, question = self._config, query.text
        with meter.charging():
            retrieval = self._retriever.retrieve(query, 2 * config.n)
            tier, trace = choose_tier(retrieval, config)
            several = self._reader.needs_several(question)
            if config.deep and (several or not retrieval.found):
                tier = "deep"
            hits: Sequence[Hit] = ()
            answer = NOTHING
            if tier == "light":
                hits = self._with_turns(query, retrieval.hits[: config.k])
                answer = self._reader.answer(question, hits, query.now)
            if tier == "deep" or (tier == "light" and config.deep and not answer.found):
                tier = "deep"
                facts = self._facts(query)
                hits = self._with_turns(query, (*retrieval.hits, *facts))
                answer = self._reader.answer(question, hits, query.now)
        if not retrieval.found and not several and answer.confidence < SURE:
            tier, hits, answer = "none", (), NOTHING
        by_id = {hit.id: hit for hit in hits}
        return Answer(
            text=answer.text or NOT_FOUND,
            evidence=tuple(by_id[item] for item in answer.evidence),
            tokens=sum(count_many([hit.text for hit in hits])),
            tier=tier,
            mode="offline",
            usage=meter.usage,
            found=answer.found,
            trace=trace,
        )

    def _facts(self, query: Query) -> list[Hit]:
        """The units of the changing fact that the question asks for which hold now, or held at
        the moment whose memory is asked for."""
        store, keys = self._retriever.store, self._reader.fact_keys(query.text)
        current = store.current_facts(query.scope, keys, where=query.where) if keys else {}
        return [
            Hit(unit.id, "unit", unit.text, unit.time, 0.0, unit.source_turns, "", unit.session_id)
            for units in current.values()
            for unit in units
        ]

    def _with_turns(self, query: Query, hits: Sequence[Hit]) -> Sequence[Hit]:
        """Behind each unit the turns that it rests on: rules need the words as they were said. Of
        a long one its best passages."""
        wanted = dict.fromkeys(id for hit in hits for id in hit.source_turns)
        items: dict[int, Hit | Turn] = {
            turn.id: turn for turn in self._retriever.store.turns(query.scope, list(wanted))
        }
        items |= {hit.id: hit for hit in hits}
        order = dict.fromkeys(id for hit in hits for id in (hit.id, *hit.source_turns))
        said = as_hits([items[id] for id in order if id in items], hits)
        found = as_known(self._retriever.store, query, said)
        return [excerpt(hit, READ_TOKENS) for hit in found]

    def _chosen(self, llm: LLM, query: Query, max_tokens: int, trace: dict[str, Any]) -> Rendered:
        """The raw text behind the hits that the model chooses."""
        retrieval = self._retriever.retrieve(query, self._config.n)
        chosen = select(llm, query, retrieval.hits, self._config)
        trace["selected"] = [hit.id for hit in chosen.hits]
        trace["unknown_selected"] = chosen.unknown
        return raw_context(self._retriever.store, query, chosen.hits, max_tokens)

    def _meter(self, scope: Scope, budget: Budget | None) -> Meter:
        own = self._config.question_budget if budget is None else budget
        return self._ledger.meter(scope, own, self._config.scope_budget)


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


def as_hits(items: Sequence[Hit | Turn], found: Sequence[Hit]) -> tuple[Hit, ...]:
    """Turns as hits: with the score of the best hit that rests on them, else 0 (they came along as
    context)."""
    scores: dict[int, float] = {}
    for hit in found:
        for turn in hit.source_turns:
            scores[turn] = max(scores.get(turn, 0.0), hit.score)
    return tuple(
        item
        if isinstance(item, Hit)
        else Hit(
            item.id,
            "turn",
            item.text,
            item.time,
            scores.get(item.id, 0.0),
            (item.id,),
            item.speaker,
            item.session_id,
        )
        for item in items
    )


def _versions() -> Mapping[str, int]:
    return {stage: load(stage).version for stage in _STAGES}
