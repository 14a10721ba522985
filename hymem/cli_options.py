"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC
from difflib import SequenceMatcher
from heapq import nlargest
from shlex import quote
from typing import Any

from hymem.errors import InputError
from hymem.system.clock import Clock
from hymem.types import Budget, Filter, Scope

# Scopes offered in place of one that there is not, and of how many the likest are looked for.
_OFFERED, _COMPARED = 5, 10_000


def shared_options(*, first: bool) -> argparse.ArgumentParser:
    """Options that stand before the command or after it. Only those of the ``first`` place have
    defaults, or the second place would undo what was given in the first."""
    shared = argparse.ArgumentParser(
        add_help=False, argument_default=None if first else argparse.SUPPRESS
    )
    default: dict[str, Any] = {"default": "hymem.db"} if first else {}
    shared.add_argument("--db", help="the SQLite file (default hymem.db)", **default)
    shared.add_argument("--user", help="user id of the scope")
    shared.add_argument("--agent", help="agent id of the scope")
    shared.add_argument("--model", help="chat model (default: gpt-4.1-mini with OPENAI_API_KEY)")
    shared.add_argument("--base-url", help="an OpenAI-compatible endpoint, e.g. a local server")
    shared.add_argument(
        "--encoder",
        metavar="NAME",
        help="spiking:TIER, st:MODEL, openai:MODEL or openai:MODEL:DIM (default spiking:small)",
    )
    shared.add_argument("--timezone", help="IANA name of the zone of days (default: the system's)")
    default = {"default": False} if first else {}
    shared.add_argument("--json", action="store_true", help="print JSON", **default)
    return shared


def where_options() -> argparse.ArgumentParser:
    """What narrows a search or a list."""
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--session", action="append", help="only this session; may be repeated")
    where.add_argument("--after", type=moment, help="only from this time on, ISO 8601")
    where.add_argument("--before", type=moment, help="only up to this time, or the end of a date")
    where.add_argument("--as-of", type=moment, help="memory as it was at this time")
    where.add_argument("--kind", choices=("turn", "unit"), help="only turns, or only units")
    add_metadata(where, "only with this metadata; the value may be a dict of operators")
    return where


def add_metadata(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument(
        "--metadata",
        metavar="KEY=VALUE",
        action="append",
        type=pair,
        default=[],
        help=f"{text}; JSON, or else a string; may be repeated",
    )


def add_now(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--now", type=moment, help="what 'last week' counts from (default: now)")


def add_budget(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--budget",
        type=budget,
        help="cap in tokens or dollars: 2000, 0.05usd, or both with a comma between",
    )


def filter_of(arguments: argparse.Namespace) -> Filter:
    return Filter(
        session_id=arguments.session,
        after=arguments.after,
        before=arguments.before,
        metadata=metadata_of(arguments),
        kind=arguments.kind,
        as_of=arguments.as_of,
    )


def metadata_of(arguments: argparse.Namespace) -> dict[str, Any]:
    return dict(arguments.metadata)


def _told(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Its ``InputError`` as wrong usage, which argparse tells with the option's name."""

    def convert(text: str) -> Any:
        try:
            return read(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


@_told
def moment(text: str) -> str:
    """A time as it was typed, once it has been read without error."""
    Clock(UTC).read(text, "the time")
    return text


@_told
def file(text: str) -> str:
    if text == "-":
        raise InputError("a file is needed, not standard input or output; one named - is ./-")
    return text


@_told
def pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InputError(f"{text!r} is no KEY=VALUE")
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        return key, value


@_told
def budget(text: str) -> Budget:
    caps: dict[str, Any] = {}
    for part in text.split(","):
        found = re.fullmatch(r"\$?(\d+(?:\.\d+)?)(usd|tokens)?", part.strip(), re.IGNORECASE)
        dollars = found and (part.strip().startswith("$") or (found[2] or "").lower() == "usd")
        if found is None or (not dollars and "." in found[1]):
            raise InputError(f"{text!r} is no budget; give tokens (2000) or dollars (0.05usd)")
        caps["usd" if dollars else "tokens"] = float(found[1]) if dollars else int(found[1])
    return Budget(**caps)


def scope_options(scope: Scope) -> str:
    """A scope as it is named on the command line."""
    given = (("--user", scope.user_id), ("--agent", scope.agent_id))
    named = " ".join(f"{option} {quote(name)}" for option, name in given if name is not None)
    return named or "neither --user nor --agent"


def no_such_scope(wanted: Scope, scopes: Sequence[Scope], db: str) -> str:
    """That there is no such scope, and which ones there are, those of like names first."""

    def likeness(scope: Scope) -> float:
        pairs = ((scope.user_id, wanted.user_id), (scope.agent_id, wanted.agent_id))
        return sum(
            SequenceMatcher(None, (one or "").casefold(), (other or "").casefold()).ratio()
            for one, other in pairs
        )

    if not scopes:
        return f"{db} has no such scope: {scope_options(wanted)}; it is empty"
    near = nlargest(_OFFERED, scopes[:_COMPARED], key=likeness)
    offered = "; ".join(scope_options(scope) for scope in near)
    more = len(scopes) - len(near)
    return (
        f"{db} has no such scope: {scope_options(wanted)}. There is: {offered}"
        + (f"; and {more} more" if more > 0 else "")
        + " (hymem scopes lists them)"
    )
