"""The commands that need answers: ``generate``, ``score`` and ``report``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.answers import report
from evals.answers.records import RecordWriter, Run, read_run
from evals.data.files import DataError
from evals.data.tasks import Task, load_task

if TYPE_CHECKING:
    from evals.answers.answerers import Answerer
    from evals.systems.hymem import System
    from hymem.cost.prices import Prices
    from hymem.llm.openai import OpenAIChat
    from hymem.types import LLM, Encoder

# System names on the command line. The release is HyMem as its public code is configured.
CONTEXTS = ("full", "turns-dense", "turns-bm25", "turns-hybrid", "chunks-dense", "chunks-hybrid",
            "summaries", "recall")  # fmt: skip
OWN = ("hymem", "release", "llm-gate", "light", "deep", "no-reflection")
ADAPTERS = ("mem0",)
_RELEASE = {"gate": "llm", "k": 15, "n": 30}
_CONFIGS: dict[str, dict[str, Any]] = {
    "hymem": {},
    "release": _RELEASE,
    "llm-gate": {"gate": "llm"},
    "light": {"deep": False},
    "deep": {"light": False},
    "no-reflection": {"reflection": False},
}


def positive(text: str) -> int:
    """A whole number above 0, of the command line."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def add_verbs(verbs: Any, verb: Callable[..., argparse.ArgumentParser], encoder: Any) -> None:
    """Add the three commands to the command line."""
    generate = verb(verbs, "generate", _generate, "answer a benchmark's questions and keep records")
    generate.add_argument("task", choices=["locomo", "longmemeval"])
    generate.add_argument("--system", choices=[*OWN, *CONTEXTS, *ADAPTERS], default="hymem")
    generate.add_argument("--model", default="offline", help="a model's name, or offline")
    generate.add_argument(
        "--budget", type=positive, default=1000, help="context tokens (not HyMem's)"
    )
    generate.add_argument("--limit", type=positive, help="only the first so many questions")
    generate.add_argument("--adversarial", action="store_true", help="LOCOMO: category 5 too")
    generate.add_argument("--variant", choices=["s", "oracle", "m"], default="s")
    generate.add_argument("--max-usd", type=float, help="stop before this file has cost more")
    generate.add_argument("--dry-run", action="store_true", help="predict the bill, ask nothing")
    generate.add_argument("--per-minute", type=float, help="at most so many questions a minute")
    _endpoint_options(generate)
    encoder(generate)

    score = verb(verbs, "score", _score, "score recorded answers, with a judge if one is named")
    score.add_argument("run_file", type=Path, metavar="RUN")
    _score_options(score)

    told = verb(verbs, "report", _report, "tables of recorded answers, as Markdown and JSON")
    told.add_argument("run_files", type=Path, nargs="+", metavar="RUN")
    told.add_argument("--quoted", type=Path, help="published tables to check (JSON)")
    _score_options(told)


def _endpoint_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base-url", help="an endpoint of the OpenAI protocol")
    parser.add_argument("--concurrency", type=positive, default=8)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument(
        "--price", type=float, nargs=2, metavar=("IN", "OUT"), help="$ per million tokens"
    )


def _score_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--judge", help="the judging model's name")
    parser.add_argument("--runs", type=positive, default=1, help="times each answer is judged")
    parser.add_argument("--full", type=Path, help="the full-context run, for the saving")
    parser.add_argument("--variant", choices=["s", "oracle", "m"], default="s")
    _endpoint_options(parser)


# -- generate --


def _generate(arguments: argparse.Namespace) -> None:
    from evals.answers.generate import generate, header_of
    from evals.progress import progress

    task = load_task(
        arguments.task,
        arguments.data,
        variant=arguments.variant,
        adversarial=arguments.adversarial,
    )
    out = arguments.out or Path(f"{arguments.task}-{arguments.system}-{arguments.model}.jsonl")
    if arguments.dry_run:
        _predict(arguments, task, out)
        return
    prices = _prices(arguments)
    llm = None if arguments.model == "offline" else _connect(arguments, arguments.model)
    answerer = build_answerer(arguments, llm, prices, out.with_suffix(".stores"))
    with (
        RecordWriter(out, header_of(task, answerer)) as writer,
        progress(f"{answerer.name}, {answerer.model}", arguments.limit) as advance,
    ):
        summary = generate(
            task,
            answerer,
            writer,
            price=_pricer(prices, llm),
            concurrency=arguments.concurrency,
            max_usd=arguments.max_usd,
            limit=arguments.limit,
            per_minute=arguments.per_minute,
            advance=advance,
        )
    print(json.dumps({"records": str(out), **asdict(summary)}))
    if summary.failed:
        print(
            f"{summary.failed} questions failed; the reasons stand in {out}. The same command asks "
            "them again.",
            file=sys.stderr,
        )


def _predict(arguments: argparse.Namespace, task: Task, out: Path) -> None:
    """Print what the open questions would cost. Nothing is sent."""
    import tempfile

    from evals.answers.answerers import CountingLLM
    from evals.answers.generate import predict
    from evals.progress import progress

    if arguments.model == "offline":
        raise DataError("--model offline costs nothing: there is no bill to predict")
    prices = _prices(arguments)
    llm = _connect(arguments, arguments.model, check_key=False)
    counter = CountingLLM(arguments.model, None if llm is None else llm.base_url)
    run = read_run(out, task.version) if out.exists() else None
    with (
        tempfile.TemporaryDirectory(prefix="hymem-eval-") as folder,
        progress("dry run", arguments.limit) as advance,
    ):
        answerer = build_answerer(arguments, counter, prices, Path(folder))
        prediction = predict(
            task,
            answerer,
            counter,
            run,
            price=_pricer(prices, counter),
            limit=arguments.limit,
            advance=advance,
        )
    print(json.dumps(asdict(prediction)))
    if not prediction.calibrated_on:
        print(
            "not calibrated: ask a few questions first (--limit 20), then the prediction knows "
            "the endpoint's tokenizer and how often the deep tier is needed",
            file=sys.stderr,
        )


