"""Firing, synaptic operations and energy estimates of an encoder on given texts.

Two estimates are printed beside each other, neither is a measurement (docs/methods.md, energy):

- the community's column: 45 nm, 32-bit float, 4.6 pJ a multiply-accumulate (MAC) and 0.9 pJ an
  accumulate (AC), against the same layers run once with real activations;
- the fair column: against the same layers with activations of ceil(log2(levels)) bits, where a
  ternary neuron has 2T + 1 levels after T steps, with integer arithmetic (0.1 pJ an accumulate,
  0.1 + 0.2 b / 8 pJ a MAC of b bits by 8). All of its products count at those bits, which favours
  it; those of the spiking network that are with real values, T times over, at 8. The break-even is
  what firing must stay below for the rest. Counting data movement too puts it lower: 5.7 % at
  T = 5 (arXiv 2409.08290).

Firing alone can be kept low by currents that lie just below what fires within T steps, and then
fire together in the step after it. So both are counted too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

from snn_encoder.inference import SpikingEncoder
from snn_encoder.parameters import Floats, Parameters
from snn_encoder.simulation import Batch, steps

FLOAT_MAC, FLOAT_AC = 4.6, 0.9  # pJ
INTEGER_AC = 0.1
THRESHOLD = 1 / 2  # of the potential
MARGIN = 3 / 128  # of the current, below what would fire
_UNIT = 128  # of the token table's currents


def integer_mac(bits: int) -> float:
    """Energy in pJ of a MAC of `bits` by 8 bits."""
    return INTEGER_AC + 0.2 * bits / 8


@dataclass(frozen=True)
class Activity:
    """Means over all tokens of some texts.

    Attributes:
        rates: firing per neuron, [level][step].
        dead, saturated: share of neurons that never fire, that always do, per level.
        parked: share of neurons, each token's counted, that have not fired in T steps and would
            have if their current had been `MARGIN` stronger throughout, per level.
        beyond: share of neurons that fire in the step after the last, per level.
        accumulates: adds a text that spikes cause; most_accumulates: if every neuron fired in
            every step.
        macs: products a text with real values (convolution, gate, context, read-out).
        dense_macs: MACs a text of the same layers with real activations, run once.
    """

    timesteps: int
    rates: list[list[float]]
    dead: list[float]
    saturated: list[float]
    parked: list[float]
    beyond: list[float]
    accumulates: float
    most_accumulates: float
    macs: float
    dense_macs: float

    @property
    def rate(self) -> float:
        """Mean firing over levels and steps."""
        return float(np.mean(self.rates))

    def energy(self) -> dict[str, float]:
        """Return nanojoules a text by both accounts, and firing at which the fair ones are equal.

        Firing is weighted by the adds that it causes. A break-even below 0 means that the products
        with real values alone cost more than the quantised network: silence would not save any.
        """
        bits = math.ceil(math.log2(2 * self.timesteps + 1))
        quantised, real = integer_mac(bits) * self.dense_macs, integer_mac(8) * self.macs
        float_macs, float_adds = FLOAT_MAC * self.macs, FLOAT_AC * self.accumulates
        return {
            "community_snn_nj": (float_macs + float_adds) / 1e3,
            "community_ann_nj": FLOAT_MAC * self.dense_macs / 1e3,
            "community_mac_share": float_macs / (float_macs + float_adds),
            "fair_snn_nj": (real + INTEGER_AC * self.accumulates) / 1e3,
            "fair_qnn_nj": quantised / 1e3,
            "bits": float(bits),
            "weighted_rate": self.accumulates / self.most_accumulates,
            "break_even_rate": (quantised - real) / (INTEGER_AC * self.most_accumulates),
        }

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "rate": self.rate, **self.energy()}


def measure(encoder: SpikingEncoder, texts: Sequence[str], timesteps: int) -> Activity:
    """Run texts, one step further than is counted, and count spikes and operations."""
    batch = Batch(encoder._tokenize(texts))
    widths = encoder.parameters.widths
    tokens = float(batch.lengths.sum())
    # Level 0 has a row per distinct token, which counts as often as the token occurs.
    weights = [batch.counts.sum(0), *(np.ones(int(tokens)) for _ in widths[1:])]
    fired: list[list[Floats]] = [[] for _ in widths]
    silent = [np.ones((len(rows), 1), np.bool_) for rows in weights]  # of every neuron, so far
    simulated = steps(encoder.parameters, batch)
    for state in islice(simulated, timesteps):
        for level, spikes in enumerate(state.fired):
            fired[level].append(weights[level] @ np.abs(spikes) / tokens)
            silent[level] = silent[level] & (spikes == 0)
    reached = encoder.parameters.table[batch.distinct] * np.float32(timesteps / _UNIT)
    potentials: list[Floats] = [reached, *state.potentials]
    near = [
        quiet & (np.abs(u) + MARGIN * timesteps >= THRESHOLD)
        for quiet, u in zip(silent, potentials, strict=True)
    ]
    parked = [rows @ x / tokens for rows, x in zip(weights, near, strict=True)]
    beyond = [
        rows @ np.abs(spikes) / tokens
        for rows, spikes in zip(weights, next(simulated).fired, strict=True)
    ]
    macs, dense = _products(encoder.parameters, batch, timesteps)
    per_neuron = [np.sum(level, 0) for level in fired]  # spikes a token
    fan_outs = [width + 1 for width in [*widths[1:], 0]]  # the next level and the mean
    per_text = tokens / batch.size
    return Activity(
        timesteps=timesteps,
        rates=[[float(step.mean()) for step in level] for level in fired],
        dead=[float((spikes == 0).mean()) for spikes in per_neuron],
        saturated=[float((spikes >= timesteps).mean()) for spikes in per_neuron],
        parked=[float(level.mean()) for level in parked],
        beyond=[float(level.mean()) for level in beyond],
        accumulates=per_text * float(np.dot([x.sum() for x in per_neuron], fan_outs)),
        most_accumulates=per_text * timesteps * float(np.dot(widths, fan_outs)),
        macs=macs / batch.size,
        dense_macs=dense / batch.size,
    )


def _products(parameters: Parameters, batch: Batch, timesteps: int) -> tuple[float, float]:
    """Return products with real values of the spiking network, and MACs of the dense one."""
    tokens, widths = float(batch.lengths.sum()), parameters.widths
    macs = dense = float(sum(widths) * parameters.dim * batch.size)  # the read-out
    for before, block in zip(widths, parameters.blocks, strict=False):
        taps, channels = block.taps.shape
        context = before * 2 * channels * batch.size
        local = (taps + 1) * channels * tokens
        macs += timesteps * (local + context)
        dense += local + context + before * channels * tokens
    return macs, dense
