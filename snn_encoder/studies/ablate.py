"""Ablations of the recipe, one change a row: `python -m snn_encoder.studies.ablate`.

Every row trains a narrow model (width 192, one block) on the same batches for the same number of
steps, one seed each, and is scored on development files at two T. A second table measures what
rate-based backpropagation and BPTT cost at the width of `small` with one block. Results are
written after every row, so an interrupted run continues.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snn_encoder import evaluate
from snn_encoder.distill.corpora import text_chunks
from snn_encoder.distill.teacher import Teacher, VectorCache
from snn_encoder.network import fusion
from snn_encoder.network.dynamics import NeuronConfig, hard_spike
from snn_encoder.network.layout import pack
from snn_encoder.network.model import ModelConfig, SpikingNet
from snn_encoder.network.neurons import Neuron
from snn_encoder.recipe import Recipe, Stage
from snn_encoder.studies.auxiliary import StudyTrainer
from snn_encoder.train.batches import Batches, Corpus
from snn_encoder.train.losses import cosine
from snn_encoder.train.start import initial_table
from snn_encoder.train.trainer import encode_with

CORPUS = {
    "lines": {"selfdialogue": 30000, "synthpersonachat": 20000, "topicalchat": 10000},
    "third_person": {"selfdialogue": 20000, "synthpersonachat": 10000},
    "pairs": {"pairs_open": 5000},
}
BASE = Stage("ablation", steps=200, depth=1, batch=256, run=64, timesteps=(4,), rate=2e-3)
BASE = replace(BASE, table_rate=4e-3)
LAST = replace(BASE, rate=1e-3, table_rate=2e-3)
PARTNER = {"cosine": 1.0, "relational": 1.0, "full_precision": 0.5}
WIDE = ModelConfig(width=384, blocks=(384,))
TERNARY = NeuronConfig()
BINARY = NeuronConfig(kind="binary", threshold=1.0)


def shrink(x: Tensor, slope: float) -> Tensor:
    """A real-valued activation in the spike's place: what lies beyond the threshold."""
    return torch.relu(x)


def levels(x: Tensor, slope: float) -> Tensor:
    """The quarter that T = 4 ternary steps would count, with a straight-through gradient."""
    clipped = (x + 0.5).clamp(0, 1)
    return clipped + ((clipped * 4).round() / 4 - clipped).detach()


@dataclass(frozen=True)
class Row:
    """One change to the base: to its neurons, its stage, or the function of its spikes.

    `convert` puts true spikes back after training (conversion, arXiv 2506.01968). `bits` rounds
    table and matrices after training; `last` takes the last quarter of the steps.
    """

    name: str
    neuron: NeuronConfig = TERNARY
    stage: Stage = BASE
    spike: Callable[[Tensor, float], Tensor] | None = None
    convert: bool = False
    bits: int | None = None
    last: Stage | None = None


