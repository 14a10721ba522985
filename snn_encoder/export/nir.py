"""Write a trained network as a NIR graph: `python -m snn_encoder.export.nir --run FOLDER`.

NIR (Neuromorphic Intermediate Representation) hands spiking networks to neuromorphic chips and
other simulators as a graph of differential equations. `network.model` in its nodes, as their
docstrings in nir 1.0.8 define them (docs/methods.md, NIR), with a step of dt = 1::

    binary IF, hard reset       IF with R = 1; fires at v > v_threshold where we fire at u ≥ θ, so
                                v_threshold is the float32 just below θ
    binary LIF, hard reset      LIF with τ = R = 1 / (1 − λ)
    W, convolution, batch norm  one Conv1d over the tokens
    read-out of each level      one Conv1d of one tap; the bias b is level 0's

The graph is one sentence of a fixed number of tokens: NIR knows no batch and no free size. Input
`currents` [width, tokens] is the same at every step; level l has the outputs `spikes.l` [channels,
tokens] and `readout.l` [dim, tokens].

What NIR cannot express is refused, or left to the host:

- ternary spikes (two thresholds on one potential) and soft reset: refused, so
  the packaged weights are. Train with `neuron = { kind = "binary", reset = "hard" }`;
- an initial potential other than 0: refused;
- the sentence gate of a block, a product of two signals: refused unless `context.weight` is zero;
  a context of its bias alone is folded into the convolution;
- the look-up: the host gives the currents `table[ids].T`;
- the means: the sentence's vector is the sum of all `readout.l`, averaged over tokens and steps, at
  unit length.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from snn_encoder.export.weights import trained
from snn_encoder.network.model import Affine, Block, SpikingNet
from snn_encoder.network.neurons import Neuron
from snn_encoder.network.quantisation import rounded_weights
from snn_encoder.recipe import load_recipe

if TYPE_CHECKING:
    from nir import NIRGraph


def _weight(layer: Affine) -> Tensor:
    return rounded_weights(layer.weight.detach(), layer.bits)


def _check(net: SpikingNet) -> None:
    neuron = net.config.neuron
    if neuron.kind != "binary" or neuron.reset != "hard":
        raise ValueError(
            f"NIR has no {neuron.kind} neurons with {neuron.reset} reset: train with "
            'neuron = { kind = "binary", reset = "hard" }.'
        )
    if neuron.initial:
        raise ValueError(f"NIR neurons start from 0, not {neuron.initial}: train so.")
    for block in net.blocks[: net.depth]:
        assert isinstance(block, Block)
        if block.context.weight.any():
            raise ValueError("NIR has no product of signals: train blocks without sentence gates.")


def _neurons(neuron: Neuron, tokens: int) -> Any:
    """Return IF or LIF nodes [channels, tokens] that fire as `neuron` does."""
    import nir

    def spread(value: Any) -> np.ndarray:
        column = np.broadcast_to(np.asarray(value, np.float32), (neuron.channels,))[:, None]
        return np.repeat(column, tokens, 1)

    below = spread(np.nextafter(np.float32(neuron.config.threshold), np.float32(0)))
    leak = neuron.leak.detach().numpy() if isinstance(neuron.leak, Tensor) else neuron.leak
    if isinstance(leak, float) and leak == 1.0:
        return nir.IF(r=spread(1), v_threshold=below)
    tau = spread(1 / (1 - leak))
    return nir.LIF(tau=tau, r=tau, v_leak=spread(0), v_threshold=below)


def _convolution(weight: Tensor, bias: Tensor, tokens: int) -> Any:
    """Return a Conv1d with zeros beyond the ends; weight is [out, in, taps], taps odd."""
    import nir

    return nir.Conv1d(
        input_shape=tokens,
        weight=weight.numpy(),
        stride=1,
        padding=weight.shape[2] // 2,
        dilation=1,
        groups=1,
        bias=bias.numpy(),
    )


@torch.no_grad()
def _block(block: Block, tokens: int) -> Any:
    """Return currents from spikes: W, taps, batch norm and the constant context in one Conv1d."""
    gate, shift = block.context.bias.chunk(2)
    gate = 2 * gate.sigmoid()
    norm = block.norm
    gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    taps = block.conv.weight.T  # [channels, taps]
    weight = _weight(block.linear)[:, :, None] * (taps * (gain * gate)[:, None])[:, None]
    return _convolution(weight, (norm.bias - norm.running_mean * gain) * gate + shift, tokens)


def nir_graph(net: SpikingNet, tokens: int) -> NIRGraph:
    """Return a network of hard-reset neurons for sentences of some tokens.

    Raises:
        ValueError: the network has what NIR cannot express; the module's docstring has the list.
        ImportError: the package nir is missing.
    """
    try:
        import nir
    except ImportError as error:
        raise ImportError("NIR export needs nir: pip install 'hymem[nir]'.") from error
    if tokens < 1:
        raise ValueError(f"a sentence has at least one token, got {tokens}.")
    _check(net)
    nodes: dict[str, Any] = {"currents": nir.Input(np.array([net.config.width, tokens]))}
    edges = []
    source, neuron = "currents", net.token_neuron.neuron
    for level in range(net.depth + 1):
        if level:
            block = net.blocks[level - 1]
            assert isinstance(block, Block)
            nodes[f"block.{level}"] = _block(block, tokens)
            edges.append((source, f"block.{level}"))
            source, neuron = f"block.{level}", block.neuron.neuron
        readout = net.readouts[level]
        assert isinstance(readout, Affine)
        bias = torch.zeros_like(net.bias) if level else net.bias.detach()
        nodes |= {
            f"neurons.{level}": _neurons(neuron, tokens),
            f"read.{level}": _convolution(_weight(readout)[:, :, None], bias, tokens),
            f"spikes.{level}": nir.Output(np.array([neuron.channels, tokens])),
            f"readout.{level}": nir.Output(np.array([net.config.dim, tokens])),
        }
        edges += [(source, f"neurons.{level}"), (f"read.{level}", f"readout.{level}")]
        source = f"neurons.{level}"
        edges += [(source, f"read.{level}"), (source, f"spikes.{level}")]
    return nir.NIRGraph(nodes, edges)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m snn_encoder.export.nir", description=__doc__)
    parser.add_argument("--config", required=True, help="TOML file that the run was trained with")
    parser.add_argument("--run", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of a sentence")
    parser.add_argument("--out", type=Path, required=True, help="file for the graph")
    args = parser.parse_args(argv)
    try:
        graph = nir_graph(trained(load_recipe(args.config), args.run).net, args.tokens)
    except (ImportError, ValueError) as error:
        parser.error(str(error))
    import nir

    nir.write(args.out, graph)
    print(f"{args.out}: {', '.join(graph.nodes)}")


if __name__ == "__main__":
    main()
