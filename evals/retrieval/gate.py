"""The gate and the scheduling of the two tiers, with no model: an evidence oracle reads.

The oracle answers right exactly when all evidence of a question stands verbatim in its context. So
accuracy here is what scheduling alone allows, and tokens are what it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from evals import metrics
from evals.data.history import History, locomo_history
from evals.data.loaders import Locomo, LocomoQuestion, is_development
from evals.results import HALVES, Row, row_of
from evals.retrieval.locomo import with_evidence
from evals.systems.hymem import HyMemSystem

ANSWERABLE = (1, 2, 3, 4)
CURVE_POINTS = 21


@dataclass(frozen=True, slots=True)
class Trial:
    """One question read by both tiers. ``score`` is the gate's confidence that light suffices,
    ``went_deep`` what it decided; ``*_right`` whether all evidence was verbatim in the context."""

    question: str
    category: int
    light_right: bool
    deep_right: bool
    gate_right: bool
    light_tokens: int
    deep_tokens: int
    gate_tokens: int
    full_tokens: int
    went_deep: bool
    score: float


@dataclass(frozen=True, slots=True)
class Emptiness:
    """Whether a memory found nothing for a question, its own or another conversation's."""

    question: str
    own: bool
    empty: bool


def run_trials(
    system: HyMemSystem, locomo: Locomo, advance: Callable[[], object] = lambda: None
) -> Iterator[Trial]:
    """Ask every answerable question of its own conversation's memory, once per tier: a block of
    ``config.light_tokens`` and one of ``config.deep_tokens``."""
    for conversation in locomo.conversations:
        with _Tiers(system, locomo_history(conversation)) as tiers:
            for question in with_evidence(conversation):
                if question.category in ANSWERABLE:
                    yield tiers.trial(question)
                advance()


def run_emptiness(
    system: HyMemSystem, locomo: Locomo, advance: Callable[[], object] = lambda: None
) -> Iterator[Emptiness]:
    """Ask each memory its own answerable questions and those of the next conversation."""
    gated = replace(system, config=replace(system.config, gate="score"))
    conversations = locomo.conversations
    for index, conversation in enumerate(conversations):
        other = conversations[(index + 1) % len(conversations)]
        memory = gated.load(locomo_history(conversation))
        try:
            for source, own in ((conversation, True), (other, False)):
                for question in source.questions:
                    if question.category in ANSWERABLE:
                        found = bool(memory.recall(question.text, 1000).trace["found"])
                        yield Emptiness(question.id, own, not found)
                    advance()
        finally:
            memory.close()


class _Tiers:
    """One conversation, recalled with the light tier's budget, with the deep one's, and with that
    of the tier which the gate chooses."""

    def __init__(self, system: HyMemSystem, history: History) -> None:
        from hymem.text.tokens import count_many

        self._config = system.config
        self._memory = system.load(history)
        self._full = sum(
            count_many([f"{message.speaker}: {message.text}" for message in history.messages])
        )

    def __enter__(self) -> _Tiers:
        return self

    def __exit__(self, *exc: object) -> None:
        self._memory.close()

    def trial(self, question: LocomoQuestion) -> Trial:
        light = self._memory.recall(question.text, self._config.light_tokens)
        deep = self._memory.recall(question.text, self._config.deep_tokens)
        chosen = deep if light.tier == "deep" else light
        light_right, deep_right, right = (
            set(question.evidence) <= set(recalled.messages) for recalled in (light, deep, chosen)
        )
        return Trial(
            question.id,
            question.category,
            light_right,
            deep_right,
            right,
            light.tokens,
            deep.tokens,
            chosen.tokens,
            self._full,
            chosen is deep,
            float(light.trace.get("score", 0.0)),
        )


# -- figures -------------------------------------------------------------------------------------


