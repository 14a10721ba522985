"""The only metrics: pure functions, hand-checked in ``tests/evals/test_metrics.py``.

Retrieval metrics take ranked ids, best first. Answer metrics take two strings. Nothing here reads
data or asks a model. ``nltk`` and ``rouge-score`` (extra ``[evals]``) are imported where used.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

BUDGETS = (250, 500, 1000, 2000, 4000)

# Questions of each LOCOMO category 1-4, the weights of any honest overall score.
LOCOMO_COUNTS = {1: 282, 2: 321, 3: 96, 4: 841}

# -- retrieval under a token budget --------------------------------------------------------------


def evidence_recall(evidence: Collection[Hashable], found: Collection[Hashable]) -> float:
    """Share of the evidence turns that were found. Raises ``ValueError`` without evidence."""
    if not evidence:
        raise ValueError("a question without evidence has no recall")
    return sum(item in found for item in evidence) / len(evidence)


def all_evidence(evidence: Collection[Hashable], found: Collection[Hashable]) -> float:
    """1.0 when every evidence turn was found, else 0.0. Raises ``ValueError`` without evidence."""
    return float(evidence_recall(evidence, found) == 1.0)


def cut(tokens: Iterable[int], budget: int) -> list[int]:
    """Positions of the ranked items that fit into ``budget`` tokens: an item that does not fit is
    left out, and later, shorter ones may still fit."""
    chosen, used = [], 0
    for position, size in enumerate(tokens):
        if used + size <= budget:
            chosen.append(position)
            used += size
    return chosen


def verbatim(context: str, turns: Mapping[str, str]) -> set[str]:
    """Ids of ``turns`` (id → text) whose full text stands in ``context``, as whole words.

    Runs of white space count as one space on both sides, so that re-flowed text is still verbatim.
    """
    flat = _flat(context)
    return {
        turn for turn, text in turns.items() if (words := _flat(text)) and _stands_in(words, flat)
    }


def _flat(text: str) -> str:
    return " ".join(text.split())


def _stands_in(words: str, flat: str) -> bool:
    start = flat.find(words)
    while start >= 0:
        end = start + len(words)
        inside_word = (start > 0 and flat[start - 1].isalnum() and words[0].isalnum()) or (
            end < len(flat) and flat[end].isalnum() and words[-1].isalnum()
        )
        if not inside_word:
            return True
        start = flat.find(words, start + 1)
    return False


def linked(found_turns: Collection[str], cited: Iterable[Sequence[str]], most: int = 3) -> set[str]:
    """Turns found verbatim, and those cited by a unit in the context (``cited`` holds the source
    turns of each) unless it cites more than ``most``."""
    found = set(found_turns)
    for sources in cited:
        if len(sources) <= most:
            found.update(sources)
    return found


# -- ranked retrieval ----------------------------------------------------------------------------


def recall_at(ranked: Sequence[Hashable], relevant: Collection[Hashable], k: int) -> float:
    """Share of the relevant ids among the first ``k``. Raises ``ValueError`` without any."""
    return evidence_recall(relevant, set(ranked[:k]))


def recall_any_at(ranked: Sequence[Hashable], relevant: Collection[Hashable], k: int) -> float:
    """1.0 when at least one relevant id is among the first ``k``; 0.0 if none is relevant."""
    top = set(ranked[:k])
    return float(any(item in top for item in relevant))


def recall_all_at(ranked: Sequence[Hashable], relevant: Collection[Hashable], k: int) -> float:
    """1.0 when all relevant ids are among the first ``k``, *also when there are none*, as
    LongMemEval's original rule has it; under the strict rule such questions are left out."""
    top = set(ranked[:k])
    return float(all(item in top for item in relevant))


def ndcg_at(ranked: Sequence[Hashable], relevant: Collection[Hashable], k: int) -> float:
    """nDCG with binary gains and discount ``log2(rank + 1)``; 0.0 if none is relevant."""
    wanted = set(relevant)
    gains = [float(item in wanted) for item in ranked[:k]]
    ideal = [1.0] * min(len(wanted), k)
    best = _dcg(ideal)
    return _dcg(gains) / best if best else 0.0


