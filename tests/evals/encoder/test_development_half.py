"""The development half's file gives the figure of `hymem-eval encoder quality` on that half."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_data import WordEncoder

from evals.data.loaders import load_locomo
from evals.encoder import development_half, quality
from snn_encoder.evaluate import score


def test_recall_on_the_file_is_that_of_the_check(
    locomo_file: Path, encoder: WordEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversations = load_locomo(locomo_file).conversations
    monkeypatch.setattr(quality, "_conversations", lambda: conversations)
    lines = [json.dumps(row) for row in development_half.collections(conversations)]
    path = tmp_path / "locomo_dev.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert len(lines) == 1
    assert "Turin" not in lines[0]
    wanted = quality.locomo(encoder.encode)["development"]
    assert 0 < wanted < 1
    name, value = score(encoder.encode, path)
    assert name == "locomo_dev recall@10"
    assert round(value, 4) == wanted
