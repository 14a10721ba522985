"""The offline tables: which systems run, and the result each run leaves behind."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import cache as cache_once
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from evals.data.files import DataError
from evals.data.loaders import DataFile, Locomo, load_locomo
from evals.metrics import paired_bootstrap
from evals.progress import progress
from evals.results import (
    Observation,
    Result,
    Row,
    markdown_table,
    pivot,
    pivot_groups,
    read_result,
    summarise,
)
from evals.retrieval import gate, locomo, longmemeval
from evals.systems.baselines import (
    FullContext,
    locomo_baselines,
    locomo_encoder_rows,
    longmemeval_baselines,
    longmemeval_encoder_rows,
)
from evals.systems.encoders import CachedEncoder, cached, load_encoder
from evals.systems.hymem import HyMemSystem, System, hymem_systems

if TYPE_CHECKING:
    from hymem.types import Encoder

GATE_VERSION = "gate-1"
Part = tuple[list[Observation], dict[str, float]]  # of one share: what was seen, seconds by system
# LongMemEval is cut finer than into one share a process, so that progress can be seen.
SHARES_PER_JOB = 2
# Which baselines run beside HyMem: all, those that compare encoders, or none; or baselines only.
Baselines = Literal["all", "encoder", "none", "only"]


# -- LOCOMO --------------------------------------------------------------------------------------


def locomo_systems(encoder: Encoder, *, baselines: Baselines, ablations: bool) -> list[System]:
    """The rows of the LOCOMO table for one encoder."""
    if baselines == "only":
        return [*locomo_baselines(encoder), FullContext()]
    systems: list[System] = [*hymem_systems(encoder, ["hymem"])]
    systems += hymem_systems(encoder, ["hymem"], given_facts=True)
    if ablations:
        systems += hymem_systems(encoder, ["light only", "deep only", "no lexical", "no raw keys"])
        given = hymem_systems(encoder, ["hymem"], given_facts=True)[0]
        systems.append(
            replace(given, name="one session = one event + observations", session_events=True)
        )
    if baselines == "all":
        systems += [*locomo_baselines(encoder), FullContext()]
    elif baselines == "encoder":
        systems += locomo_encoder_rows(encoder)
    return systems


def locomo_table(
    source: Locomo,
    encoder_name: str,
    *,
    cache: Path | None = None,
    baselines: Baselines = "all",
    ablations: bool = False,
    jobs: int = 1,
    only: Sequence[str] = (),
) -> Result:
    """Evidence in the context of every system, or of those named ``only``, by budget, category and
    half."""
    encoder = cached(load_encoder(encoder_name), cache)
    encoder.encode([question.text for question in source.questions])
    systems = chosen(locomo_systems(encoder, baselines=baselines, ablations=ablations), only)
    options: dict[str, Any] = {"baselines": baselines, "ablations": ablations}
    work = [
        (source.file.path, encoder_name, cache, options, (system.name,), (part, jobs))
        for system in systems
        for part in range(jobs)
    ]
    observations, seconds = run_parts(_locomo_part, work, jobs)
    result = Result(
        "retrieval",
        source.task_version,
        source.file,
        _configuration(encoder_name, encoder, systems),
        summarise(observations),
        {"seconds": seconds, "jobs": jobs, "unparsed evidence": source.unparsed},
    )
    result.extra["comparisons"] = comparisons(observations, "verbatim recall", 1000, "1-4")
    return result


def _locomo_part(
    path: Path,
    encoder_name: str,
    cache: Path | None,
    options: dict[str, Any],
    names: tuple[str],
    part: tuple[int, int],
) -> Part:
    """One system on one share of the conversations."""
    data = load_locomo(path)
    data = replace(data, conversations=data.conversations[part[0] :: part[1]])
    (system,) = chosen(locomo_systems(shared_encoder(encoder_name, cache), **options), names)
    started = time.perf_counter()
    observations = list(locomo.evaluate(system, data))
    return observations, {system.name: time.perf_counter() - started}


def show_locomo(rows: Sequence[Row]) -> str:
    """The tables that are read first."""
    parts = []
    for half in ("development", "reported", "all"):
        for metric in ("verbatim recall", "verbatim all", "linked recall"):
            parts.append(f"### {metric}, categories 1-4, {half}\n")
            parts.append(pivot(rows, metric, half=half, group="1-4") + "\n")
    parts.append("### verbatim recall at 1,000 tokens by category, all\n")
    parts.append(pivot_groups(rows, "verbatim recall", half="all", budget=1000) + "\n")
    parts.append("### turns among the first k, categories 1-4, all\n")
    parts.append(pivot(rows, "turn recall@k", half="all", group="1-4") + "\n")
    return "\n".join(parts)


# -- LongMemEval ---------------------------------------------------------------------------------


def longmemeval_systems(
    encoder: Encoder, *, baselines: Baselines, both_sides: bool
) -> list[System]:
    """The rows of the LongMemEval table for one encoder."""
    if baselines == "only":
        return [*longmemeval_baselines(encoder)]
    systems: list[System] = [replace(hymem_systems(encoder, ["hymem"])[0], extract=both_sides)]
    if baselines == "all":
        systems += longmemeval_baselines(encoder)
    elif baselines == "encoder":
        systems += longmemeval_encoder_rows(encoder)
    return systems


def longmemeval_table(
    file: DataFile,
    task_version: str,
    encoder_name: str,
    *,
    cache: Path | None = None,
    baselines: Baselines = "all",
    both_sides: bool = False,
    jobs: int = 1,
    only: Sequence[str] = (),
) -> Result:
    """Evidence sessions and turns among the first k; user turns as keys, or both sides with
    HyMem's offline units."""
    encoder = cached(load_encoder(encoder_name), cache)
    options: dict[str, Any] = {"baselines": baselines, "both_sides": both_sides}
    systems = chosen(longmemeval_systems(encoder, **options), only)
    names = tuple(system.name for system in systems)
    shares = jobs * SHARES_PER_JOB
    work = [(file, encoder_name, cache, options, names, (part, shares)) for part in range(shares)]
    observations, seconds = run_parts(_longmemeval_part, work, jobs)
    roles = longmemeval.BOTH_SIDES if both_sides else longmemeval.USER_SIDE
    configuration = _configuration(encoder_name, encoder, systems) | {"roles": list(roles)}
    result = Result("retrieval", task_version, file, configuration, summarise(observations))
    result.extra = {"seconds": seconds, "jobs": jobs}
    result.extra["comparisons"] = comparisons(observations, "session recall_all@k", 5, "strict")
    return result


