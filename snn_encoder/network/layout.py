"""Sentences laid end to end: no padding exists, so it can enter no statistic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Layout:
    """Where the sentences of a batch lie in one sequence of N tokens.

    Args:
        lengths: int64 [B], tokens of each sentence, at least 1.
        gap: rows of zeros between sentences that a convolution needs.

    Attributes:
        segment: int64 [N], the sentence of each token.
        spaced: int64 [N], each token's row in a sequence with gaps.
        source: int64 [rows of that sequence], the token of each row, N for a gap.
    """

    def __init__(self, lengths: Tensor, gap: int = 2) -> None:
        self.lengths = lengths
        self.count = len(lengths)
        self.segment = torch.repeat_interleave(torch.arange(self.count), lengths)
        self.gap = gap
        self.spaced = torch.arange(len(self.segment)) + gap * (self.segment + 1)
        tokens = len(self.segment)
        self.source = torch.full((tokens + gap * (self.count + 1),), tokens)
        self.source[self.spaced] = torch.arange(tokens)

    def to(self, device: str | torch.device) -> Layout:
        for name in ("lengths", "segment", "spaced", "source"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def mean(self, x: Tensor) -> Tensor:
        """Sentence means: [k, N, d] to [k, B, d]."""
        total = x.new_zeros(len(x), self.count, x.shape[-1]).index_add(1, self.segment, x)
        return total / self.lengths[:, None]

    def mean_of_distinct(self, x: Tensor, inverse: Tensor) -> Tensor:
        """Sentence means from rows of distinct tokens: [k, U, d] to [k, B, d].

        Args:
            inverse: int64 [N], the row of each token.
        """
        width = x.shape[1]
        cells = torch.bincount(self.segment * width + inverse, minlength=self.count * width)
        return cells.view(self.count, width).to(x.dtype) @ x / self.lengths[:, None]


def pack(ids: Sequence[Sequence[int]]) -> tuple[Tensor, Layout]:
    """Return the token ids [N] of a batch end to end, and their layout."""
    flat = torch.tensor([i for sentence in ids for i in sentence], dtype=torch.long)
    return flat, Layout(torch.tensor([len(sentence) for sentence in ids]))


_ROWS = 256


class _DepthwiseRows(torch.autograd.Function):
    """y[i] = Σ_k w[k] ⊙ x[i + k − K//2] over the rows of [M, d].

    Written out because torch's own backward of this convolution takes about five times as long
    on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _rows_conv(x, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        grad = grads[0].contiguous()
        half = len(weight) // 2
        grad_weight = torch.zeros_like(weight)
        rows = len(x)
        piece = _ROWS if x.device.type == "cpu" else rows  # pieces stay in the processor's cache
        for start in range(0, rows, piece):
            for k in range(len(weight)):
                shift = k - half
                low, high = max(start, -shift), min(start + piece, rows, rows - shift)
                if low < high:
                    grad_weight[k] += (grad[low:high] * x[low + shift : high + shift]).sum(0)
        return _rows_conv(grad, weight.flip(0)), grad_weight


def _rows_conv(x: Tensor, weight: Tensor) -> Tensor:
    taps, channels = weight.shape
    image = x.contiguous().view(1, 1, len(x), channels).permute(0, 3, 1, 2)  # channels last
    out = functional.conv2d(
        image, weight.t().reshape(channels, 1, 1, taps), padding=(0, taps // 2), groups=channels
    )
    return out.permute(0, 2, 3, 1).reshape(len(x), channels)


class TokenConv(nn.Module):
    """Depth-wise convolution over the tokens of each sentence, zeros beyond its ends.

    Args:
        channels: d.
        taps: odd kernel size; the layout's gap must be at least half of it.
    """

    def __init__(self, channels: int, taps: int = 5) -> None:
        super().__init__()
        weight = torch.randn(taps, channels) * 0.1
        weight[taps // 2] += 1.0
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor, layout: Layout, rows: Tensor | None = None) -> Tensor:
        """[k, R, d] to [k, N, d].

        Args:
            rows: int64 [N], the row of x of each token; token i's is row i when left out.
        """
        count, height, channels = x.shape
        source = layout.source
        if rows is not None:
            source = torch.cat([rows, rows.new_tensor([height])])[source]
        spaced = torch.cat([x, x.new_zeros(count, 1, channels)], 1).index_select(1, source)
        out: Tensor = _DepthwiseRows.apply(  # type: ignore[no-untyped-call]
            spaced.view(-1, channels), self.weight
        )
        return out.view(count, -1, channels).index_select(1, layout.spaced)
