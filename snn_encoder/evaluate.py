"""Scores of an encoder: STS correlation and retrieval recall, for training and for tables."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

Encode = Callable[[Sequence[str]], np.ndarray]


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation, ties at their mean rank."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(x: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: np.ndarray = (last - (counts - 1) / 2)[inverse]
    return ranks


def sts(encode: Encode, path: Path, overlap: float = 0.0) -> float:
    """Spearman correlation of cosine and human score; rows are score, sentence, sentence.

    Args:
        overlap: take only pairs that share at least this part of their words (Jaccard): there,
            order and context decide.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = [r for r in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if len(r) == 3]
    rows = [row for row in rows if _shared(row[1], row[2]) >= overlap]
    gold = np.array([float(row[0]) for row in rows])
    a, b = encode([row[1] for row in rows]), encode([row[2] for row in rows])
    return spearman((a * b).sum(1), gold)


def _shared(a: str, b: str) -> float:
    x, y = set(a.lower().split()), set(b.lower().split())
    return len(x & y) / max(1, len(x | y))


def recall(encode: Encode, path: Path, k: int = 10) -> float:
    """Mean recall@k over the queries of a jsonl file of independent collections.

    Each line holds `keys` (texts) and `queries`: a text and its evidence, a list of groups of
    key numbers. A group is found when one of its keys is among the first k.
    """
    scores: list[float] = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            collection = json.loads(line)
            keys = encode(collection["keys"])
            queries = encode([query for query, _ in collection["queries"]])
            top = np.argsort(-(queries @ keys.T), axis=1, kind="stable")[:, :k]
            for found, (_, groups) in zip(top, collection["queries"], strict=True):
                chosen = set(found.tolist())
                scores.append(float(np.mean([bool(chosen & set(group)) for group in groups])))
    return float(np.mean(scores))


def score(encode: Encode, path: Path) -> tuple[str, float]:
    """Return (name of the measure, value) of a .tsv (STS) or .jsonl (retrieval) file."""
    if path.suffix == ".tsv":
        return f"{path.stem} Spearman", sts(encode, path)
    return f"{path.stem} recall@10", recall(encode, path)


def main(argv: Sequence[str] | None = None) -> None:
    """Print scores and activity of weights as JSON."""
    from snn_encoder import activity
    from snn_encoder.inference import SpikingEncoder

    parser = argparse.ArgumentParser(prog="python -m snn_encoder.evaluate", description=__doc__)
    parser.add_argument("--weights", default="small", help="nano, small or a folder")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help=".tsv or .jsonl files")
    parser.add_argument("--timesteps", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--activity", type=Path, help="text file to count spikes on")
    args = parser.parse_args(argv)
    encoder = SpikingEncoder.from_pretrained(args.weights)
    rows: list[dict[str, Any]] = []
    for steps in args.timesteps:
        row: dict[str, Any] = {"weights": encoder.name, "timesteps": steps}
        for path in args.data:
            name, value = score(partial(encoder.encode, timesteps=steps), path)
            row[name] = round(value, 4)
        if args.activity:
            texts = args.activity.read_text(encoding="utf-8").splitlines()[:1000]
            row["activity"] = activity.measure(encoder, texts, steps).to_dict()
        rows.append(row)
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
