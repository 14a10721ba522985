"""Simulation of the encoder with numpy: sentences in, spike sums and vectors out.

Spikes are −1, 0, 1 and weights int8, so every synaptic sum is an integer below 2²⁴ and exact in
float32, whatever the order of the additions: a text's spikes cannot depend on its batch mates.
Tokens of a batch lie end to end; what depends on a token alone is computed once per distinct
token, level 0's spikes in closed form. Equations are in `network.model`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import chain, count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn_encoder.parameters import Block, Floats, Parameters

_SHIFT = 7  # the token table is in units of 1/128: 1/2 t is then whole for t = 1, 2, 4, 8
_HALF = 64


class Batch:
    """Sentences end to end, and the distinct tokens among them.

    Attributes:
        lengths: tokens of each sentence, float32 [B, 1].
        distinct: token ids, each once, [U]; inverse: where each token is among them, [N].
        counts: how often a sentence holds each distinct token, float32 [B, U].
    """

    def __init__(self, ids: Sequence[Sequence[int]]) -> None:
        sizes = np.array([len(row) for row in ids])
        self.size = len(sizes)
        self.segment = np.repeat(np.arange(self.size), sizes)
        self.ends = np.cumsum(sizes)
        self.lengths: Floats = sizes.astype(np.float32)[:, None]
        flat = np.fromiter(chain.from_iterable(ids), np.intp, int(self.ends[-1]))
        self.distinct, self.inverse = np.unique(flat, return_inverse=True)
        width = len(self.distinct)
        cells = np.bincount(self.segment * width + self.inverse, minlength=self.size * width)
        self.counts: Floats = cells.astype(np.float32).reshape(self.size, width)

    def sums(self, x: Floats) -> Floats:
        """Sum tokens' rows per sentence, [N, d] to [B, d]; numpy's reduceat is 15 times slower."""
        out = np.empty((self.size, x.shape[1]), np.float32)
        start = 0
        for row, end in zip(out, self.ends.tolist(), strict=True):
            np.add.reduce(x[start:end], 0, out=row)
            start = end
        return out


def token_counts(table: NDArray[np.int8], steps: int) -> Floats:
    """Return the sum of each level-0 neuron's spikes over some steps.

    Its currents k/128 are constant and a spike takes 1 away, so nothing needs to be simulated: the
    count is k T/128 rounded to the nearest whole number, halves away from zero.
    """
    counts = table.astype(np.int16)
    negative = counts >> 15  # −1 where it is: a shift rounds down, away from zero there
    counts *= np.int16(steps)
    counts += np.int16(_HALF)
    counts += negative
    counts >>= _SHIFT
    return counts.astype(np.float32)


class _BlockNeurons:
    """The membrane potentials of one block: ternary IF, soft reset, θ = q/2 = 1/2."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.u: Floats = np.zeros(size, np.float32)

    def step(self, current: Floats) -> Floats:
        """Add a current; return the step's spikes."""
        self.u += current
        spikes = np.rint(self.u)  # ± 1 from ± 1/2 on
        np.clip(spikes, -1, 1, out=spikes)
        self.u -= spikes
        return spikes


def spike_sums(
    parameters: Parameters, batch: Batch, after: Collection[int]
) -> Iterator[tuple[int, list[Floats]]]:
    """Yield step counts, rising, with the spike sums per sentence after so many steps.

    The sums have one array a level, [B, width], updated in place. Without blocks nothing is
    simulated.
    """
    if parameters.blocks:
        for t, state in zip(range(1, max(after) + 1), steps(parameters, batch), strict=False):
            if t in after:
                yield t, state.sums
    else:
        table = parameters.table[batch.distinct]
        for t in sorted(after):
            yield t, [batch.counts @ token_counts(table, t)]


class State(NamedTuple):
    """The network after a step, an array a level.

    Attributes:
        sums: spikes so far per sentence, [B, width]; updated in place.
        fired: this step's spikes; level 0 has a row per distinct token, the others one per token.
        potentials: of the blocks' neurons, [N, channels]; updated in place.
    """

    sums: list[Floats]
    fired: list[Floats]
    potentials: list[Floats]


def steps(parameters: Parameters, batch: Batch) -> Iterator[State]:
    """Simulate without end; yield the state after each step."""
    table = parameters.table[batch.distinct]
    before = token_counts(table, 0)
    tokens = len(batch.inverse)
    levels = [_BlockNeurons((tokens, width)) for width in parameters.widths[1:]]
    sums = [np.zeros((batch.size, width), np.float32) for width in parameters.widths]
    for step in count(1):
        counts = token_counts(table, step)
        spikes: Floats = counts - before
        before = counts
        fired = [spikes]
        total = batch.counts @ spikes
        sums[0] += total
        for index, (block, neurons) in enumerate(zip(parameters.blocks, levels, strict=True)):
            projected = spikes @ block.linear
            if index == 0:
                projected = projected[batch.inverse]
            spikes = neurons.step(_current(projected, total, block, batch))
            fired.append(spikes)
            total = batch.sums(spikes)
            sums[index + 1] += total
        yield State(sums, fired, [neurons.u for neurons in levels])


def read(parameters: Parameters, batch: Batch, sums: list[Floats], steps: int) -> Floats:
    """Return the unit vectors after some steps."""
    z: Floats = np.zeros((batch.size, parameters.dim), np.float32) + parameters.bias
    for readout, total in zip(parameters.readouts, sums, strict=True):
        z += readout(total) / (batch.lengths * steps)
    z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    return z


def _current(projected: Floats, total: Floats, block: Block, batch: Batch) -> Floats:
    """Return a block's currents [N, channels] of one step (equations in `network.model`)."""
    context = (total @ block.context.weight) * (block.context.scale / batch.lengths)
    context += block.context.bias
    gate, shift = np.split(context, 2, axis=1)
    gate = 2 / (1 + np.exp(-gate))
    shift = shift + block.bias * gate
    half = len(block.taps) // 2
    out: Floats = projected * block.taps[half]
    scratch = np.empty_like(out)
    for offset in range(1, half + 1):
        _add_tap(out, projected, block.taps[half - offset], -offset, batch, scratch)
        _add_tap(out, projected, block.taps[half + offset], offset, batch, scratch)
    start = 0
    for row, end in enumerate(batch.ends.tolist()):
        out[start:end] *= gate[row]
        out[start:end] += shift[row]
        start = end
    return out


def _add_tap(
    out: Floats, x: Floats, tap: Floats, offset: int, batch: Batch, scratch: Floats
) -> None:
    """Add tap ⊙ x[i + offset] to every row i whose neighbour is in the same sentence."""
    count = len(x) - abs(offset)
    if count <= 0:
        return
    here, there = max(0, -offset), max(0, offset)
    part = np.multiply(x[there : there + count], tap, out=scratch[:count])
    apart = batch.segment[here : here + count] != batch.segment[there : there + count]
    part[apart] = 0
    out[here : here + count] += part
