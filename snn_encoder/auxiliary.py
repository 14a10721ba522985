"""Parts that help training and are thrown away afterwards: heads and hybrids.

- `Heads` (arXiv 2510.06254, and shortcut back-propagation, NeurIPS 2024): a linear map from each
  level's mean rates to the teacher's space; its loss is `losses.branches`.
- `Hybrids` (block replacement; arXiv 2503.16572 and 2411.01547): the student's first levels,
  a connector, and the teacher's remaining layers, frozen. Gradients reach the student through
  layers that have no surrogate in them. One hybrid is drawn a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snn_encoder.layout import Layout


class Heads(nn.Module):
    """One linear map a level, from mean rates [B, width] to vectors [B, dim]."""

    def __init__(self, widths: Sequence[int], dim: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(width, dim) for width in widths)

    def forward(self, means: Sequence[Tensor]) -> list[Tensor]:
        return [head(mean) for head, mean in zip(self.maps, means, strict=False)]


class Hybrids(nn.Module):
    """Student levels 0…k in front of the teacher's last layers.

    Args:
        layers: the teacher's transformer layers, each from (hidden [B, L, d], additive mask) to
            hidden; used as they are and never trained.
        widths: channels of the student's levels.
        dim: d, the teacher's hidden size.
    """

    def __init__(self, layers: Sequence[nn.Module], widths: Sequence[int], dim: int) -> None:
        super().__init__()
        self._layers = list(layers)  # a plain list keeps them out of parameters and checkpoints
        for layer in self._layers:
            layer.requires_grad_(False)
        self.connectors = nn.ModuleList(
            nn.Sequential(nn.Linear(width, dim), nn.LayerNorm(dim)) for width in widths
        )

    def first(self, level: int) -> int:
        """Return the first teacher layer after student level `level`: an even share of them."""
        return round((level + 1) * len(self._layers) / (len(self.connectors) + 1))

    def forward(self, rates: Tensor, layout: Layout, level: int) -> Tensor:
        """Return the hybrid's vectors [B, dim] from a level's rates per token [N, width]."""
        hidden = self.connectors[level](rates)
        width = int(layout.lengths.max())
        place = torch.cat([torch.arange(n) for n in layout.lengths.tolist()])
        padded = hidden.new_zeros(layout.count, width, hidden.shape[-1])
        padded = padded.index_put((layout.segment, place), hidden)
        valid = torch.arange(width)[None] < layout.lengths[:, None]
        mask = torch.where(valid, 0.0, torch.finfo(torch.float32).min)[:, None, None]
        for layer in self._layers[self.first(level) :]:
            out: Any = layer(padded, mask)
            padded = out[0] if isinstance(out, tuple) else out
        weight = valid[..., None].to(padded.dtype)
        mean: Tensor = (padded * weight).sum(1) / weight.sum(1)
        return mean
