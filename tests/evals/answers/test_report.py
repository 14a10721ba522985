"""Reports: escaping, plots, and the check of category names on quoted tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from evals.answers import page, plots, report
from evals.answers.cli import load_quoted
from evals.answers.records import Run
from evals.data.files import DataError, DataFile
from evals.results import Result, Row, read_result

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


def test_the_page_cannot_be_broken_by_what_it_shows() -> None:
    evil = "</script><script>alert(1)</script>"
    text = f"# {evil}\n\n| a | b |\n| --- | ---: |\n| {evil} | 1 |\n\n- {evil}"
    html = page.html_page(text, {evil: ""}, {evil: [{"id": evil, "answer": evil}]})
    assert "alert(1)</script>" not in html
    assert html.count("<script") == 2
    data = html.split('id="data">')[1].split("</script>")[0]
    assert json.loads(data) == {evil: [{"id": evil, "answer": evil}]}


def test_markdown_tables_become_html() -> None:
    html = page.markdown_to_html("## T\n\n| run | F1 |\n| --- | ---: |\n| x | .5 |\n")
    assert html == (
        "<h2>T</h2>\n<table><tr><th>run</th><th>F1</th></tr><tr><td>x</td><td>.5</td></tr></table>"
    )


def test_a_plot_is_well_formed_and_in_its_frame() -> None:
    series = {"a & b": [(250.0, 0.4), (4000.0, 0.9)], "c": [(1000.0, 0.7)]}
    svg = plots.line_plot(series, "tokens", "recall <share>")
    root = ElementTree.fromstring(svg)
    circles = [item for item in root if item.tag.endswith("circle")]
    assert len(circles) == 5  # three points, two keys
    for item in circles[:2]:
        assert plots.LEFT <= float(item.attrib["cx"]) <= plots.WIDTH - plots.RIGHT
        assert plots.TOP <= float(item.attrib["cy"]) <= plots.HEIGHT - plots.BOTTOM
    left, right = circles[0], circles[1]
    assert float(left.attrib["cx"]) < float(right.attrib["cx"])
    assert float(left.attrib["cy"]) > float(right.attrib["cy"])  # up is more
    assert plots.line_plot({}, "x", "y") == ""


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
    found = report.distinct([report.Scored(run, result, {}) for run in runs])
    assert [item.label for item in found] == [
        "full · m (a.jsonl)",
        "full · m (b.jsonl)",
        "deep · m",
    ]


def test_curves_come_from_a_retrieval_result(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    row = Row("x", "all", "1-4", "verbatim recall", 0.5, 0.1, 9, 250)
    data = DataFile(tmp_path / "d.json", "ab" * 32)
    rows = [row, replace(row, half="reported")]
    Result("retrieval", "locomo-1", data, {}, rows).write(path)
    assert report.curves(read_result(path)) == {"x": [(250.0, 0.5)]}
    path.write_text("[]")
    with pytest.raises(DataError, match="no result file"):
        read_result(path)
