"""Reports: names of runs, means over types, the check of category names on quoted tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evals.answers import report
from evals.answers.cli import load_quoted
from evals.answers.records import Run
from evals.data.files import DataError, DataFile
from evals.results import Result, Row

RIGHT = {"name": "ours", "overall": 78.05, "1": 60, "2": 70, "3": 50, "4": 90.35}
# The same scores under the numbering of mem0's lineage.
RENAMED = {"name": "theirs", "overall": 78.05, "1": 90.35, "2": 70, "3": 60, "4": 50}


def test_quoted_tables_are_checked_by_their_weighted_mean(tmp_path: Path) -> None:
    overall = (60 * 282 + 70 * 321 + 50 * 96 + 90.35 * 841) / 1540
    path = tmp_path / "quoted.json"
    tables = [RIGHT | {"overall": round(overall, 2)}, RENAMED | {"overall": round(overall, 2)}]
    path.write_text(json.dumps(tables))
    right, renamed = report.check_quoted(load_quoted(path))
    assert right.endswith("is consistent")
    assert "NOT consistent" in renamed
    path.write_text('[{"name": "x"}]')
    with pytest.raises(DataError, match="holds no quoted tables"):
        load_quoted(path)


def test_the_mean_of_types_counts_a_type_without_a_right_answer() -> None:
    row = Row("x", "all", "all types", "judge, by type", 0.75, None, 4)
    cells = {"all types": row, "a": replace(row, value=1.0), "b": replace(row, value=0.0)}
    assert report.type_mean(cells) == 0.5
    assert report.type_mean({"1-4": row}) is None


def test_runs_of_one_system_and_model_are_told_apart(tmp_path: Path) -> None:
    result = Result("answers", "locomo-1", DataFile(tmp_path / "d.json", "ab" * 32), {}, [])
    runs = [
        Run(tmp_path / f"{name}.jsonl", {"system": system, "model": "m"}, {}, {})
        for name, system in (("a", "full"), ("b", "full"), ("c", "deep"))
    ]
    found = report.distinct([report.Scored(run, result) for run in runs])
    assert [item.label for item in found] == [
        "full · m (a.jsonl)",
        "full · m (b.jsonl)",
        "deep · m",
    ]
