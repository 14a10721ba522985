"""LOCOMO retrieval: how much of the evidence is in the context, at each token budget.

Protocol: turns are evidence; the context is the exact text that an answering model would be given.
Categories 1-4 are the headline (n = 1,536 with evidence), category 5 is reported apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evals import metrics
from evals.data.history import locomo_history
from evals.data.loaders import Locomo, LocomoConversation, LocomoQuestion
from evals.results import Observation
from evals.systems.hymem import Memory, Recalled, System

KS = (5, 10, 15, 30)
DEPTH = 100  # how deep a ranking is read for nDCG@10 and MRR


def evaluate(
    system: System,
    locomo: Locomo,
    *,
    budgets: Sequence[int] = metrics.BUDGETS,
) -> Iterator[Observation]:
    """Yield one observation per question with evidence."""
    for conversation in locomo.conversations:
        memory = system.load(locomo_history(conversation))
        try:
            for question in with_evidence(conversation):
                values = evidence_values(memory, question, budgets)
                values |= ranking_values(memory.rank(question.text, DEPTH), question.evidence)
                yield Observation(system.name, question.id, groups_of(question), values)
        finally:
            memory.close()


def with_evidence(conversation: LocomoConversation) -> list[LocomoQuestion]:
    return [question for question in conversation.questions if question.evidence]


def groups_of(question: LocomoQuestion) -> tuple[str, ...]:
    """The groups that a question counts in: its category by number and name, and 1-4."""
    own = f"{question.category} {question.category_name}"
    return (own,) if question.category == 5 else ("1-4", own)


def evidence_values(
    memory: Memory, question: LocomoQuestion, budgets: Sequence[int]
) -> dict[tuple[str, int | None], float]:
    """Verbatim and linked evidence recall, all-evidence rates and tokens used, by budget."""
    values: dict[tuple[str, int | None], float] = {}
    for budget in budgets:
        recalled = memory.recall(question.text, budget)
        values["tokens", budget] = float(recalled.tokens)
        for metric, found in found_evidence(recalled).items():
            values[f"{metric} recall", budget] = metrics.evidence_recall(question.evidence, found)
            values[f"{metric} all", budget] = metrics.all_evidence(question.evidence, found)
    return values


def found_evidence(recalled: Recalled) -> dict[str, set[str]]:
    """Messages in a context, by the verbatim and by the linked rule."""
    return {
        "verbatim": set(recalled.messages),
        "linked": metrics.linked(recalled.messages, recalled.cited),
    }


def ranking_values(
    ranked: Sequence[str], evidence: Sequence[str]
) -> dict[tuple[str, int | None], float]:
    """Rank metrics over turns; a system that ranks nothing has none."""
    if not ranked:
        return {}
    values: dict[tuple[str, int | None], float] = {
        ("turn recall@k", k): metrics.recall_at(ranked, evidence, k) for k in KS
    }
    values["turn nDCG@10", None] = metrics.ndcg_at(ranked, evidence, 10)
    values["turn MRR", None] = metrics.reciprocal_rank(ranked, evidence)
    return values
