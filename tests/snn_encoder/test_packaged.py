"""The weights in the package."""

from __future__ import annotations

import threading
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import snn_encoder
from snn_encoder import SpikingEncoder, WeightsError, codes, inference
from snn_encoder.parameters import Floats

WEIGHTS = Path(snn_encoder.__file__).parent / "weights"
PACKAGED = ("nano", "small")
TIERS = (*PACKAGED, "base")
STORY = [
    "Ana moved to Lyon last week and rents a small flat near the river.",
    "Where does Ana live now?",
    "The recipe needs three eggs, flour and a pinch of salt.",
    "How many eggs do I need for the cake?",
]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("timesteps", [1, 4, 8])
def test_questions_are_nearest_to_their_answers(tier: str, timesteps: int) -> None:
    encoder = SpikingEncoder.from_pretrained(tier)
    home, where, recipe, eggs = encoder.encode(STORY, timesteps)
    assert where @ home > where @ recipe
    assert eggs @ recipe > eggs @ home


@pytest.mark.parametrize("tier", TIERS)
def test_a_text_alone_and_among_others_has_one_vector(tier: str) -> None:
    encoder = SpikingEncoder.from_pretrained(tier)
    texts = [*STORY, "", "ok", " ".join(STORY)]
    for row, text in zip(encoder.encode(texts), texts, strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], row, atol=2e-6)


def test_packaged_tiers_are_the_small_ones() -> None:
    size = {t: sum(p.stat().st_size for p in (WEIGHTS / t).iterdir()) for t in TIERS}
    assert size["nano"] + size["small"] <= 20 * 2**20
    assert size["base"] <= 20 * 2**20
    project = tomllib.loads((WEIGHTS.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    packaged = project["tool"]["setuptools"]["package-data"]["snn_encoder"]
    found = [name for name in packaged if name.startswith("weights")]
    assert found == [f"weights/{tier}/*" for tier in PACKAGED]


def test_base_outside_of_a_clone_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "__file__", "installed/snn_encoder/inference.py")
    with pytest.raises(WeightsError, match="clone of the repository"):
        SpikingEncoder.from_pretrained("base")


def test_a_block_hears_the_order_of_words() -> None:
    texts = ["The dog bit the man.", "The man bit the dog."]
    a, b = SpikingEncoder.from_pretrained("small").encode(texts)
    assert a @ b > 0.9999
    a, b = SpikingEncoder.from_pretrained("base").encode(texts)
    assert a @ b < 0.999


@pytest.mark.parametrize(("tier", "error"), [("small", 0.03), ("nano", 1e-5)])
@pytest.mark.parametrize("timesteps", [1, 4])
def test_token_codes_compare_as_sentences_of_one_token_do(
    timesteps: int, tier: str, error: float
) -> None:
    encoder = SpikingEncoder.from_pretrained(tier)
    encoder.timesteps = timesteps
    (ids,) = encoder.token_ids(["The cat sleeps on the mat, at home."])
    found = encoder.token_codes(ids)
    np.testing.assert_array_equal(found[0], found[4])  # "the", wherever it stands
    parameters = encoder.parameters
    encoder.parameters = replace(parameters, bias=0 * parameters.bias)
    words = ["the", "cat", "sleeps", "on", "the", "mat", ",", "at", "home", "."]
    assert [encoder._tokenizer.id_to_token(int(token)) for token in ids] == words
    alone = encoder.encode(words)
    np.testing.assert_allclose(found @ found.T, alone @ alone.T, atol=error)


def test_codes_follow_a_change_of_timesteps() -> None:
    encoder = SpikingEncoder.from_pretrained("nano")
    ids = np.array([2000, 2001], np.uint16)
    coarse = encoder.token_codes(ids)
    encoder.timesteps = 1
    assert not np.array_equal(encoder.token_codes(ids), coarse)
    np.testing.assert_allclose(np.linalg.norm(encoder.token_codes(ids), axis=1), 1, atol=1e-5)
    with pytest.raises(IndexError):
        encoder.token_codes(np.array([60_000], np.uint16))


def test_token_ids_of_odd_texts() -> None:
    encoder = SpikingEncoder.from_pretrained("small")
    empty, half, long = encoder.token_ids(["", "cat \ud800", "cat " * 1000])
    assert len(empty) == 0
    np.testing.assert_array_equal(half, encoder.token_ids(["cat"])[0])
    assert len(long) == encoder.max_tokens
    assert encoder.token_ids([]) == []
    assert encoder.vocabulary == SpikingEncoder.from_pretrained("nano").vocabulary


def test_threads_that_search_first_make_the_table_of_codes_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = SpikingEncoder.from_pretrained("nano")
    made, real = [], codes._principal

    def slowly(weight: Floats) -> Floats:
        made.append(threading.get_ident())
        time.sleep(0.1)
        return real(weight)

    monkeypatch.setattr(codes, "_principal", slowly)
    ids = np.arange(5, dtype=np.uint16)
    threads = [threading.Thread(target=encoder.token_codes, args=(ids,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
