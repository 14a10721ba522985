"""Result files: halves, provenance, tables, and no dataset text in what is committed."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from small_data import WordEncoder

from evals import results
from evals.data.files import DataFile
from evals.data.loaders import load_locomo, open_longmemeval, stream_longmemeval
from evals.systems.encoders import CachedEncoder
from evals.tables import build

COMMITTED = Path(results.__file__).parent / "results"


def observation(question: str, value: float) -> results.Observation:
    return results.Observation("x", question, ("1-4", "4 single-hop"), {("recall", 250): value})


def test_summarise_by_half_and_group() -> None:
    rows = results.summarise(
        [
            observation("conv-26/0", 1.0),
            observation("conv-26/1", 0.0),
            observation("conv-99/0", 1.0),
        ]
    )
    cells = {(row.half, row.group): (row.value, row.n) for row in rows}
    assert cells["development", "1-4"] == (0.5, 2)
    assert cells["reported", "1-4"] == (1.0, 1)
    assert cells["all", "4 single-hop"] == (2 / 3, 3)


def test_a_result_file_names_data_code_and_configuration(tmp_path: Path) -> None:
    data = DataFile(tmp_path / "private" / "small.json", "ab" * 32)
    rows = results.summarise([observation("conv-26/0", 0.123456789)])
    result = results.Result("retrieval", "locomo-1", data, {"encoder": "words"}, rows)
    result.write(tmp_path / "out" / "result.json")
    text = (tmp_path / "out" / "result.json").read_text()
    record = json.loads(text)
    assert record["data"] == {"name": "small.json", "sha256": "ab" * 32}
    assert record["task_version"] == "locomo-1"
    assert record["configuration"] == {"encoder": "words"}
    assert set(record["code"]) == {"commit", "clean"}
    read = results.read_result(tmp_path / "out" / "result.json")["rows"]
    assert read == [replace(row, value=0.123457) for row in rows]
    assert "private" not in text


def test_pivot_shows_a_dash_where_there_is_no_figure() -> None:
    rows = results.summarise(
        [
            observation("conv-26/0", 1.0),
            results.Observation("y", "conv-26/0", ("1-4",), {("recall", 500): 0.25}),
        ]
    )
    table = results.pivot(rows, "recall", half="all", group="1-4")
    assert table.splitlines() == [
        "| recall | 250 | 500 | n |",
        "| --- | ---: | ---: | ---: |",
        "| x | 1.000 | – | 1 |",
        "| y | – | .250 | 1 |",
    ]


def test_comparisons_are_paired_by_question() -> None:
    items = [observation("conv-26/0", 1.0), observation("conv-26/1", 0.5)]
    items += [
        results.Observation("y", "conv-26/1", ("1-4",), {("recall", 250): 0.0}),
        results.Observation("y", "conv-26/7", ("1-4",), {("recall", 250): 1.0}),
    ]
    (only,) = build.comparisons(items, "recall", 250, "1-4")
    assert (only["a"], only["b"], only["value"], only["n"]) == ("x", "y", 0.5, 1)


def test_vectors_are_encoded_once(tmp_path: Path) -> None:
    plain = WordEncoder()
    first = CachedEncoder(plain, tmp_path)
    one = first.encode(["a b", "c", "a b"])
    assert plain.seen == 2
    again = CachedEncoder(WordEncoder(), tmp_path)
    assert (again.encode(["c", "a b"]) == one[[1, 0]]).all()
    assert again.encoded == 0
    # two views of one cache see each other's rows
    first.encode(["d"])
    again.encode(["e", "d"])
    assert (first.encode(["e"]) == WordEncoder().encode(["e"])).all()


def test_an_interrupted_append_does_not_shift_rows(tmp_path: Path) -> None:
    cached = CachedEncoder(WordEncoder(), tmp_path)
    cached.encode(["a"])
    folder = tmp_path / "words-1"
    with (folder / "vectors.f32").open("ab") as stream:
        stream.write(b"\x01" * 100)  # rows whose digests were never written
    later = CachedEncoder(WordEncoder(), tmp_path)
    assert (later.encode(["b", "a"]) == WordEncoder().encode(["b", "a"])).all()


# -- what is committed --


def committed() -> list[Path]:
    return sorted(COMMITTED.glob("*.json"))


@pytest.mark.parametrize("path", committed(), ids=lambda path: path.stem)
def test_committed_results_hold_figures_and_names_alone(path: Path) -> None:
    """Every string is short, and none reads like a sentence of a conversation."""
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["code"]["clean"] is True
    assert re.fullmatch(r"[0-9a-f]{40}", record["code"]["commit"])
    assert re.fullmatch(r"[0-9a-f]{64}", record["data"]["sha256"])
    for text in strings(record):
        assert len(text) <= 80
        assert not re.search(r"[?!]|\b(I|you|my|your)\b", text)


@pytest.mark.data
def test_committed_results_hold_no_dataset_text() -> None:
    folder = os.environ.get("HYMEM_DATA")
    if not folder:
        pytest.skip("HYMEM_DATA is not set")
    said = {turn.text for item in load_locomo(folder).conversations for turn in item.turns}
    for question in stream_longmemeval(open_longmemeval("oracle", folder)):
        said |= {turn.text for session in question.sessions for turn in session.turns}
        said.add(question.text)
    said = {text.strip() for text in said if len(text.strip()) > 12}
    for path in committed():
        for text in strings(json.loads(path.read_text(encoding="utf-8"))):
            assert text.strip() not in said


def strings(value: object) -> list[str]:
    """All keys and texts in a JSON value."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for item in pair for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return []
