"""Speed of the spiking encoder beside MiniLM in torch.

Texts of 30 tokens, tokenizer included, best of several runs after a warm-up, and the median
latency of one short query. The mode that is timed is the mode that is scored. With --onnx each
tier's ONNX model runs in onnxruntime too, with --static the same table without spikes.
OMP_NUM_THREADS and RAYON_NUM_THREADS limit numpy's and the tokenizer's threads, --threads those of
torch and onnxruntime.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from evals.encoder.static import StaticTable
from snn_encoder import SpikingEncoder
from snn_encoder.tokenizer import load_tokenizer

TOKENS = 30
QUERY = "Where does Ana live now?"


def texts(count: int, seed: int = 0) -> list[str]:
    """Return texts of exactly 30 tokens (special tokens not counted)."""
    tokenizer = load_tokenizer()
    words = [word for i in range(1996, 12000) if (word := str(tokenizer.id_to_token(i))).isalpha()]
    share = 1 / np.arange(10, 10 + len(words))  # as words of a language are spread
    rng = np.random.default_rng(seed)
    drawn = rng.choice(words, (count, TOKENS), p=share / share.sum())
    made = [" ".join(row) for row in drawn]
    lengths = {len(tokenizer.encode(text, add_special_tokens=False).ids) for text in made}
    assert lengths == {TOKENS}, lengths
    return made


def throughput(
    encode: Callable[[Sequence[str]], Any],
    batch: Sequence[str],
    runs: int,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return texts per second of a clock, the best of some runs."""
    encode(batch[:64])
    seconds = []
    for _ in range(runs):
        begin = clock()
        encode(batch)
        seconds.append(clock() - begin)
    return len(batch) / min(seconds)


def latency(
    encode: Callable[[Sequence[str]], Any],
    calls: int = 200,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the median milliseconds of one short query."""
    seconds = []
    for _ in range(calls):
        begin = clock()
        encode([QUERY])
        seconds.append(clock() - begin)
    return 1000 * statistics.median(seconds)


def minilm(threads: int) -> Callable[[Sequence[str]], np.ndarray]:
    """Return MiniLM in torch float32 on some threads, the reference of every ratio."""
    import torch

    from snn_encoder.distill.teacher import Teacher

    torch.set_num_threads(threads)
    teacher = Teacher(max_tokens=256, dtype=torch.float32)
    return teacher.encode


def in_onnxruntime(
    encoder: SpikingEncoder, timesteps: int, threads: int, batch_size: int = 64
) -> Callable[[Sequence[str]], np.ndarray]:
    """Return the encoder's ONNX model behind its tokenizer, in batches of similar length."""
    import onnxruntime

    from snn_encoder.export.onnx import onnx_model

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        onnx_model(encoder, timesteps).SerializeToString(), options, ["CPUExecutionProvider"]
    )

    def encode(batch: Sequence[str]) -> np.ndarray:
        ids = encoder._tokenize(batch)
        out = np.empty((len(ids), encoder.dim), np.float32)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            tokens = np.zeros((len(rows), len(ids[rows[-1]])), np.int64)
            mask = np.zeros_like(tokens)
            for index, row in enumerate(rows):
                tokens[index, : len(ids[row])] = ids[row]
                mask[index, : len(ids[row])] = 1
            (out[rows],) = session.run(None, {"input_ids": tokens, "attention_mask": mask})
        return out

    return encode


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--encoders", nargs="*", default=["nano", "small"])
    parser.add_argument("--timesteps", nargs="*", type=int, default=[])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-minilm", action="store_true")
    parser.add_argument("--onnx", action="store_true", help="time onnxruntime beside numpy")
    parser.add_argument("--static", action="store_true", help="time the table without spikes too")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count the process' processor time, for machines that others use too",
    )


def run(args: argparse.Namespace) -> None:
    """Print the figures as JSON."""
    clock = time.process_time if args.cpu_time else time.perf_counter
    rows: list[dict[str, Any]] = []

    def add(encode: Callable[[Sequence[str]], Any], count: int, **facts: Any) -> None:
        speed = throughput(encode, texts(count), args.runs, clock)
        facts |= {"texts/s": round(speed), "query ms p50": round(latency(encode, clock=clock), 3)}
        if rows and not args.no_minilm:
            facts["times MiniLM"] = round(speed / float(rows[0]["texts/s"]), 1)
        rows.append(facts)

    if not args.no_minilm:
        add(minilm(args.threads), 256, encoder="all-MiniLM-L6-v2, torch float32")
    for name in args.encoders:
        encoder = SpikingEncoder.from_pretrained(name)
        label = f"{encoder.name} {encoder.version}"
        for steps in args.timesteps or [encoder.timesteps]:
            add(partial(encoder.encode, timesteps=steps), 2048, encoder=label, T=steps)
            if args.onnx:
                model = in_onnxruntime(encoder, steps, args.threads)
                add(model, 2048, encoder=f"{label}, onnxruntime", T=steps)
        if args.static:
            static = StaticTable(encoder)
            add(static.encode, 2048, encoder=static.name)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    unit = "processor seconds of one thread" if args.cpu_time else "wall seconds"
    found = {"machine": machine, "seconds": unit, "tokens": TOKENS, "rows": rows}
    print(json.dumps(found, indent=2))
