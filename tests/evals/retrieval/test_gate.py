"""The gate's figures by hand, and one run over small conversations."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_data import WordEncoder

from evals.data.files import DataError
from evals.data.loaders import load_locomo
from evals.retrieval import gate
from evals.systems.hymem import hymem_systems
from evals.tables import build


def trial(
    question: str, *, light: bool, deep: bool, went_deep: bool, score: float = 0.5
) -> gate.Trial:
    chosen = deep if went_deep else light
    tokens = 400 if went_deep else 100
    return gate.Trial(question, 4, light, deep, chosen, 100, 400, tokens, 2000, went_deep, score)


# Two of the development half, two of the other.
TRIALS = [
    trial("conv-26/0", light=True, deep=True, went_deep=False, score=0.9),
    trial("conv-26/1", light=False, deep=True, went_deep=True, score=0.1),
    trial("conv-99/0", light=False, deep=True, went_deep=False, score=0.6),
    trial("conv-99/1", light=True, deep=True, went_deep=True, score=0.2),
]


def test_gate_rows_by_hand() -> None:
    cells = {(row.system, row.half, row.metric): row.value for row in gate.gate_rows(TRIALS)}
    assert cells["light only", "all", "all evidence"] == 0.5
    assert cells["deep only", "all", "all evidence"] == 1.0
    assert cells["score gate", "all", "all evidence"] == 0.75
    assert cells["score gate", "all", "tokens"] == 250
    # the paper's gate pays for light every time: 100, 500, 500, 100
    assert cells["llm gate (oracle)", "all", "tokens"] == 300
    assert cells["llm gate (oracle)", "all", "all evidence"] == 1.0
    # light first unless the score says deep: 100, 400, 500, 400
    assert cells["hybrid gate (oracle)", "all", "tokens"] == 350
    assert cells["hybrid gate (oracle)", "all", "all evidence"] == 1.0
    assert cells["full context", "reported", "tokens"] == 2000


def test_gate_quality_by_hand() -> None:
    quality = gate.gate_quality(TRIALS)
    assert quality["all"]["escalation rate"] == 0.5
    assert quality["all"]["precision of needs deep"] == 0.5
    assert quality["all"]["recall of needs deep"] == 0.5
    assert quality["all"]["all evidence, share of deep"] == 0.75
    assert quality["all"]["tokens, share of deep"] == 500 / 800
    assert quality["development"]["recall of needs deep"] == 1.0
    assert quality["reported"]["precision of needs deep"] == 0.0


def test_gate_curve_runs_from_all_deep_to_all_light() -> None:
    points = gate.gate_curve(TRIALS)["all"]
    assert points[0] == {"light share": 0.0, "all evidence": 1.0, "tokens": 400.0}
    assert points[-1] == {"light share": 1.0, "all evidence": 0.5, "tokens": 100.0}
    # the surest question alone goes light, and rightly so
    quarter = next(point for point in points if point["light share"] == 0.25)
    assert quarter == {"light share": 0.25, "all evidence": 1.0, "tokens": 325.0}


def test_emptiness_by_hand() -> None:
    asked = [
        gate.Emptiness("conv-26/0", own, empty)
        for own, empty in ((True, False), (True, True), (False, True), (False, True))
    ]
    rows = {(row.half, row.group): row.value for row in gate.emptiness_rows(asked)}
    assert rows["all", "own memory"] == 0.5
    assert rows["development", "another's memory"] == 1.0
    assert rows["reported", "own memory"] is None


def test_a_run_over_small_conversations(locomo_file: Path, encoder: WordEncoder) -> None:
    locomo = load_locomo(locomo_file)
    (system,) = hymem_systems(encoder, ["hymem"])
    trials = list(gate.run_trials(system, locomo))
    assert len(trials) == 6  # categories 1-4 with evidence
    assert all(item.gate_tokens in (item.light_tokens, item.deep_tokens, 0) for item in trials)
    assert len(list(gate.run_emptiness(system, locomo))) == 2 * 8


def test_the_table_is_shown_for_every_half(
    locomo_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "load_encoder", lambda name: WordEncoder())
    result = build.gate_table(load_locomo(locomo_file), "words", cache=tmp_path)
    shown = build.show_gate(result.rows, result.extra["quality"])
    for half in ("development", "reported", "all"):
        assert f"### gate, {half}" in shown
    assert "nothing found: own memory" in shown
    result.write(tmp_path / "gate.json")
    assert build.show_file(tmp_path / "gate.json") == shown
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(DataError, match="no result file"):
        build.show_file(tmp_path / "other.json")
