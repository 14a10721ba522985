"""The spiking sentence encoder in torch, for training.

Token ids pass through a table of currents and spiking neurons; blocks of spiking neurons add
context; a real-valued affine read-out (EnOF-SNN, NeurIPS 2024: no spikes at the output) maps the
sentence means of every level's spikes to the teacher's space::

    s⁰ = Neuron(table[id])                                   tokens alone
    c  = BN(conv_K(W sˡ⁻¹))                                  neighbours
    sˡ = Neuron(c ⊙ 2σ(G m + g) + A m + a),  m = mean sˡ⁻¹   sentence
    z  = Σ_l R_l mean_{i, t} sˡ + b                          read-out

Everything between the table and the read-out is spikes; no real-valued path goes around them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from snn_encoder.network.dynamics import NeuronConfig
from snn_encoder.network.fusion import Fused
from snn_encoder.network.layout import Layout, TokenConv
from snn_encoder.network.neurons import Neuron
from snn_encoder.network.quantisation import rounded_currents, rounded_weights
from snn_encoder.network.ratebp import BatchNorm, SpikingNeuron, Tape, prefix_means


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and neurons of an encoder.

    Attributes:
        width: channels of the token table.
        blocks: channels of each spiking block, in order.
        taps: kernel size of the depth-wise convolutions.
        dim: size of the output vector.
        vocabulary: rows of the token table.
        neuron: constants of all neurons.
        gain: initial batch-norm gain and scale of table currents: sets the firing at the start.
    """

    width: int = 384
    blocks: tuple[int, ...] = ()
    taps: int = 5
    dim: int = 384
    vocabulary: int = 30522
    neuron: NeuronConfig = field(default_factory=NeuronConfig)
    gain: float = 0.35

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        values = dict(values)
        neuron = NeuronConfig(**values.pop("neuron", {}))
        return cls(blocks=tuple(values.pop("blocks", ())), neuron=neuron, **values)


class Affine(nn.Linear):
    """nn.Linear with weights rounded to `bits`, straight through; None leaves them real."""

    bits: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, rounded_weights(self.weight, self.bits), self.bias)


def gated(current: Tensor, norm: tuple[Tensor, Tensor], context: Tensor, layout: Layout) -> Tensor:
    """(scale c + shift) ⊙ 2σ(first half of context) + second half, per sentence."""
    gate, add = context.chunk(2, dim=-1)
    gate = 2 * gate.sigmoid()
    return affine_by_sentence(
        current, gate * norm[0], torch.addcmul(add, gate, norm[1]), layout.segment
    )


@Fused
def affine_by_sentence(x: Tensor, scale: Tensor, shift: Tensor, segment: Tensor) -> Tensor:
    """scale x + shift, with scale and shift [k, B, d] of each token's sentence."""
    return torch.addcmul(shift.index_select(1, segment), x, scale.index_select(1, segment))


