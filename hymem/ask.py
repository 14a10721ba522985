"""Questions answered from memory, with a model or without, and context for the app's own prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from hymem.context import Rendered
from hymem.cost import Ledger, Meter
from hymem.deep import raw_context
from hymem.encoders.rows import encode
from hymem.errors import BudgetError, InputError, LLMError
from hymem.keys import unit_key
from hymem.offline import NOTHING, SURE, OfflineReader
from hymem.passages import excerpt
from hymem.prompts import load
from hymem.recall import choose_tier, recall
from hymem.retrieve import Retriever, as_known
from hymem.rounds import Inquiry, Outcome
from hymem.select import select
from hymem.stores.base import Store
from hymem.tokens import count_many
from hymem.types import LLM, Answer, Budget, Config, Context, Encoder, Filter, Hit, Scope, Turn

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
        self,
        store: Store,
        retriever: Retriever,
        llm: LLM | None,
        ledger: Ledger,
        config: Config,
        encoder: Encoder,
    ) -> None:
        self._store, self._retriever, self._llm = store, retriever, llm
        self._ledger, self._config = ledger, config
        self._reader = OfflineReader(
            lambda texts: encode(encoder, [unit_key(text, encoder.max_tokens) for text in texts])
        )

    def recall(
        self,
        scope: Scope,
        question: str,
        *,
        max_tokens: int,
        strict: bool = False,
        adaptive: bool = False,
        where: Filter | None = None,
        deep: Literal["llm"] | None = None,
        now: datetime | None = None,
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
        meter = meter or self._meter(scope, None)
        with meter.charging():
            found = recall(
                self._store,
                self._retriever,
                self._config,
                scope,
                question,
                max_tokens=max_tokens,
                strict=strict,
                adaptive=adaptive,
                where=where,
                now=now,
            )
            block, trace = found.block, found.trace
            if found.tier == "deep" and deep == "llm" and self._llm is not None:
                llm = meter.llm(self._llm, "select", "deep")
                block = self._chosen(llm, scope, question, max_tokens, where, now, trace)
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

    def ask(
        self,
        scope: Scope,
        question: str,
        *,
        where: Filter | None = None,
        budget: Budget | None = None,
        now: datetime | None = None,
    ) -> Answer:
        """The answer with its evidence and cost; see ``HyMem.ask``. When a budget is reached, or
        the model fails in a later round, the best answer so far comes back.

        Raises ``LLMError``, ``PriceError``, and ``BudgetError`` when no answer fits the budget.
        """
        meter, now = self._meter(scope, budget), now or datetime.now().astimezone()
        if self._llm is None:
            return self._ask_offline(meter, scope, question, where, now)
        inquiry = Inquiry(
            self._store,
            self._retriever,
            self._llm,
            self._config,
            meter,
            scope,
            question,
            where,
            now,
        )
        return _run(inquiry)

    def _ask_offline(
        self, meter: Meter, scope: Scope, question: str, where: Filter | None, now: datetime
    ) -> Answer:
        """Extractive answering: there is no judge, so no reflection and no second round.

        The light tier reads the best ``k`` hits. Where these do not tell, or one passage cannot,
        the deep tier reads twice ``n``, because rules read for nothing, and the current facts of
        the kind asked for. Where retrieval found nothing, only a sure answer counts, unless
        several passages bear it: retrieval judges by the best one.
        """
        config, as_of = self._config, where.as_of if where else None
        with meter.charging():
            retrieval = self._retriever.retrieve(
                scope, question, limit=2 * config.n, where=where, now=now
            )
            tier, trace = choose_tier(retrieval, config)
            several = self._reader.needs_several(question)
            if config.deep and (several or not retrieval.found):
                tier = "deep"
            hits: Sequence[Hit] = ()
            answer = NOTHING
            if tier == "light":
                hits = self._with_turns(scope, retrieval.hits[: config.k], as_of)
                answer = self._reader.answer(question, hits, now)
            if tier == "deep" or (tier == "light" and config.deep and not answer.found):
                tier = "deep"
                facts = self._facts(scope, question, where)
                hits = self._with_turns(scope, (*retrieval.hits, *facts), as_of)
                answer = self._reader.answer(question, hits, now)
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

    def _facts(self, scope: Scope, question: str, where: Filter | None) -> list[Hit]:
        """The units of the changing fact that the question asks for which hold now, or held at
        ``where.as_of``."""
        keys = self._reader.fact_keys(question)
        current = self._store.current_facts(scope, keys, where=where) if keys else {}
        return [
            Hit(unit.id, "unit", unit.text, unit.time, 0.0, unit.source_turns, "", unit.session_id)
            for units in current.values()
            for unit in units
        ]

    def _with_turns(
        self, scope: Scope, hits: Sequence[Hit], as_of: datetime | None
    ) -> Sequence[Hit]:
        """Behind each unit the turns that it rests on: rules need the words as they were said. Of
        a long one its best passages."""
        wanted = dict.fromkeys(id for hit in hits for id in hit.source_turns)
        items: dict[int, Hit | Turn] = {
            turn.id: turn for turn in self._store.turns(scope, list(wanted))
        }
        items |= {hit.id: hit for hit in hits}
        order = dict.fromkeys(id for hit in hits for id in (hit.id, *hit.source_turns))
        found: Sequence[Hit] = as_hits([items[id] for id in order if id in items], hits)
        if as_of is not None:
            found = as_known(self._store, scope, found, as_of)
        return [excerpt(hit, READ_TOKENS) for hit in found]

    def _chosen(
        self,
        llm: LLM,
        scope: Scope,
        question: str,
        max_tokens: int,
        where: Filter | None,
        now: datetime | None,
        trace: dict[str, Any],
    ) -> Rendered:
        """The raw text behind the hits that the model chooses."""
        retrieval = self._retriever.retrieve(
            scope, question, limit=self._config.n, where=where, now=now
        )
        chosen = select(
            llm, question, retrieval.hits, self._config, now or datetime.now().astimezone()
        )
        trace["selected"] = [hit.id for hit in chosen.hits]
        trace["unknown_selected"] = chosen.unknown
        return raw_context(self._store, scope, chosen.hits, max_tokens, where)

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
