"""Scores of an encoder: STS correlation and retrieval recall, for training and for tables."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from snn_encoder.inference import SpikingEncoder

Encode = Callable[[Sequence[str]], np.ndarray]


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation, ties at their mean rank; 0 where one side does not vary at all."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
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


def scores(encode: Encode, paths: Sequence[Path]) -> dict[str, float]:
    """Return the measures of some files; STS also over pairs that share half of their words."""
    found = dict(score(encode, path) for path in paths)
    for path in paths:
        if path.suffix == ".tsv":
            found[f"{path.stem} Spearman, shared words"] = sts(encode, path, overlap=0.5)
    return {name: round(value, 4) for name, value in found.items()}


def lines_of(path: Path) -> list[str]:
    """Return the lines of a text file, or the keys of a jsonl file of collections."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.suffix != ".jsonl":
        return lines
    return [key for line in lines for key in json.loads(line)["keys"]]


def silenced(encoder: SpikingEncoder) -> dict[str, SpikingEncoder]:
    """Return encoders to whose read-out only some levels' spikes come, by a name of each.

    The blocks still see the tokens' spikes, unless those are what is silenced.
    """
    heard = {"all spikes": (True, True), "none": (False, False)}
    parameters = encoder.parameters
    if parameters.blocks:
        heard |= {"the tokens' alone": (True, False), "the blocks' alone": (False, True)}
    found = {}
    for name, (tokens, blocks) in heard.items():
        readouts = [
            readout
            if (blocks if level else tokens)
            else replace(readout, weight=0 * readout.weight)
            for level, readout in enumerate(parameters.readouts)
        ]
        found[name] = SpikingEncoder(replace(parameters, readouts=tuple(readouts)), name)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Print scores and activity of weights as JSON."""
    from snn_encoder import activity

    parser = argparse.ArgumentParser(prog="python -m snn_encoder.evaluate", description=__doc__)
    parser.add_argument("--weights", default="small", help="nano, small or a folder")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help=".tsv or .jsonl files")
    parser.add_argument("--timesteps", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--silence", action="store_true", help="add rows without some spikes")
    parser.add_argument(
        "--activity",
        type=Path,
        help="count spikes on the first 1,000 lines of a text file, or keys of a .jsonl file",
    )
    args = parser.parse_args(argv)
    encoder = SpikingEncoder.from_pretrained(args.weights)
    rows: list[dict[str, Any]] = []
    for steps in args.timesteps:
        models = silenced(encoder) if args.silence else {"all spikes": encoder}
        for heard, model in models.items():
            row: dict[str, Any] = {"weights": encoder.name, "timesteps": steps}
            if args.silence:
                row["the read-out hears"] = heard
            row |= scores(partial(model.encode, timesteps=steps), args.data)
            if args.activity and heard == "all spikes":
                texts = lines_of(args.activity)[:1000]
                row["activity"] = activity.measure(encoder, texts, steps).to_dict()
            rows.append(row)
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
