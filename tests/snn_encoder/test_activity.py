"""Counts of spikes and operations against hand counts."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_encoder import random_net, recipe

from snn_encoder.activity import Activity, integer_mac, measure
from snn_encoder.export.weights import export
from snn_encoder.inference import SpikingEncoder


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


def test_break_even_falls_with_steps() -> None:
    at = [Activity(t, [[0.1]], [0], [0], 1, 1, 1).energy()["break_even_rate"] for t in (1, 4, 8)]
    assert at == sorted(at, reverse=True)
    assert integer_mac(8) > integer_mac(4)