def build_answerer(
    arguments: argparse.Namespace, llm: LLM | None, prices: Prices, folder: Path
) -> Answerer:
    """The system of the command line with its model. Raises ``DataError``."""
    from evals.answers.answerers import ContextAnswerer, HyMemAnswerer, OfflineAnswerer
    from evals.systems.encoders import cached, load_encoder

    if arguments.system in ADAPTERS:
        from evals.systems.mem0 import Mem0System

        system: System = Mem0System(folder)
        encoder: Encoder = load_encoder(arguments.encoder)
    else:
        encoder = cached(load_encoder(arguments.encoder), arguments.cache)
        if arguments.system in OWN:
            from hymem import Config

            return HyMemAnswerer(
                arguments.system,
                encoder,
                replace(Config(), **_CONFIGS[arguments.system]),
                folder,
                llm,
                own_prices(arguments),
                session_events=arguments.system == "release",
            )
        system = context_system(arguments.system, encoder)
    if llm is None:
        return OfflineAnswerer(system, encoder)
    return ContextAnswerer(system, llm, prices, arguments.budget)


def context_system(name: str, encoder: Encoder) -> System:
    """A context system by its name on the command line."""
    from evals.systems import baselines
    from evals.systems.hymem import hymem_systems

    if name == "full":
        return baselines.FullContext()
    if name == "recall":
        return replace(hymem_systems(encoder, ["hymem"])[0], name="HyMem recall")
    if name == "summaries":
        split = baselines.summary_passages
        return baselines.RankedSystem("summaries, dense", "dense", split, encoder)
    unit, _, method = name.partition("-")
    splits = {"turns": baselines.turn_passages, "chunks": baselines.chunk_passages}
    return baselines.RankedSystem(f"{unit}, {method}", method, splits[unit], encoder)  # type: ignore[arg-type]


def _connect(arguments: argparse.Namespace, model: str, *, check_key: bool = True) -> OpenAIChat:
    from hymem.llm.openai import OpenAIChat

    chat = OpenAIChat(
        model,
        base_url=arguments.base_url,
        api_key=None if check_key else "not sent",
        concurrency=arguments.concurrency,
        temperature=arguments.temperature,
    )
    _ = chat.base_url  # a missing key is told now, not at the first question
    return chat


def own_prices(arguments: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """What ``--price`` says of the model at hand."""
    models = [getattr(arguments, "model", None), getattr(arguments, "judge", None)]
    price = arguments.price
    return {model: (price[0], price[1]) for model in models if model and price}


def _prices(arguments: argparse.Namespace) -> Prices:
    from hymem.cost.prices import Prices

    return Prices(own_prices(arguments))


def _pricer(prices: Prices, llm: Any) -> Callable[[int, int], float | None]:
    if llm is None:
        return lambda sent, said: 0.0
    return lambda sent, said: prices.usd(llm.model, getattr(llm, "base_url", None), sent, said)


# -- score and report --


def _score(arguments: argparse.Namespace) -> None:
    scored = _scored(arguments, arguments.run_file)
    print(report.as_markdown([scored]))
    if arguments.out is not None:
        scored.result.write(arguments.out)


def _scored(arguments: argparse.Namespace, path: Path) -> report.Scored:
    from evals.answers.score import score_run
    from evals.progress import progress

    if not path.is_file():
        raise DataError(f"{path} does not exist: `hymem-eval generate` writes it")
    run = read_run(path)
    task = load_task(
        run.header["task"], arguments.data, variant=arguments.variant, adversarial=True
    )
    read_run(path, task.version)  # refuses another task version
    judge = None if arguments.judge is None else _connect(arguments, arguments.judge)
    full: Run | None = read_run(arguments.full, task.version) if arguments.full else None
    with progress(f"scoring {path.name}", None) as advance:
        result = score_run(
            task,
            run,
            judge=judge,
            prices=_prices(arguments),
            judge_runs=arguments.runs,
            concurrency=arguments.concurrency,
            full=full,
            advance=advance,
        )
    return report.Scored(run, result)


def _report(arguments: argparse.Namespace) -> None:
    scored = report.distinct([_scored(arguments, path) for path in arguments.run_files])
    text = report.as_markdown(scored, load_quoted(arguments.quoted))
    folder: Path = arguments.out or Path("report")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(text, encoding="utf-8")
    (folder / "report.json").write_text(report.as_json(scored), encoding="utf-8")
    print(text)
    print(f"written: {folder / 'report.md'}, report.json", file=sys.stderr)


def load_quoted(path: Path | None) -> list[report.Quoted]:
    """Published tables, ``[{"name", "overall", "1", "2", "3", "4"}]`` in per cent."""
    if path is None:
        return []
    try:
        return [
            report.Quoted(raw["name"], raw["overall"], {n: raw[str(n)] for n in (1, 2, 3, 4)})
            for raw in json.loads(path.read_text(encoding="utf-8"))
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path.name} holds no quoted tables: {error!r}") from error
