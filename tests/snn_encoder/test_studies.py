"""What was tried beside the recipes: auxiliary parts and the ablations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_encoder import SPEC, random_net
from torch import Tensor, nn

from snn_encoder.distill.corpora import text_chunks
from snn_encoder.distill.teacher import VectorCache
from snn_encoder.network.layout import pack
from snn_encoder.network.model import ModelConfig, Output, SpikingNet
from snn_encoder.recipe import Recipe, Stage
from snn_encoder.studies import ablate
from snn_encoder.studies.auxiliary import FullPrecision, Hybrids, StudyTrainer
from snn_encoder.train.batches import Batches, Corpus
from snn_encoder.train.trainer import Pass

TINY = ModelConfig(width=16, blocks=(12,), dim=384)
WEIGHTS = {"cosine": 1.0, "self_teacher": 0.2, "heads": 0.1, "features": 0.1, "bank": 0.1}
STAGES = (
    Stage(
        "block", steps=4, depth=1, batch=32, run=8, timesteps=(4,), snapshots=(1, 2),
        weights=WEIGHTS,
    ),
    Stage(
        "int4", steps=3, depth=1, batch=32, run=8, timesteps=(2,), bits=4,
        weights={"cosine": 1.0, "full_precision": 0.5},
    ),
)  # fmt: skip
RECIPE = Recipe("tiny", TINY, SPEC, STAGES, clusters=5)


def follow(trainer: StudyTrainer, folder: Path, cache: VectorCache) -> list[dict[str, float]]:
    """Train all stages; return the terms of each step."""
    recipe = trainer.recipe
    corpus = Corpus(text_chunks(str(folder), recipe.corpus), cache, 64, recipe.clusters)
    log = []
    for index, stage in enumerate(recipe.stages):
        trainer.stage, trainer.step = index, 0
        trainer.enter(stage)
        batches = Batches(corpus.cluster, stage.batch, stage.run, stage.dialogue, recipe.seed)
        while trainer.step < stage.steps:
            ids, y = corpus.batch(batches[trainer.step])
            log.append(trainer.update(stage, ids, torch.from_numpy(y)))
    return log


def test_terms_that_were_tried_are_weighed_and_their_parts_learn(
    corpus_folder: Path, cache: VectorCache, tmp_path: Path
) -> None:
    bank = torch.nn.functional.normalize(torch.randn(9, 384), dim=-1)
    trainer = StudyTrainer(RECIPE, tmp_path, bank=bank)
    before = [p.clone() for p in trainer.heads.parameters()]
    log = follow(trainer, corpus_folder, cache)
    assert set(log[0]) == {*WEIGHTS, "firing"}
    assert set(log[-1]) == {"cosine", "full_precision", "firing"}
    assert log[3]["features"] < log[0]["features"] / 2  # heads fade out over their stage
    assert not all(map(torch.equal, trainer.heads.parameters(), before))


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
    trainer = StudyTrainer(RECIPE, tmp_path)
    found: list[dict[str, Tensor]] = []
    enter = trainer.enter

    def spy(stage: Stage) -> None:
        if stage.bits is not None:
            found.append({k: v.clone() for k, v in trainer.net.state_dict().items()})
        enter(stage)

    trainer.enter = spy  # type: ignore[method-assign]
    follow(trainer, corpus_folder, cache)
    assert trainer.net.bits == 4
    partner = trainer.full_precision
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


def test_memory_of_rate_backpropagation_is_flat_on_the_encoder_itself() -> None:
    rate = [ablate.cost("rate_M", steps, (steps,))["saved MB"] for steps in (2, 4)]
    bptt = [ablate.cost("bptt", steps, (steps,))["saved MB"] for steps in (2, 4)]
    assert rate[0] == pytest.approx(rate[1], rel=0.02)
    assert bptt[1] > 1.6 * bptt[0]
    assert rate[1] < bptt[1] / 3
