"""Exported weights back in torch: to run on a GPU, to train on, to look inside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from snn_encoder.network.layout import pack
from snn_encoder.network.model import Block, ModelConfig, SpikingNet
from snn_encoder.parameters import Parameters


def restored(parameters: Parameters) -> SpikingNet:
    """Return the network of int8 weights, in evaluation mode."""
    table = torch.from_numpy(parameters.table).float() / 128
    channels = tuple(len(block.bias) for block in parameters.blocks)
    taps = len(parameters.blocks[0].taps) if channels else ModelConfig.taps
    config = ModelConfig(table.shape[1], channels, taps, parameters.dim, len(table))
    net = SpikingNet(config).eval()
    with torch.no_grad():
        net.table.weight.copy_(table)
        net.bias.copy_(torch.from_numpy(parameters.bias))
        for layer, found in zip(net.readouts, parameters.readouts, strict=True):
            assert isinstance(layer, nn.Linear)
            layer.weight.copy_(torch.from_numpy((found.weight * found.scale).T))
        for block, source in zip(net.blocks, parameters.blocks, strict=True):
            assert isinstance(block, Block)
            # the convolution carries the matrix' scales and the folded norm; the norm does nothing
            block.linear.weight.copy_(torch.from_numpy(source.linear.T))
            block.conv.weight.copy_(torch.from_numpy(source.taps))
            block.norm.weight.fill_(1.0)
            block.norm.running_var.fill_(1.0 - block.norm.eps)
            block.norm.bias.copy_(torch.from_numpy(source.bias))
            context = source.context
            block.context.weight.copy_(torch.from_numpy((context.weight * context.scale).T))
            block.context.bias.copy_(torch.as_tensor(context.bias))
    return net


def usable(device: str) -> torch.device:
    """Return a device by name.

    Raises:
        RuntimeError: it is a GPU and torch sees none.
    """
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(f"Device {device!r} was asked for, but torch sees no GPU here.")
    return torch.device(device)


class TorchEncoder:
    """Runs an encoder's weights through torch on a device.

    Raises:
        RuntimeError: the device is a GPU and torch sees none.
    """

    def __init__(self, parameters: Parameters, device: str) -> None:
        self.device = usable(device)
        self.net = restored(parameters).to(self.device)

    @torch.inference_mode()
    def __call__(self, ids: Sequence[Sequence[int]], steps: int) -> np.ndarray:
        """Return float32 [n, dim] unit rows for token ids."""
        flat, layout = pack(ids)
        output = self.net(flat.to(self.device), layout.to(self.device), steps, method="bptt")
        vectors: np.ndarray = (
            nn.functional.normalize(output.vectors[-1], dim=-1).float().cpu().numpy()
        )
        return vectors