def gate_rows(trials: Sequence[Trial]) -> list[Row]:
    """Accuracy and tokens of each schedule, by half; ``llm gate`` is the paper's gate with the
    oracle as its model: it always pays for light, and goes deep exactly when light fell short.
    ``hybrid gate`` spares it light where the score already says deep."""
    rows = []
    for half in HALVES:
        part = of_half(trials, half)
        schedules = {
            "light only": [(t.light_right, t.light_tokens) for t in part],
            "deep only": [(t.deep_right, t.deep_tokens) for t in part],
            "score gate": [(t.gate_right, t.gate_tokens) for t in part],
            "hybrid gate (oracle)": [
                (
                    t.deep_right if t.went_deep else t.light_right or t.deep_right,
                    t.deep_tokens
                    if t.went_deep
                    else t.light_tokens + (0 if t.light_right else t.deep_tokens),
                )
                for t in part
            ],
            "llm gate (oracle)": [
                (
                    t.light_right or t.deep_right,
                    t.light_tokens + (0 if t.light_right else t.deep_tokens),
                )
                for t in part
            ],
            "full context": [(True, t.full_tokens) for t in part],
        }
        for name, outcomes in schedules.items():
            right = metrics.mean(float(hit) for hit, _ in outcomes)
            tokens = metrics.mean(float(size) for _, size in outcomes)
            rows.append(row_of(name, half, "1-4", "all evidence", right))
            rows.append(row_of(name, half, "1-4", "tokens", tokens))
    return rows


def gate_quality(trials: Sequence[Trial]) -> dict[str, dict[str, float | None]]:
    """By half: precision and recall of "needs deep" (light misses evidence), escalation rate, the
    gate's accuracy and tokens as shares of always-deep's, and how calibrated its score is."""
    quality = {}
    for half in HALVES:
        part = of_half(trials, half)
        score = metrics.gate_score([not t.light_right for t in part], [t.went_deep for t in part])
        quality[half] = {
            "escalation rate": score.escalation_rate,
            "precision of needs deep": score.precision,
            "recall of needs deep": score.recall,
            "all evidence, share of deep": ratio(
                sum(t.gate_right for t in part), sum(t.deep_right for t in part)
            ),
            "tokens, share of deep": ratio(
                sum(t.gate_tokens for t in part), sum(t.deep_tokens for t in part)
            ),
            "calibration error": metrics.calibration_error(
                [min(max(t.score, 0.0), 1.0) for t in part], [t.light_right for t in part]
            ),
            "n": len(part),
        }
    return quality


def gate_curve(trials: Sequence[Trial]) -> dict[str, list[dict[str, float]]]:
    """All-evidence rate against mean tokens as the threshold moves through the scores' quantiles:
    light where the score reaches the threshold, deep below."""
    curves = {}
    for half in HALVES:
        part = sorted(of_half(trials, half), key=lambda trial: -trial.score)
        points = []
        for step in range(CURVE_POINTS):
            light = round(len(part) * step / (CURVE_POINTS - 1))
            right = sum(t.light_right for t in part[:light])
            right += sum(t.deep_right for t in part[light:])
            tokens = sum(t.light_tokens for t in part[:light])
            tokens += sum(t.deep_tokens for t in part[light:])
            points.append(
                {
                    "light share": light / len(part),
                    "all evidence": right / len(part),
                    "tokens": tokens / len(part),
                }
            )
        curves[half] = points
    return curves


def emptiness_rows(trials: Sequence[Emptiness]) -> list[Row]:
    """How often nothing was found, in the own memory and in another's, by half."""
    rows = []
    for half in HALVES:
        for own, label in ((True, "own memory"), (False, "another's memory")):
            part = [t for t in trials if t.own == own and in_half(t.question, half)]
            value = metrics.mean(float(trial.empty) for trial in part)
            rows.append(row_of("HyMem", half, label, "nothing found", value))
    return rows


def of_half(trials: Sequence[Trial], half: str) -> list[Trial]:
    return [trial for trial in trials if in_half(trial.question, half)]


def in_half(question: str, half: str) -> bool:
    return half == "all" or is_development(question) == (half == "development")


def ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
