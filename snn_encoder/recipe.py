"""Recipes: which network is trained, on which text, in which stages."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from snn_encoder.network.model import ModelConfig


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
