"""The torch model: layouts without padding, phases that agree, statistics, any T."""

from __future__ import annotations

import pytest
import torch
from tiny_encoder import random_net

from snn_encoder.network.layout import Layout, TokenConv, pack
from snn_encoder.network.model import ModelConfig, SpikingNet
from snn_encoder.network.ratebp import BatchNorm

IDS = [[5, 9, 9, 300], [7], [40, 41, 42, 43, 44, 45, 46], [9, 5]]


def test_layout_means_are_those_of_sentences() -> None:
    flat, layout = pack(IDS)
    x = torch.randn(2, len(layout.segment), 3)
    mean = layout.mean(x)
    torch.testing.assert_close(mean[:, 0], x[:, :4].mean(1))
    torch.testing.assert_close(mean[:, 1], x[:, 4])
    distinct, inverse = torch.unique(flat, return_inverse=True)
    rows = torch.randn(2, len(distinct), 3)
    torch.testing.assert_close(
        layout.mean_of_distinct(rows, inverse), layout.mean(rows[:, inverse])
    )


def test_token_convolution_is_torchs_within_each_sentence() -> None:
    _, layout = pack(IDS)
    conv = TokenConv(6, taps=5).double()
    x = torch.randn(3, len(layout.segment), 6, dtype=torch.float64, requires_grad=True)
    parts = [
        torch.nn.functional.conv1d(part.mT, conv.weight.t()[:, None], padding=2, groups=6).mT
        for part in x.split(layout.lengths.tolist(), dim=1)
    ]
    wanted, found = torch.cat(parts, 1), conv(x, layout)
    torch.testing.assert_close(found, wanted)
    weight = torch.randn_like(found)
    inputs = (x, conv.weight)
    for a, b in zip(
        torch.autograd.grad((found * weight).sum(), inputs),
        torch.autograd.grad((wanted * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_a_sentence_does_not_depend_on_its_batch() -> None:
    net = random_net().double()
    together = net(*pack(IDS), 4, method="bptt").vectors[-1]
    for ids, row in zip(IDS, together, strict=True):
        alone = net(*pack([ids]), 4, method="bptt").vectors[-1, 0]
        torch.testing.assert_close(alone, row)


def test_prefixes_of_a_long_run_are_short_runs() -> None:
    net = random_net().double()
    flat, layout = pack(IDS)
    long = net(flat, layout, 8, (1, 3, 8), method="bptt").vectors
    for row, t in zip(long, (1, 3, 8), strict=True):
        torch.testing.assert_close(row, net(flat, layout, t, method="bptt").vectors[-1])


@pytest.mark.parametrize("method", ["rate_M", "rate_S"])
def test_rate_pass_returns_what_the_simulation_does(method: str) -> None:
    net = random_net().double()
    flat, layout = pack(IDS)
    wanted = net(flat, layout, 6, (2, 6), method="bptt").vectors
    torch.testing.assert_close(net(flat, layout, 6, (2, 6), method=method).vectors, wanted)


def test_every_weight_of_the_active_depth_learns() -> None:
    net = random_net().train()
    flat, layout = pack(IDS)
    net(flat, layout, 4, (2, 4)).vectors.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        dense = parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad
        assert dense.abs().sum() > 0, name


def test_one_step_gradients_are_those_of_bptt() -> None:
    """T = 1 is exact at any depth (docs/methods.md, checks), norms and gates included."""
    found: dict[str, dict[str, torch.Tensor]] = {}
    for method in ("rate_M", "bptt"):
        net = random_net().double().train()
        flat, layout = pack(IDS)
        net(flat, layout, 1, method=method).vectors.sin().sum().backward()
        found[method] = {
            name: p.grad.to_dense() for name, p in net.named_parameters() if p.grad is not None
        }
    for name, gradient in found["rate_M"].items():
        torch.testing.assert_close(gradient, found["bptt"][name], msg=name)


def test_depth_zero_reads_the_table_alone() -> None:
    net = random_net().double()
    net.depth = 0
    forward, backward = pack([[5, 9, 300]]), pack([[300, 9, 5]])
    torch.testing.assert_close(
        net(*forward, 3, method="bptt").vectors, net(*backward, 3, method="bptt").vectors
    )


def test_frozen_statistics_are_those_of_evaluation() -> None:
    net = random_net().double()
    flat, layout = pack(IDS)
    wanted = net(flat, layout, 4, method="bptt").vectors
    net.train()
    net.freeze_statistics()
    torch.testing.assert_close(net(flat, layout, 4).vectors, wanted)
    norms = [m for m in net.modules() if isinstance(m, BatchNorm)]
    assert all(
        torch.equal(m.running_mean, n.running_mean)
        for m, n in zip(
            norms,
            [m for m in random_net().double().modules() if isinstance(m, BatchNorm)],
            strict=True,
        )
    )


def test_statistics_see_no_padding() -> None:
    """There is none: the same sentences in other orders leave the same statistics."""
    kept = []
    for order in ((0, 1, 2, 3), (2, 0, 3, 1)):
        net = random_net().double().train()
        with torch.no_grad():
            net(*pack([IDS[i] for i in order]), 3)
        kept.append(torch.cat([b.flatten() for n, b in net.named_buffers() if "running" in n]))
    torch.testing.assert_close(kept[0], kept[1])


def test_wrong_arguments_are_refused() -> None:
    net = SpikingNet(ModelConfig(width=8, dim=4))
    flat, layout = pack(IDS)
    with pytest.raises(ValueError, match="snapshot"):
        net(flat, layout, 2, (3,))
    with pytest.raises(ValueError, match="rate_M, rate_S or bptt"):
        net(flat, layout, 2, method="rtrl")


def test_layout_moves_between_devices() -> None:
    layout = Layout(torch.tensor([2, 3])).to("meta")
    assert layout.segment.device.type == "meta"
