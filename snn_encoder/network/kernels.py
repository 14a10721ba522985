"""The neurons' loop over time steps as one Triton kernel, for CUDA.

`dynamics.simulate` takes every step's potentials, rates and eligibilities through memory; here a
program keeps those of its neurons in registers, reads each current once and writes each spike
once. It has run under Triton's interpreter on a CPU only, where it agrees with
`dynamics.simulate`, and compiles for CUDA; no GPU has run it, and no speed is claimed.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from snn_encoder.network.dynamics import NeuronConfig, State

BLOCK = 1024  # neurons a program
MAX_STEPS = 30  # snapshots are the bits of an int32


@triton.jit  # type: ignore[untyped-decorator]
def _surrogate(x: tl.tensor, slope: tl.tensor) -> tl.tensor:
    e = tl.exp(-slope * tl.abs(x))  # σ(ax)(1 − σ(ax)) is even in x: this form cannot overflow
    return slope * e / ((1 + e) * (1 + e))


@triton.jit  # type: ignore[untyped-decorator]
def _steps(
    currents: tl.tensor,
    spikes: tl.tensor,
    v_state: tl.tensor,
    f_state: tl.tensor,
    rate_state: tl.tensor,
    eligibility_state: tl.tensor,
    rates: tl.tensor,
    eligibilities: tl.tensor,
    stride: tl.tensor,
    size: tl.tensor,
    first: tl.tensor,
    steps: tl.tensor,
    snapshots: tl.tensor,
    leak: tl.tensor,
    threshold: tl.tensor,
    quantum: tl.tensor,
    slope: tl.tensor,
    ternary: tl.constexpr,
    detached: tl.constexpr,
    eligible: tl.constexpr,
    block: tl.constexpr,
) -> None:
    place = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = place < size
    v = tl.load(v_state + place, mask=inside, other=0.0)
    if eligible:
        f = tl.load(f_state + place, mask=inside, other=0.0)
        rate = tl.load(rate_state + place, mask=inside, other=0.0)
        eligibility = tl.load(eligibility_state + place, mask=inside, other=0.0)
    for step in range(steps):
        u = leak * v + tl.load(currents + place, mask=inside, other=0.0)
        s = (u - threshold >= 0).to(tl.float32)
        if ternary:
            s -= (-u - threshold >= 0).to(tl.float32)
        v = u - quantum * s
        tl.store(spikes + place, s, mask=inside)
        if eligible:
            gain = _surrogate(u - threshold, slope)
            if ternary:
                gain += _surrogate(-u - threshold, slope)
            t = first + step + 1
            rate += tl.div_rn(s - rate, t.to(tl.float32))
            eligibility += tl.div_rn(f * gain - eligibility, t.to(tl.float32))
            passed = leak if detached else leak * (1 - quantum * gain)
            f = 1 + passed * f
            if (snapshots >> t) & 1:
                tl.store(rates + place, rate, mask=inside)
                tl.store(eligibilities + place, eligibility, mask=inside)
                rates += size
                eligibilities += size
        currents += stride
        spikes += size
    tl.store(v_state + place, v, mask=inside)
    if eligible:
        tl.store(f_state + place, f, mask=inside)
        tl.store(rate_state + place, rate, mask=inside)
        tl.store(eligibility_state + place, eligibility, mask=inside)


def serves(config: NeuronConfig, steps: int) -> bool:
    """Return whether the kernel has this neuron: binary or ternary, soft reset, fixed leak.

    Args:
        steps: how many the state has seen once the call ends.
    """
    return config.reset != "hard" and not config.learn_leak and steps <= MAX_STEPS


def simulate(
    currents: Tensor, state: State, config: NeuronConfig, eligible: bool, snapshots: tuple[int, ...]
) -> Tensor:
    """Return the spikes of float32 currents [T, ...]; `state` is advanced in place.

    The values of `dynamics.simulate`, for a neuron that the kernel `serves`.
    """
    if not currents[0].is_contiguous():
        currents = currents.contiguous()
    steps, shape = len(currents), currents.shape[1:]
    taken = [t for t in sorted(snapshots) if state.t < t <= state.t + steps]
    spikes = currents.new_empty(steps, *shape)
    rates, eligibilities = currents.new_empty(2, len(taken), *shape)
    buffers = _buffers(state, eligible)
    with torch.cuda.device_of(currents):  # type: ignore[no-untyped-call]
        _steps[(triton.cdiv(shape.numel(), BLOCK),)](
            currents,
            spikes,
            *buffers,
            rates,
            eligibilities,
            currents.stride(0),  # 0 where all steps are views of one tensor
            shape.numel(),
            state.t,
            steps,
            sum(1 << t for t in taken),
            config.leak,
            config.threshold,
            config.quantum,
            config.slope,
            ternary=config.kind == "ternary",
            detached=config.reset == "soft_detached",
            eligible=eligible,
            block=BLOCK,
            enable_fp_fusion=False,  # potentials as on a CPU, to the bit
        )
    state.t += steps
    state.v = buffers[0]
    if eligible:
        _, state.f, state.rate, state.eligibility = buffers
        found = zip(taken, rates, eligibilities, strict=True)
        state.snapshots |= {t: (rate, slope, None) for t, rate, slope in found}
    return spikes


def _buffers(state: State, eligible: bool) -> list[Tensor]:
    """Return copies of v, f, rate and eligibility for the kernel to overwrite."""
    v = state.v.clone(memory_format=torch.contiguous_format)
    if not eligible:
        return [v] * 4  # the last three are neither read nor written
    if state.f is None or state.rate is None or state.eligibility is None:
        return [v, torch.ones_like(v), torch.zeros_like(v), torch.zeros_like(v)]
    return [v, *(x.clone() for x in (state.f, state.rate, state.eligibility))]
