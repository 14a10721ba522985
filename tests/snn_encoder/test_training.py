"""Corpora, batches, auxiliary parts and the training loop, on a tiny corpus."""

from __future__ import annotations

import argparse
import json
import lzma
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_encoder import random_net
from torch import Tensor, nn

from snn_encoder import SpikingEncoder, ablate, data, train
from snn_encoder.auxiliary import FullPrecision, Hybrids, Pass
from snn_encoder.batches import Batches, Corpus, neighbours
from snn_encoder.export import export, model_card, trained
from snn_encoder.layout import pack
from snn_encoder.model import ModelConfig, Output, SpikingNet
from snn_encoder.teacher import VectorCache
from snn_encoder.train import Recipe, Stage, Trainer, load_recipe, run

SPEC = {"lines": {"talk": 400}, "third_person": {"talk": 60}, "windows": {"talk": 40}}
WEIGHTS = {"cosine": 1.0, "relational": 1.0, "self_teacher": 0.2, "heads": 0.1, "bank": 0.1}
STAGES = (
    Stage("table", steps=3, batch=32, run=8, timesteps=(1, 2)),
    Stage(
        "block", steps=4, depth=1, batch=32, run=8, timesteps=(4,), snapshots=(1, 2),
        weights=WEIGHTS,
    ),
    Stage(
        "int4", steps=3, depth=1, batch=32, run=8, timesteps=(2,), bits=4,
        weights={"cosine": 1.0, "full_precision": 0.5},
    ),
)  # fmt: skip
TINY = ModelConfig(width=16, blocks=(12,), dim=384)
RECIPE = Recipe("tiny", TINY, SPEC, STAGES, clusters=5)


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
    for texts in data.text_chunks(str(corpus_folder), SPEC):
        rows = [np.mean([table[sum(map(ord, w)) % 997] for w in t.split()], 0) for t in texts]
        unit = np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)
        np.save(cache.path(texts), unit.astype(np.float16))
    return cache


def arguments(corpus_folder: Path, out: Path, *more: str) -> argparse.Namespace:
    out.mkdir(exist_ok=True)
    return train.parse(["--data", str(corpus_folder), "--cache", ".", "--out", str(out), *more])


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
    assert {"cosine", "relational", "self_teacher", "heads", "bank", "firing"} <= set(whole[6])
    assert set(whole[-1]) == {"cosine", "full_precision", "firing"}


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
    lines = data.text_chunks(str(corpus_folder), SPEC)
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
    recipe = load_recipe("nano")
    trainer.sources = {}
    assert "No text of LOCOMO" in model_card(recipe, config, trainer)


def test_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    Trainer(RECIPE, tmp_path).save()
    wider = replace(RECIPE, model=replace(TINY, width=24))
    with pytest.raises(ValueError, match="another configuration"):
        Trainer(wider, tmp_path).resume()


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


def test_corpus_keeps_tokens_and_vectors_together(
    corpus_folder: Path, cache: VectorCache, tmp_path: Path
) -> None:
    chunks = list(data.text_chunks(str(corpus_folder), SPEC))
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
    lines = [str(i) for i in range(20 * data.CHUNK)]
    few = data.chunks_of(lines, 3 * data.CHUNK, random.Random(5))
    many = data.chunks_of(lines, 9 * data.CHUNK, random.Random(5))
    assert many[: len(few)] == few
    assert few[0][1] == str(int(few[0][0]) + 1)


def test_statements_are_about_a_named_speaker() -> None:
    found = data.third_person(["I love my dog"], 40, random.Random(0))
    assert len(found) == 4
    assert all(any(name in text for name in data.NAMES) for text in found)
    plain = [text for text in found if ":" not in text]
    assert plain
    assert not any(" I " in f" {text} " for text in plain)


def test_windows_are_consecutive_lines() -> None:
    lines = [f"line{i}." for i in range(50)]
    for text in data.windows(lines, 20, random.Random(0)):
        numbers = [int(part[4:-1]) for part in text.split()]
        assert len(numbers) >= 2
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_unknown_corpora_and_kinds_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No talk"):
        list(data.text_chunks(str(tmp_path), {"lines": {"talk": 5}}))
    (tmp_path / "talk.txt").write_text("a\nb")
    with pytest.raises(ValueError, match="verses"):
        list(data.text_chunks(str(tmp_path), {"verses": {"talk": 5}}))
    assert list(data.text_chunks(str(tmp_path / "talk.txt"), {})) == [["a", "b"]]