class Block(nn.Module):
    """One spiking context block: spikes [k, N, width] to spikes [k, N, channels]."""

    def __init__(self, width: int, channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.linear = Affine(width, channels, bias=False)
        self.conv = TokenConv(channels, config.taps)
        self.norm = BatchNorm(channels, gain=config.gain)
        self.context = Affine(width, 2 * channels)
        nn.init.zeros_(self.context.weight)
        nn.init.zeros_(self.context.bias)
        self.neuron = SpikingNeuron(Neuron(channels, config.neuron))

    def steps(self, spikes: Tensor, mean: Tensor, rows: Tensor | None, tape: Tape) -> Tensor:
        """Simulate; `mean` is the spikes' sentence means, `rows` as in TokenConv."""
        current = self.conv(self.linear(spikes), tape.layout, rows)
        norm = self.norm.step_affine(current, tape)
        return self.neuron.steps(gated(current, norm, self.context(mean), tape.layout), tape)

    def rates(self, spikes: Tensor, mean: Tensor, rows: Tensor | None, tape: Tape) -> Tensor:
        current = self.conv(self.linear(spikes), tape.layout, rows)
        norm = self.norm.rate_affine(current, tape)
        return self.neuron.rates(gated(current, norm, self.context(mean), tape.layout), tape)


@dataclass
class Output:
    """What the encoder returns for S snapshots of B sentences.

    Attributes:
        vectors: [S, B, dim], not normalised.
        firing: mean |rate| per neuron and step of each level, over all tokens, [levels].
        means: sentence means of each level's rates (signed for ternary spikes),
            [S, B, channels].
        levels: rates per token, [S, n, channels]; level 0 has one row per distinct token.
        inverse: the row of level 0 of each token, int64 [N].
    """

    vectors: Tensor
    firing: Tensor
    means: list[Tensor]
    levels: list[Tensor]
    inverse: Tensor

    def tokens(self, level: int) -> Tensor:
        """Return a level's rates for every token at the last snapshot, [N, channels]."""
        rates = self.levels[level][-1]
        return rates.index_select(0, self.inverse) if level == 0 else rates


class SpikingNet(nn.Module):
    """The whole encoder from token ids to unnormalised sentence vectors.

    Args:
        config: sizes.

    Attributes:
        depth: how many blocks take part; 0 is the table-only read-out.
        bits: that the table is rounded to; set by `quantise`.
    """

    bits: int | None = None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.depth = len(config.blocks)
        self.table = nn.Embedding(config.vocabulary, config.width, sparse=True)
        nn.init.normal_(self.table.weight, std=config.gain)
        self.token_neuron = SpikingNeuron(Neuron(config.width, config.neuron))
        widths = (config.width, *config.blocks)
        self.blocks = nn.ModuleList(Block(a, b, config) for a, b in pairwise(widths))
        self.readouts = nn.ModuleList(Affine(w, config.dim, bias=False) for w in widths)
        for readout in list(self.readouts)[1:]:
            assert isinstance(readout, nn.Linear)
            readout.weight.data.mul_(0.1)
        self.bias = nn.Parameter(torch.zeros(config.dim))

    def _levels(
        self, currents: Tensor, inverse: Tensor, tape: Tape, phase: str
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Run one phase ("steps" or "rates"); return each level's spikes and sentence means.

        Level 0 has one row per distinct token, since its spikes depend on the token alone.
        """
        layout: Layout = tape.layout
        spikes = getattr(self.token_neuron, phase)(currents, tape)
        levels, means = [spikes], [layout.mean_of_distinct(spikes, inverse)]
        for index in range(self.depth):
            rows = inverse if index == 0 else None
            spikes = getattr(self.blocks[index], phase)(spikes, means[-1], rows, tape)
            levels.append(spikes)
            means.append(layout.mean(spikes))
        return levels, means

    def _read(self, means: Sequence[Tensor]) -> Tensor:
        out = self.bias
        for readout, mean in zip(self.readouts, means, strict=False):
            out = out + readout(mean)
        return out

    def forward(
        self,
        ids: Tensor,
        layout: Layout,
        timesteps: int = 1,
        snapshots: Sequence[int] | None = None,
        method: str = "rate_M",
    ) -> Output:
        """Encode packed token ids [N].

        Args:
            timesteps: T of the simulation.
            snapshots: prefixes of it to return, (T,) by default.
            method: `rate_M` or `rate_S` (rate-based backpropagation, all steps a layer or one
                step at a time), or `bptt`, which is also what inference uses under no_grad.
        """
        snapshots = tuple(snapshots or (timesteps,))
        if snapshots[-1] > timesteps:
            raise ValueError("a snapshot lies beyond the last step.")
        distinct, inverse = torch.unique(ids, return_inverse=True)
        currents = rounded_currents(self.table(distinct), self.bits)
        if method == "bptt":
            tape = Tape(snapshots, eligible=False, layout=layout)
            steps = currents.expand(timesteps, *currents.shape)
            levels, means = self._levels(steps, inverse, tape, "steps")
            levels = [prefix_means(x, snapshots) for x in levels]
            means = [prefix_means(x, snapshots) for x in means]
        elif method in ("rate_M", "rate_S"):
            tape = Tape(snapshots, layout=layout)
            with torch.no_grad():
                chunk = timesteps if method == "rate_M" else 1
                for _ in range(0, timesteps, chunk):
                    self._levels(currents.expand(chunk, *currents.shape), inverse, tape, "steps")
            stacked = currents.expand(len(snapshots), *currents.shape)
            levels, means = self._levels(stacked, inverse, tape, "rates")
        else:
            raise ValueError(f"Unknown method {method!r}: use rate_M, rate_S or bptt.")
        share = torch.bincount(inverse).to(currents.dtype) / len(inverse)
        firing = [share @ levels[0].abs().mean((0, 2)), *(x.abs().mean() for x in levels[1:])]
        return Output(self._read(means), torch.stack(firing), means, levels, inverse)

    def freeze_statistics(self, frozen: bool = True) -> None:
        """Normalise by running statistics in training too, as evaluation does."""
        for module in self.modules():
            if isinstance(module, BatchNorm):
                module.frozen = frozen

    def quantise(self, bits: int | None) -> None:
        """Run with table and matrices rounded to so many bits; None for the real ones.

        The weights themselves stay real, so that training can go on.

        Raises:
            ValueError: not 2 to 8 bits.
        """
        if bits is not None and not 2 <= bits <= 8:
            raise ValueError(f"Weights are rounded to 2 to 8 bits, got {bits}.")
        self.bits = bits
        for module in self.modules():
            if isinstance(module, Affine):
                module.bits = bits
