"""The weights in the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import snn_encoder
from snn_encoder import SpikingEncoder

WEIGHTS = Path(snn_encoder.__file__).parent / "weights"
STORY = [
    "Ana moved to Lyon last week and rents a small flat near the river.",
    "Where does Ana live now?",
    "The recipe needs three eggs, flour and a pinch of salt.",
    "How many eggs do I need for the cake?",
]


@pytest.mark.parametrize("tier", ["nano", "small"])
@pytest.mark.parametrize("timesteps", [1, 4, 8])
def test_questions_are_nearest_to_their_answers(tier: str, timesteps: int) -> None:
    encoder = SpikingEncoder.from_pretrained(tier)
    home, where, recipe, eggs = encoder.encode(STORY, timesteps)
    assert where @ home > where @ recipe
    assert eggs @ recipe > eggs @ home


@pytest.mark.parametrize("tier", ["nano", "small"])
def test_a_text_alone_and_among_others_has_one_vector(tier: str) -> None:
    encoder = SpikingEncoder.from_pretrained(tier)
    texts = [*STORY, "", "ok", " ".join(STORY)]
    for row, text in zip(encoder.encode(texts), texts, strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], row, atol=2e-6)


def test_default_tiers_stay_small_enough_to_ship() -> None:
    total = sum(p.stat().st_size for t in ("nano", "small") for p in (WEIGHTS / t).iterdir())
    assert total <= 20 * 2**20
