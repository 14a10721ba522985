"""The table without spikes is what the spiking one tends to."""

from __future__ import annotations

from argparse import ArgumentParser

import numpy as np
import pytest

from evals.encoder import speed
from evals.encoder.static import StaticTable
from snn_encoder import SpikingEncoder
from snn_encoder.simulation import Batch, read, spike_sums

TEXTS = ["I moved to Lyon last week.", "", "the the dog", "Where does Ana live now?"]
WHOLE = 128  # steps in which a current of k/128 fires exactly k spikes


def test_vectors_are_those_of_spikes_that_say_every_current_exactly() -> None:
    encoder = SpikingEncoder.from_pretrained("small")
    batch = Batch(encoder._tokenize(TEXTS))
    _, sums = next(spike_sums(encoder.parameters, batch, {WHOLE}))
    found = StaticTable(encoder).encode(TEXTS, batch_size=3)
    np.testing.assert_allclose(found, read(encoder.parameters, batch, sums, WHOLE), atol=1e-6)
    assert np.abs(found - encoder.encode(TEXTS, 1)).max() > 0.01


def test_it_is_blind_to_order_where_the_tier_is_not() -> None:
    pair = ["The dog bit the man.", "The man bit the dog."]
    encoder = SpikingEncoder.from_pretrained("base")
    a, b = StaticTable(encoder).encode(pair)
    np.testing.assert_allclose(a, b, atol=1e-6)
    a, b = encoder.encode(pair)
    assert a @ b < 0.999


def test_its_speed_stands_beside_the_tiers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "texts", lambda count: TEXTS)
    parser = ArgumentParser()
    speed.add_options(parser)
    speed.run(parser.parse_args(["--encoders", "nano", "--runs", "1", "--no-minilm", "--static"]))
    out = capsys.readouterr().out
    assert '"snn-nano, static table in float32"' in out
    assert out.count('"texts/s"') == 2
