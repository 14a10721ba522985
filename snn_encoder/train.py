"""Train a spiking encoder: `python -m snn_encoder.train --config small --data FOLDER`.

The configuration lists stages; each has its depth, step counts, loss weights and length. A run
is continued from its checkpoint with --resume, and stops after --max-minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snn_encoder import evaluate, fusion, losses
from snn_encoder.auxiliary import FullPrecision, Heads, Hybrids, Pass
from snn_encoder.batches import Batches, Corpus, PairSource
from snn_encoder.data import sources, text_chunks
from snn_encoder.inference import SpikingEncoder
from snn_encoder.layout import Layout, pack
from snn_encoder.model import ModelConfig, Output, SpikingNet
from snn_encoder.neurons import Neuron
from snn_encoder.restore import restored, usable
from snn_encoder.teacher import Teacher, VectorCache
from snn_encoder.tokenizer import load_tokenizer


@dataclass(frozen=True)
class Stage:
    """One phase of training.

    Attributes:
        steps: optimiser steps.
        depth: blocks that take part; 0 trains the table and its read-out.
        timesteps: T of the simulation, one of them drawn each step.
        snapshots: prefix lengths below T to draw one from, trained besides T itself.
        method: rate_M, rate_S or bptt.
        batch: texts a batch; run: texts of one cluster or dialogue next to one another.
        dialogue: share of runs that are consecutive texts.
        rate: learning rate of dense weights; table_rate: of the table; token_rate: of the token
            level's read-out and bias, `rate` if None.
        weights: term of `losses` to its weight.
        firing: mean firing that the hinge allows.
        perturbation: of the initial potential.
        frozen: normalise by running statistics.
        bits: round table and matrices to so many bits, straight through. The weight
            "full_precision" adds block replacement with the network as the stage found it.
    """

    name: str
    steps: int
    depth: int = 0
    timesteps: tuple[int, ...] = (1,)
    snapshots: tuple[int, ...] = ()
    method: str = "rate_M"
    batch: int = 512
    run: int = 128
    dialogue: float = 0.25
    rate: float = 1e-3
    table_rate: float = 2e-3
    token_rate: float | None = None
    weights: dict[str, float] = field(default_factory=lambda: {"cosine": 1.0, "relational": 1.0})
    firing: float = 0.13
    perturbation: float = 0.0
    frozen: bool = False
    bits: int | None = None


@dataclass(frozen=True)
class Recipe:
    """A packaged or given configuration file.

    Attributes:
        start: trained weights to take table and read-out from, by name or folder.
    """

    name: str
    model: ModelConfig
    corpus: dict[str, dict[str, int]]
    stages: tuple[Stage, ...]
    start: str | None = None
    max_tokens: int = 128
    clusters: int = 1500
    seed: int = 0


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe: the name of one in snn_encoder/configs, or a path to a TOML file."""
    path = Path(name_or_path)
    if path.suffix == ".toml":
        text = path.read_text(encoding="utf-8")
    else:
        file = resources.files("snn_encoder") / "configs" / f"{name_or_path}.toml"
        if not file.is_file():
            raise FileNotFoundError(
                f"No packaged configuration {name_or_path!r}: nano, small, base."
            )
        text = file.read_text(encoding="utf-8")
    raw = tomllib.loads(text)
    model = ModelConfig.from_dict(raw.pop("model"))
    lists: list[dict[str, Any]] = raw.pop("stages")
    stages = []
    for stage in lists:
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in stage.items()
        }
        stages.append(Stage(**values))
    return Recipe(name=path.stem, model=model, stages=tuple(stages), **raw)