def ndcg_original_at(ranked: Sequence[Hashable], relevant: Collection[Hashable], k: int) -> float:
    """nDCG as LongMemEval's script computes it: ranks 1 and 2 both undiscounted, rank r by
    ``log2(r)``, and an id that is ranked twice gains twice; 0.0 if none is relevant."""
    wanted = set(relevant)
    gains = [float(item in wanted) for item in ranked]
    best = _dcg_original([1.0] * min(max(len(wanted), int(sum(gains))), k))
    return _dcg_original(gains[:k]) / best if best else 0.0


def _dcg(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def _dcg_original(gains: Sequence[float]) -> float:
    return sum(gain / max(1.0, math.log2(rank)) for rank, gain in enumerate(gains, 1))


def reciprocal_rank(ranked: Sequence[Hashable], relevant: Collection[Hashable]) -> float:
    """1 / rank of the first relevant id, 0.0 if none is in the list. Its mean is the MRR."""
    wanted = set(relevant)
    return next((1.0 / rank for rank, item in enumerate(ranked, 1) if item in wanted), 0.0)


# -- answers -------------------------------------------------------------------------------------


def locomo_f1(prediction: str, gold: str, category: int) -> float:
    """LOCOMO's original score (arXiv 2402.17753, its released scorer): token-bag F1 on stems.

    Category 1 takes, for each comma-separated part of the gold answer, the best F1 of any part of
    the prediction, and their mean; category 3 uses the gold answer up to its first ``;``; category
    5 is right when the answer says that the thing is not mentioned.
    """
    if category == 5:
        said = prediction.lower()
        return float("no information available" in said or "not mentioned" in said)
    if category == 3:
        gold = gold.split(";")[0].strip()
    if category != 1:
        return stemmed_f1(prediction, gold)
    predictions = [part.strip() for part in prediction.split(",")]
    golds = [part.strip() for part in gold.split(",")]
    return sum(max(stemmed_f1(said, part) for said in predictions) for part in golds) / len(golds)


def stemmed_f1(prediction: str, gold: str) -> float:
    """F1 of the bags of Porter stems after LOCOMO's normalisation; 0.0 when nothing is shared."""
    said, meant = _stems(prediction), _stems(gold)
    return _f1(sum((Counter(said) & Counter(meant)).values()), len(said), len(meant))


def set_f1(prediction: str, gold: str) -> float:
    """F1 of the *sets* of lower-case words without ``. , ! ?`` and without stemming, the score of
    harnesses derived from mem0's. Not comparable with ``locomo_f1``."""
    said, meant = _word_set(prediction), _word_set(gold)
    return _f1(len(said & meant), len(said), len(meant))


def bleu1(prediction: str, gold: str) -> float:
    """BLEU-1 of lower-case Treebank tokens, nltk's smoothing method 1; 0.0 for an empty text."""
    from nltk.tokenize.destructive import NLTKWordTokenizer
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    tokenize = NLTKWordTokenizer().tokenize
    said, meant = tokenize(prediction.lower()), tokenize(gold.lower())
    if not said or not meant:
        return 0.0
    smoothing = SmoothingFunction().method1
    return float(sentence_bleu([meant], said, weights=(1, 0, 0, 0), smoothing_function=smoothing))


def rouge_l(prediction: str, gold: str) -> float:
    """ROUGE-L F-measure with stemming, by the rouge-score package."""
    return float(_rouge_scorer().score(gold, prediction)["rougeL"].fmeasure)


@cache
def _rouge_scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=True)


@cache
def _porter() -> Any:
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()


def _stems(text: str) -> list[str]:
    lowered = text.replace(",", "").lower()
    plain = "".join(char for char in lowered if char not in string.punctuation)
    words = re.sub(r"\b(a|an|the|and)\b", " ", plain).split()
    return [_porter().stem(word) for word in words]


