"""Neurons against closed forms, finite differences and their own definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_encoder.network.dynamics import NeuronConfig, surrogate
from snn_encoder.network.neurons import Neuron


def soft_spike(x: torch.Tensor, slope: float) -> torch.Tensor:
    """A neuron whose surrogate is its true derivative."""
    return torch.sigmoid(slope * x)


BINARY = {"kind": "binary", "threshold": 1.0}


def test_eligibility_of_a_detached_soft_reset_has_a_closed_form() -> None:
    leak = 0.6
    neuron = Neuron(1, NeuronConfig(**BINARY, reset="soft_detached", leak=leak))
    currents = torch.randn(5, 1, dtype=torch.float64)
    spikes, state = neuron.run(currents, eligible=True, snapshots=(5,))
    potential, total = 0.0, 0.0
    for t, (c, s) in enumerate(zip(currents, spikes, strict=True), start=1):
        u = leak * potential + c.item()
        total += (1 - leak**t) / (1 - leak) * surrogate(torch.tensor(u - 1.0), 4.0).item()
        potential = u - s.item()
    assert state.snapshots[5][1].item() == pytest.approx(total / 5, abs=1e-6)


def test_without_leak_memory_rate_is_the_step_and_eligibility_its_surrogate() -> None:
    neuron = Neuron(3, NeuronConfig(**BINARY, reset="soft_detached", leak=1e-12))
    current = torch.tensor([[0.2, 1.0, 1.7]], dtype=torch.float64)
    _, state = neuron.run(current.expand(6, 1, 3), eligible=True, snapshots=(6,))
    rate, eligibility, _ = state.snapshots[6]
    assert torch.equal(rate, torch.tensor([[0.0, 1.0, 1.0]], dtype=torch.float64))
    torch.testing.assert_close(eligibility, surrogate(current - 1.0, 4.0))


def test_if_neuron_rounds_its_input_to_counts() -> None:
    generator = torch.Generator().manual_seed(0)
    current = torch.rand(100_000, generator=generator, dtype=torch.float64)
    for timesteps in (1, 2, 4, 8):
        neuron = Neuron(1, NeuronConfig(**BINARY, initial=0.5))
        spikes, _ = neuron.run(current.expand(timesteps, -1))
        assert torch.equal(spikes.sum(0), torch.floor(timesteps * current + 0.5))


@pytest.mark.parametrize("timesteps", [1, 3, 8])
def test_ternary_if_neuron_rounds_inputs_of_either_sign(timesteps: int) -> None:
    current = torch.linspace(-0.99, 0.99, 1001, dtype=torch.float64)
    spikes, _ = Neuron(1, NeuronConfig()).run(current.expand(timesteps, -1))
    error = spikes.sum(0) - timesteps * current
    assert error.abs().max() <= 0.5 + 1e-9
    assert torch.equal(spikes.flip(1), -spikes)


@pytest.mark.parametrize("threshold", [1.0, 0.6])
@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("kind", ["binary", "ternary"])
def test_eligibility_is_the_derivative_of_the_rate(kind: str, reset: str, threshold: float) -> None:
    """With soft spikes the surrogate is the true derivative, so E must be the slope of r(c)."""
    config = NeuronConfig(
        kind=kind,  # type: ignore[arg-type]
        reset=reset,  # type: ignore[arg-type]
        leak=0.7,
        threshold=threshold,
        quantum=threshold,
    )
    neuron = Neuron(1, config)
    neuron.spike = soft_spike
    current = torch.linspace(-2, 2, 41, dtype=torch.float64)[:, None]

    def rate(shift: float) -> torch.Tensor:
        return neuron.run((current + shift).expand(8, -1, 1))[0].mean(0)

    _, state = neuron.run(current.expand(8, -1, 1), eligible=True, snapshots=(8,))
    slope = (rate(1e-5) - rate(-1e-5)) / 2e-5
    assert (state.snapshots[8][1] - slope).abs().max() < 1e-8


def test_leak_eligibility_is_the_derivative_of_the_rate_by_the_leak() -> None:
    neuron = Neuron(1, NeuronConfig(**BINARY, leak=0.7, learn_leak=True)).double()
    neuron.spike = soft_spike
    current = torch.linspace(-1, 2, 31, dtype=torch.float64)[:, None]
    assert neuron.leak_logit is not None
    _, state = neuron.run(current.expand(8, -1, 1), eligible=True, snapshots=(8,))
    neuron.rate(current, state, 8).sum().backward()
    found = neuron.leak_logit.grad
    neuron.leak_logit.grad = None
    neuron.run(current.expand(8, -1, 1))[0].mean(0).sum().backward()
    torch.testing.assert_close(found, neuron.leak_logit.grad)


def test_prefix_of_a_long_run_is_the_short_run() -> None:
    currents = torch.randn(8, 64, 16)
    for leak in (0.5, 1.0):
        neuron = Neuron(16, NeuronConfig(leak=leak)).eval()
        long, _ = neuron.run(currents)
        for k in range(1, 8):
            assert torch.equal(long[:k], neuron.run(currents[:k])[0])


def test_half_precision_currents_meet_single_precision_potentials() -> None:
    spikes, state = Neuron(4, NeuronConfig(leak=0.9)).run(torch.randn(3, 2, 4).bfloat16())
    assert spikes.dtype == state.v.dtype == torch.float32


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 1.0), st.sampled_from(["binary", "ternary"]), st.integers(0, 10_000))
def test_spikes_stay_in_their_alphabet(leak: float, kind: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    config = NeuronConfig(kind=kind, leak=leak)  # type: ignore[arg-type]
    spikes, state = Neuron(1, config).run(3 * torch.randn(6, 20, generator=generator))
    alphabet = {0.0, 1.0} if kind == "binary" else {-1.0, 0.0, 1.0}
    assert set(spikes.flatten().tolist()) <= alphabet
    assert torch.isfinite(state.v).all()


@pytest.mark.parametrize(
    "wrong", [{"leak": 0.0}, {"leak": 1.5}, {"threshold": 0.0}, {"kind": "dual"}, {"reset": "none"}]
)
def test_impossible_constants_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"leak|threshold|binary or ternary, its reset soft"):
        NeuronConfig(**wrong)  # type: ignore[arg-type]