ROWS = (
    Row("base: ternary IF, soft reset, rate-BP at T = 4"),
    Row("surrogate-gradient BPTT", stage=replace(BASE, method="bptt")),
    Row("table only (no block)", stage=replace(BASE, depth=0)),
    Row("leak 0.5", NeuronConfig(leak=0.5)),
    Row("reset hard", NeuronConfig(reset="hard")),
    Row("binary, initial potential 1/2", replace(BINARY, initial=0.5)),
    Row("binary, initial potential 0", BINARY),
    Row("random batches", stage=replace(BASE, run=1, dialogue=0.0)),
    Row("no relational loss", stage=replace(BASE, weights={"cosine": 1.0})),
    Row(
        "real-valued activations instead of spikes",
        stage=replace(BASE, timesteps=(1,), method="bptt"),
        spike=shrink,
    ),
    Row(
        "activations of 9 levels instead of spikes",
        stage=replace(BASE, timesteps=(1,), method="bptt"),
        spike=levels,
    ),
    Row(
        "the same, converted to spikes without training",
        stage=replace(BASE, timesteps=(1,), method="bptt"),
        spike=levels,
        convert=True,
    ),
    Row("trained at T = 1", stage=replace(BASE, timesteps=(1,))),
    Row(
        "trained at T = 1, membrane perturbed",
        stage=replace(BASE, timesteps=(1,), perturbation=0.25),
    ),
    Row("T drawn from 1, 2, 4", stage=replace(BASE, timesteps=(1, 2, 4))),
    Row("prefixes 1 or 2 beside T = 4", stage=replace(BASE, snapshots=(1, 2))),
    Row(
        "the same with self-teacher",
        stage=replace(
            BASE,
            snapshots=(1, 2),
            weights={"cosine": 1.0, "relational": 1.0, "self_teacher": 0.5},
        ),
    ),
    Row(
        "with heads and self-distillation",
        stage=replace(BASE, weights={"cosine": 1.0, "relational": 1.0, "heads": 0.3}),
    ),
    Row(
        "with hybrids through the teacher's layers",
        stage=replace(BASE, weights={"cosine": 1.0, "relational": 1.0, "hybrid": 0.5}),
    ),
    Row(
        "KDSNN: cosine and features", stage=replace(BASE, weights={"cosine": 1.0, "features": 1.0})
    ),
    Row(
        "with bank loss (EnOF)",
        stage=replace(BASE, weights={"cosine": 1.0, "relational": 1.0, "bank": 0.5}),
    ),
    Row("no limit on firing", stage=replace(BASE, firing=1.0)),
    Row("reset soft, detached", NeuronConfig(reset="soft_detached")),
    Row("leak 0.9", NeuronConfig(leak=0.9)),
    Row("leak learnable from 0.9", NeuronConfig(leak=0.9, learn_leak=True)),
    Row("single-step mode (rate_S)", stage=replace(BASE, method="rate_S")),
    Row("no cosine loss", stage=replace(BASE, weights={"cosine": 0.0, "relational": 1.0})),
    Row("int8 after training", bits=8),
    Row("int4 after training", bits=4),
    Row("last quarter at half the learning rate, not rounded", last=LAST),
    Row("int4 in the last quarter of training", last=replace(LAST, bits=4)),
    Row("the same with block replacement, int4", last=replace(LAST, bits=4, weights=PARTNER)),
    Row("2 bits after training", bits=2),
    Row("2 bits in the last quarter of training", last=replace(LAST, bits=2)),
    Row(
        "the same with block replacement, 2 bits",
        last=replace(LAST, bits=2, weights=PARTNER),
    ),
)


