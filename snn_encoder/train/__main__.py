"""Train a spiking encoder: `python -m snn_encoder.train --config small --data FOLDER`.

The configuration lists stages; each has its depth, step counts, loss weights and length. A run
is continued from its checkpoint with --resume, and stops after --max-minutes.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from snn_encoder import evaluate
from snn_encoder.distill.corpora import sources, text_chunks
from snn_encoder.distill.teacher import Teacher, VectorCache
from snn_encoder.network import fusion
from snn_encoder.recipe import Stage, load_recipe
from snn_encoder.train.batches import Batches, Corpus
from snn_encoder.train.start import initial_table, start_from
from snn_encoder.train.trainer import Trainer, encode_with


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
    trainer = Trainer(recipe, args.out, args.device)
    if args.resume and trainer.checkpoint.exists():
        trainer.resume()
    elif recipe.start:
        start_from(trainer.net, recipe.start)
    else:
        initial_table(trainer.net, teacher, recipe.seed)
    run(trainer, args, VectorCache(args.cache, teacher.key))


def run(trainer: Trainer, args: argparse.Namespace, cache: VectorCache) -> None:
    """Train stage after stage until the recipe or the time ends."""
    corpus = _corpus(trainer, args, cache)
    print(f"{len(corpus)} texts", flush=True)
    clock = _Clock(trainer, args)
    stages = trainer.recipe.stages
    while trainer.stage < len(stages):
        finished = _run_stage(trainer, stages[trainer.stage], corpus, clock)
        report(trainer, args.out, args.dev)
        if finished:
            trainer.stage, trainer.step = trainer.stage + 1, 0
        trainer.save()
        if not finished:
            return


def _corpus(trainer: Trainer, args: argparse.Namespace, cache: VectorCache) -> Corpus:
    """Return the corpus of a run: the one that it kept if it is resumed."""
    recipe = trainer.recipe
    corpus = Corpus.load(args.out) if args.resume else None
    if corpus is None:
        chunks = text_chunks(args.data, recipe.corpus)
        corpus = Corpus(chunks, cache, recipe.max_tokens, recipe.clusters, recipe.seed)
        corpus.save(args.out)
    trainer.sources = trainer.sources or sources(args.data, recipe.corpus, len(corpus))
    return corpus


class _Clock:
    """The time that a run may take, and when it is next evaluated."""

    def __init__(self, trainer: Trainer, args: argparse.Namespace) -> None:
        self.args = args
        self.begin = self.checked = time.monotonic()
        self.spent = trainer.seconds

    @property
    def elapsed(self) -> float:
        """Share of the time that is over; 0 unless learning rates are to end with it."""
        minutes = (time.monotonic() - self.begin) / 60
        return minutes / self.args.max_minutes if self.args.anneal else 0.0


def _run_stage(trainer: Trainer, stage: Stage, corpus: Corpus, clock: _Clock) -> bool:
    """Train a stage to its end; return False if the time was over before."""
    args = clock.args
    trainer.enter(stage)
    seed = trainer.recipe.seed + trainer.stage  # each stage sees other batches
    batches = Batches(corpus.cluster, stage.batch, stage.run, stage.dialogue, seed)
    while trainer.step < stage.steps:
        ids, y = corpus.batch(batches[trainer.step])
        values = trainer.update(stage, ids, torch.from_numpy(y), clock.elapsed)
        now = time.monotonic()
        trainer.seconds = clock.spent + now - clock.begin
        if trainer.step % 50 == 0:
            print(
                f"{stage.name} {trainer.step}/{stage.steps} {trainer.seconds:.0f} s "
                + " ".join(f"{k} {v:.4f}" for k, v in values.items()),
                flush=True,
            )
        if now - clock.begin > 60 * args.max_minutes:
            return False
        if now - clock.checked > 60 * args.eval_minutes:
            report(trainer, args.out, args.dev)
            trainer.save()
            clock.checked = time.monotonic()
    return True


def report(trainer: Trainer, folder: Path, files: Sequence[Path]) -> None:
    """Print the scores of the network on development files, and add them to the run's log."""
    row: dict[str, Any] = {"stage": trainer.recipe.stages[trainer.stage].name}
    row |= {"step": trainer.step, "minutes": round(trainer.seconds / 60, 1)}
    for steps in (1, 4):
        for path in files:
            name, value = evaluate.score(partial(encode_with, trainer.net, timesteps=steps), path)
            row[f"{name} T={steps}"] = round(value, 4)
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