def initial_table(net: SpikingNet, teacher: Teacher, seed: int) -> None:
    """Set table and read-out from the teacher's single-token vectors (model2vec's start).

    The main directions are turned at random, so that every channel carries a like share and
    fires alike.
    """
    config = net.config
    vectors = torch.from_numpy(teacher.token_vectors(config.vocabulary))
    centre = vectors.mean(0)
    _, _, axes = torch.linalg.svd(vectors - centre, full_matrices=False)
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(config.width, config.width, generator=generator))[0]
    basis = axes[: config.width].T @ turn
    table = (vectors - centre) @ basis
    scale = config.gain / table.std()
    readout = net.readouts[0]
    assert isinstance(readout, torch.nn.Linear)
    with torch.no_grad():
        net.table.weight.copy_(table * scale)
        readout.weight.copy_(basis / scale)
        net.bias.copy_(centre)


def start_from(net: SpikingNet, weights: str) -> None:
    """Take table, read-out and bias of trained weights of the same width.

    The blocks' read-outs start at zero: the network begins as the table alone, and a block has
    to earn what it changes.
    """
    trained = restored(SpikingEncoder.from_pretrained(weights))
    net.table.load_state_dict(trained.table.state_dict())
    net.bias.data.copy_(trained.bias.data)
    net.readouts[0].load_state_dict(trained.readouts[0].state_dict())
    for readout in list(net.readouts)[1:]:
        assert isinstance(readout, nn.Linear)
        nn.init.zeros_(readout.weight)


Terms = dict[str, Tensor]