def recipe_of(row: Row, steps: int) -> Recipe:
    model = ModelConfig(width=192, blocks=(192,), neuron=row.neuron)
    stages = [replace(row.stage, steps=steps)]
    if row.last is not None:
        ends = replace(row.last, steps=steps // 4)
        stages = [replace(row.stage, steps=steps - ends.steps), ends]
    return Recipe("ablation", model, CORPUS, tuple(stages), clusters=300)


def set_spike(net: SpikingNet, spike: Callable[[Tensor, float], Tensor]) -> None:
    for module in net.modules():
        if isinstance(module, Neuron):
            module.spike = spike


def train(row: Row, steps: int, teacher: Teacher, corpus: Corpus) -> StudyTrainer:
    """Train one row from the teacher's single-token vectors."""
    recipe = recipe_of(row, steps)
    bank = torch.from_numpy(corpus.vectors[:: len(corpus) // 2048].astype(np.float32))
    trainer = StudyTrainer(recipe, Path(), teacher.layers(), bank)
    initial_table(trainer.net, teacher, recipe.seed)
    if row.spike is not None:
        set_spike(trainer.net, row.spike)
    for index, stage in enumerate(recipe.stages):
        trainer.stage, trainer.step = index, 0
        trainer.enter(stage)
        seed = recipe.seed + index
        batches = Batches(corpus.cluster, stage.batch, stage.run, stage.dialogue, seed)
        while trainer.step < stage.steps:
            ids, y = corpus.batch(batches[trainer.step])
            trainer.update(stage, ids, torch.from_numpy(y))
    if row.bits is not None:
        trainer.net.quantise(row.bits)
    return trainer


def scores(net: SpikingNet, files: Sequence[Path], timesteps: Sequence[int]) -> dict[str, float]:
    out = {}
    for steps in timesteps:
        for path in files:
            name, value = evaluate.score(partial(encode_with, net, timesteps=steps), path)
            out[f"{name} T={steps}"] = round(value, 4)
    return out


def firing(net: SpikingNet, corpus: Corpus, steps: int) -> float:
    """Return the mean firing over levels on some training texts."""
    flat, layout = pack([row.tolist() for row in corpus.batch(np.arange(512))[0]])
    with torch.no_grad():
        return float(net.eval()(flat, layout, steps, method="bptt").firing.mean())


def cost(method: str, timesteps: int, snapshots: tuple[int, ...]) -> dict[str, Any]:
    """Return saved-for-backward memory and step time of one batch on the wide model."""
    torch.manual_seed(0)
    net = SpikingNet(WIDE)
    flat, layout = pack(torch.randint(1000, 9000, (128, 30)).tolist())
    target = torch.randn(128, net.config.dim)
    saved: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    def step() -> None:
        output = net(flat, layout, timesteps, snapshots, method)
        loss = torch.stack([cosine(z, target) for z in output.vectors]).sum()
        torch.autograd.backward(loss)
        net.zero_grad(set_to_none=True)

    step()
    seconds = []
    for _ in range(5):
        begin = time.process_time()
        step()
        seconds.append(time.process_time() - begin)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
        net(flat, layout, timesteps, snapshots, method)
    return {
        "method": method,
        "T": timesteps,
        "snapshots": len(snapshots),
        "saved MB": round(sum(saved.values()) / 2**20, 1),
        "CPU seconds a step": round(min(seconds), 3),
    }


def costs() -> list[dict[str, Any]]:
    rows = []
    for steps in (1, 2, 4, 8):
        rows.append(cost("bptt", steps, (steps,)))
        rows.append(cost("rate_M", steps, (steps,)))
        rows.append(cost("rate_S", steps, (steps,)))
        if steps > 1:
            rows.append(cost("rate_M", steps, (steps // 2, steps)))
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    prog = "python -m snn_encoder.studies.ablate"
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("--data", required=True, help="folder of text files")
    parser.add_argument("--cache", type=Path, required=True, help="folder of teacher vectors")
    parser.add_argument("--dev", type=Path, nargs="+", required=True, help=".tsv or .jsonl")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the results")
    parser.add_argument("--steps", type=int, default=BASE.steps)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.set_float32_matmul_precision("medium")
    fusion.enable()
    done = json.loads(args.out.read_text()) if args.out.exists() else {"rows": {}}
    if "costs" not in done:
        done["costs"] = costs()
        args.out.write_text(json.dumps(done, indent=2) + "\n", encoding="utf-8")
    teacher = Teacher(128)
    cache = VectorCache(args.cache, teacher.key)
    corpus = Corpus(text_chunks(args.data, CORPUS), cache, 128, clusters=300)
    done["texts"], done["steps"] = len(corpus), args.steps
    for row in ROWS:
        if row.name in done["rows"]:
            continue
        begin = time.process_time()
        net = train(row, args.steps, teacher, corpus).net
        spent = time.process_time() - begin
        spiking = row.spike is None or row.convert
        if row.convert:
            set_spike(net, hard_spike)
        timesteps = (1, 4) if spiking else (1,)
        result: dict[str, Any] = scores(net, args.dev, timesteps)
        result["firing"] = round(firing(net, corpus, 4), 3) if spiking else None
        done["rows"][row.name] = {**result, "CPU seconds": round(spent)}
        args.out.write_text(json.dumps(done, indent=2) + "\n", encoding="utf-8")
        print(row.name, json.dumps(done["rows"][row.name]), flush=True)


if __name__ == "__main__":
    main()
