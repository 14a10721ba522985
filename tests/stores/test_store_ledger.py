"""The cost ledger."""

from __future__ import annotations

from datetime import UTC, datetime

from filling import ANA, BEN

from hymem.stores.sqlite import SQLiteStore


def test_costs_are_summed_by_scope_day_stage_tier_and_model(store: SQLiteStore) -> None:
    day = datetime(2026, 3, 2, 23, 0, tzinfo=UTC)
    light = {"stage": "light", "tier": "light", "model": "m", "input_tokens": 10, "usd": 0.25}
    store.add_costs(
        [
            {**light, "scope": ANA, "at": day, "seconds": 1.0},
            {**light, "scope": ANA, "at": day, "estimated": True, "output_tokens": 3},
            {**light, "scope": BEN, "at": datetime(2026, 3, 3, tzinfo=UTC)},
            {**light, "scope": ANA, "at": day, "model": "unknown", "usd": None},
        ]
    )
    first, second, third = store.costs(None)
    assert (first["scope"], first["day"], first["calls"]) == (ANA, "2026-03-02", 2)
    assert (first["input_tokens"], first["output_tokens"], first["usd"]) == (20, 3, 0.5)
    assert (first["seconds"], first["estimated"]) == (1.0, True)
    assert (second["model"], second["usd"], second["input_tokens"]) == ("unknown", None, 10)
    assert (third["scope"], third["day"], third["estimated"]) == (BEN, "2026-03-03", False)
    assert store.costs(ANA) == [first, second]
    assert store.costs(None, since=datetime(2026, 3, 3)) == [third]


def test_known_and_unknown_prices_of_one_model_stay_apart(store: SQLiteStore) -> None:
    for usd in (0.5, None, 0.0):
        store.add_costs([{"scope": ANA, "stage": "deep", "model": "m", "usd": usd}])
    assert sorted((row["calls"], row["usd"]) for row in store.costs(ANA)) == [(1, None), (2, 0.5)]
