"""A tiny encoder: the trained tiers' architecture, random weights, the real tokenizer."""

from __future__ import annotations

import torch

from snn_encoder.network.dynamics import NeuronConfig
from snn_encoder.network.model import ModelConfig, SpikingNet
from snn_encoder.recipe import Recipe

SPEC = {"lines": {"talk": 400}, "third_person": {"talk": 60}, "windows": {"talk": 40}}  # of text


def random_net(
    blocks: tuple[int, ...] = (24, 20), seed: int = 0, neuron: NeuronConfig | None = None
) -> SpikingNet:
    """Return a network in evaluation mode whose every weight matters."""
    torch.manual_seed(seed)
    net = SpikingNet(ModelConfig(width=32, blocks=blocks, dim=16, neuron=neuron or NeuronConfig()))
    for name, parameter in net.named_parameters():
        if "context" in name or name.startswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
        elif "conv" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    for name, buffer in net.named_buffers():
        if name.endswith("running_mean"):
            torch.nn.init.normal_(buffer, std=0.2)
        elif name.endswith("running_var"):
            torch.nn.init.uniform_(buffer, 0.5, 1.5)
    return net.eval()


def recipe(net: SpikingNet) -> Recipe:
    return Recipe(name="tiny", model=net.config, corpus={}, stages=())
