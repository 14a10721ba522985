"""Cache the teacher's vectors of a recipe's corpus: `python -m snn_encoder.distill --config small`.

Training uses whatever is cached, so it may start while this runs, and this may be interrupted.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from snn_encoder.distill.corpora import text_chunks
from snn_encoder.distill.teacher import Teacher, VectorCache
from snn_encoder.network.restore import usable
from snn_encoder.recipe import load_recipe


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m snn_encoder.distill", description=__doc__)
    parser.add_argument("--config", default="small", help="nano, small, base or a TOML file")
    parser.add_argument("--data", required=True, help="folder of text files, or a dataset's name")
    parser.add_argument("--cache", type=Path, required=True, help="folder of teacher vectors")
    parser.add_argument("--max-minutes", type=float, default=math.inf)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    recipe = load_recipe(args.config)
    teacher = Teacher(recipe.max_tokens, device=str(usable(args.device)))
    cache = VectorCache(args.cache, teacher.key)
    chunks = list(text_chunks(args.data, recipe.corpus))
    random.Random(recipe.seed).shuffle(chunks)  # whatever is done first is a fair sample
    begin, done = time.monotonic(), 0
    for index, texts in enumerate(chunks, start=1):
        if cache.load(texts) is None:
            cache.fill(teacher, texts)
            done += len(texts)
        seconds = time.monotonic() - begin
        if index % 10 == 0 or index == len(chunks):
            print(f"chunk {index} of {len(chunks)}, {done / seconds:.0f} texts/s", flush=True)
        if seconds > 60 * args.max_minutes:
            return


if __name__ == "__main__":
    main()
