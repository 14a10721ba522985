"""The cost ledger's table."""

from __future__ import annotations

import sqlite3
import time as clock
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from hymem.stores.core import Core
from hymem.stores.rows import seconds_of
from hymem.types import Scope


class Ledger(Core):
    def add_costs(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        with self._db.write() as connection:
            for row in rows:
                scope: Scope | None = row.get("scope")
                connection.execute(
                    "INSERT INTO costs (scope, at, stage, tier, model, input_tokens, output_tokens,"
                    " cached_tokens, usd, seconds, estimated)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        None if scope is None else self._charged(connection, scope, row["stage"]),
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

    def _charged(self, connection: sqlite3.Connection, scope: Scope, stage: str) -> int | None:
        """The scope's id. One that is gone was deleted while its turns were being extracted, and
        is not named again."""
        if stage in ("segment", "extract"):
            return self._scope_id(connection, scope)
        return self._make_scope(connection, scope)

    def costs(self, scope: Scope | None, since: datetime | None = None) -> list[Mapping[str, Any]]:
        where, values = "1", []
        with self._db.read() as connection:
            if scope is not None:
                where += " AND c.scope = ?"
                values.append(self._scope_id(connection, scope) or -1)
            if since is not None:
                where += " AND c.at >= ?"
                values.append(seconds_of(since))  # type: ignore[arg-type]
            # Negative numbers, which version 0.1 wrote if an endpoint said so, lift no cap.
            rows = connection.execute(
                "SELECT s.id, s.user_id, s.agent_id, date(c.at, 'unixepoch') AS day, c.stage,"
                " c.tier, c.model, count(*), sum(max(c.input_tokens, 0)),"
                " sum(max(c.output_tokens, 0)), sum(max(c.cached_tokens, 0)),"
                " sum(max(c.usd, 0)), sum(c.seconds), max(c.estimated)"
                " FROM costs c LEFT JOIN scopes s ON s.id = c.scope"
                f" WHERE {where} GROUP BY c.scope, day, c.stage, c.tier, c.model, c.usd IS NULL"
                " ORDER BY day, c.scope, c.stage, c.tier, c.model",
                values,
            ).fetchall()
        return [_summary(row) for row in rows]


def _at(value: datetime | float | None) -> float:
    if value is None:
        return clock.time()
    return seconds_of(value) or 0.0 if isinstance(value, datetime) else float(value)


def _summary(row: Sequence[Any]) -> Mapping[str, Any]:
    known, user, agent, day, stage, tier, model, calls, read, written, cached, usd, spent, est = row
    return {
        "scope": None if known is None else Scope(user, agent),
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
