"""What a run cost: per question, per stage and tier, per correct answer, and against the full
context. Build and questions are kept apart."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from evals.answers.records import Record, Run, tokens_of, total_usage, usd_of
from evals.metrics import Mean, mean

_Z95 = 1.96  # standard errors on either side of a mean that hold it in 95 of 100 samples


def cost_table(
    run: Run, correct: Collection[str] | None, full: Run | None = None
) -> dict[str, Any]:
    """Figures of one run.

    ``correct`` holds the ids of questions that the judge accepted (``None``: not judged).
    ``full`` is the full-context run under the same prompt, for the saving; without it the saving
    is against the tokens of the history alone. Only answered questions count; failures are told.
    """
    records = run.answered
    build = total_usage(item.usage for item in run.builds.values())
    asked = total_usage(record.usage for record in records)
    usd = usd_of(asked)
    return {
        "questions": len(records),
        "failed": len(run.failed),
        "per question": per_question(records),
        "per stage": per_unit(asked, len(records)),
        "per tier": {
            tier: {"questions": len(group), **per_question(group)}
            for tier, group in by_tier(records).items()
        },
        "rounds": _figure(mean(float(record.rounds) for record in records)),
        "total": {
            "usd": usd,
            "input_tokens": tokens_of(asked),
            "output_tokens": tokens_of(asked, "output_tokens"),
        },
        "estimated": any(spent["estimated"] for r in records for spent in r.usage.values()),
        "build": {
            "histories": len(run.builds),
            "failed events": sum(item.failed for item in run.builds.values()),
            "usd": usd_of(build),
            "input_tokens": tokens_of(build),
            "output_tokens": tokens_of(build, "output_tokens"),
            "calls": sum(spent["calls"] for spent in build.values()),
            "per stage": build,
        },
        "per correct answer": per_correct(usd, tokens_of(asked), correct),
        "saving": saving(records, full),
    }


def per_question(records: Sequence[Record]) -> dict[str, Any]:
    """Means with 95 % intervals; dollars ``None`` when any price is unknown."""
    prices = [usd_of(record.usage) for record in records]
    known = [usd for usd in prices if usd is not None]
    return {
        "input_tokens": _figure(mean(float(tokens_of(r.usage)) for r in records)),
        "output_tokens": _figure(mean(float(tokens_of(r.usage, "output_tokens")) for r in records)),
        "context_tokens": _figure(mean(float(record.context_tokens) for record in records)),
        "calls": _figure(mean(float(tokens_of(record.usage, "calls")) for record in records)),
        "seconds": _figure(mean(record.seconds for record in records)),
        "usd": _figure(mean(known)) if len(known) == len(prices) else None,
    }


def per_unit(usage: Mapping[str, Mapping[str, Any]], n: int) -> dict[str, dict[str, Any]]:
    """Each stage's usage divided by the number of questions."""
    return {
        stage: {
            key: None if spent[key] is None else spent[key] / n
            for key in ("calls", "input_tokens", "output_tokens", "usd", "seconds")
        }
        for stage, spent in usage.items()
        if n
    }


def by_tier(records: Iterable[Record]) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.tier, []).append(record)
    return groups


def per_correct(
    usd: float | None, tokens: int, correct: Collection[str] | None
) -> dict[str, float | None] | None:
    """Dollars and input tokens spent per answer that was right; ``None`` without a judge."""
    if not correct:
        return None
    return {
        "usd": None if usd is None else usd / len(correct),
        "input_tokens": tokens / len(correct),
    }


def saving(records: Sequence[Record], full: Run | None) -> dict[str, Any] | None:
    """Share of input tokens saved against the full context, on the same questions."""
    if full is None:
        pairs = [(tokens_of(r.usage) or r.context_tokens, r.full_tokens) for r in records]
        basis = "history tokens"
    else:
        same = {record.question: record for record in full.answered}
        pairs = [
            (tokens_of(r.usage), tokens_of(same[r.question].usage))
            for r in records
            if r.question in same
        ]
        basis = f"full-context run ({full.path.name})"
    whole = sum(there for _, there in pairs)
    if not whole:
        return None
    return {
        "share": 1 - sum(here for here, _ in pairs) / whole,
        "against": basis,
        "n": len(pairs),
    }


def _figure(value: Mean) -> dict[str, Any]:
    margin = None if value.se is None else _Z95 * value.se
    return {**asdict(value), "margin95": margin}