def _longmemeval_part(
    file: DataFile,
    encoder_name: str,
    cache: Path | None,
    options: dict[str, Any],
    names: tuple[str, ...],
    part: tuple[int, int],
) -> Part:
    """All systems on one share of the questions: the file is read once for all of them."""
    systems = chosen(longmemeval_systems(shared_encoder(encoder_name, cache), **options), names)
    roles = longmemeval.BOTH_SIDES if options["both_sides"] else longmemeval.USER_SIDE
    seconds: dict[str, float] = {}
    found = longmemeval.evaluate(systems, file, roles=roles, part=part, seconds=seconds)
    return list(found), seconds


def show_longmemeval(rows: Sequence[Row]) -> str:
    parts = []
    for half in ("development", "reported", "all"):
        for rule in ("strict", "original", "every question"):
            for metric in ("session recall_all@k", "session recall_any@k", "turn recall_all@k"):
                if any(row.metric == metric and row.group == rule for row in rows):
                    parts.append(f"### {metric}, rule {rule}, {half}\n")
                    parts.append(pivot(rows, metric, half=half, group=rule) + "\n")
    parts.append("### knowledge updates: newer evidence ranked first\n")
    parts.append(pivot(rows, "newer evidence first", half="all", group="strict") + "\n")
    parts.append("### knowledge updates: older evidence first as of before the change\n")
    metric = "older evidence first as of before the change"
    parts.append(pivot(rows, metric, half="all", group="strict") + "\n")
    return "\n".join(parts)


# -- the gate ------------------------------------------------------------------------------------


def gate_table(
    locomo_data: Locomo, encoder_name: str, *, cache: Path | None = None, given_facts: bool = False
) -> Result:
    """Scheduling with the evidence oracle as reader, and how often nothing is found."""
    encoder = cached(load_encoder(encoder_name), cache)
    encoder.encode([question.text for question in locomo_data.questions])
    system = hymem_systems(encoder, ["hymem"], given_facts=given_facts)[0]
    total = sum(len(locomo.with_evidence(item)) for item in locomo_data.conversations)
    with progress("gate", total) as advance:
        trials = list(gate.run_trials(system, locomo_data, advance))
    with progress("nothing found", 2 * len(locomo_data.questions)) as advance:
        empties = list(gate.run_emptiness(system, locomo_data, advance))
    return Result(
        "gate",
        GATE_VERSION,
        locomo_data.file,
        _configuration(encoder_name, encoder, [system]),
        gate.gate_rows(trials) + gate.emptiness_rows(empties),
        {"quality": gate.gate_quality(trials), "curve": gate.gate_curve(trials)},
    )


