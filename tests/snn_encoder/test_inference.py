"""The encoder that ships: its contract, its errors, and its agreement with the torch model."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_encoder import random_net, recipe

from snn_encoder.export.weights import export
from snn_encoder.inference import AGREEMENT, SpikingEncoder
from snn_encoder.network.dynamics import NeuronConfig
from snn_encoder.network.layout import pack
from snn_encoder.network.neurons import Neuron
from snn_encoder.network.quantisation import whole_currents
from snn_encoder.network.restore import TorchEncoder
from snn_encoder.parameters import WeightsError

TEXTS = [
    "I moved to Lyon last week.",
    "Yes",
    "",
    "The stories she heard there were really inspiring to her, she said, and gave her courage.",
    "naïve 日本語 🦊 \x00",
    "Where does Ana live now?",
]


@pytest.mark.parametrize("timesteps", [1, 3, 8])
def test_numpy_agrees_with_torch(tiny: SpikingEncoder, timesteps: int) -> None:
    net = random_net().double()
    net.quantise(8)
    ids = [e.ids or [100] for e in tiny._tokenizer.encode_batch(TEXTS, add_special_tokens=False)]
    flat, layout = pack(ids)
    with torch.no_grad():
        z = net(flat, layout, timesteps, method="bptt").vectors[-1]
    wanted = torch.nn.functional.normalize(z, dim=-1).numpy()
    assert (tiny.encode(TEXTS, timesteps) * wanted).sum(1).min() > 0.9999


def test_vectors_are_unit_rows_of_the_stated_size(tiny: SpikingEncoder) -> None:
    out = tiny.encode(TEXTS)
    assert out.dtype == np.float32
    assert out.shape == (len(TEXTS), tiny.dim)
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, rtol=1e-5)
    assert tiny.encode([]).shape == (0, tiny.dim)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=9), st.integers(1, 8))
def test_a_text_does_not_depend_on_its_batch_mates(texts: list[str], timesteps: int) -> None:
    encoder = packaged()
    together = encoder.encode(texts, timesteps, batch_size=4)
    for text, row in zip(texts, together, strict=True):
        np.testing.assert_allclose(encoder.encode([text], timesteps)[0], row, atol=2e-6)


_CACHE: dict[str, SpikingEncoder] = {}


def packaged() -> SpikingEncoder:
    if not _CACHE:
        import tempfile

        net = random_net(seed=5)
        folder = Path(tempfile.mkdtemp()) / "tiny"
        export(net, folder, recipe(net), timesteps=2)
        _CACHE["tiny"] = SpikingEncoder.from_pretrained(folder)
    return _CACHE["tiny"]


def test_word_order_matters_only_with_blocks(tmp_path: Path) -> None:
    pair = ["the dog bit the man", "the man bit the dog"]
    for blocks, same in (((), True), ((24,), False)):
        net = random_net(blocks)
        export(net, tmp_path / str(len(blocks)), recipe(net), timesteps=2)
        a, b = SpikingEncoder.from_pretrained(tmp_path / str(len(blocks))).encode(pair)
        assert np.allclose(a, b, atol=1e-6) is same


def test_long_text_is_cut_with_one_warning(tiny: SpikingEncoder) -> None:
    long = "word " * (tiny.max_tokens + 40)
    with pytest.warns(UserWarning, match="is cut to"):
        cut = tiny.encode([long])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = tiny.encode([long, "word " * tiny.max_tokens])
    np.testing.assert_allclose(again[0], cut[0], atol=1e-6)
    np.testing.assert_allclose(again[0], again[1], atol=1e-6)


@pytest.mark.parametrize("timesteps", [0, 9, -1, 2.5, "4"])
def test_impossible_timesteps_are_refused(tiny: SpikingEncoder, timesteps: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 8"):
        tiny.encode(["a"], timesteps)


def test_half_a_surrogate_pair_is_an_unknown_character(tiny: SpikingEncoder) -> None:
    cut = json.loads('"so happy \\ud83e"')  # half of an emoji, as truncated exports have it
    assert np.array_equal(tiny.encode([cut, "ok 🦊"]), tiny.encode(["so happy \ufffd", "ok 🦊"]))


def test_other_wrong_arguments_are_refused(tiny: SpikingEncoder) -> None:
    with pytest.raises(TypeError, match="list of texts"):
        tiny.encode("a single string")
    with pytest.raises(TypeError, match="takes texts, got NoneType"):
        tiny.encode(["a", None])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="batch_size"):
        tiny.encode(["a"], batch_size=0)


def test_saving_and_loading_keeps_vectors_and_version(tiny: SpikingEncoder, tmp_path: Path) -> None:
    tiny.save_pretrained(tmp_path / "copy")
    copy = SpikingEncoder.from_pretrained(tmp_path / "copy")
    assert np.array_equal(copy.encode(TEXTS), tiny.encode(TEXTS))
    assert copy.version == tiny.version
    assert copy.name == "snn-copy"


def test_version_names_weights_and_steps(tiny_folder: Path) -> None:
    version = SpikingEncoder.from_pretrained(tiny_folder).version
    config = json.loads((tiny_folder / "config.json").read_text())
    assert version == f"{config['sha256'][:12]}-T3-int8"


def test_damaged_weights_are_refused(tiny_folder: Path) -> None:
    path = tiny_folder / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(WeightsError, match="damaged"):
        SpikingEncoder.from_pretrained(tiny_folder)


def test_weights_of_another_format_are_refused(tiny_folder: Path) -> None:
    path = tiny_folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(WeightsError, match="format 99"):
        SpikingEncoder.from_pretrained(tiny_folder)


@pytest.mark.parametrize(
    "change", [{"dim": 17}, {"timesteps": 99}, {"max_tokens": 0}, {"blocks": 5}]
)
def test_impossible_configurations_are_refused(tiny_folder: Path, change: dict[str, int]) -> None:
    path = tiny_folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(WeightsError, match=r"config\.json is damaged"):
        SpikingEncoder.from_pretrained(tiny_folder)


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_damaged_configuration_is_refused(tiny_folder: Path, text: str) -> None:
    (tiny_folder / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=r"config\.json is damaged"):
        SpikingEncoder.from_pretrained(tiny_folder)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No spiking encoder at"):
        SpikingEncoder.from_pretrained(tmp_path / "nowhere")


def test_importing_loads_nothing_heavy_and_encoding_no_torch(tiny_folder: Path) -> None:
    code = (
        "import sys, snn_encoder; assert 'numpy' not in sys.modules, 'numpy'\n"
        f"snn_encoder.SpikingEncoder.from_pretrained({str(tiny_folder)!r}).encode(['a b'])\n"
        "assert 'torch' not in sys.modules, 'torch'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_auto_stops_where_vectors_agree(tiny: SpikingEncoder) -> None:
    prefixes = np.stack([tiny.encode(TEXTS, t) for t in range(1, 9)])
    agree = (prefixes[1:] * prefixes[:-1]).sum(2) >= AGREEMENT
    last = np.where(agree.any(0), agree.argmax(0) + 1, 7)
    wanted = prefixes[last, np.arange(len(TEXTS))]
    np.testing.assert_allclose(tiny.encode(TEXTS, "auto"), wanted, atol=2e-6)


def test_search_adds_steps_only_while_the_margin_is_thin(tiny: SpikingEncoder) -> None:
    rng = np.random.default_rng(0)
    keys = rng.standard_normal((200, tiny.dim)).astype(np.float32)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    found, steps = tiny.search("Where does Ana live?", keys, k=5, margin=0.0)
    assert steps == 2
    scores = keys @ tiny.encode(["Where does Ana live?"], 2)[0]
    assert found.tolist() == np.argsort(-scores)[:5].tolist()
    found, steps = tiny.search("Where does Ana live?", keys, k=5, margin=9.0)
    assert steps == tiny.timesteps == 3
    scores = keys @ tiny.encode(["Where does Ana live?"], 3)[0]
    assert found.tolist() == np.argsort(-scores)[:5].tolist()
    assert tiny.search("Ana", keys[:3], k=5)[1] == 2
    scores = np.sort(keys @ tiny.encode(["Where does Ana live?"], 2)[0])[::-1]
    margin = float(scores[1] - scores[8])  # from three ranks before the fifth to three after it
    assert tiny.search("Where does Ana live?", keys, k=5, margin=margin - 1e-4)[1] == 2
    assert tiny.search("Where does Ana live?", keys, k=5, margin=margin + 1e-4)[1] == 3


@pytest.mark.parametrize("timesteps", [1, 4])
def test_restored_weights_agree_in_torch(tiny: SpikingEncoder, timesteps: int) -> None:
    torch_encoder = TorchEncoder(tiny.parameters, "cpu")
    found = torch_encoder(tiny._tokenize(TEXTS), timesteps)
    assert (found * tiny.encode(TEXTS, timesteps)).sum(1).min() > 0.9999


def test_absent_gpu_is_named(tiny: SpikingEncoder) -> None:
    if torch.cuda.is_available():
        assert np.allclose(tiny.encode(TEXTS, device="cuda"), tiny.encode(TEXTS), atol=0.02)
    else:
        with pytest.raises(RuntimeError, match="sees no GPU"):
            tiny.encode(TEXTS, device="cuda")
    with pytest.raises(ValueError, match="CPU only"):
        tiny.encode(TEXTS, "auto", device="cuda")


def test_whole_currents_fire_when_the_real_ones_do() -> None:
    """Just below and just above 1 / 2T, for the T of the scores."""
    edges = torch.tensor([0.5 / t for t in (1, 2, 4, 8)])
    currents = torch.cat([edges - 1e-4, edges + 1e-4, torch.tensor([0.9999, 1.7])])
    currents = torch.cat([currents, -currents])
    for timesteps in (1, 2, 4, 8):
        whole, _ = Neuron(1, NeuronConfig()).run(
            (whole_currents(currents) / 128).expand(timesteps, -1)
        )
        real, _ = Neuron(1, NeuronConfig()).run(currents.expand(timesteps, -1))
        assert torch.equal(whole.any(0), real.any(0))
