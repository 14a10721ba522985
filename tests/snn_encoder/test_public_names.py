"""What may be imported from the package, and that importing it costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import snn_encoder


def test_every_name_is_there_or_says_which_extra_it_needs() -> None:
    assert sorted(snn_encoder._HOME_OF) == sorted(snn_encoder.__all__) == dir(snn_encoder)
    for name in set(snn_encoder.__all__) - {"SpikingModule", "SpikingEmbeddings"}:
        assert getattr(snn_encoder, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Spiking'"):
        _ = snn_encoder.Spiking


def test_importing_loads_nothing_heavy_and_inference_no_torch() -> None:
    code = (
        "import sys, snn_encoder; print('numpy' in sys.modules);"
        "snn_encoder.SpikingEncoder.from_pretrained('nano').encode(['a']);"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
