"""Counts of spikes and operations against hand counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_encoder import random_net, recipe

from snn_encoder.activity import integer_mac, measure
from snn_encoder.export.weights import export
from snn_encoder.inference import SpikingEncoder
from snn_encoder.simulation import Batch, steps


def test_operations_of_a_table_are_its_spikes(tmp_path) -> None:  # type: ignore[no-untyped-def]
    net = random_net(())
    export(net, tmp_path, recipe(net), timesteps=1)
    encoder = SpikingEncoder.from_pretrained(tmp_path)
    ids = encoder._tokenize(["the dog saw the cat"])[0]
    fires = np.abs(encoder.parameters.table[ids].astype(int)) >= 64
    found = measure(encoder, ["the dog saw the cat"], 1)
    assert found.accumulates == fires.sum()
    assert found.rates == [[pytest.approx(fires.mean())]]
    assert found.macs == found.dense_macs == 32 * 16
    assert found.dead == [pytest.approx(1 - fires.any(0).mean())]
    assert found.saturated == [pytest.approx(fires.all(0).mean())]
    assert found.most_accumulates == fires.size
    assert found.energy()["weighted_rate"] == pytest.approx(fires.mean())


def test_blocks_cost_what_their_shapes_say(tiny: SpikingEncoder) -> None:
    texts = ["the dog saw the cat", "yes"]
    tokens = sum(map(len, tiny._tokenize(texts)))
    found = measure(tiny, texts, 2)
    context = 32 * 2 * 24 + 24 * 2 * 20
    local = tokens * 6 * (24 + 20) / 2
    readout = (32 + 24 + 20) * 16
    assert found.macs == pytest.approx(2 * (context + local) + readout)
    linear = tokens * (32 * 24 + 24 * 20) / 2
    assert found.dense_macs == pytest.approx(context + local + readout + linear)
    fired = np.array(found.rates).sum(1) * np.array([32, 24, 20])
    assert found.accumulates == pytest.approx(float(fired @ [25, 21, 1]) * tokens / 2)


def table_of(currents: list[int], folder: Path) -> SpikingEncoder:
    """Return an encoder whose tokens all have these currents, in 1/128, and 16 that are 0."""
    net = random_net(())
    export(net, folder, recipe(net), timesteps=4)
    encoder = SpikingEncoder.from_pretrained(folder)
    table = np.zeros_like(encoder.parameters.table)
    table[:, : len(currents)] = currents
    encoder.parameters = replace(encoder.parameters, table=table)
    return encoder


def test_currents_parked_below_the_threshold_and_the_burst_after_it_are_counted(
    tmp_path: Path,
) -> None:
    """At T = 4 a current of 16/128 fires; 13 to 15 wait for the fifth step, 12 for the sixth."""
    encoder = table_of([16, 15, -14, 13, 12, 64, -64], tmp_path)
    found = measure(encoder, ["the dog saw the cat", "yes"], 4)
    assert found.parked == [pytest.approx(3 / 32)]
    assert found.beyond == [pytest.approx(5 / 32)]  # with ± 64, which fire in steps 1, 3, 5
    assert found.rates[0][3] == pytest.approx(1 / 32)
    assert measure(encoder, ["the dog"], 5).beyond == [pytest.approx(1 / 32)]


def test_parked_neurons_of_blocks_are_those_that_a_little_more_current_makes_fire(
    tiny: SpikingEncoder,
) -> None:
    texts = ["the dog saw the cat", "yes"]
    batch = Batch(tiny._tokenize(texts))
    state = next(steps(tiny.parameters, batch))
    found = measure(tiny, texts, 1)
    for level in (1, 2):
        size = np.abs(state.potentials[level - 1] + state.fired[level])  # before the reset
        near = (size < 0.5) & (size + 3 / 128 >= 0.5)
        assert near.any()
        assert found.parked[level] == pytest.approx(near.mean())
    further = measure(tiny, texts, 2)
    assert found.beyond == pytest.approx([level[1] for level in further.rates])


@pytest.mark.parametrize("timesteps", [1, 4, 8])
def test_at_the_break_even_both_networks_cost_the_same(
    tiny: SpikingEncoder, timesteps: int
) -> None:
    found = measure(tiny, ["the dog saw the cat", "yes"], timesteps)
    rate = found.energy()["break_even_rate"]
    even = replace(found, accumulates=rate * found.most_accumulates).energy()
    assert even["fair_snn_nj"] == pytest.approx(even["fair_qnn_nj"])
    assert even["weighted_rate"] == pytest.approx(rate)


def test_a_table_has_no_break_even(tmp_path: Path) -> None:
    """Its only products are the read-out's, which are with real values in both."""
    energy = measure(table_of([64], tmp_path), ["yes"], 4).energy()
    assert energy["break_even_rate"] < 0
    assert energy["fair_snn_nj"] > energy["fair_qnn_nj"]
    assert integer_mac(8) > integer_mac(4)
