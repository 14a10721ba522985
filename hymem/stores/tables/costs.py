"""The cost ledger."""

from __future__ import annotations

import sqlite3
import time as clock
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from hymem.stores.rows import seconds_of
from hymem.stores.tables.names import find_scope, make_scope, named_scopes
from hymem.types import Scope

_NUMBER = "('real', 'integer')"
_SOUND = (
    "typeof(c.stage) = 'text' AND typeof(c.tier) = 'text' AND typeof(c.model) = 'text'"
    f" AND typeof(c.at) IN {_NUMBER} AND typeof(c.seconds) IN {_NUMBER}"
    " AND typeof(c.usd) IN ('real', 'integer', 'null')"
)


def add_costs(connection: sqlite3.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """See ``Store.add_costs``."""
    for row in rows:
        scope: Scope | None = row.get("scope")
        connection.execute(
            "INSERT INTO costs (scope, at, stage, tier, model, input_tokens, output_tokens,"
            " cached_tokens, usd, seconds, estimated)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                None if scope is None else _charged(connection, scope, row["stage"]),
                _at(row.get("at")),
                row["stage"],
                row.get("tier", ""),
                row.get("model", ""),
                row.get("input_tokens", 0),
                row.get("output_tokens", 0),
                row.get("cached_tokens", 0),
                row.get("usd"),
                row.get("seconds", 0.0),
                bool(row.get("estimated", False)),
            ),
        )


def costs(
    connection: sqlite3.Connection, scope: int | None, since: datetime | None
) -> list[Mapping[str, Any]]:
    """See ``Store.costs``; ``scope``: its id."""
    where, values = "1", []
    if scope is not None:
        where += " AND c.scope = ?"
        values.append(scope)
    if since is not None:
        where += " AND c.at >= ?"
        values.append(seconds_of(since))  # type: ignore[arg-type]
    # Negative numbers, which version 0.1 wrote if an endpoint said so, lift no cap. Sums that pass
    # SQLite's integers would raise, and rows that are damaged do not count.
    rows = connection.execute(
        "SELECT c.scope, date(c.at, 'unixepoch') AS day, CAST(c.stage AS BLOB),"
        f" CAST(c.tier AS BLOB), CAST(c.model AS BLOB), count(*), {_tokens('input')},"
        f" {_tokens('output')}, {_tokens('cached')}, sum(max(c.usd, 0)), sum(c.seconds),"
        " max(CAST(c.estimated AS INTEGER))"
        " FROM costs c"
        f" WHERE {where} AND {_SOUND}"
        " GROUP BY c.scope, day, c.stage, c.tier, c.model, c.usd IS NULL"
        " HAVING day IS NOT NULL ORDER BY day, c.scope, c.stage, c.tier, c.model",
        values,
    ).fetchall()
    named = named_scopes(connection, "id IN (SELECT scope FROM costs)")
    return [_summary(named.get(number), row) for number, *row in rows]


def _charged(connection: sqlite3.Connection, scope: Scope, stage: str) -> int | None:
    """The scope's id. One that is gone was deleted while its turns were being extracted, and is
    not named again."""
    if stage in ("segment", "extract"):
        return find_scope(connection, scope)
    return make_scope(connection, scope)


def _tokens(which: str) -> str:
    return f"sum(min(max(ifnull(CAST(c.{which}_tokens AS INTEGER), 0), 0), {1 << 40}))"


def _at(value: datetime | float | None) -> float:
    if value is None:
        return clock.time()
    return seconds_of(value) or 0.0 if isinstance(value, datetime) else float(value)


def _summary(scope: Scope | None, row: Sequence[Any]) -> Mapping[str, Any]:
    day, *names, calls, read, written, cached, usd, spent, est = row
    # A name that is not UTF-8 must not keep the other rows from being read.
    stage, tier, model = (name.decode("utf-8", "replace") for name in names)
    return {
        "scope": scope,
        "day": day,
        "stage": stage,
        "tier": tier,
        "model": model,
        "calls": calls,
        "input_tokens": read,
        "output_tokens": written,
        "cached_tokens": cached,
        "usd": usd,
        "seconds": spent,
        "estimated": bool(est),
    }
