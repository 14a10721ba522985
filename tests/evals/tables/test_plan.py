"""All committed tables from small files in one run, and the page made from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_data import WordEncoder

from evals import cli, results
from evals.data import files
from evals.data.files import DataError
from evals.systems import encoders
from evals.tables import build, plan, readme

COMMITTED = Path(results.__file__).parent / "results"


@pytest.fixture
def folder(
    locomo_file: Path, longmemeval_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A data folder with small files under the benchmarks' names."""
    data = tmp_path / "data"
    data.mkdir()
    locomo_file.rename(data / "locomo10.json")
    longmemeval_file.rename(data / "longmemeval_s_cleaned.json")
    monkeypatch.setattr(files, "CHECKSUMS", {})
    for module in (build, encoders):
        monkeypatch.setattr(module, "load_encoder", lambda name: WordEncoder())
    return data


def test_every_planned_table_is_made_and_shown(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("bm25s", "nltk", "rouge_score"):
        pytest.importorskip(package)
    out, whole = tmp_path / "results", tmp_path / "whole"
    measured = plan.measured

    def kept_whole(table: plan.Planned, inputs: plan.Inputs) -> results.Result:
        result = measured(table, inputs)
        result.write(whole / f"{table.name}.json")
        return result

    monkeypatch.setattr(plan, "measured", kept_whole)
    options = ["--data", folder, "--out", out, "--cache", tmp_path / "cache", "--jobs", "1"]
    assert cli.main(["all", *map(str, options)]) == 0
    made = {path.stem: json.loads(path.read_text()) for path in out.glob("*.json")}
    assert set(made) == {table.name for table in plan.PLAN}
    assert all(each["rows"] for each in made.values())
    assert made["answers-offline"]["configuration"]["model"] == "offline"
    assert made["answers-offline"]["answered"] == 10
    text = readme.tables(out)
    assert text == readme.tables(whole)  # rows that are left out are on no page
    sizes = {path.name: path.stat().st_size for path in whole.iterdir()}
    assert sum(path.stat().st_size for path in out.iterdir()) < sum(sizes.values()) / 2
    for name in made:
        assert f"`hymem-eval all --tables {name}`" in text
    assert "| hymem · spiking nano |" in text
    assert "| no raw keys · spiking |" in text
    # BM25 has no encoder, and is shown once; units are no verbatim evidence
    main_table = text.split("development:")[1].split("reported:")[0]
    assert main_table.count("| turns, bm25 |") == 1
    assert "observations, dense" not in main_table
    assert "| observations, dense · spiking |" in text


def test_only_the_tables_asked_for_are_made(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    options = ["--data", str(folder), "--out", str(out), "--jobs", "1", "--cache", str(tmp_path)]
    assert cli.main(["all", "--tables", "gate-spiking", *options]) == 0
    assert [path.name for path in out.iterdir()] == ["gate-spiking.json"]
    with pytest.raises(DataError, match="no table 'gate'; there are: locomo-spiking"):
        plan.planned(["gate"])


def test_missing_data_is_told_before_the_first_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["all", "--data", str(tmp_path)]) == 1
    assert "hymem-eval data locomo" in capsys.readouterr().err


def test_the_check_before_installing_needs_no_package(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HYMEM_DATA", str(folder))
    assert files.main(["locomo", "longmemeval_s"]) == 0
    (folder / "locomo10.json").unlink()
    assert files.main(["locomo", "longmemeval_s"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_page_shows_the_committed_results() -> None:
    """After a change of results: ``hymem-eval readme``."""
    assert (COMMITTED / "README.md").read_text(encoding="utf-8") == readme.page(COMMITTED)


def test_processes_share_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("RAYON_NUM_THREADS", "5")
    with build.threads_per_process(2):
        assert os.environ["OMP_NUM_THREADS"] == "2"
        assert os.environ["RAYON_NUM_THREADS"] == "5"  # the user's own word stands
    assert "OMP_NUM_THREADS" not in os.environ
    assert os.environ["RAYON_NUM_THREADS"] == "5"
