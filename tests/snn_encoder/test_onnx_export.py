"""The ONNX model beside the encoder that it was written from, in onnxruntime."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tiny_encoder import random_net, recipe

from snn_encoder.export.onnx import main, onnx_model
from snn_encoder.export.weights import export
from snn_encoder.inference import SpikingEncoder

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

TEXTS = [
    "I moved to Lyon last week.",
    "Yes",
    "",
    "The stories she heard there were really inspiring to her, she said, and gave her courage.",
    "naïve 日本語 🦊 \x00",
    "Where does Ana live now?",
]


def encoder_with(blocks: tuple[int, ...], folder: Path) -> SpikingEncoder:
    net = random_net(blocks, seed=3)
    export(net, folder, recipe(net), timesteps=3)
    return SpikingEncoder.from_pretrained(folder)


def run(model: bytes, ids: Sequence[Sequence[int]], filler: int = 0) -> np.ndarray:
    """Return vectors of token ids that are padded to one length with `filler`."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    longest = max(map(len, ids))
    padded = np.array([[*row, *[filler] * (longest - len(row))] for row in ids], np.int64)
    mask = np.array([[i < len(row) for i in range(longest)] for row in ids], np.int64)
    (found,) = session.run(None, {"input_ids": padded, "attention_mask": mask})
    return np.asarray(found)


@pytest.mark.parametrize("blocks", [(), (24,), (24, 20)])
@pytest.mark.parametrize("timesteps", [1, 3, 8])
def test_vectors_are_the_encoders(blocks: tuple[int, ...], timesteps: int, tmp_path: Path) -> None:
    encoder = encoder_with(blocks, tmp_path)
    found = run(onnx_model(encoder, timesteps).SerializeToString(), encoder._tokenize(TEXTS))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, encoder.encode(TEXTS, timesteps), atol=1e-5)


@pytest.mark.parametrize("tier", ["nano", "small"])
def test_shipped_weights_give_the_encoders_vectors(tier: str, tmp_path: Path) -> None:
    main(["--weights", tier, "--timesteps", "4", "--out", str(tmp_path / "model.onnx")])
    encoder = SpikingEncoder.from_pretrained(tier)
    found = run((tmp_path / "model.onnx").read_bytes(), encoder._tokenize(TEXTS))
    np.testing.assert_allclose(found, encoder.encode(TEXTS, 4), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_neither_batch_mates_nor_padding_matter(tmp_path: Path) -> None:
    encoder = encoder_with((24, 20), tmp_path)
    model = onnx_model(encoder).SerializeToString()
    ids = encoder._tokenize(TEXTS)
    alone = np.concatenate([run(model, [row]) for row in ids])
    np.testing.assert_allclose(run(model, ids, filler=0), alone, atol=1e-6)
    np.testing.assert_allclose(run(model, ids, filler=2003), alone, atol=1e-6)


def test_a_row_of_padding_alone_harms_nobody(tmp_path: Path) -> None:
    encoder = encoder_with((24,), tmp_path)
    found = run(onnx_model(encoder).SerializeToString(), [[2003, 2017], []])
    assert np.isfinite(found).all()


def test_metadata_names_weights_and_steps(tmp_path: Path) -> None:
    encoder = encoder_with((), tmp_path)
    facts = {item.key: item.value for item in onnx_model(encoder).metadata_props}
    assert facts["weights_sha256"] == encoder.parameters.digest
    assert facts["timesteps"] == "3"
    assert facts["max_tokens"] == "256"


def test_impossible_timesteps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="between 1 and 8"):
        onnx_model(encoder_with((), tmp_path), 9)


def test_export_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from snn_encoder.export.onnx import main\n"
        f"main(['--weights', 'nano', '--out', {str(tmp_path / 'model.onnx')!r}])\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
