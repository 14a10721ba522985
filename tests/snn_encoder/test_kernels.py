"""The Triton kernel against the neurons it stands for, under Triton's interpreter on a CPU."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_encoder import random_net

from snn_encoder.network import dynamics, neurons
from snn_encoder.network.dynamics import NeuronConfig, State, hard_spike
from snn_encoder.network.layout import pack
from snn_encoder.network.neurons import Neuron

pytest.importorskip("triton")


@contextmanager
def defined(interpreted: bool) -> Iterator[ModuleType]:
    """The module, its kernels interpreted or not: Triton decides when a kernel is defined."""
    module = importlib.import_module("snn_encoder.network.kernels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", str(int(interpreted)))
        yield importlib.reload(module)
    importlib.reload(module)


@pytest.fixture(scope="module")
def kernels() -> Iterator[ModuleType]:
    with defined(interpreted=True) as module:
        yield module


@st.composite
def runs(draw: st.DrawFn) -> tuple[NeuronConfig, torch.Tensor, tuple[int, ...], int, bool]:
    """A neuron, its currents [T, N, C], snapshots, the steps of a first call, eligibilities?"""
    config = NeuronConfig(
        kind=draw(st.sampled_from(["binary", "ternary"])),
        reset=draw(st.sampled_from(["soft", "soft_detached"])),
        leak=draw(st.one_of(st.just(1.0), st.floats(0.05, 1.0))),
        threshold=draw(st.floats(0.25, 1.5)),
        quantum=draw(st.floats(0.25, 1.0)),
        initial=draw(st.floats(-0.5, 0.5)),
        slope=draw(st.floats(1.0, 4.0)),
    )
    timesteps = draw(st.integers(1, 8))
    shape = (draw(st.integers(1, 67)), draw(st.integers(1, 31)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    if draw(st.booleans()):
        currents = torch.randn(timesteps, *shape, generator=generator)
    else:  # steps that are views of one tensor, as the encoder gives the token neurons
        currents = torch.randn(shape, generator=generator).expand(timesteps, -1, -1)
    snapshots = draw(st.sets(st.integers(1, timesteps), min_size=1))
    first = draw(st.integers(1, timesteps))
    return config, currents, tuple(sorted(snapshots)), first, draw(st.booleans())


@settings(max_examples=100, deadline=None)
@given(runs())
def test_kernel_is_the_neuron(
    kernels: ModuleType,
    drawn: tuple[NeuronConfig, torch.Tensor, tuple[int, ...], int, bool],
) -> None:
    config, currents, snapshots, first, eligible = drawn
    neuron = Neuron(currents.shape[-1], config)
    wanted, found = neuron.start(currents[0]), neuron.start(currents[0])
    for part in (currents[:first], currents[first:]):
        if len(part):
            spikes = kernels.simulate(part, found, config, eligible, snapshots)
            known = dynamics.simulate(
                part, wanted, config.leak, config, hard_spike, eligible, snapshots
            )
            assert torch.equal(spikes, known)
    same(found, wanted)


def same(found: State, wanted: State) -> None:
    """Potentials and rates to the bit; eligibilities but for the last bits of an exponential."""
    assert torch.equal(found.v, wanted.v)
    assert found.t == wanted.t
    assert found.snapshots.keys() == wanted.snapshots.keys()
    for t, (rate, eligibility, _) in wanted.snapshots.items():
        assert torch.equal(found.snapshots[t][0], rate)
        torch.testing.assert_close(found.snapshots[t][1], eligibility, rtol=1e-5, atol=1e-5)
    if wanted.f is None or wanted.rate is None:
        assert found.f is None
    else:
        assert found.rate is not None
        assert torch.equal(found.rate, wanted.rate)
        torch.testing.assert_close(found.f, wanted.f, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["rate_M", "rate_S"])
def test_encoder_trains_through_the_kernel(
    method: str, kernels: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat, layout = pack([[5, 9, 9, 300], [7], [40, 41, 42, 43, 44, 45, 46]])
    calls: list[int] = []
    simulate = kernels.simulate

    def spy(currents: torch.Tensor, *rest: Any) -> torch.Tensor:
        calls.append(len(currents))
        spikes: torch.Tensor = simulate(currents, *rest)
        return spikes

    monkeypatch.setattr(kernels, "simulate", spy)
    results = []
    for reach in (False, True):
        monkeypatch.setattr(neurons, "in_kernels_reach", lambda _, reach=reach: reach)
        net = random_net()
        output = net(flat, layout, 4, (2, 4), method)
        torch.autograd.backward(output.vectors.sin().sum())
        slopes = [p.grad.to_dense() for p in net.parameters() if p.grad is not None]
        assert len(slopes) == len(list(net.parameters()))
        results.append((output.vectors, *slopes))
    assert calls == ([4] * 3 if method == "rate_M" else [1] * 12)
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_kernel_leaves_cpus_gradients_and_other_neurons_alone(kernels: ModuleType) -> None:
    with torch.no_grad():
        assert not neurons.in_kernels_reach(torch.zeros(2, 3))
    others: list[dict[str, Any]] = [{"reset": "hard"}, {"learn_leak": True}]
    for config in others:
        assert not kernels.serves(NeuronConfig(**config), 8)
    assert kernels.serves(NeuronConfig(), 8)
    assert not kernels.serves(NeuronConfig(), 31)


@pytest.mark.parametrize("eligible", [False, True])
@pytest.mark.parametrize("kind", ["binary", "ternary"])
def test_kernel_compiles_for_cuda_without_fused_multiplications(
    kind: str, eligible: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Needs no GPU. A fused u = λ v + c would round unlike a CPU's and flip spikes."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    whole = ("stride", "size", "first", "steps", "snapshots")
    real = ("leak", "threshold", "quantum", "slope")
    ternary = kind == "ternary"
    constants = {"ternary": ternary, "detached": not ternary, "eligible": eligible, "block": 1024}
    with defined(interpreted=False) as module:
        signature = {
            name: "constexpr" if name in constants
            else "i32" if name in whole
            else "fp32" if name in real
            else "*fp32"
            for name in module._steps.arg_names
        }  # fmt: skip
        found = triton.compile(
            ASTSource(module._steps, signature, constants),
            target=GPUTarget("cuda", 90, 32),
            options={"enable_fp_fusion": False},
        )
    code = found.asm["ptx"]
    assert "st.global" in code
    assert "fma" not in code
