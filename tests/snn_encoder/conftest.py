"""Fixtures of the encoder's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_encoder import random_net, recipe

from snn_encoder.export import export
from snn_encoder.inference import SpikingEncoder


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    net = random_net()
    export(net, tmp_path / "tiny", recipe(net), timesteps=3)
    return tmp_path / "tiny"


@pytest.fixture
def tiny(tiny_folder: Path) -> SpikingEncoder:
    return SpikingEncoder.from_pretrained(tiny_folder)
