"""Recipes and the training loop, on a tiny corpus."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_encoder import SPEC

from snn_encoder import SpikingEncoder
from snn_encoder.distill.corpora import text_chunks
from snn_encoder.distill.teacher import VectorCache
from snn_encoder.export.weights import export, model_card, trained
from snn_encoder.network.model import ModelConfig
from snn_encoder.recipe import Recipe, Stage, load_recipe
from snn_encoder.train.__main__ import parse, run
from snn_encoder.train.batches import Corpus
from snn_encoder.train.start import start_from
from snn_encoder.train.trainer import Trainer, encode_with

STAGES = (
    Stage("table", steps=3, batch=32, run=8, timesteps=(1, 2)),
    Stage("block", steps=4, depth=1, batch=32, run=8, timesteps=(4,), snapshots=(1, 2)),
    Stage(
        "int4", steps=3, depth=1, batch=32, run=8, timesteps=(2,), bits=4, weights={"cosine": 1.0}
    ),
)
TINY = ModelConfig(width=16, blocks=(12,), dim=384)
RECIPE = Recipe("tiny", TINY, SPEC, STAGES, clusters=5)


def arguments(corpus_folder: Path, out: Path, *more: str) -> argparse.Namespace:
    out.mkdir(exist_ok=True)
    return parse(["--data", str(corpus_folder), "--cache", ".", "--out", str(out), *more])


def losses_of(trainer: Trainer, log: list[dict[str, float]]) -> None:
    update = trainer.update

    def spy(*args: object) -> dict[str, float]:
        values = update(*args)  # type: ignore[arg-type]
        log.append(values)
        return values

    trainer.update = spy  # type: ignore[method-assign,assignment]


def test_interrupted_run_resumes_to_the_same_losses(
    corpus_folder: Path, cache: VectorCache, tmp_path: Path
) -> None:
    whole: list[dict[str, float]] = []
    trainer = Trainer(RECIPE, tmp_path / "whole")
    losses_of(trainer, whole)
    run(trainer, arguments(corpus_folder, tmp_path / "whole"), cache)

    parts: list[dict[str, float]] = []
    halves = arguments(corpus_folder, tmp_path / "parts", "--max-minutes", "0", "--resume")
    for _ in range(10):  # each call takes one step, is stopped, and saves
        trainer = Trainer(RECIPE, tmp_path / "parts")
        if trainer.checkpoint.exists():
            trainer.resume()
        losses_of(trainer, parts)
        run(trainer, halves, cache)
    assert len(whole) == 10
    assert parts == whole
    assert set(whole[6]) == {"cosine", "relational", "firing"}
    assert set(whole[-1]) == {"cosine", "firing"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="sees no GPU"):
        Trainer(RECIPE, tmp_path, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_trains_like_the_processor(
    corpus_folder: Path, cache: VectorCache, tmp_path: Path
) -> None:
    logs: list[list[dict[str, float]]] = [[], []]
    for log, device in zip(logs, ("cpu", "cuda"), strict=True):
        trainer = Trainer(RECIPE, tmp_path / device, device=device)
        losses_of(trainer, log)
        run(trainer, arguments(corpus_folder, tmp_path / device), cache)
    assert logs[1][0] == pytest.approx(logs[0][0], rel=1e-3)


def test_new_run_in_a_used_folder_takes_the_data_that_it_is_given(
    corpus_folder: Path, cache: VectorCache, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    stop = ("--max-minutes", "0")
    run(Trainer(RECIPE, out), arguments(corpus_folder, out, *stop), cache)
    lines = text_chunks(str(corpus_folder), SPEC)
    own = tmp_path / "own.txt"
    own.write_text("\n".join(next(lines)))
    trainer = Trainer(RECIPE, out)
    run(trainer, arguments(own, out, *stop), cache)
    kept = Corpus.load(out)
    assert kept is not None
    assert len(kept) == 400
    assert trainer.sources == {"own.txt": 400}


def test_model_card_names_what_was_trained_on(
    corpus_folder: Path, cache: VectorCache, tmp_path: Path
) -> None:
    trainer = Trainer(RECIPE, tmp_path)
    run(trainer, arguments(corpus_folder, tmp_path, "--max-minutes", "0"), cache)
    trainer = trained(RECIPE, tmp_path)
    config = export(trainer.net, tmp_path / "weights", RECIPE, timesteps=2)
    card = model_card(RECIPE, config, trainer)
    assert "| talk | not one of the package's corpora | not recorded | 500 |" in card
    assert "No text of LOCOMO" not in card
    assert "--timesteps 2" in card
    assert "blind to the order of words" in card
    recipe = load_recipe("nano")
    trainer.sources = {}
    assert "No text of LOCOMO" in model_card(recipe, config, trainer)


def test_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    Trainer(RECIPE, tmp_path).save()
    wider = replace(RECIPE, model=replace(TINY, width=24))
    with pytest.raises(ValueError, match="another configuration"):
        Trainer(wider, tmp_path).resume()


def test_term_that_training_does_not_have_is_refused(tmp_path: Path) -> None:
    stage = replace(STAGES[0], weights={"cosine": 1.0, "cosin": 1.0})
    with pytest.raises(ValueError, match=r"'table' weighs a term 'cosin'.*cosine, firing"):
        Trainer(replace(RECIPE, stages=(stage,)), tmp_path)


def test_training_lowers_the_loss(corpus_folder: Path, cache: VectorCache, tmp_path: Path) -> None:
    log: list[dict[str, float]] = []
    stage = replace(STAGES[0], steps=60, rate=5e-3, table_rate=2e-2)
    trainer = Trainer(replace(RECIPE, stages=(stage,)), tmp_path)
    losses_of(trainer, log)
    run(trainer, arguments(corpus_folder, tmp_path), cache)
    assert np.mean([row["cosine"] for row in log[-5:]]) < 0.9 * log[0]["cosine"]


def test_nan_stops_with_step_and_term(
    corpus_folder: Path, cache: VectorCache, tmp_path: Path
) -> None:
    trainer = Trainer(RECIPE, tmp_path)
    with torch.no_grad():
        trainer.net.bias[3] = float("nan")
    with pytest.raises(FloatingPointError, match=r"cosine became nan at step 0 of stage 'table'"):
        run(trainer, arguments(corpus_folder, tmp_path), cache)


def test_evaluation_during_training_is_logged(
    corpus_folder: Path, cache: VectorCache, tmp_path: Path
) -> None:
    dev = tmp_path / "dev.jsonl"
    keys = ["my dog", "the train to work", "music with friends"]
    dev.write_text(json.dumps({"keys": keys, "queries": [["dog", [[0]]], ["train", [[1]]]]}))
    trainer = Trainer(RECIPE, tmp_path)
    run(trainer, arguments(corpus_folder, tmp_path, "--dev", str(dev)), cache)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in rows] == ["table", "block", "int4"]
    assert rows[0]["dev recall@10 T=1"] == 1.0


@pytest.mark.parametrize("name", ["nano", "small", "base"])
def test_packaged_recipes_load(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.stages[0].depth == (1 if recipe.start else 0)
    assert recipe.model.dim == 384


def test_unknown_recipe_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="'huge'"):
        load_recipe("huge")


def test_start_is_the_trained_table_until_a_block_earns_its_read_out(
    corpus_folder: Path, cache: VectorCache, tmp_path: Path
) -> None:
    texts = ["Where does Ana live?", "My dog likes the garden."]
    trained = SpikingEncoder.from_pretrained("nano")
    stage = replace(STAGES[1], table_rate=0.0, token_rate=0.0, rate=1e-2, weights={"cosine": 1.0})
    model = ModelConfig(width=192, blocks=(12,))
    trainer = Trainer(replace(RECIPE, model=model, stages=(stage,)), tmp_path)
    start_from(trainer.net, "nano")
    before = encode_with(trainer.net, texts, 4)
    assert (before * trained.encode(texts, 4)).sum(1) == pytest.approx(1, abs=1e-5)
    tokens = [trainer.net.table.weight, trainer.net.bias, *trainer.net.readouts[0].parameters()]
    kept = [weight.detach().clone() for weight in tokens]
    run(trainer, arguments(corpus_folder, tmp_path), cache)
    assert all(torch.equal(a, b) for a, b in zip(tokens, kept, strict=True))
    assert trainer.net.readouts[1].weight.any()


def test_stages_see_other_batches(
    corpus_folder: Path, cache: VectorCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage("one", steps=2, batch=32, run=8)
    trainer = Trainer(replace(RECIPE, stages=(stage, replace(stage, name="two"))), tmp_path)
    seen: list[np.ndarray] = []
    batch = Corpus.batch

    def spy(corpus: Corpus, rows: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        seen.append(rows)
        return batch(corpus, rows)

    monkeypatch.setattr(Corpus, "batch", spy)
    run(trainer, arguments(corpus_folder, tmp_path), cache)
    assert len(seen) == 4
    assert not np.array_equal(seen[0], seen[2])
