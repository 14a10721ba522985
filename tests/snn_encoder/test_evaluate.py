"""Scores of encoders, and what their spikes contribute."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from snn_encoder import SpikingEncoder, evaluate


def test_spearman_ranks_and_a_constant_side_has_none() -> None:
    assert evaluate.spearman(np.array([1.0, 2, 9]), np.array([0.1, 0.2, 0.3])) == pytest.approx(1)
    assert evaluate.spearman(np.array([1.0, 1, 2]), np.array([3.0, 3, 1])) == pytest.approx(-1)
    assert evaluate.spearman(np.ones(3), np.array([1.0, 2, 3])) == 0


def test_silenced_spikes_reach_no_read_out(tiny: SpikingEncoder) -> None:
    texts = ["Ana lives in Lyon.", "eggs and flour"]
    models = evaluate.silenced(tiny)
    vectors = {name: model.encode(texts, 4) for name, model in models.items()}
    assert np.array_equal(vectors["all spikes"], tiny.encode(texts, 4))
    assert np.array_equal(vectors["none"][0], vectors["none"][1])
    bias = tiny.parameters.bias
    np.testing.assert_allclose(vectors["none"][0], bias / np.linalg.norm(bias), 1e-5)
    swapped = [" ".join(reversed(text.split())) for text in texts]
    assert not np.allclose(models["the blocks' alone"].encode(swapped, 4), vectors["all spikes"])
    bag = models["the tokens' alone"]
    np.testing.assert_allclose(bag.encode(["a b"], 4), bag.encode(["b a"], 4), atol=1e-6)
    assert list(evaluate.silenced(SpikingEncoder.from_pretrained("nano"))) == ["all spikes", "none"]


def test_scores_of_both_kinds_of_file(tmp_path: Path, tiny: SpikingEncoder) -> None:
    pairs = [(5.0, "a cat sleeps", "a cat sleeps"), (2.0, "a cat sleeps", "a cat eats"),
             (0.0, "a cat sleeps", "stocks fell")]  # fmt: skip
    sts = tmp_path / "pairs.tsv"
    sts.write_text("\n".join("\t".join(map(str, row)) for row in pairs))
    collection = tmp_path / "home.jsonl"
    keys = ["a cat sleeps", "stocks fell on Monday", "bread and butter"]
    collection.write_text(json.dumps({"keys": keys, "queries": [["a cat sleeps", [[0], [1]]]]}))
    found = evaluate.scores(partial(tiny.encode, timesteps=4), [sts, collection])
    assert found["home recall@10"] == 1
    assert set(found) == {"pairs Spearman", "pairs Spearman, shared words", "home recall@10"}
    assert -1 <= found["pairs Spearman"] <= 1
    assert found["pairs Spearman, shared words"] == 1


def test_activity_is_counted_on_lines_or_on_keys(
    tmp_path: Path, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sts, lines, keys = (tmp_path / name for name in ("s.tsv", "lines.txt", "keys.jsonl"))
    sts.write_text("5\ta cat sleeps\ta cat sleeps\n0\ta cat sleeps\tstocks fell\n")
    texts = ["a cat sleeps", "stocks fell on Monday", "bread"]
    lines.write_text("\n".join(texts))
    rows = [{"keys": texts[:2], "queries": []}, {"keys": texts[2:], "queries": []}]
    keys.write_text("\n".join(map(json.dumps, rows)))
    found = []
    for path in (lines, keys):
        options = {"weights": tiny_folder, "data": sts, "timesteps": 2, "activity": path}
        evaluate.main([word for k, v in options.items() for word in (f"--{k}", str(v))])
        found.append(json.loads(capsys.readouterr().out)[0]["activity"])
    assert found[0] == found[1]
    assert {"parked", "beyond", "break_even_rate", "weighted_rate"} < found[0].keys()
