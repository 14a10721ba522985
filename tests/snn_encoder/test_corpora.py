"""Corpora and batches, on a tiny corpus."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from tiny_encoder import SPEC

from snn_encoder.distill import corpora
from snn_encoder.distill.teacher import VectorCache
from snn_encoder.train.batches import Batches, Corpus, neighbours


def test_corpus_keeps_tokens_and_vectors_together(
    corpus_folder: Path, cache: VectorCache, tmp_path: Path
) -> None:
    chunks = list(corpora.text_chunks(str(corpus_folder), SPEC))
    corpus = Corpus(chunks, cache, 6, clusters=4)
    assert len(corpus) == sum(map(len, chunks)) == 500
    ids, vectors = corpus.batch(np.array([3, 401]))
    assert all(0 < len(row) <= 6 for row in ids)
    found = cache.load(chunks[0])
    assert found is not None
    assert np.array_equal(vectors[0], found[3].astype(np.float32))
    assert Corpus.load(tmp_path) is None
    corpus.save(tmp_path)
    kept = Corpus.load(tmp_path)
    assert kept is not None
    again = kept.batch(np.array([3, 401]))[0]
    assert all(np.array_equal(a, b) for a, b in zip(again, ids, strict=True))
    assert np.array_equal(kept.cluster, corpus.cluster)


def test_corpus_without_vectors_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"snn_encoder\.distill"):
        Corpus([["a"]], VectorCache(tmp_path, "none"), 8, 1)


def test_larger_counts_contain_the_chunks_of_smaller_ones() -> None:
    lines = [str(i) for i in range(20 * corpora.CHUNK)]
    few = corpora.chunks_of(lines, 3 * corpora.CHUNK, random.Random(5))
    many = corpora.chunks_of(lines, 9 * corpora.CHUNK, random.Random(5))
    assert many[: len(few)] == few
    assert few[0][1] == str(int(few[0][0]) + 1)


def test_statements_are_about_a_named_speaker() -> None:
    found = corpora.third_person(["I love my dog"], 40, random.Random(0))
    assert len(found) == 4
    assert all(any(name in text for name in corpora.NAMES) for text in found)
    plain = [text for text in found if ":" not in text]
    assert plain
    assert not any(" I " in f" {text} " for text in plain)


def test_windows_are_consecutive_lines() -> None:
    lines = [f"line{i}." for i in range(50)]
    for text in corpora.windows(lines, 20, random.Random(0)):
        numbers = [int(part[4:-1]) for part in text.split()]
        assert len(numbers) >= 2
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_unknown_corpora_and_kinds_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No talk"):
        list(corpora.text_chunks(str(tmp_path), {"lines": {"talk": 5}}))
    (tmp_path / "talk.txt").write_text("a\nb")
    with pytest.raises(ValueError, match="verses"):
        list(corpora.text_chunks(str(tmp_path), {"verses": {"talk": 5}}))
    assert list(corpora.text_chunks(str(tmp_path / "talk.txt"), {})) == [["a", "b"]]


def test_pairs_leave_next_utterances_out(tmp_path: Path) -> None:
    rows = [
        {"q": f"q{i}", "p": f"p{i}", "type": "dialogue_next" if i % 2 else "qa"} for i in range(8)
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (texts,) = corpora.text_chunks(str(tmp_path), {"pairs": {"pairs": 10}})
    assert len(texts) == 8
    assert all(p == q.replace("q", "p") for q, p in zip(texts[::2], texts[1::2], strict=True))


def test_clusters_are_neighbours() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(4, 16)
    labels = np.repeat(np.arange(4), 300)
    vectors = centres[labels] + 0.05 * rng.standard_normal((1200, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = neighbours(vectors.astype(np.float16), 8, seed=0)
    for cluster in range(8):
        assert len(set(labels[found == cluster])) <= 1


def test_batches_are_runs_and_depend_on_the_step_alone() -> None:
    cluster = np.random.default_rng(0).integers(0, 10, 5000)
    batches = Batches(cluster, size=64, run=16, dialogue=0.0, seed=3)
    again = Batches(cluster, size=64, run=16, dialogue=0.0, seed=3)
    far = again[200]
    assert np.array_equal(batches[7], again[7])
    assert np.array_equal(batches[200], far)
    same = np.mean([len(set(cluster[run])) == 1 for run in batches[7].reshape(-1, 16)])
    assert same >= 0.5
    with pytest.raises(ValueError, match="70 texts are too few"):
        Batches(cluster[:70], size=64, run=16, dialogue=0.0, seed=3)
    with pytest.raises(ValueError, match="whole runs"):
        Batches(cluster, size=64, run=24, dialogue=0.0, seed=3)
    turns = Batches(cluster, size=64, run=16, dialogue=1.0, seed=3)[0].reshape(-1, 16)
    assert (np.diff(turns, axis=1) == 1).all()
