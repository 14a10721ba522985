"""What the command line prints: tables and text for people, tab-separated lines for pipes, JSON."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any

# Stored text must not steer the terminal it is shown on.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def show(value: Any, text: str, *, as_json: bool) -> None:
    """``value`` as JSON, or else ``text``."""
    print(_json(value) if as_json else printable(text))


def table(
    values: Any, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, as_json: bool
) -> None:
    """``values`` as JSON, or else ``rows``: as a table on a terminal, and into a pipe or a file a
    line for each, without a head, tabs between the cells and spaces for tabs and breaks in them."""
    if as_json:
        print(_json(values))
    elif sys.stdout.isatty():
        _draw(columns, rows)
    else:
        for row in rows:
            print("\t".join(printable(re.sub(r"\s+", " ", str(cell))) for cell in row))


def note(text: str) -> None:
    """A word to the user that is not part of the output."""
    print(f"hymem: {text}", file=sys.stderr)


def printable(text: str) -> str:
    """``text`` with question marks for what standard output cannot show, and for characters that
    steer a terminal."""
    encoding = sys.stdout.encoding or "utf-8"
    if sys.stdout.isatty():
        text = _CONTROL.sub("?", text)
    return text.encode(encoding, "replace").decode(encoding)


def day(time: datetime | None) -> str:
    return time.strftime("%Y-%m-%d") if time else ""


def cell(value: Any) -> str:
    from hymem.types import Scope

    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    if isinstance(value, Scope):
        return " / ".join(name for name in (value.user_id, value.agent_id) if name) or "-"
    return "unknown" if value is None else str(value)


def _draw(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    # In a narrow window figures and texts go on in the next line; none is shortened.
    drawn = Table(*(Column(name, overflow="fold") for name in columns), box=box.SIMPLE)
    for row in rows:
        drawn.add_row(*(Text(printable(str(one))) for one in row))
    plain = bool(os.environ.get("NO_COLOR"))
    Console(color_system=None if plain else "auto").print(drawn)


def _json(value: Any) -> str:
    text = json.dumps(_plain(value), ensure_ascii=False, default=str, indent=2)
    if printable(text) == text:
        return text
    return json.dumps(_plain(value), default=str, indent=2)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        shown = asdict(value)
        shown.pop("passages", None)  # thousands of numbers, of a long turn
        return {key: _plain(item) for key, item in shown.items()}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else value
