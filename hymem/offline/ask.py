"""Answers with no language model: rules read what retrieval found, first lightly, then deeply."""

from __future__ import annotations

from collections.abc import Sequence

from hymem.cost.ledger import Meter
from hymem.encoders.unit_rows import encode
from hymem.offline.reader import NOTHING, SURE, OfflineReader
from hymem.read.query import Query
from hymem.read.recall import choose_tier
from hymem.read.retrieve import Retriever, as_hits, as_known, unit_hit
from hymem.text.keys import unit_key
from hymem.text.passages import excerpt
from hymem.text.tokens import count_many
from hymem.types import NOT_FOUND, Answer, Encoder, Hit, Turn

# So much of a long text the rules read: eight passages.
READ_TOKENS = 1024


class OfflineAnswerer:
    """Extractive answering: there is no judge, so no reflection and no second round. Sentences are
    compared with ``encoder``. Safe to use from several threads."""

    def __init__(self, retriever: Retriever, encoder: Encoder) -> None:
        self._retriever = retriever
        self._reader = OfflineReader(
            lambda texts: encode(encoder, [unit_key(text, encoder.max_tokens) for text in texts])
        )

    def answer(self, query: Query, meter: Meter) -> Answer:
        """The answer with its evidence; ``Answer.mode`` is ``offline``.

        The light tier reads the best ``k`` hits. Where these do not tell, or one passage cannot,
        the deep tier reads twice ``n``, because rules read for nothing, and the current facts of
        the kind asked for. Where retrieval found nothing, only a sure answer counts, unless
        several passages bear it: retrieval judges by the best one.
        """
        config, question = self._retriever.config, query.text
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
        return [unit_hit(unit, 0.0) for units in current.values() for unit in units]

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
