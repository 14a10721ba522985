"""``hymem-eval``: every table and report by one command.

Exit codes: 0 done, 1 an error (told on standard error), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.data import TASK_VERSIONS, DataError, load_locomo, open_longmemeval
from evals.results import Result

RESULTS = Path(__file__).parent / "results"

_EXAMPLES = """\
examples:
  hymem-eval data locomo                         download, verify and cache the data
  hymem-eval retrieval locomo                    evidence within token budgets, no model
  hymem-eval retrieval longmemeval --encoder minilm
  hymem-eval gate                                light, deep and the gate, no model
  hymem-eval all                                 the offline tables of evals/results
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
    except KeyboardInterrupt:
        return 130
    return 0


# -- commands --


def _retrieval(arguments: argparse.Namespace) -> None:
    from evals import tables

    options: dict[str, Any] = {"cache": arguments.cache, "baselines": not arguments.no_baselines}
    if arguments.task == "locomo":
        locomo = load_locomo(arguments.data)
        result = tables.locomo_table(
            locomo, arguments.encoder, ablations=arguments.ablations, **options
        )
        print(tables.show_locomo(result.rows))
    else:
        file = open_longmemeval(arguments.variant, arguments.data)
        result = tables.longmemeval_table(
            file,
            TASK_VERSIONS["longmemeval"],
            arguments.encoder,
            both_sides=arguments.both_sides,
            **options,
        )
        print(tables.show_longmemeval(result.rows))
    _save(result, arguments.out)


def _gate(arguments: argparse.Namespace) -> None:
    from evals import tables

    result = tables.gate_table(
        load_locomo(arguments.data),
        arguments.encoder,
        cache=arguments.cache,
        given_facts=arguments.observations,
    )
    print(tables.show_gate(result))
    _save(result, arguments.out)


def _save(result: Result, out: Path | None) -> None:
    if out is not None:
        result.write(out)
        print(f"written: {out}", file=sys.stderr)


# -- arguments --


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hymem-eval",
        description="Evaluate HyMem: retrieval, gate, answers and what they cost.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(required=True, metavar="command")

    retrieval = _verb(verbs, "retrieval", _retrieval, "evidence in the context, without a model")
    retrieval.add_argument("task", choices=["locomo", "longmemeval"])
    retrieval.add_argument("--no-baselines", action="store_true", help="HyMem's rows only")
    retrieval.add_argument("--ablations", action="store_true", help="LOCOMO: HyMem's parts off")
    retrieval.add_argument(
        "--variant", choices=["s", "oracle", "m"], default="s", help="which LongMemEval"
    )
    retrieval.add_argument(
        "--both-sides", action="store_true", help="LongMemEval: the assistant's turns too"
    )

    gate = _verb(verbs, "gate", _gate, "light, deep and the gate on LOCOMO, without a model")
    gate.add_argument("--observations", action="store_true", help="the data's facts as units")
    return parser


def _verb(verbs: Any, name: str, run: Any, summary: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=summary, description=summary)
    verb.set_defaults(run=run)
    verb.add_argument("--data", type=Path, help="file or folder (default: HYMEM_DATA)")
    verb.add_argument(
        "--encoder",
        default="spiking",
        help="spiking (HyMem's own), spiking:TIER, minilm or st:MODEL",
    )
    verb.add_argument("--cache", type=Path, help="folder of cached vectors")
    verb.add_argument("--out", type=Path, help="write the figures as JSON")
    return verb


if __name__ == "__main__":
    sys.exit(main())
