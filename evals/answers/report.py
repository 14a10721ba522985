"""Reports of scored runs, as Markdown and as JSON: figures and ids only.

What was asked, shown and answered stands in the records, on the machine that holds the data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evals.answers.records import Run
from evals.metrics import LOCOMO_COUNTS, naming_consistent
from evals.results import Result, Row, figure, markdown_table


@dataclass(frozen=True, slots=True)
class Scored:
    """One run with its scores."""

    run: Run
    result: Result
    name: str = ""

    @property
    def label(self) -> str:
        return self.name or f"{self.run.header['system']} · {self.run.header['model']}"


def distinct(scored: Sequence[Scored]) -> list[Scored]:
    """The runs, told apart by their files where system and model are the same."""
    labels = [item.label for item in scored]
    return [
        replace(item, name=f"{item.label} ({item.run.path.name})")
        if labels.count(item.label) > 1
        else item
        for item in scored
    ]


@dataclass(frozen=True, slots=True)
class Quoted:
    """A table from a publication: overall and per true category number, in per cent."""

    name: str
    overall: float
    by_category: Mapping[int, float]


def check_quoted(quoted: Iterable[Quoted]) -> list[str]:
    """One line per quoted table: whether its overall score is the weighted mean of its categories
    under the true numbering (n = 282/321/96/841)."""
    lines = []
    for table in quoted:
        fits = naming_consistent(table.by_category, table.overall)
        verdict = "consistent" if fits else "NOT consistent: categories named wrongly, or other n"
        lines.append(f"{table.name}: overall {table.overall} is {verdict}")
    return lines


def as_json(scored: Sequence[Scored]) -> str:
    """All figures of all runs."""
    return json.dumps(
        [{"label": item.label, **item.result.as_dict()} for item in scored],
        indent=1,
        ensure_ascii=False,
    )


def as_markdown(scored: Sequence[Scored], quoted: Sequence[Quoted] = ()) -> str:
    """The tables: scores by half and group, costs, tiers and stages, failures."""
    parts = ["# Answers and what they cost\n"]
    for half in ("all", "reported", "development"):
        parts += [f"## Scores, {half}\n", scores_table(scored, half), ""]
    parts += ["## Scores by group, all\n", groups_table(scored), ""]
    parts += ["## Costs per question (mean ± 95 % margin)\n", costs_table(scored), ""]
    parts += ["## Build, tiers and stages\n", stages_table(scored), ""]
    parts += ["## Failures\n", *failures(scored), ""]
    if quoted:
        parts += ["## Weighted-mean check of quoted tables\n"]
        parts += [f"- {line}" for line in check_quoted(quoted)]
    parts += ["", own_check(scored)]
    return "\n".join(parts) + "\n"


def scores_table(scored: Sequence[Scored], half: str) -> str:
    """Runs down, metrics across, over all questions that count together."""
    rows = [(item.label, overall_rows(item.result.rows, half)) for item in scored]
    metrics = list(dict.fromkeys(row.metric for _, found in rows for row in found))
    lines = []
    for label, found in rows:
        cells = {row.metric: row for row in found}
        sizes = "/".join(sorted({str(row.n) for row in found}))
        lines.append([label, *(_cell(cells.get(metric)) for metric in metrics), sizes])
    return markdown_table(["run", *metrics, "n"], lines)


def overall_rows(rows: Iterable[Row], half: str) -> list[Row]:
    return [row for row in rows if row.half == half and row.group in ("1-4", "all types")]


def groups_table(scored: Sequence[Scored]) -> str:
    """Every run and metric, groups across; LongMemEval also has the mean over its types."""
    groups = sorted({row.group for item in scored for row in item.result.rows})
    lines = []
    for item in scored:
        rows = [row for row in item.result.rows if row.half == "all"]
        for metric in dict.fromkeys(row.metric for row in rows):
            cells = {row.group: row for row in rows if row.metric == metric}
            lines.append(
                [
                    item.label,
                    metric,
                    *(_cell(cells.get(group)) for group in groups),
                    figure(type_mean(cells)),
                ]
            )
    return markdown_table(["run", "metric", *groups, "mean of types"], lines)


def type_mean(cells: Mapping[str, Row]) -> float | None:
    """LongMemEval's task mean: types count alike however many questions they have."""
    if "all types" not in cells:
        return None
    types = [row.value for group, row in cells.items() if group != "all types"]
    values = [value for value in types if value is not None]
    return sum(values) / len(values) if values else None


