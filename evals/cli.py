"""``hymem-eval``: every table and report by one command.

Exit codes: 0 done, 1 an error (told on standard error), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from evals.answers.cli import positive
from evals.data.files import DataError
from evals.data.loaders import TASK_VERSIONS, load_locomo, open_longmemeval

if TYPE_CHECKING:
    from evals.results import Result

RESULTS = Path(__file__).parent / "results"

_EXAMPLES = """\
examples:
  hymem-eval data locomo                          download, verify and cache the data
  hymem-eval retrieval locomo                     evidence within token budgets, no model
  hymem-eval retrieval longmemeval --encoder minilm
  hymem-eval show evals/results/locomo-spiking.json
  hymem-eval gate                                 light, deep and the gate, no model
  hymem-eval transfer --beside minilm             talk that chose no constant
  hymem-eval generate locomo --system hymem --model gpt-4.1-mini --dry-run
  hymem-eval generate locomo --system hymem --model gpt-4.1-mini --max-usd 5 --out hymem.jsonl
  hymem-eval score hymem.jsonl --judge gpt-4.1-mini --runs 3
  hymem-eval report hymem.jsonl full.jsonl --out report
  hymem-eval mine chat.db --user ana
  hymem-eval demo                                 the demo, on LOCOMO
  hymem-eval encoder quality --out quality.json   encoders by themselves
  hymem-eval speed memory --texts FILE            adding and searching, beside mem0
  hymem-eval all                                  the offline tables of evals/results
  hymem-eval all --tables locomo-spiking gate-spiking
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    from hymem.errors import HyMemError

    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (DataError, HyMemError) as error:
        print(f"hymem-eval: {error}", file=sys.stderr)
        return 1
    except ImportError as error:
        print(f"hymem-eval: {error}; pip install 'hymem[evals]'", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a folder that cannot be written, a full disk
        print(f"hymem-eval: {error}", file=sys.stderr)
        return 1
    except BrokenProcessPool:
        print("hymem-eval: a process was ended, for want of memory? Try --jobs 1", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


# -- commands --


def _data(arguments: argparse.Namespace) -> None:
    from evals.data.download import SOURCES, fetch
    from evals.progress import progress

    for source in SOURCES[arguments.task]:
        print(f"{source.name}, licence {source.licence}, from {source.url}", file=sys.stderr)
        with progress(source.name, None) as advance:
            file = fetch(source, arguments.data, lambda size: advance())
        print(f"{file.path}  sha256 {file.sha256}")


def _retrieval(arguments: argparse.Namespace) -> None:
    from evals.tables import build

    options: dict[str, Any] = {
        "cache": arguments.cache,
        "baselines": arguments.baselines,
        "jobs": arguments.jobs,
        "only": arguments.systems,
    }
    if arguments.task == "locomo":
        locomo = load_locomo(arguments.data)
        result = build.locomo_table(
            locomo, arguments.encoder, ablations=arguments.ablations, **options
        )
        print(build.show_locomo(result.rows))
    else:
        file = open_longmemeval(arguments.variant, arguments.data)
        result = build.longmemeval_table(
            file,
            TASK_VERSIONS["longmemeval"],
            arguments.encoder,
            both_sides=arguments.both_sides,
            **options,
        )
        print(build.show_longmemeval(result.rows))
    _save(result, arguments.out)


def _gate(arguments: argparse.Namespace) -> None:
    from evals.tables import build

    result = build.gate_table(
        load_locomo(arguments.data),
        arguments.encoder,
        cache=arguments.cache,
        given_facts=arguments.observations,
    )
    print(build.show_gate(result.rows, result.extra["quality"]))
    _save(result, arguments.out)


def _transfer(arguments: argparse.Namespace) -> None:
    from evals.collections import COLLECTIONS
    from evals.results import Result
    from evals.retrieval import transfer
    from evals.systems.encoders import cached, load_encoder

    names = arguments.collections or list(COLLECTIONS)
    encoder = cached(load_encoder(arguments.encoder), arguments.cache)
    others = {name: cached(load_encoder(name), arguments.cache) for name in arguments.beside}

    def told(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    rows = transfer.rows_of(list(transfer.measure(names, encoder, others, arguments.data, told)))
    print(transfer.show(rows, names))
    result = Result(
        "retrieval",
        transfer.TRANSFER_VERSION,
        load_locomo(arguments.data).file,
        {"encoder": arguments.encoder, "encoder version": encoder.version, "collections": names},
        rows,
    )
    _save(result, arguments.out)


def _all(arguments: argparse.Namespace) -> None:
    """The committed tables, one file each as soon as it is made, then their page."""
    from evals.tables import plan

    chosen = plan.planned(arguments.tables)
    inputs = plan.open_inputs(arguments.data, arguments.cache, arguments.jobs)
    folder: Path = arguments.out or RESULTS
    for number, table in enumerate(chosen, 1):
        print(
            f"table {number} of {len(chosen)}: {table.name}, about {table.minutes} min on two "
            "cores (less with cached vectors)",
            file=sys.stderr,
        )
        _save(plan.make(table, inputs), folder / f"{table.name}.json")
    if arguments.out is None:
        _readme(arguments)


def _readme(arguments: argparse.Namespace) -> None:
    from evals.tables import readme

    print(f"written: {readme.update(RESULTS)}", file=sys.stderr)


def _show(arguments: argparse.Namespace) -> None:
    from evals.tables.build import show_file

    print(show_file(arguments.result))


def _mine(arguments: argparse.Namespace) -> None:
    from dataclasses import replace

    from evals.progress import progress
    from evals.results import Observation, pivot
    from evals.retrieval import own_chats
    from evals.systems.encoders import load_encoder
    from evals.systems.hymem import hymem_systems
    from evals.tables.build import comparisons

    history = own_chats.read_history(arguments.store, arguments.user, arguments.agent)
    clozes = own_chats.make_clozes(history, arguments.questions)
    if not clozes:
        raise DataError(f"none of the {len(history.messages)} turns is long enough for a cloze")
    observations: list[Observation] = []
    for name in arguments.encoder or ["spiking"]:
        for system in hymem_systems(load_encoder(name), ["hymem", "deep only"]):
            labelled = replace(system, name=f"{system.name}, {name}")
            with progress(labelled.name, len(clozes)) as advance:
                observations += own_chats.evaluate(labelled, history, clozes, advance)
    print(f"{len(clozes)} cloze questions from {len(history.messages)} turns\n")
    print(
        pivot(own_chats.summarise(observations), "verbatim recall", half="all", group="own chats")
    )
    for each in comparisons(observations, "verbatim recall", 1000, "own chats"):
        print(
            f"at 1,000 tokens: {each['a']} − {each['b']} = {each['value']:+.3f} "
            f"(95 % {each['low']:+.3f} to {each['high']:+.3f})"
        )


def _save(result: Result, out: Path | None) -> None:
    if out is not None:
        result.write(out)
        print(f"written: {out}", file=sys.stderr)


# -- arguments --


def _parser() -> argparse.ArgumentParser:
    from evals.answers import cli as cli_answers
    from evals.tables.plan import PLAN

    parser = argparse.ArgumentParser(
        prog="hymem-eval",
        description="Evaluate HyMem: retrieval, gate, answers and what they cost.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(required=True, metavar="command")

    data = _verb(verbs, "data", _data, "download and verify benchmark data")
    data.add_argument("task", choices=["locomo", "longmemeval", "longmemeval_m"])

    retrieval = _verb(verbs, "retrieval", _retrieval, "evidence in the context, without a model")
    retrieval.add_argument("task", choices=["locomo", "longmemeval"])
    retrieval.add_argument(
        "--baselines",
        choices=["all", "encoder", "none", "only"],
        default="all",
        help="rows beside HyMem's: all, those that compare encoders, none; or baselines only",
    )
    retrieval.add_argument("--systems", nargs="+", default=(), metavar="NAME", help="only these")
    retrieval.add_argument("--ablations", action="store_true", help="LOCOMO: HyMem's parts off")
    retrieval.add_argument(
        "--variant", choices=["s", "oracle", "m"], default="s", help="which LongMemEval"
    )
    retrieval.add_argument(
        "--both-sides", action="store_true", help="LongMemEval: the assistant's turns too"
    )
    _encoder_options(retrieval)
    _jobs_option(retrieval)

    gate = _verb(verbs, "gate", _gate, "light, deep and the gate on LOCOMO, without a model")
    gate.add_argument("--observations", action="store_true", help="the data's facts as units")
    _encoder_options(gate)

    transfer = _verb(
        verbs, "transfer", _transfer, "development collections, constants of the others alone"
    )
    transfer.add_argument("--collections", nargs="+", metavar="NAME", help="two or more of them")
    transfer.add_argument(
        "--beside", nargs="*", default=(), metavar="ENCODER", help="further encoders of baselines"
    )
    _encoder_options(transfer)

    show = verbs.add_parser("show", help="print the tables of a result file")
    show.set_defaults(run=_show)
    show.add_argument("result", type=Path)

    cli_answers.add_verbs(verbs, _verb, _encoder_options)

    mine = verbs.add_parser(
        "mine",
        help="cloze questions from your own store",
        description="Judge an encoder on your own chats. Nothing leaves the machine.",
    )
    mine.set_defaults(run=_mine)
    mine.add_argument("store", type=Path, help="a HyMem database")
    mine.add_argument("--user", help="the scope's user_id")
    mine.add_argument("--agent", help="the scope's agent_id")
    mine.add_argument("--questions", type=positive, default=200)
    mine.add_argument("--encoder", action="append", help="repeat to compare (default: spiking)")

    everything = _verb(verbs, "all", _all, "the offline tables of evals/results")
    everything.add_argument("--cache", type=Path, help="folder of cached vectors")
    everything.add_argument(
        "--tables",
        nargs="+",
        default=(),
        metavar="NAME",
        help=f"only these of: {', '.join(table.name for table in PLAN)}",
    )
    _jobs_option(everything)
    _measurements(verbs)
    readme = verbs.add_parser("readme", help="make evals/results/README.md of the result files")
    readme.set_defaults(run=_readme)
    return parser


def _measurements(verbs: Any) -> None:
    """The commands that stand in modules of their own, with their options."""
    from evals import calibrate, demo
    from evals.encoder import development_half, quality, search_steps
    from evals.encoder import speed as encoder_speed
    from evals.speed import erase, harness, memory, store

    groups: dict[str, tuple[str, dict[str, ModuleType]]] = {
        "encoder": (
            "sentence encoders by themselves: quality, speed, steps",
            {
                "quality": quality,
                "speed": encoder_speed,
                "search-steps": search_steps,
                "development-half": development_half,
            },
        ),
        "speed": (
            "time and memory that HyMem takes",
            {"memory": memory, "store": store, "erase": erase, "harness": harness},
        ),
    }
    for name, (summary, modules) in groups.items():
        group = verbs.add_parser(name, help=summary)
        parts = group.add_subparsers(required=True, metavar="command")
        for part, module in modules.items():
            _measurement(parts, part, module)
    _measurement(verbs, "calibrate", calibrate)
    _measurement(verbs, "demo", demo)


def _measurement(verbs: Any, name: str, module: ModuleType) -> None:
    """A module with ``add_options(parser)`` and ``run(arguments)`` as a command; its docstring is
    the help."""
    text = (module.__doc__ or "").strip()
    summary = text.partition("\n")[0].removesuffix(".")
    if summary[1].islower() or summary[1] == " ":
        summary = summary[0].lower() + summary[1:]
    parser = verbs.add_parser(
        name,
        help=summary,
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_options(parser)
    parser.set_defaults(run=module.run)


def _jobs_option(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--jobs",
        type=positive,
        default=os.cpu_count() or 1,
        help="processes (default: one per core)",
    )


def _verb(verbs: Any, name: str, run: Any, summary: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=summary, description=summary)
    verb.set_defaults(run=run)
    verb.add_argument("--data", type=Path, help="file or folder (default: HYMEM_DATA)")
    verb.add_argument("--out", type=Path, help="where to write the figures")
    return verb


def _encoder_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--encoder",
        default="spiking",
        help="spiking (HyMem's own), spiking:TIER, minilm or st:MODEL",
    )
    verb.add_argument("--cache", type=Path, help="folder of cached vectors")


if __name__ == "__main__":
    sys.exit(main())
