"""NIR graphs: written, read back, and simulated by their own equations beside our neurons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_encoder import random_net

from snn_encoder.export.nir import main, nir_graph
from snn_encoder.network.dynamics import NeuronConfig
from snn_encoder.network.layout import pack
from snn_encoder.network.model import Block, ModelConfig, Output, SpikingNet
from snn_encoder.network.neurons import Neuron
from snn_encoder.recipe import Recipe, Stage
from snn_encoder.train.trainer import Trainer

nir = pytest.importorskip("nir")

HARD = NeuronConfig(kind="binary", reset="hard")
IDS = [2003, 2017, 7, 2003, 9, 11]
STEPS = 8


def hard_net(blocks: tuple[int, ...], neuron: NeuronConfig = HARD) -> SpikingNet:
    """Return a random network, in double precision, that NIR can express."""
    net = random_net(blocks, neuron=neuron)
    with torch.no_grad():
        for block in net.blocks:
            assert isinstance(block, Block)
            block.context.weight.zero_()
    return net.double()


def convolved(x: np.ndarray, node: Any) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (int(node.padding), int(node.padding))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, node.weight.shape[2], axis=1)
    out: np.ndarray = np.einsum("oik,ilk->ol", node.weight, windows) + node.bias[:, None]
    return out


def simulated(graph: Any, currents: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    """Return each output at every step, [steps, channels, tokens], by Euler steps of dt = 1."""
    source = {after: before for before, after in graph.edges}
    assert len(source) == len(graph.edges), "a node with two inputs"
    potentials: dict[str, Any] = dict.fromkeys(graph.nodes, 0.0)
    found: dict[str, list[np.ndarray]] = {name: [] for name in graph.outputs}
    for _ in range(steps):
        values: dict[str, np.ndarray] = {}

        def value(name: str, values: dict[str, np.ndarray] = values) -> np.ndarray:
            if name not in values:
                values[name] = step(name, graph.nodes[name])
            return values[name]

        def step(name: str, node: Any) -> np.ndarray:
            if isinstance(node, nir.Input):
                return currents
            x = value(source[name])
            if isinstance(node, nir.Conv1d):
                return convolved(x, node)
            if isinstance(node, nir.Output):
                return x
            v = potentials[name]
            if isinstance(node, nir.LIF):
                v = v + (node.v_leak - v + node.r * x) / node.tau
            else:
                assert isinstance(node, nir.IF)
                v = v + node.r * x
            fired = v > node.v_threshold
            potentials[name] = np.where(fired, node.v_reset, v)
            return fired.astype(float)

        for name in found:
            found[name].append(value(name))
    return {name: np.stack(rows) for name, rows in found.items()}


def ours(net: SpikingNet) -> Output:
    """Return the rates and vectors after 1, 2, … steps."""
    flat, layout = pack([IDS])
    with torch.no_grad():
        return net(flat, layout, STEPS, tuple(range(1, STEPS + 1)), "bptt")


def read_back(net: SpikingNet, path: Path) -> Any:
    nir.write(path, nir_graph(net, len(IDS)))
    return nir.read(path)


@pytest.mark.parametrize("blocks", [(), (24, 20)])
@pytest.mark.parametrize(
    "neuron",
    [HARD, replace(HARD, leak=0.5), replace(HARD, leak=0.8, learn_leak=True)],
    ids=["IF", "LIF", "learnable leak"],
)
def test_the_graph_fires_as_the_network(
    blocks: tuple[int, ...], neuron: NeuronConfig, tmp_path: Path
) -> None:
    net = hard_net(blocks, neuron)
    currents = net.table.weight.detach()[IDS].T.numpy()
    found = simulated(read_back(net, tmp_path / "net.nir"), currents, STEPS)
    wanted = ours(net)
    steps = np.arange(1, STEPS + 1)[:, None, None]
    for level, rates in enumerate(wanted.levels):
        rows = rates[:, wanted.inverse] if level == 0 else rates
        counts = (rows.numpy() * steps).round()
        spikes = np.diff(counts, axis=0, prepend=0).transpose(0, 2, 1)
        assert 0 < spikes.mean() < 0.5
        np.testing.assert_array_equal(found[f"spikes.{level}"], spikes)
    total = sum(found[f"readout.{level}"] for level in range(len(wanted.levels)))
    np.testing.assert_allclose(total.mean((0, 2)), wanted.vectors[-1, 0].numpy(), atol=1e-5)


def test_a_current_at_the_threshold_fires_in_both(tmp_path: Path) -> None:
    net = hard_net(())
    currents = np.array([HARD.threshold, np.nextafter(np.float32(HARD.threshold), np.float32(0))])
    ids = np.full((net.config.width, len(IDS)), currents[1])
    ids[0] = currents[0]
    found = simulated(read_back(net, tmp_path / "net.nir"), ids, 1)["spikes.0"][0, :2, 0]
    spikes, _ = Neuron(1, HARD).run(torch.from_numpy(currents)[None])
    assert found.tolist() == spikes[0].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "ternary"}, "no ternary neurons with hard reset"),
        ({"reset": "soft"}, "no binary neurons with soft reset"),
        ({"initial": 0.25}, "start from 0"),
    ],
)
def test_what_nir_cannot_express_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nir_graph(hard_net((), replace(HARD, **change)), 4)


def test_a_sentence_gate_and_an_empty_sentence_are_refused() -> None:
    with pytest.raises(ValueError, match="no product of signals"):
        nir_graph(random_net((24,), neuron=HARD), 4)
    with pytest.raises(ValueError, match="at least one token"):
        nir_graph(hard_net(()), 0)


def test_a_training_run_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ModelConfig(width=8, dim=4, vocabulary=50, neuron=HARD)
    trainer = Trainer(Recipe("tiny", model, {}, (Stage("table", steps=1),)), tmp_path)
    trainer.save()
    config = tmp_path / "tiny.toml"
    config.write_text(
        "[model]\nwidth = 8\ndim = 4\nvocabulary = 50\n"
        '[model.neuron]\nkind = "binary"\nreset = "hard"\n'
        '[corpus]\n[[stages]]\nname = "table"\nsteps = 1\n'
    )
    out = tmp_path / "net.nir"
    args = ["--config", str(config), "--run", str(tmp_path), "--tokens", "5", "--out", str(out)]
    main(args)
    assert set(nir.read(out).outputs) == {"spikes.0", "readout.0"}
    assert "neurons.0" in capsys.readouterr().out
    config.write_text(config.read_text().replace('"hard"', '"soft"'))
    with pytest.raises(SystemExit):
        main(args)
    assert "soft reset" in capsys.readouterr().err
