"""Rounded weights: their levels, their gradient, and that nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_encoder import random_net, recipe

from snn_encoder.export.weights import export
from snn_encoder.inference import SpikingEncoder
from snn_encoder.network.layout import pack
from snn_encoder.network.model import Affine
from snn_encoder.network.quantisation import rounded_currents, rounded_weights


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 8), st.integers(0, 10_000))
def test_rows_have_at_most_so_many_levels_and_no_error_beyond_half_of_one(
    bits: int, seed: int
) -> None:
    weight = torch.randn(6, 50, generator=torch.Generator().manual_seed(seed))
    found = rounded_weights(weight, bits)
    step = weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    assert ((found - weight).abs() <= step / 2 * 1.0001).all()
    assert all(len(row.unique()) < 2**bits for row in found)
    torch.testing.assert_close(found.abs().amax(1), weight.abs().amax(1))


@pytest.mark.parametrize("bits", [4, 5, 8])
def test_currents_are_cut_to_whole_units_below_one(bits: int) -> None:
    unit = 2.0 ** (1 - bits)
    currents = torch.tensor([0.0, 0.99 * unit, 1.01 * unit, -1.01 * unit, 0.999, 3.0, -3.0])
    wanted = torch.tensor([0.0, 0.0, unit, -unit, 1 - unit, 1 - unit, unit - 1])
    assert torch.equal(rounded_currents(currents, bits), wanted)


def test_currents_of_few_bits_are_rounded() -> None:
    currents = torch.tensor([0.2, 0.3, -0.3, 0.9, -2.0])
    assert torch.equal(rounded_currents(currents, 2), torch.tensor([0.0, 0.5, -0.5, 0.5, -0.5]))


def test_gradient_passes_as_if_nothing_had_been_rounded() -> None:
    layer = Affine(7, 5)
    layer.bits = 3
    x = torch.randn(4, 7, requires_grad=True)
    y = torch.randn(4, 5)
    torch.autograd.backward(layer(x), y)
    assert layer.weight.grad is not None
    assert x.grad is not None
    torch.testing.assert_close(layer.weight.grad, y.T @ x)
    torch.testing.assert_close(x.grad, y @ rounded_weights(layer.weight, 3))
    currents = torch.randn(9, requires_grad=True)
    torch.autograd.backward(rounded_currents(currents, 4).sum())
    assert currents.grad is not None
    assert torch.equal(currents.grad, torch.ones(9))


def test_fewer_bits_move_vectors_further_and_none_moves_them_back() -> None:
    net = random_net()
    flat, layout = pack([[5, 9, 9, 300], [7], [40, 41, 42, 43, 44, 45, 46]])

    def vectors(bits: int | None) -> torch.Tensor:
        net.quantise(bits)
        z: torch.Tensor = net(flat, layout, 4, method="bptt").vectors[-1]
        return torch.nn.functional.normalize(z, dim=-1)

    real = vectors(None)
    angles = [(vectors(bits) * real).sum(1).mean().item() for bits in (2, 4, 8)]
    assert angles == sorted(angles)
    assert angles[2] > 0.99 > angles[0]
    assert torch.equal(vectors(None), real)
    for method in ("rate_M", "rate_S"):
        net.quantise(4)
        rate = net(flat, layout, 4, method=method).vectors[-1]
        torch.testing.assert_close(torch.nn.functional.normalize(rate, dim=-1), vectors(4))


@pytest.mark.parametrize("bits", [1, 9])
def test_impossible_bits_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="2 to 8 bits"):
        random_net().quantise(bits)


def test_weights_trained_in_four_bits_are_exported_so(tmp_path: Path) -> None:
    net = random_net()
    net.quantise(4)
    export(net, tmp_path, recipe(net), timesteps=3)
    encoder = SpikingEncoder.from_pretrained(tmp_path)
    text = "I moved to Lyon last week."
    flat, layout = pack([encoder._tokenizer.encode(text, add_special_tokens=False).ids])
    wanted = net(flat, layout, 3, method="bptt").vectors[-1].detach()
    found = torch.from_numpy(encoder.encode([text]))
    assert torch.nn.functional.cosine_similarity(found, wanted).item() > 0.9999
    assert len(np.unique(encoder.parameters.table)) == 15