class Optimisers:
    """AdamW for dense weights, sparse Adam for the table's touched rows."""

    def __init__(self, net: SpikingNet) -> None:
        table = net.table.weight
        token = [*net.readouts[0].parameters(), net.bias]
        known = {id(p) for p in (table, *token)}
        others = [p for p in net.parameters() if id(p) not in known]
        groups = [
            {"params": [p for p in part if (p.ndim > 1) == wide], "weight_decay": decay}
            for part in (token, others)
            for wide, decay in ((True, 0.01), (False, 0.0))
        ]
        self.dense = torch.optim.AdamW([g for g in groups if g["params"]], betas=(0.9, 0.98))
        self.sparse = torch.optim.SparseAdam([table], betas=(0.9, 0.98))
        self.parameters = [*token, *others]

    def step(self, rate: float, table_rate: float, token_rate: float) -> None:
        for place, group in enumerate(self.dense.param_groups):
            group["lr"] = token_rate if place < 2 else rate
        for group in self.sparse.param_groups:
            group["lr"] = table_rate
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.dense.step()
        self.sparse.step()  # type: ignore[no-untyped-call]
        self.dense.zero_grad(set_to_none=True)
        self.sparse.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        return {"dense": self.dense.state_dict(), "sparse": self.sparse.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.dense.load_state_dict(state["dense"])
        self.sparse.load_state_dict(state["sparse"])


class Auxiliary(nn.Module):
    """Heads and block replacements of a run with their own optimiser; none of it is exported."""

    def __init__(self, recipe: Recipe, net: SpikingNet, teacher: Teacher | None) -> None:
        super().__init__()
        config = recipe.model
        widths = (config.width, *config.blocks)
        self.heads = Heads(widths, config.dim)
        layers = teacher.layers() if teacher else []
        self.hybrids = Hybrids(layers, widths, config.dim)
        self.optimiser = torch.optim.AdamW(self.parameters(), weight_decay=0.01)
        wanted = any("full_precision" in stage.weights for stage in recipe.stages)
        self.full_precision = FullPrecision(net) if wanted else None

    def terms(self, student: Pass, y: Tensor, stage: Stage, step: int) -> Terms:
        """Return the weighted terms; heads fade out over the stage (weight 1 − step / steps)."""
        weights, output, out = stage.weights, student.output, {}
        if "heads" in weights or "features" in weights:
            vectors = self.heads([mean[-1] for mean in output.means])
            fade = 1 - step / stage.steps
            if "heads" in weights:
                found = losses.branches(vectors, output.vectors[-1], y)
                out["heads"] = fade * weights["heads"] * found
            if "features" in weights:
                out["features"] = fade * weights["features"] * losses.features(vectors, y)
        if "hybrid" in weights:
            out["hybrid"] = weights["hybrid"] * losses.cosine(self.hybrids(student, step), y)
        if "full_precision" in weights and self.full_precision is not None:
            target = self.full_precision.target(student)
            both = (output.vectors[-1], self.full_precision(student, step))
            value = torch.stack([losses.cosine(z, target) for z in both]).mean()
            out["full_precision"] = weights["full_precision"] * value
        return out

    def step(self, rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)


def terms(output: Output, y: Tensor, stage: Stage, bank: Tensor | None, pairs: int) -> Terms:
    """Return the weighted terms of one batch.

    Args:
        output: snapshots of the student; the last `pairs` texts are passages of the `pairs`
            texts before them.
        y: teacher vectors [B, dim].
        bank: teacher vectors for the bank term.
    """
    weights, count = stage.weights, len(output.vectors)
    single = len(y) - 2 * pairs
    out: Terms = {}
    for z in output.vectors:
        found = {"cosine": losses.cosine(z, y)}
        if "relational" in weights:
            found["relational"] = losses.relational(z[:single], y[:single])
        if "bank" in weights and bank is not None:
            found["bank"] = losses.bank(z, y, bank)
        if "info_nce" in weights and pairs:
            found["info_nce"] = losses.info_nce(z[single : single + pairs], z[single + pairs :])
        for name, value in found.items():
            out[name] = out.get(name, z.new_zeros(())) + weights[name] * value / count
    if "self_teacher" in weights and count > 1:
        value = losses.self_teacher(output.vectors[0], output.vectors[-1], y)
        out["self_teacher"] = weights["self_teacher"] * value
    out["firing"] = weights.get("firing", 20.0) * losses.firing(output.firing, stage.firing)
    return out


def encode_with(
    net: SpikingNet,
    texts: Sequence[str],
    timesteps: int,
    max_tokens: int = 256,
) -> np.ndarray:
    """Return unit vectors float32 [n, dim] of texts by the network in training."""
    ids = [
        e.ids[:max_tokens] or [100]
        for e in load_tokenizer().encode_batch_fast(list(texts), add_special_tokens=False)
    ]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    out = np.empty((len(ids), net.config.dim), dtype=np.float32)
    training, device = net.training, net.bias.device
    net.eval()
    with torch.no_grad():
        for start in range(0, len(order), 256):
            rows = order[start : start + 256]
            flat, layout = pack([ids[i] for i in rows])
            z = net(flat.to(device), layout.to(device), timesteps, method="bptt").vectors[-1]
            out[rows] = torch.nn.functional.normalize(z, dim=-1).cpu().numpy()
    net.train(training)
    return out


class Trainer:
    """Everything of a run that a checkpoint restores; on one device."""

    def __init__(
        self, recipe: Recipe, folder: Path, teacher: Teacher | None = None, device: str = "cpu"
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.folder, self.device = recipe, folder, usable(device)
        self.net = SpikingNet(recipe.model).to(self.device)
        self.optimisers = Optimisers(self.net)
        self.auxiliary = Auxiliary(recipe, self.net, teacher).to(self.device)
        self.stage, self.step, self.seconds, self.texts = 0, 0, 0.0, 0
        self.sources: dict[str, int] = {}  # corpora, as `data.sources` counts them

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint in one move, so that an interruption leaves the old one."""
        unfinished = self.checkpoint.with_suffix(".part")
        torch.save(
            {
                "net": self.net.state_dict(),
                "optimisers": self.optimisers.state_dict(),
                "auxiliary": self.auxiliary.state_dict(),
                "auxiliary_optimiser": self.auxiliary.optimiser.state_dict(),
                "random": torch.get_rng_state(),
                "progress": (self.stage, self.step, self.seconds, self.texts),
                "sources": self.sources,
            },
            unfinished,
        )
        unfinished.replace(self.checkpoint)

    def resume(self) -> None:
        """Go on from the checkpoint.

        Raises:
            ValueError: it was made with another configuration.
        """
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        try:
            self.net.load_state_dict(state["net"])
        except RuntimeError as error:
            raise ValueError(
                f"{self.checkpoint} holds a network of another configuration: resume with that "
                "one, or train into another folder."
            ) from error
        self.optimisers.load_state_dict(state["optimisers"])
        if "auxiliary" in state:
            self.auxiliary.load_state_dict(state["auxiliary"])
            self.auxiliary.optimiser.load_state_dict(state["auxiliary_optimiser"])
        torch.set_rng_state(state["random"])
        self.stage, self.step, self.seconds, self.texts = state["progress"]
        self.sources = state.get("sources", {})

    def enter(self, stage: Stage) -> None:
        """Set the network up for a stage."""
        self.net.depth = stage.depth
        self.net.freeze_statistics(stage.frozen)
        self.net.quantise(stage.bits)
        partner = self.auxiliary.full_precision
        if partner is not None and self.step == 0:  # later it comes from the checkpoint
            partner.take(self.net)
        for module in self.net.modules():
            if isinstance(module, Neuron):
                module.config = type(module.config)(
                    **{**vars(module.config), "perturbation": stage.perturbation}
                )

    def update(
        self,
        stage: Stage,
        ids: list[np.ndarray],
        y: Tensor,
        bank: Tensor | None,
        pairs: int,
        elapsed: float = 0.0,
    ) -> dict[str, float]:
        """Take one optimiser step; return the terms' values.

        Args:
            elapsed: share of the time that is over: learning rates fall to their end by
                the last step or by the end of the time, whichever comes first.

        Raises:
            FloatingPointError: a term is not finite; names the step and the term.
        """
        flat = torch.from_numpy(np.concatenate(ids).astype(np.int64)).to(self.device)
        layout = Layout(torch.tensor([len(row) for row in ids])).to(self.device)
        y, bank = y.to(self.device), None if bank is None else bank.to(self.device)
        pick = np.random.default_rng((self.recipe.seed, self.stage, self.step))
        timesteps = int(pick.choice(stage.timesteps))
        shorter = [t for t in stage.snapshots if t < timesteps]
        snapshots = (int(pick.choice(shorter)), timesteps) if shorter else (timesteps,)
        output = self.net(flat, layout, timesteps, snapshots, stage.method)
        values = terms(output, y, stage, bank, pairs)
        student = Pass(self.net, flat, layout, timesteps, snapshots, stage.method, output)
        values |= self.auxiliary.terms(student, y, stage, self.step)
        for name, value in values.items():
            if not torch.isfinite(value):
                raise FloatingPointError(
                    f"{name} became {value.item()} at step {self.step} of stage {stage.name!r}."
                )
        torch.autograd.backward(torch.stack(list(values.values())).sum())
        warm = min(1.0, (self.step + 1) / 100)
        done = min(1.0, max(self.step / stage.steps, elapsed))
        left = warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        token_rate = stage.rate if stage.token_rate is None else stage.token_rate
        self.optimisers.step(stage.rate * left, stage.table_rate * left, token_rate * left)
        self.auxiliary.step(stage.rate * left)
        self.step += 1
        self.texts += len(ids)
        return {name: value.item() for name, value in values.items()}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m snn_encoder.train", description=__doc__)
    parser.add_argument("--config", default="small", help="nano, small, base or a TOML file")
    parser.add_argument("--data", required=True, help="folder of text files, or a dataset's name")
    parser.add_argument("--cache", type=Path, required=True, help="folder of teacher vectors")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--dev", type=Path, nargs="*", default=[], help=".tsv (STS) or .jsonl")
    parser.add_argument("--max-minutes", type=float, default=math.inf)
    parser.add_argument(
        "--anneal", action="store_true", help="end the stage's schedule with --max-minutes"
    )
    parser.add_argument("--eval-minutes", type=float, default=5.0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    fusion.enable()
    torch.set_float32_matmul_precision("medium")  # bfloat16 products where the CPU has them
    recipe = load_recipe(args.config)
    args.out.mkdir(parents=True, exist_ok=True)
    teacher = Teacher(recipe.max_tokens)
    trainer = Trainer(recipe, args.out, teacher, args.device)
    if args.resume and trainer.checkpoint.exists():
        trainer.resume()
    elif recipe.start:
        start_from(trainer.net, recipe.start)
    else:
        initial_table(trainer.net, teacher, recipe.seed)
    run(trainer, args, VectorCache(args.cache, teacher.key))


def run(trainer: Trainer, args: argparse.Namespace, cache: VectorCache) -> None:
    """Train stage after stage until the recipe or the time ends."""
    recipe = trainer.recipe
    corpus = Corpus.load(args.out) if args.resume else None
    if corpus is None:
        chunks = text_chunks(args.data, recipe.corpus)
        corpus = Corpus(chunks, cache, recipe.max_tokens, recipe.clusters, recipe.seed)
        corpus.save(args.out)
    trainer.sources = trainer.sources or sources(args.data, recipe.corpus, len(corpus))
    print(f"{len(corpus)} texts", flush=True)
    pairs = None
    if any("info_nce" in stage.weights for stage in recipe.stages):
        chunks = text_chunks(args.data, {"pairs": recipe.corpus["pairs"]})
        pairs = PairSource(Corpus(chunks, cache, recipe.max_tokens, 1), recipe.seed)
    begin = checked = time.monotonic()
    spent = trainer.seconds

    def report() -> None:
        row: dict[str, Any] = {"stage": recipe.stages[trainer.stage].name, "step": trainer.step}
        row["minutes"] = round(trainer.seconds / 60, 1)
        for steps in (1, 4):
            for path in args.dev:
                encode = partial(encode_with, trainer.net, timesteps=steps)
                name, value = evaluate.score(encode, path)
                row[f"{name} T={steps}"] = round(value, 4)
        with (args.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)

    while trainer.stage < len(recipe.stages):
        stage = recipe.stages[trainer.stage]
        trainer.enter(stage)
        batches = Batches(corpus.cluster, stage.batch, stage.run, stage.dialogue, recipe.seed)
        count = stage.batch // 4 if pairs and "info_nce" in stage.weights else 0
        while trainer.step < stage.steps:
            ids, y = corpus.batch(batches[trainer.step])
            if pairs and count:
                more, more_y = pairs.draw(count, trainer.step)
                ids, y = ids + more, np.concatenate([y, more_y])
            bank = None
            if "bank" in stage.weights:
                rows = np.random.default_rng((recipe.seed, 9, trainer.step)).choice(
                    len(corpus), min(2048, len(corpus)), replace=False
                )
                bank = torch.from_numpy(corpus.vectors[rows].astype(np.float32))
            elapsed = (time.monotonic() - begin) / (60 * args.max_minutes) if args.anneal else 0
            values = trainer.update(stage, ids, torch.from_numpy(y), bank, count, elapsed)
            now = time.monotonic()
            trainer.seconds = spent + now - begin
            if trainer.step % 50 == 0:
                print(
                    f"{stage.name} {trainer.step}/{stage.steps} {trainer.seconds:.0f} s "
                    + " ".join(f"{k} {v:.4f}" for k, v in values.items()),
                    flush=True,
                )
            if now - checked > 60 * args.eval_minutes:
                report()
                trainer.save()
                checked = time.monotonic()
            if now - begin > 60 * args.max_minutes:
                report()
                trainer.save()
                return
        report()
        trainer.stage, trainer.step = trainer.stage + 1, 0
        trainer.save()


if __name__ == "__main__":
    main()
