"""The equations of spiking neurons: LIF and IF, binary and ternary.

Every neuron is an instance of one recurrence (docs/methods.md, neurons), per time step t and with
the input current c, leak λ, firing threshold θ and quantum q (what a spike subtracts)::

    u_t = λ v_{t-1} + c_t                     pre-reset potential, v_0 = initial
    s_t = 1[u_t ≥ θ]                          binary
    s_t = 1[u_t ≥ θ] − 1[u_t ≤ −θ]            ternary (arXiv 2312.06372)
    v_t = u_t − q s_t                         soft reset
    v_t = u_t (1 − |s_t|)                     hard reset

λ = 1 is the integrate-and-fire neuron (IF). Surrogate derivative of a spike at slope a::

    g(x)  = a σ(a x) (1 − σ(a x))
    ds/du = g(u − θ)                          binary
    ds/du = g(u − θ) + g(−u − θ)              ternary

Eligibility (arXiv 2410.11488): how much the firing rate moves if the current is shifted by the
same amount at every step::

    f_1 = 1,   f_{t+1} = 1 + k_t f_t,   E_T = 1/T Σ_t f_t ds_t/du
    k_t = λ                                   soft reset, detached
    k_t = λ (1 − q ds/du)                     soft reset
    k_t = λ (1 − |s| − u d|s|/du)             hard reset

and, for a learnable leak, the same recurrence with f replaced by du/dλ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from snn_encoder.network.fusion import Fused

Reset = Literal["soft", "soft_detached", "hard"]
Kind = Literal["binary", "ternary"]


@dataclass(frozen=True)
class NeuronConfig:
    """Constants of one population of neurons; the module's docstring has the equations.

    Attributes:
        kind: which spikes it emits.
        reset: what a spike does to the potential; `soft_detached` hides it from gradients.
        leak: λ in (0, 1]; learnable per channel when `learn_leak` is set.
        threshold: θ.
        quantum: q; θ = q/2 makes the spike count round its input instead of flooring it.
        initial: v_0; during training perturbed uniformly by ± `perturbation` (arXiv 2310.06232).
        slope: a, of the surrogate derivative.
    """

    kind: Kind = "ternary"
    reset: Reset = "soft"
    leak: float = 1.0
    learn_leak: bool = False
    threshold: float = 0.5
    quantum: float = 1.0
    initial: float = 0.0
    perturbation: float = 0.0
    slope: float = 4.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind) or self.reset not in get_args(Reset):
            raise ValueError(
                f"a neuron is of the kind {' or '.join(get_args(Kind))}, its reset "
                f"{' or '.join(get_args(Reset))}; got {self.kind!r} and {self.reset!r}."
            )
        if not 0.0 < self.leak <= 1.0:
            raise ValueError(f"leak must lie in (0, 1], got {self.leak}.")
        if self.threshold <= 0 or self.quantum <= 0 or self.slope <= 0:
            raise ValueError("threshold, quantum and slope must be positive.")


def surrogate(x: Tensor, slope: float) -> Tensor:
    """Derivative of a sigmoid of the given slope; its peak at x = 0 is slope / 4."""
    y = torch.sigmoid(slope * x)
    return slope * y * (1 - y)


class _Heaviside(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * surrogate(x, ctx.slope), None


def hard_spike(x: Tensor, slope: float) -> Tensor:
    """1[x ≥ 0] with the surrogate derivative in the backward pass."""
    out: Tensor = _Heaviside.apply(x, slope)  # type: ignore[no-untyped-call]
    return out


Fire = Callable[[Tensor, float], Tensor]


@dataclass
class State:
    """What a population carries from one step to the next; tensors of the current's shape.

    Attributes:
        v: post-reset potential.
        f: du/dc for a shift of the current at every step.
        rate, eligibility: running means over the steps so far.
        f_leak, leak_eligibility: the same pair for a shift of λ (None for a fixed leak).
        t: steps so far.
        snapshots: t to copies of (rate, eligibility, leak_eligibility).
    """

    v: Tensor
    f: Tensor | None = None
    rate: Tensor | None = None
    eligibility: Tensor | None = None
    f_leak: Tensor | None = None
    leak_eligibility: Tensor | None = None
    t: int = 0
    snapshots: dict[int, tuple[Tensor, Tensor, Tensor | None]] = field(default_factory=dict)


def fire(u: Tensor, config: NeuronConfig, spike: Fire) -> tuple[Tensor, Tensor]:
    """Return (s_t, |s_t|) for the pre-reset potential u."""
    spikes = spike(u - config.threshold, config.slope)
    if config.kind == "binary":
        return spikes, spikes
    negative = spike(-u - config.threshold, config.slope)
    return spikes - negative, spikes + negative


def slopes(u: Tensor, config: NeuronConfig) -> tuple[Tensor, Tensor]:
    """Return (ds/du, d|s|/du), the surrogate derivatives at the pre-reset potential."""
    positive = surrogate(u - config.threshold, config.slope)
    if config.kind == "binary":
        return positive, positive
    negative = surrogate(-u - config.threshold, config.slope)
    return positive + negative, positive - negative


def reset(u: Tensor, s: Tensor, size: Tensor, config: NeuronConfig) -> Tensor:
    """Return the post-reset potential v_t; `size` is |s| with its own surrogate slope."""
    if config.reset == "hard":
        return u * (1 - size)
    return u - config.quantum * (s.detach() if config.reset == "soft_detached" else s)


def carry(u: Tensor, size: Tensor, slope: tuple[Tensor, Tensor], config: NeuronConfig) -> Tensor:
    """Return dv_t/du_t, which is k_t / λ."""
    if config.reset == "hard":
        return 1 - size - u * slope[1]
    if config.reset == "soft":
        return 1 - config.quantum * slope[0]
    return torch.ones_like(u)


def step(
    state: State, current: Tensor, leak: float | Tensor, config: NeuronConfig, spike: Fire
) -> tuple[Tensor, Tensor, Tensor]:
    """Advance v and t by one step in place; return (s_t, |s_t|, u_t)."""
    u = leak * state.v + current
    s, size = fire(u, config, spike)
    state.v = reset(u, s, size, config)
    state.t += 1
    return s, size, u


def accumulate(
    state: State,
    spikes: tuple[Tensor, Tensor, Tensor],
    before: Tensor,
    leak: float | Tensor,
    config: NeuronConfig,
) -> None:
    """Update the running rate and eligibilities after a step; `before` is v before it."""
    s, size, u = spikes
    t = state.t
    slope = slopes(u, config)
    passed = leak * carry(u, size, slope, config)
    f = torch.ones_like(u) if state.f is None else state.f
    gain = f * slope[0]
    if state.rate is None or state.eligibility is None:
        state.rate, state.eligibility = s.clone(), gain
    else:
        state.rate = state.rate + (s - state.rate) / t
        state.eligibility = state.eligibility + (gain - state.eligibility) / t
    state.f = 1 + passed * f
    if isinstance(leak, Tensor):
        f_leak = before + (0 if state.f_leak is None else state.f_leak)
        gain = f_leak * slope[0]
        old = state.leak_eligibility
        state.leak_eligibility = gain if old is None else old + (gain - old) / t
        state.f_leak = passed * f_leak


@Fused
def simulate(
    currents: Tensor,
    state: State,
    leak: float | Tensor,
    config: NeuronConfig,
    spike: Fire,
    eligible: bool,
    snapshots: tuple[int, ...],
) -> Tensor:
    """Return the spikes of currents [T, ...]; `state` is advanced in place."""
    out = []
    for current in currents.unbind(0):
        before = state.v
        spikes = step(state, current, leak, config, spike)
        if eligible:
            accumulate(state, spikes, before, leak, config)
            if state.t in snapshots:
                assert state.rate is not None
                assert state.eligibility is not None
                state.snapshots[state.t] = (state.rate, state.eligibility, state.leak_eligibility)
        out.append(spikes[0])
    return torch.stack(out)
