"""Fixtures of the encoder's tests."""

from __future__ import annotations

import lzma
import random
from pathlib import Path

import numpy as np
import pytest
from tiny_encoder import SPEC, random_net, recipe

from snn_encoder.distill.corpora import text_chunks
from snn_encoder.distill.teacher import VectorCache
from snn_encoder.export.weights import export
from snn_encoder.inference import SpikingEncoder


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    net = random_net()
    export(net, tmp_path / "tiny", recipe(net), timesteps=3)
    return tmp_path / "tiny"


@pytest.fixture
def tiny(tiny_folder: Path) -> SpikingEncoder:
    return SpikingEncoder.from_pretrained(tiny_folder)


@pytest.fixture
def corpus_folder(tmp_path: Path) -> Path:
    rng = random.Random(1)
    words = "I my we love garden music dog work train moved to play with friends again".split()  # noqa: SIM905
    lines = [" ".join(rng.choices(words, k=rng.randint(3, 12))) for _ in range(400)]
    folder = tmp_path / "text"
    folder.mkdir()
    with lzma.open(folder / "talk.txt.xz", "wt", encoding="utf-8") as file:
        file.write("\n".join(lines))
    return folder


@pytest.fixture
def cache(tmp_path: Path, corpus_folder: Path) -> VectorCache:
    """Vectors of a bag of hashed words stand in for the teacher's, which are not needed here."""
    cache = VectorCache(tmp_path / "cache", "test")
    generator = np.random.default_rng(0)
    table = generator.standard_normal((997, 384))
    for texts in text_chunks(str(corpus_folder), SPEC):
        rows = [np.mean([table[sum(map(ord, w)) % 997] for w in t.split()], 0) for t in texts]
        unit = np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)
        np.save(cache.path(texts), unit.astype(np.float16))
    return cache