def show_gate(rows: Sequence[Row], qualities: Mapping[str, Mapping[str, Any]]) -> str:
    parts = []
    for half in ("development", "reported", "all"):
        cells = {(row.system, row.metric): row for row in rows if row.half == half}
        names = list(dict.fromkeys(name for name, metric in cells if metric == "all evidence"))
        lines = [
            [
                name,
                f"{cells[name, 'all evidence'].value:.3f} ± {cells[name, 'all evidence'].se:.3f}",
                f"{cells[name, 'tokens'].value:,.0f}",
            ]
            for name in names
        ]
        parts.append(f"### gate, {half}\n")
        parts.append(markdown_table(["schedule", "all evidence", "tokens"], lines) + "\n")
        quality = qualities[half]
        parts.append(", ".join(f"{name} {_short(value)}" for name, value in quality.items()))
        empty = [row for row in rows if row.half == half and row.metric == "nothing found"]
        parts.append(
            "nothing found: " + ", ".join(f"{row.group} {row.value:.3f}" for row in empty) + "\n"
        )
    return "\n".join(parts)


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def show_file(path: Path) -> str:
    """The tables of a result file. Raises ``DataError`` when it is none."""
    result = read_result(path)
    rows, task = result["rows"], result["task_version"]
    if task == GATE_VERSION:
        return show_gate(rows, result["quality"])
    return show_locomo(rows) if task.startswith("locomo") else show_longmemeval(rows)


# -- shared --------------------------------------------------------------------------------------


def run_parts(
    function: Callable[..., Part], work: Sequence[tuple[Any, ...]], jobs: int
) -> tuple[list[Observation], dict[str, float]]:
    """All observations, and each system's seconds, its shares added up.

    ``work``: arguments of ``function``, the last two the systems' names and the share. With more
    than one job, in that many processes; each loads its own encoder once.
    """
    observations: list[Observation] = []
    seconds: dict[str, float] = {}
    with ExitStack() as stack:
        advance = stack.enter_context(progress("systems × shares", len(work)))
        if jobs > 1:
            stack.enter_context(threads_per_process(max((os.cpu_count() or 1) // jobs, 1)))
            context = multiprocessing.get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(jobs, mp_context=context))
            done = pool.map(function, *zip(*work, strict=True))
        else:
            done = map(function, *zip(*work, strict=True))
        for item, (found, spent) in zip(work, done, strict=True):
            observations += found
            for name, more in spent.items():
                seconds[name] = seconds.get(name, 0.0) + more
            part, shares = item[-1]
            print(
                f"{', '.join(item[-2])}, share {part + 1} of {shares}: {sum(spent.values()):.0f} s",
                file=sys.stderr,
            )
            advance()
    return observations, seconds


@contextmanager
def threads_per_process(count: int) -> Iterator[None]:
    """Processes started in this block share the processors: libraries that would each take all of
    them wait for one another more than they compute."""
    names = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: str(count) for name, value in before.items() if value is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


@cache_once
def shared_encoder(name: str, folder: Path | None) -> CachedEncoder:
    """One encoder per process, whatever number of shares it works on."""
    return cached(load_encoder(name), folder)


def chosen(systems: list[System], only: Sequence[str]) -> list[System]:
    """The systems named, or all. Raises ``DataError`` for a name that no system has."""
    names = [system.name for system in systems]
    if unknown := [name for name in only if name not in names]:
        raise DataError(f"no system {unknown[0]!r} here; there are: {'; '.join(names)}")
    return [system for system in systems if not only or system.name in only]


def comparisons(
    observations: Iterable[Observation], metric: str, budget: int, group: str
) -> list[dict[str, Any]]:
    """The first system against each other one on the same questions: paired bootstrap."""
    values: dict[str, dict[str, float]] = {}
    for item in observations:
        if group in item.groups and (metric, budget) in item.values:
            values.setdefault(item.system, {})[item.question] = item.values[metric, budget]
    if not values:
        return []
    first, *others = values
    compared = []
    for other in others:
        shared = [question for question in values[first] if question in values[other]]
        if shared:
            difference = paired_bootstrap(
                [values[first][question] for question in shared],
                [values[other][question] for question in shared],
            )
            labels = {"metric": metric, "budget": budget, "a": first, "b": other}
            compared.append(labels | asdict(difference))
    return compared


def _configuration(
    encoder_name: str, encoder: Encoder, systems: Sequence[System]
) -> dict[str, Any]:
    configs = {
        system.name: asdict(system.config) for system in systems if isinstance(system, HyMemSystem)
    }
    return {"encoder": encoder_name, "encoder version": encoder.version, "hymem": configs}