def _word_set(text: str) -> set[str]:
    return set(re.sub(r"[.,!?]", " ", text.lower()).split())


def _f1(shared: int, said: int, meant: int) -> float:
    if shared == 0:
        return 0.0
    precision, recall = shared / said, shared / meant
    return 2 * precision * recall / (precision + recall)


# -- gate ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GateScore:
    """How well a gate finds the questions that need the deep tier."""

    precision: float | None
    recall: float | None
    escalation_rate: float
    n: int


def gate_score(needs_deep: Sequence[bool], went_deep: Sequence[bool]) -> GateScore:
    """Precision and recall of "needs deep"; ``None`` where the denominator is empty."""
    both = sum(need and went for need, went in zip(needs_deep, went_deep, strict=True))
    needed, escalated, n = sum(needs_deep), sum(went_deep), len(needs_deep)
    return GateScore(
        both / escalated if escalated else None,
        both / needed if needed else None,
        escalated / n if n else 0.0,
        n,
    )


def calibration_error(
    probabilities: Sequence[float], outcomes: Sequence[bool], bins: int = 10
) -> float:
    """Expected calibration error: mean gap between stated probability and observed frequency over
    equal-width bins, weighted by their size. 0.0 without data."""
    groups: dict[int, list[tuple[float, bool]]] = {}
    for probability, outcome in zip(probabilities, outcomes, strict=True):
        groups.setdefault(min(int(probability * bins), bins - 1), []).append((probability, outcome))
    gaps = (
        abs(sum(p for p, _ in group) - sum(hit for _, hit in group)) for group in groups.values()
    )
    return sum(gaps) / len(probabilities) if probabilities else 0.0


# -- samples -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean with its standard error; both ``None`` when ``n`` is 0, the error also when 1."""

    value: float | None
    se: float | None
    n: int


def mean(values: Iterable[float]) -> Mean:
    """Mean and its standard error (sample standard deviation over the root of n)."""
    sample = list(values)
    n = len(sample)
    if n == 0:
        return Mean(None, None, 0)
    value = math.fsum(sample) / n
    if n == 1:
        return Mean(value, None, 1)
    variance = math.fsum((item - value) ** 2 for item in sample) / (n - 1)
    return Mean(value, math.sqrt(variance / n), n)


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of a minus mean of b over the same questions, its 95 % interval, and the two-sided
    bootstrap probability of a difference of the other sign."""

    value: float
    low: float
    high: float
    p: float
    n: int


def paired_bootstrap(
    a: Sequence[float], b: Sequence[float], samples: int = 10_000, seed: int = 0
) -> Difference:
    """Paired percentile bootstrap over questions. Raises ``ValueError`` for empty or unequal
    samples."""
    import numpy as np

    if len(a) != len(b) or not a:
        raise ValueError("a paired bootstrap needs two samples of the same questions")
    gaps = np.asarray(a, float) - np.asarray(b, float)
    generator = np.random.default_rng(seed)
    means = np.array(
        [gaps[generator.integers(0, gaps.size, gaps.size)].mean() for _ in range(samples)]
    )
    low, high = np.quantile(means, [0.025, 0.975])
    p = min(1.0, 2 * min((means <= 0).mean(), (means >= 0).mean()))
    return Difference(float(gaps.mean()), float(low), float(high), float(p), gaps.size)


def weighted_mean(values: Mapping[int, float], counts: Mapping[int, int] = LOCOMO_COUNTS) -> float:
    """Mean of per-category scores weighted by the number of questions. Raises ``KeyError`` when a
    category of ``counts`` has no score."""
    return sum(values[key] * n for key, n in counts.items()) / sum(counts.values())


def naming_consistent(values: Mapping[int, float], overall: float, tolerance: float = 0.06) -> bool:
    """Whether a quoted LOCOMO table can carry the true category numbers: its overall score must be
    the weighted mean of its categories, within rounding (``tolerance`` in the table's unit)."""
    return abs(weighted_mean(values) - overall) <= tolerance
