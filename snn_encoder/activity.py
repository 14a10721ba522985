"""Firing, synaptic operations and energy estimates of an encoder on given texts.

Two estimates are printed beside each other, neither is a measurement (docs/methods.md, energy):

- the community's column: 45 nm, 32-bit float, 4.6 pJ a multiply-accumulate (MAC) and 0.9 pJ an
  accumulate (AC), against the same layers run once with real activations;
- the fair column: against the same layers with activations of ceil(log2(levels)) bits, where a
  ternary neuron has 2T + 1 levels after T steps, with integer arithmetic (0.1 pJ an accumulate,
  0.1 + 0.2 b / 8 pJ a MAC of b bits by 8). Its break-even rate is what firing must stay below.
  Counting data movement too puts the bound lower: 5.7 % at T = 5 (arXiv 2409.08290).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

from snn_encoder.inference import SpikingEncoder
from snn_encoder.simulation import Batch, steps

FLOAT_MAC, FLOAT_AC = 4.6, 0.9  # pJ
INTEGER_AC = 0.1


def integer_mac(bits: int) -> float:
    """Energy in pJ of a MAC of `bits` by 8 bits."""
    return INTEGER_AC + 0.2 * bits / 8


@dataclass(frozen=True)
class Activity:
    """Means over all tokens of some texts.

    Attributes:
        rates: firing per neuron, [level][step].
        dead, saturated: share of neurons that never fire, that always do, per level.
        accumulates, macs: synaptic operations a text: adds caused by spikes; products with
            real values (convolution, gate, context, read-out).
        dense_macs: MACs a text of the same layers with real activations, run once.
    """

    timesteps: int
    rates: list[list[float]]
    dead: list[float]
    saturated: list[float]
    accumulates: float
    macs: float
    dense_macs: float

    @property
    def rate(self) -> float:
        """Mean firing over levels and steps."""
        return float(np.mean(self.rates))

    def energy(self) -> dict[str, float]:
        """Return nanojoules a text by both accounts, and the break-even rate."""
        bits = math.ceil(math.log2(2 * self.timesteps + 1))
        return {
            "community_snn_nj": (FLOAT_MAC * self.macs + FLOAT_AC * self.accumulates) / 1e3,
            "community_ann_nj": FLOAT_MAC * self.dense_macs / 1e3,
            "fair_snn_nj": (integer_mac(8) * self.macs + INTEGER_AC * self.accumulates) / 1e3,
            "fair_qnn_nj": integer_mac(bits) * self.dense_macs / 1e3,
            "bits": float(bits),
            "break_even_rate": integer_mac(bits) / (INTEGER_AC * self.timesteps),
        }

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "rate": self.rate, **self.energy()}


def measure(encoder: SpikingEncoder, texts: Sequence[str], timesteps: int) -> Activity:
    """Run texts and count spikes and operations."""
    batch = Batch(encoder._tokenize(texts))
    parameters = encoder.parameters
    share = batch.counts.sum(0)
    tokens, sentences = float(share.sum()), batch.size
    widths = parameters.widths
    per_neuron = [np.zeros(width) for width in widths]
    rates: list[list[float]] = [[] for _ in widths]
    accumulates = 0.0
    for _, fired in islice(steps(parameters, batch), timesteps):
        for level, spikes in enumerate(fired):
            size = np.abs(spikes)
            counts = share @ size if level == 0 else size.sum(0)
            per_neuron[level] += counts
            rates[level].append(float(counts.mean() / tokens))
            fan_out = 1 + (widths[level + 1] if level + 1 < len(widths) else 0)  # and the mean
            accumulates += float(counts.sum()) * fan_out
    readout = sum(widths) * encoder.dim * sentences
    macs, dense = float(readout), float(readout)
    for before, block in zip(widths, parameters.blocks, strict=False):
        taps, channels = block.taps.shape
        context = before * 2 * channels * sentences
        local = (taps + 1) * channels * tokens
        macs += timesteps * (local + context)
        dense += local + context + before * channels * tokens
    shares = [counts / (tokens * timesteps) for counts in per_neuron]
    return Activity(
        timesteps=timesteps,
        rates=rates,
        dead=[float((s == 0).mean()) for s in shares],
        saturated=[float((s >= 1).mean()) for s in shares],
        accumulates=accumulates / sentences,
        macs=macs / sentences,
        dense_macs=dense / sentences,
    )
