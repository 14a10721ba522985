"""The page of results, ``evals/results/README.md``, made from the result files beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evals.results import (
    HALVES,
    Row,
    figure,
    markdown_table,
    pivot,
    pivot_groups,
    pivot_halves,
    read_result,
)
from evals.tables.plan import PLAN, Planned

HEAD = """\
# Results

Made from the result files in this folder by `hymem-eval readme`; a test compares them. What rows
and columns mean: [how to read the tables](../README.md#how-to-read-the-tables).
"""
LABELS = {
    "spiking": "spiking",
    "spiking:nano": "spiking nano",
    "spiking:base": "spiking base",
    "minilm": "MiniLM",
}
# Rows that no encoder takes part in.
WITHOUT_ENCODER = ("turns, bm25", "turns, bm25, stemmed", "chunks, bm25", "full context")
ABLATIONS = (
    "hymem",
    "light only",
    "deep only",
    "no lexical",
    "no raw keys",
    "hymem + observations",
    "one session = one event + observations",
)
_BARE = "(headers not counted)"
_OWN = ("hymem", "hymem + observations")

Results = Mapping[str, Mapping[str, Any]]


def update(folder: Path) -> Path:
    """Write ``folder``'s page of results; its path. Raises ``DataError``."""
    readme = folder / "README.md"
    readme.write_text(page(folder), encoding="utf-8")
    return readme


def page(folder: Path) -> str:
    """The whole page. Raises ``DataError``."""
    return f"{HEAD}\n{tables(folder)}\n"


def tables(folder: Path) -> str:
    """All tables of the results in ``folder``, as Markdown. Raises ``DataError``."""
    results = {path.stem: _read(path) for path in sorted(folder.glob("*.json"))}
    locomo = _merged(results, [table for table in PLAN if table.kind == "locomo"])
    sessions = [table for table in PLAN if table.kind == "longmemeval"]
    user_side = _merged(results, [table for table in sessions if not table.both_sides])
    both_sides = _merged(results, [table for table in sessions if table.both_sides])
    parts: list[str] = []
    if locomo:
        parts += _locomo(locomo, results)
    if user_side:
        parts += _longmemeval(user_side)
    if both_sides:
        parts += _both_sides(both_sides)
    if "transfer" in results:
        parts += _transfer(results["transfer"])
    if "gate-spiking" in results:
        parts += _gate(results["gate-spiking"])
    if "answers-offline" in results:
        parts += _answers(results["answers-offline"])
    if "harness" in results:
        parts += _harness(results["harness"])
    return "\n".join([*parts, *_provenance(results)])


def _read(path: Path) -> Mapping[str, Any]:
    if path.stem == "harness":  # has no rows: it is a matter of seconds
        harness: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return harness
    return read_result(path)


def _merged(results: Results, planned: Sequence[Planned]) -> list[Row]:
    """The rows of these tables' result files, each named after its encoder too, and equal systems
    next to each other."""
    rows: dict[str, dict[str, list[Row]]] = {}
    for table in planned:
        if table.name not in results:
            continue
        for row in results[table.name]["rows"]:
            bare = row.system in WITHOUT_ENCODER or row.system.removesuffix(f" {_BARE}") in (
                WITHOUT_ENCODER
            )
            label = row.system if bare else f"{row.system} · {LABELS[table.encoder]}"
            seen = rows.setdefault(row.system, {})
            if not (bare and table.name not in seen and seen):  # a second file has the same
                seen.setdefault(table.name, []).append(replace(row, system=label))
    return [row for files in rows.values() for found in files.values() for row in found]


def _system(row: Row) -> str:
    return row.system.split(" · ")[0]


def _only(rows: Iterable[Row], keep: Callable[[str], bool]) -> list[Row]:
    return [row for row in rows if keep(_system(row))]


def without_zeros(rows: Iterable[Row], metric: str) -> list[Row]:
    """Rows of ``metric``, less the systems that have none of it by construction: where no text is
    shown verbatim, nothing is found verbatim."""
    found = [row for row in rows if row.metric == metric]
    able = {row.system for row in found if row.value}
    return [row for row in found if row.system in able]


def _locomo(rows: Sequence[Row], results: Results) -> Iterator[str]:
    ablated = [name for name in ABLATIONS if name not in _OWN]
    plain = _only(rows, lambda name: name not in ablated and not name.endswith(_BARE))
    yield "## LOCOMO: evidence within a token budget\n"
    for half in HALVES:
        yield f"Verbatim evidence recall, categories 1-4, {half}:\n"
        shown = without_zeros(plain, "verbatim recall")
        yield pivot(shown, "verbatim recall", half=half, group="1-4") + "\n"
    yield "All evidence verbatim, categories 1-4, all:\n"
    shown = without_zeros(plain, "verbatim all")
    yield pivot(shown, "verbatim all", half="all", group="1-4") + "\n"
    yield "Verbatim evidence recall at 1,000 tokens by category, all:\n"
    own = without_zeros(_only(plain, lambda name: name != "full context"), "verbatim recall")
    yield pivot_groups(own, "verbatim recall", half="all", budget=1000) + "\n"
    yield "Linked evidence recall (a unit that cites a turn stands for it), categories 1-4, all:\n"
    units = _only(plain, lambda name: name in (*_OWN, "observations, dense"))
    yield pivot(units, "linked recall", half="all", group="1-4") + "\n"
    yield "Differences on the same questions, paired bootstrap:\n"
    yield from _comparisons(results["locomo-spiking"])
    if ablation := _only(rows, lambda name: name in ABLATIONS):
        ablation = [row for row in ablation if row.system.endswith(" · spiking")]
        ablation.sort(key=lambda row: ABLATIONS.index(_system(row)))
        yield "### HyMem's parts switched off\n"
        yield "Verbatim evidence recall at 1,000 tokens, categories 1-4:\n"
        yield pivot_halves(ablation, "verbatim recall", group="1-4", budget=1000) + "\n"
        for rule in ("Verbatim", "Linked"):
            yield f"{rule} evidence recall, categories 1-4, all:\n"
            yield pivot(ablation, f"{rule.lower()} recall", half="all", group="1-4") + "\n"
    if bare := _only(rows, lambda name: name.endswith(_BARE)):
        yield "### Headers not counted, as published anchors do\n"
        yield "Verbatim evidence recall, categories 1-4, all:\n"
        yield pivot(bare, "verbatim recall", half="all", group="1-4") + "\n"


def _comparisons(result: Mapping[str, Any]) -> Iterator[str]:
    for each in result["comparisons"]:
        told = (*ABLATIONS, "full context", "observations, dense")
        if each["b"] not in told and _BARE not in each["b"]:
            yield (
                f"- at {each['budget']:,} tokens, {each['a']} − {each['b']} = "
                f"{each['value']:+.3f} (95 % {each['low']:+.3f} to {each['high']:+.3f}, "
                f"n = {each['n']})"
            )
    yield ""


def _longmemeval(rows: Sequence[Row]) -> Iterator[str]:
    yield "## LongMemEval-S: sessions found, the user's turns as keys\n"
    for half in HALVES:
        yield f"Session recall_all@k, rule strict, {half}:\n"
        yield pivot(rows, "session recall_all@k", half=half, group="strict") + "\n"
    for rule in ("original", "every question"):
        yield f"Session recall_all@k, rule {rule}, all:\n"
        yield pivot(rows, "session recall_all@k", half="all", group=rule) + "\n"
    for metric in ("session recall_any@k", "session nDCG@k", "turn recall_all@k"):
        title = metric[0].upper() + metric[1:]
        yield f"{title}, rule strict, all:\n"
        yield pivot(rows, metric, half="all", group="strict") + "\n"
    yield "Knowledge updates whose evidence has two times, newer evidence ranked first:\n"
    yield pivot_halves(rows, "newer evidence first", group="strict") + "\n"
    metric = "older evidence first as of before the change"
    if any(row.metric == metric for row in rows):
        yield "The same as of before the change, older evidence first and among the first ten:\n"
        yield pivot_halves(rows, metric, group="strict") + "\n"


def _both_sides(rows: Sequence[Row]) -> Iterator[str]:
    yield "## LongMemEval-S: both sides' turns and HyMem's offline units as keys\n"
    for metric in ("session recall_all@k", "session recall_any@k"):
        title = metric[0].upper() + metric[1:]
        for half in HALVES:
            yield f"{title}, rule every question, {half}:\n"
            yield pivot(rows, metric, half=half, group="every question") + "\n"


def _transfer(result: Mapping[str, Any]) -> Iterator[str]:
    yield "## Collections that did not choose the constants\n"
    yield (
        "Development collections, each measured with weights fitted on the others alone (hand-set "
        "constants were chosen on all of them; see `docs/measured.md`). An "
        "evidence turn is *touched* if any sentence of it stands in the context:\n"
    )
    for metric in ("verbatim recall", "touched recall"):
        for budget in (250, 1000, 4000):
            yield pivot_groups(result["rows"], metric, half="development", budget=budget) + "\n"


def _gate(result: Mapping[str, Any]) -> Iterator[str]:
    rows: Sequence[Row] = result["rows"]
    cells = {(row.system, row.half, row.metric): row for row in rows}
    names = list(dict.fromkeys(row.system for row in rows if row.metric == "all evidence"))
    yield "## Gate and scheduling, LOCOMO, evidence oracle as reader\n"
    yield "Questions with all evidence verbatim in the context, and its tokens:\n"
    lines = [
        [
            name,
            *(_share(cells[name, half, "all evidence"]) for half in HALVES),
            f"{cells[name, 'all', 'tokens'].value:,.0f}",
        ]
        for name in names
    ]
    yield markdown_table(["schedule", *HALVES, "tokens, all"], lines) + "\n"
    qualities = result["quality"]
    lines = [
        [name, *(_number(qualities[half][name]) for half in HALVES)] for name in qualities["all"]
    ]
    yield markdown_table(["score gate", *HALVES], lines) + "\n"
    empty = [row for row in rows if row.metric == "nothing found"]
    lines = [
        [group, *(_share(row) for half in HALVES for row in empty if _is(row, half, group))]
        for group in dict.fromkeys(row.group for row in empty)
    ]
    yield markdown_table(["nothing found in", *HALVES], lines) + "\n"


def _is(row: Row, half: str, group: str) -> bool:
    return (row.half, row.group) == (half, group)


def _answers(result: Mapping[str, Any]) -> Iterator[str]:
    rows: Sequence[Row] = result["rows"]
    yield "## Answers without a language model, LOCOMO: the floor\n"
    yield "HyMem's extractive rules read what HyMem finds; nothing is generated. Categories 1-4:\n"
    metrics = list(dict.fromkeys(row.metric for row in rows))
    overall = {(row.metric, row.half): row for row in rows if row.group == "1-4"}
    lines = [[metric, *(_share(overall[metric, half]) for half in HALVES)] for metric in metrics]
    yield (
        markdown_table(
            ["metric", *(f"{h} (n = {overall[metrics[0], h].n})" for h in HALVES)], lines
        )
        + "\n"
    )
    yield "By category, all:\n"
    groups = sorted({row.group for row in rows} - {"1-4"})
    cells = {(row.metric, row.group): row for row in rows if row.half == "all"}
    lines = [
        [metric, *(_share(cells.get((metric, group))) for group in groups)] for metric in metrics
    ]
    yield markdown_table(["metric", *groups], lines) + "\n"


def _harness(result: Mapping[str, Any]) -> Iterator[str]:
    machine, commit = result["machine"], result["code"]["commit"][:10]
    yield "## What `hymem-eval generate` adds to an endpoint's own time\n"
    yield (
        f"{result['in flight']} questions in flight, a scripted endpoint that answers after "
        f"{result['seconds a call']:g} s; {machine['processors']} processors with a load of "
        f"{machine['load before']:.1f} before the run; commit {commit}. The processor time includes"
        " loading the conversations (`hymem-eval speed harness`):\n"
    )
    lines = [
        [
            name,
            str(run["questions"]),
            f"{run['least']:.1f}",
            f"{run['seconds']:.1f}",
            f"{100 * run['added share']:+.1f} %",
            f"{run['before the first call']:.1f}",
            f"{run['processor milliseconds a question']:.1f}",
        ]
        for name, run in result["runs"].items()
    ]
    header = [
        "context by",
        "questions",
        "endpoint's own s",
        "run, s",
        "added",
        "before the first call, s",
        "processor ms a question",
    ]
    yield markdown_table(header, lines) + "\n"


def _provenance(results: Results) -> Iterator[str]:
    yield "## Where the tables come from\n"
    lines = []
    made = [(table.name, f"all --tables {table.name}", f"{table.minutes} min") for table in PLAN]
    for name, command, time in [*made, ("transfer", "transfer --out FILE", "–")]:
        result = results.get(name)
        if result is None:
            continue
        config = result["configuration"]
        version = config.get("encoder version") or config["settings"]["encoder"]
        lines.append(
            [
                f"`{name}.json`",
                f"`hymem-eval {command}`",
                time,
                f"{result['data']['name']}, {result['data']['sha256'][:10]}",
                f"`{version}`",
                result["code"]["commit"][:10],
            ]
        )
    yield markdown_table(["file", "command", "about", "data, sha256", "encoder", "commit"], lines)


def _share(row: Row | None) -> str:
    return "–" if row is None else figure(row.value, row.se)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