def costs_table(scored: Sequence[Scored]) -> str:
    header = [
        "run",
        "input tokens",
        "output tokens",
        "context tokens",
        "calls",
        "seconds",
        "$",
        "$ per correct",
        "tokens per correct",
        "saved against full context",
    ]
    lines = []
    for item in scored:
        costs = item.result.extra["costs"]
        each, right, saved = costs["per question"], costs["per correct answer"], costs["saving"]
        names = ("input_tokens", "output_tokens", "context_tokens", "calls", "seconds", "usd")
        lines.append(
            [
                item.label + (" (tokens estimated)" if costs["estimated"] else ""),
                *(_margin(each[name], digits=_DIGITS[name]) for name in names),
                _dollars(right and right["usd"]),
                "–" if not right else f"{right['input_tokens']:,.0f}",
                "–" if not saved else f"{100 * saved['share']:.1f} % ({saved['against']})",
            ]
        )
    return markdown_table(header, lines)


def stages_table(scored: Sequence[Scored]) -> str:
    """Where tokens and dollars went: build in total, tiers and stages per question."""
    lines = []
    for item in scored:
        costs = item.result.extra["costs"]
        build = costs["build"]
        lines.append(
            [
                item.label,
                f"build, {build['histories']} histories" + _failed_events(build),
                f"{build['calls']:,}",
                f"{build['input_tokens']:,}",
                f"{build['output_tokens']:,}",
                _dollars(build["usd"]),
            ]
        )
        for tier, each in costs["per tier"].items():
            lines.append(
                [
                    item.label,
                    f"tier {tier}, {each['questions']} questions",
                    *(
                        _margin(each[name], digits=_DIGITS[name])
                        for name in ("calls", "input_tokens", "output_tokens", "usd")
                    ),
                ]
            )
        for stage, each in costs["per stage"].items():
            lines.append(
                [
                    item.label,
                    f"stage {stage}",
                    f"{each['calls']:.2f}",
                    f"{each['input_tokens']:,.1f}",
                    f"{each['output_tokens']:,.1f}",
                    _dollars(each["usd"]),
                ]
            )
    return markdown_table(["run", "part", "calls", "input tokens", "output tokens", "$"], lines)


def failures(scored: Sequence[Scored]) -> list[str]:
    lines = []
    for item in scored:
        failed = item.result.extra["failed"]
        judges = item.result.extra["judges"]
        unjudged = "; ".join(
            f"{name}: {each['unjudged']} unjudged, {_runs(each)}" for name, each in judges.items()
        )
        lines.append(
            f"- {item.label}: {len(failed)} of {len(item.run.records)} questions failed and are in "
            f"no score. {unjudged}".rstrip()
        )
    return lines


def _failed_events(build: Mapping[str, Any]) -> str:
    failed = build["failed events"]
    return f" ({failed} events without units: extraction failed, run again)" if failed else ""


def own_check(scored: Sequence[Scored]) -> str:
    """The weighted-mean check on our own LOCOMO tables, where all 1,540 questions were answered."""
    lines = []
    for item in scored:
        rows = [row for row in item.result.rows if row.half == "all"]
        for metric in dict.fromkeys(row.metric for row in rows):
            cells = {row.group: row for row in rows if row.metric == metric}
            values = {
                int(group[0]): row.value
                for group, row in cells.items()
                if group[0].isdigit()
                and group != "1-4"
                and row.value is not None
                and row.n == LOCOMO_COUNTS.get(int(group[0]))
            }
            overall = cells.get("1-4")
            if values.keys() == LOCOMO_COUNTS.keys() and overall and overall.value is not None:
                fits = naming_consistent(values, overall.value, 1e-6)
                lines.append(f"- {item.label}, {metric}: {'consistent' if fits else 'WRONG'}")
    return "\n".join(["## Weighted-mean check of the tables above\n", *lines]) if lines else ""


_DIGITS = {
    "input_tokens": 0, "output_tokens": 1, "context_tokens": 0, "calls": 2, "seconds": 2, "usd": 6,
}  # fmt: skip


def _cell(row: Row | None) -> str:
    return "–" if row is None else figure(row.value, row.se)


def _margin(value: Mapping[str, Any] | None, digits: int) -> str:
    if value is None or value["value"] is None:
        return "–"
    text = f"{value['value']:,.{digits}f}"
    return text if value["margin95"] is None else f"{text} ± {value['margin95']:,.{digits}f}"


def _dollars(usd: float | None) -> str:
    return "–" if usd is None else f"{usd:.6f}"


def _runs(judge: Mapping[str, Any]) -> str:
    mean, sd = judge["mean"], judge["sd"]
    if mean is None:
        return "no verdict"
    spread = "" if sd is None else f" ± {sd:.4f} (sd of {len(judge['runs'])} runs)"
    return f"mean {mean:.4f}{spread}"
