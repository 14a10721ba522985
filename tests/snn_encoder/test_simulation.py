"""Level 0 in closed form against its simulation, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from snn_encoder.inference import AGREEMENT, SpikingEncoder
from snn_encoder.network.dynamics import NeuronConfig
from snn_encoder.network.neurons import Neuron
from snn_encoder.parameters import MAX_TIMESTEPS, Floats
from snn_encoder.simulation import Batch, read, spike_sums, steps, token_counts

CURRENTS = np.arange(-128, 128).astype(np.int8)  # every one that a table can hold
STEPS = range(1, MAX_TIMESTEPS + 1)
TEXTS = ["I moved to Lyon last week.", "", "the the the dog", "yes " * 40]


def simulated(table: NDArray[np.int8]) -> Iterator[NDArray[np.int64]]:
    """Yield each step's spikes of ternary integrate-and-fire neurons; a spike takes 128 away."""
    potential = np.zeros(table.shape, np.int64)
    while True:
        potential += table
        spikes = np.sign(potential) * (np.abs(potential) >= 64)
        potential -= 128 * spikes
        yield spikes


@cache
def tier(name: str) -> SpikingEncoder:
    return SpikingEncoder.from_pretrained(name)


@pytest.mark.parametrize("timesteps", STEPS)
def test_counts_of_every_current_are_the_simulated_spikes(timesteps: int) -> None:
    wanted = sum(spikes for spikes, _ in zip(simulated(CURRENTS), range(timesteps), strict=False))
    found = token_counts(CURRENTS, timesteps)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted)
    current = torch.from_numpy(CURRENTS / 128.0)
    fired, _ = Neuron(1, NeuronConfig()).run(current.expand(timesteps, -1))
    np.testing.assert_array_equal(found, fired.sum(0).numpy())


def vectors(encoder: SpikingEncoder, batch: Batch, last: int) -> list[Floats]:
    """Return a table's vectors after 1 … last steps, from simulated spikes."""
    sums = np.zeros((batch.size, encoder.parameters.table.shape[1]), np.float32)
    found = []
    for spikes, t in zip(
        simulated(encoder.parameters.table[batch.distinct]), range(1, last + 1), strict=False
    ):
        sums += batch.counts @ spikes.astype(np.float32)
        found.append(read(encoder.parameters, batch, [sums], t))
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["nano", "small"]),
    st.lists(st.text(max_size=60), min_size=1, max_size=6),
    st.sampled_from(STEPS),
)
def test_vectors_of_tables_are_bit_for_bit_the_simulated_ones(
    name: str, texts: list[str], timesteps: int
) -> None:
    encoder = tier(name)
    ids = encoder._tokenize(texts)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))  # of a batch, in `encode`
    wanted = vectors(encoder, Batch([ids[i] for i in order]), timesteps)[-1]
    np.testing.assert_array_equal(encoder.encode(texts, timesteps)[order], wanted)


@pytest.mark.parametrize("name", ["nano", "small"])
def test_auto_of_tables_is_bit_for_bit_the_simulated_one(name: str) -> None:
    encoder = tier(name)
    for text in TEXTS:
        rows = [z[0] for z in vectors(encoder, Batch(encoder._tokenize([text])), MAX_TIMESTEPS)]
        settled = [t for t in range(1, MAX_TIMESTEPS) if (rows[t] * rows[t - 1]).sum() >= AGREEMENT]
        wanted = rows[settled[0] if settled else -1]
        np.testing.assert_array_equal(encoder.encode([text], "auto")[0], wanted)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=4))
def test_blocks_hear_the_simulated_spikes_of_level_0(texts: list[str]) -> None:
    encoder = tier("base")
    batch = Batch(encoder._tokenize(texts))
    table = encoder.parameters.table[batch.distinct]
    for state, spikes, _ in zip(
        steps(encoder.parameters, batch), simulated(table), STEPS, strict=False
    ):
        np.testing.assert_array_equal(state.fired[0], spikes)


@pytest.mark.parametrize("name", ["nano", "base"])
def test_sums_come_after_the_steps_that_were_asked_for(name: str) -> None:
    encoder = tier(name)
    batch = Batch(encoder._tokenize(TEXTS))
    found = {
        t: [x.copy() for x in sums] for t, sums in spike_sums(encoder.parameters, batch, {7, 2, 3})
    }
    assert list(found) == [2, 3, 7]
    for t, state in zip(range(1, 8), steps(encoder.parameters, batch), strict=False):
        for level, wanted in enumerate(state.sums):
            if t in found:
                np.testing.assert_array_equal(found[t][level], wanted)
