"""Rate-based backpropagation against surrogate BPTT: the acceptance tests of docs/methods.md."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from snn_encoder.network.dynamics import NeuronConfig
from snn_encoder.network.neurons import Neuron
from snn_encoder.network.ratebp import (
    BatchNorm,
    SpikingNeuron,
    Tape,
    prefix_means,
)


class Pointwise(nn.Module):
    """A map that commutes with the time average (affine, convolution), as a layer."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def steps(self, x: Tensor, tape: Tape) -> Tensor:
        out: Tensor = self.module(x)
        return out

    rates = steps


RESETS = ("soft_detached", "soft", "hard")
GAIN = {1: 1.8, 2: 2.2, 4: 2.4}


class Chain(nn.Module):
    """Layers in a row, in either phase."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def phase(self, name: str, x: Tensor, tape: Tape) -> Tensor:
        for layer in self.layers:
            x = getattr(layer, name)(x, tape)
        return x

    def rate(self, x: Tensor, timesteps: int, snapshots: tuple[int, ...], chunk: int = 0) -> Tensor:
        tape = Tape(snapshots)
        chunk = chunk or timesteps
        with torch.no_grad():
            for _ in range(0, timesteps, chunk):
                self.phase("steps", x.expand(chunk, *x.shape), tape)
        return self.phase("rates", x.expand(len(snapshots), *x.shape), tape)

    def bptt(self, x: Tensor, timesteps: int, snapshots: tuple[int, ...]) -> Tensor:
        steps = self.phase("steps", x.expand(timesteps, *x.shape), Tape(snapshots, eligible=False))
        return prefix_means(steps, snapshots)


def network(hidden: int, leak: float, reset: str, norm: bool = False, width: int = 32) -> Chain:
    torch.manual_seed(hidden)
    config = NeuronConfig(
        kind="binary",
        threshold=1.0,
        leak=leak,
        reset=reset,
        slope=4.0,  # type: ignore[arg-type]
    )
    layers: list[nn.Module] = []
    for _ in range(hidden):
        linear = nn.Linear(width, width)
        nn.init.normal_(linear.weight, std=GAIN[hidden] / width**0.5)
        layers.append(Pointwise(linear))
        if norm:
            layers.append(BatchNorm(width))
        layers.append(SpikingNeuron(Neuron(width, config)))
    return Chain(*layers, Pointwise(nn.Linear(width, 8))).double()


def gradients(net: Chain, out: Tensor, target: Tensor) -> list[Tensor]:
    net.zero_grad()
    loss = 0.5 * (out - target).square().sum() / out.shape[-2]
    loss.backward()
    return [p.grad.clone() for p in net.parameters() if p.grad is not None]


def batch(width: int = 32, rows: int = 48) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    return (
        torch.randn(rows, width, generator=generator, dtype=torch.float64),
        torch.randn(rows, 8, generator=generator, dtype=torch.float64),
    )


def relative(a: list[Tensor], b: list[Tensor]) -> float:
    return max(float((x - y).abs().max() / y.abs().max()) for x, y in zip(a, b, strict=True))


def cosines(a: list[Tensor], b: list[Tensor]) -> list[float]:
    return [
        float(torch.cosine_similarity(x.flatten(), y.flatten(), dim=0))
        for x, y in zip(a, b, strict=True)
    ]


@pytest.mark.parametrize(
    ("timesteps", "leak", "reset"), list(itertools.product((1, 2, 4, 8), (0.2, 0.5, 0.9), RESETS))
)
def test_one_hidden_layer_is_exact(timesteps: int, leak: float, reset: str) -> None:
    net, (x, y) = network(1, leak, reset), batch()
    found = gradients(net, net.rate(x, timesteps, (timesteps,))[0], y)
    assert relative(found, gradients(net, net.bptt(x, timesteps, (timesteps,))[0], y)) < 1e-12


@pytest.mark.parametrize(("hidden", "reset"), list(itertools.product((1, 2, 4), RESETS)))
def test_one_step_is_exact_at_any_depth(hidden: int, reset: str) -> None:
    net, (x, y) = network(hidden, 0.5, reset), batch()
    found = gradients(net, net.rate(x, 1, (1,))[0], y)
    assert relative(found, gradients(net, net.bptt(x, 1, (1,))[0], y)) < 1e-12


def test_two_hidden_layers_with_little_leak_memory_agree() -> None:
    net, (x, y) = network(2, 0.2, "soft_detached"), batch()
    found = gradients(net, net.rate(x, 8, (8,))[0], y)
    assert min(cosines(found, gradients(net, net.bptt(x, 8, (8,))[0], y))) > 0.999


@pytest.mark.parametrize("leak", [0.2, 0.5])
def test_four_hidden_layers_stay_in_their_bands(leak: float) -> None:
    net, (x, y) = network(4, leak, "soft_detached", width=64), batch(64, 128)
    found = gradients(net, net.rate(x, 8, (8,))[0], y)
    wanted = gradients(net, net.bptt(x, 8, (8,))[0], y)
    angle = cosines(found, wanted)
    assert angle[0] > 0.95
    assert min(angle[-4:]) > 0.99
    ratios = [float(a.norm() / b.norm()) for a, b in zip(found, wanted, strict=True)]
    assert all(0.9 < ratio < (1.1 if leak == 0.2 else 1.15) for ratio in ratios)


def test_bias_of_the_last_spiking_layer_is_exact_at_any_depth() -> None:
    net, (x, y) = network(4, 0.5, "soft"), batch()
    found = gradients(net, net.rate(x, 8, (8,))[0], y)
    wanted = gradients(net, net.bptt(x, 8, (8,))[0], y)
    torch.testing.assert_close(found[7], wanted[7], rtol=1e-12, atol=1e-13)
    assert not torch.allclose(found[1], wanted[1], rtol=1e-3)


@pytest.mark.parametrize("norm", [False, True])
def test_rates_are_the_time_means_of_spikes(norm: bool) -> None:
    net, (x, _) = network(2, 0.5, "soft", norm), batch()
    for t in (1, 3, 8):
        torch.testing.assert_close(net.rate(x, t, (t,)), net.bptt(x, t, (t,)))


def test_snapshots_are_the_prefixes_of_one_simulation() -> None:
    net, (x, y) = network(2, 0.7, "soft"), batch()
    both = net.rate(x, 8, (3, 8))
    torch.testing.assert_close(both, net.bptt(x, 8, (3, 8)))
    alone = gradients(net, net.rate(x, 3, (3,))[0], y)
    assert relative(gradients(net, net.rate(x, 8, (3, 8))[0], y), alone) < 1e-12


def test_single_step_mode_equals_multi_step_mode_without_norms() -> None:
    net, (x, y) = network(2, 0.7, "soft"), batch()
    whole = gradients(net, net.rate(x, 6, (2, 6)), torch.stack([y, y]))
    single = gradients(net, net.rate(x, 6, (2, 6), chunk=1), torch.stack([y, y]))
    assert relative(single, whole) < 1e-12


def test_single_step_norm_averages_its_statistics_over_time() -> None:
    norm = BatchNorm(5).double()
    x = torch.randn(4, 30, 5, dtype=torch.float64) * torch.arange(1, 5)[:, None, None]
    tape = Tape((4,))
    with torch.no_grad():
        for row in x:
            norm.steps(row[None], tape)
    out = norm.rates(x.mean(0, keepdim=True), tape)
    mean = x.mean(1).mean(0)
    reciprocal = (1 / (x.var(1, correction=0) + norm.eps)).mean(0)
    torch.testing.assert_close(out[0], (x.mean(0) - mean) * reciprocal.sqrt())


def test_norm_in_the_rate_pass_has_the_gradients_of_batch_norm() -> None:
    """For one step the rule is ordinary batch normalisation, gradients included."""
    ours, torchs = BatchNorm(6).double(), nn.BatchNorm1d(6).double()
    x = torch.randn(20, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(20, 6, dtype=torch.float64)
    tape = Tape((1,))
    with torch.no_grad():
        ours.steps(x[None], tape)
    (ours.rates(x[None], tape)[0] * weight).sum().backward()
    found, x.grad = x.grad, None
    (torchs(x) * weight).sum().backward()
    torch.testing.assert_close(found, x.grad, rtol=1e-6, atol=1e-9)


def test_norm_keeps_running_statistics_from_the_simulation_alone() -> None:
    norm = BatchNorm(3)
    tape = Tape((2,))
    x = torch.randn(2, 50, 3) + 4
    with torch.no_grad():
        norm.steps(x, tape)
    before = norm.running_mean.clone()
    norm.rates(x.mean(0, keepdim=True), tape)
    assert torch.equal(before, norm.running_mean)
    torch.testing.assert_close(before, 0.05 * x.flatten(0, 1).mean(0))


def saved_bytes(net: Chain, method: str, timesteps: int) -> int:
    x, _ = batch()
    total = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
        getattr(net, method)(x, timesteps, (timesteps,)).sum()
    return total


def test_memory_of_the_graph_is_flat_in_time_steps() -> None:
    net = network(4, 0.5, "soft")
    rate = [saved_bytes(net, "rate", t) for t in (1, 4, 8, 16)]
    bptt = [saved_bytes(net, "bptt", t) for t in (4, 8, 16)]
    assert len(set(rate)) == 1
    assert bptt[2] - bptt[1] == 2 * (bptt[1] - bptt[0]) > 0
    assert rate[0] < bptt[1] / 4


def test_product_of_two_spike_tensors_follows_bptt() -> None:
    """One softmax-free linear attention block (docs/methods.md, the bilinear rule)."""
    torch.manual_seed(3)
    width, tokens = 24, 10
    x = torch.randn(16, tokens, width, dtype=torch.float64)
    maps = nn.ModuleList(nn.Linear(width, width, dtype=torch.float64) for _ in range(3))
    for layer in maps:
        assert isinstance(layer, nn.Linear)
        nn.init.normal_(layer.weight, std=1.8 / width**0.5)
    config = NeuronConfig(kind="binary", threshold=1.0, leak=0.5)
    neurons = [SpikingNeuron(Neuron(width, config)) for _ in range(4)]

    def attend(phase: str, x: Tensor, tape: Tape) -> Tensor:
        q, k, v = (getattr(n, phase)(m(x), tape) for n, m in zip(neurons[:3], maps, strict=True))
        out: Tensor = getattr(neurons[3], phase)(4 * q @ (k.mT @ v) / tokens, tape)
        return out

    def run(method: str) -> list[Tensor]:
        maps.zero_grad()
        tape = Tape((8,), eligible=method == "rate")
        steps = x.expand(8, *x.shape)
        if method == "rate":
            with torch.no_grad():
                attend("steps", steps, tape)
            out = attend("rates", x[None], tape)[0]
        else:
            out = attend("steps", steps, tape).mean(0)
        out.sin().sum().backward()
        return [p.grad.clone() for p in maps.parameters() if p.grad is not None]

    found, wanted = run("rate"), run("bptt")
    assert min(cosines(found[::2], wanted[::2])) > 0.95
    assert max(float(a.norm() / b.norm()) for a, b in zip(found, wanted, strict=True)) < 1.6


def test_an_exception_leaves_gradients_recording() -> None:
    class Broken(nn.Module):
        def steps(self, x: Tensor, tape: Tape) -> Tensor:
            raise RuntimeError("broken layer")

        rates = steps

    net = Chain(Broken())
    with pytest.raises(RuntimeError, match="broken layer"):
        net.rate(torch.zeros(2, 3), 4, (4,))
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("wrong", [(), (0, 2), (3, 2), (2, 2)])
def test_impossible_snapshots_are_refused(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="snapshot"):
        Tape(wrong)