def test_pairs_leave_next_utterances_out(tmp_path: Path) -> None:
    rows = [
        {"q": f"q{i}", "p": f"p{i}", "type": "dialogue_next" if i % 2 else "qa"} for i in range(8)
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (texts,) = data.text_chunks(str(tmp_path), {"pairs": {"pairs": 10}})
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


def test_hybrids_train_the_student_and_leave_the_teacher_alone() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(10, 10)

        def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
            weight = torch.softmax(mask.expand(-1, 1, hidden.shape[1], -1), -1)[:, 0]
            return hidden + self.map(weight @ hidden)

    torch.manual_seed(0)
    layers = [Layer() for _ in range(6)]
    hybrids = Hybrids(layers, (7, 5), 10)
    assert [hybrids.first(k) for k in (0, 1)] == [2, 4]
    assert all("_layers" not in name for name, _ in hybrids.named_parameters())
    ids = [[1, 2, 3], [4], [5, 6, 7, 8, 9]]
    rates = [torch.randn(9, width, requires_grad=True) for width in (7, 5)]

    def batch(texts: list[list[int]]) -> Pass:
        flat, layout = pack(texts)
        rows = [level[None, : len(flat)] for level in rates]
        output = Output(torch.empty(0), torch.empty(0), [], rows, torch.arange(len(flat)))
        return Pass(SpikingNet(TINY), flat, layout, 1, (1,), "rate_M", output)

    z = hybrids(batch(ids), step=2)
    torch.autograd.backward(z.sin().sum())
    assert rates[0].grad is not None
    assert (rates[0].grad.abs().sum(1) > 0).all()
    assert rates[1].grad is None
    assert all(p.grad is None for layer in layers for p in layer.parameters())
    torch.testing.assert_close(hybrids(batch(ids[:1]), step=2)[0], z[0])


def test_full_precision_blocks_take_over_behind_the_cut() -> None:
    partner, net = random_net(seed=1), random_net(seed=2).train()
    net.quantise(3)
    replacement = FullPrecision(partner)
    flat, layout = pack([[5, 9, 9, 300], [7], [40, 41, 42]])
    output = net(flat, layout, 4)
    student = Pass(net, flat, layout, 4, (4,), "rate_M", output)
    torch.autograd.backward(replacement(student, step=3).sin().sum())
    learns = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    parts = {name.rsplit(".", 1)[0] for name in learns}
    assert {"table", "blocks.0.linear", "blocks.0.context", "readouts.0", "readouts.1"} <= parts
    assert not {name for name in parts if name.startswith(("blocks.1", "readouts.2"))}
    assert all(p.grad is None for p in replacement.parameters())
    # in front of itself, unrounded, every cut is the network itself
    net.quantise(None)
    itself = FullPrecision(net.eval())
    same = Pass(net, flat, layout, 4, (4,), "rate_M", net(flat, layout, 4))
    for step in range(2):
        torch.testing.assert_close(itself(same, step), same.output.vectors[-1])
    torch.testing.assert_close(itself.target(same), same.output.vectors[-1])


def test_partner_is_the_network_before_its_weights_were_rounded(
    corpus_folder: Path, cache: VectorCache, tmp_path: Path
) -> None:
    trainer = Trainer(RECIPE, tmp_path)
    found: list[dict[str, Tensor]] = []
    enter = trainer.enter

    def spy(stage: Stage) -> None:
        if stage.bits is not None:
            found.append({k: v.clone() for k, v in trainer.net.state_dict().items()})
        enter(stage)

    trainer.enter = spy  # type: ignore[method-assign]
    run(trainer, arguments(corpus_folder, tmp_path), cache)
    assert trainer.net.bits == 4
    partner = trainer.auxiliary.full_precision
    assert partner is not None
    assert partner.partner.bits is None
    for name, value in partner.partner.state_dict().items():
        assert torch.equal(value, found[0][name])
    assert not torch.equal(trainer.net.table.weight, found[0]["table.weight"])


def test_last_stage_of_an_ablation_takes_a_quarter_of_the_steps() -> None:
    row = next(row for row in ablate.ROWS if row.last and row.last.bits)
    first, last = ablate.recipe_of(row, 40).stages
    assert (first.steps, first.bits) == (30, None)
    assert (last.steps, last.bits) == (10, 4)


@pytest.mark.parametrize("name", ["nano", "small", "base"])
def test_packaged_recipes_load(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.stages[0].depth == (1 if recipe.start else 0)
    assert recipe.model.dim == 384


def test_unknown_recipe_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="'huge'"):
        load_recipe("huge")


def test_memory_of_rate_backpropagation_is_flat_on_the_encoder_itself() -> None:
    rate = [ablate.cost("rate_M", steps, (steps,))["saved MB"] for steps in (2, 4)]
    bptt = [ablate.cost("bptt", steps, (steps,))["saved MB"] for steps in (2, 4)]
    assert rate[0] == pytest.approx(rate[1], rel=0.02)
    assert bptt[1] > 1.6 * bptt[0]
    assert rate[1] < bptt[1] / 3


def test_start_is_the_trained_table_until_a_block_earns_its_read_out(
    corpus_folder: Path, cache: VectorCache, tmp_path: Path
) -> None:
    texts = ["Where does Ana live?", "My dog likes the garden."]
    trained = SpikingEncoder.from_pretrained("nano")
    stage = replace(STAGES[1], table_rate=0.0, token_rate=0.0, rate=1e-2, weights={"cosine": 1.0})
    model = ModelConfig(width=192, blocks=(12,))
    trainer = Trainer(replace(RECIPE, model=model, stages=(stage,)), tmp_path)
    train.start_from(trainer.net, "nano")
    before = train.encode_with(trainer.net, texts, 4)
    assert (before * trained.encode(texts, 4)).sum(1) == pytest.approx(1, abs=1e-5)
    tokens = [trainer.net.table.weight, trainer.net.bias, *trainer.net.readouts[0].parameters()]
    kept = [weight.detach().clone() for weight in tokens]
    run(trainer, arguments(corpus_folder, tmp_path), cache)
    assert all(torch.equal(a, b) for a, b in zip(tokens, kept, strict=True))
    assert trainer.net.readouts[1].weight.any()
