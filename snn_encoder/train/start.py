"""What a network knows before its training: the teacher's tokens, or trained weights."""

from __future__ import annotations

import torch
from torch import nn

from snn_encoder.distill.teacher import Teacher
from snn_encoder.inference import SpikingEncoder
from snn_encoder.network.model import SpikingNet
from snn_encoder.network.restore import restored


def initial_table(net: SpikingNet, teacher: Teacher, seed: int) -> None:
    """Set table and read-out from the teacher's single-token vectors (model2vec's start).

    The main directions are turned at random, so that every channel carries a like share and
    fires alike.
    """
    config = net.config
    vectors = torch.from_numpy(teacher.token_vectors(config.vocabulary))
    centre = vectors.mean(0)
    _, _, axes = torch.linalg.svd(vectors - centre, full_matrices=False)
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(config.width, config.width, generator=generator))[0]
    basis = axes[: config.width].T @ turn
    table = (vectors - centre) @ basis
    scale = config.gain / table.std()
    readout = net.readouts[0]
    assert isinstance(readout, torch.nn.Linear)
    with torch.no_grad():
        net.table.weight.copy_(table * scale)
        readout.weight.copy_(basis / scale)
        net.bias.copy_(centre)


def start_from(net: SpikingNet, weights: str) -> None:
    """Take table, read-out and bias of trained weights of the same width.

    The blocks' read-outs start at zero: the network begins as the table alone, and a block has
    to earn what it changes.
    """
    trained = restored(SpikingEncoder.from_pretrained(weights).parameters)
    net.table.load_state_dict(trained.table.state_dict())
    net.bias.data.copy_(trained.bias.data)
    net.readouts[0].load_state_dict(trained.readouts[0].state_dict())
    for readout in list(net.readouts)[1:]:
        assert isinstance(readout, nn.Linear)
        nn.init.zeros_(readout.weight)
