"""The measurement of deletions, at a size that takes a moment."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

from evals import cli
from evals.speed import erase
from hymem.types import Scope


def test_a_small_store_is_filled_emptied_and_measured(tmp_path: Path) -> None:
    row = erase.measure(tmp_path / "erase.db", 400)
    figures = asdict(row)
    assert all(math.isfinite(value) and value >= 0 for value in figures.values())
    assert row.turns == 400
    assert row.compact_bytes_freed > 0
    assert row.writer_waits_for_small > 0  # it has written beside
    assert row.writer_waits_for_compact > 0
    with erase.open_store(tmp_path / "erase.db") as store:
        assert len(store.list_turns(erase.LARGE, limit=1000)) == 360 - erase.TIMES
        assert Scope("tenth") not in store.scopes()
        assert Scope("writer") in store.scopes()
        assert not [one for one in store.scopes() if str(one.user_id).startswith("small")]


def test_the_command_writes_its_figures(tmp_path: Path) -> None:
    out = tmp_path / "erase.json"
    command = ["speed", "erase", "--sizes", "400", "--folder", str(tmp_path), "--out", str(out)]
    assert cli.main(command) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["turns"] == 400
    assert list(tmp_path.iterdir()) == [out]
