"""The demo on LOCOMO, run on a small file of the same shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from evals.cli import main

pytest.importorskip("nltk")


def test_it_ingests_asks_and_prints_f1_and_recall(
    locomo_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--data", str(locomo_file), "--every", "1"]) == 0
    shown = capsys.readouterr().out
    assert "F1" in shown
    assert "recall" in shown
    assert "expected:" in shown
    assert "of 12 right" in shown


def test_missing_data_is_a_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--data", str(tmp_path)]) == 1
    assert "locomo10.json" in capsys.readouterr().err
