"""Parts that may help training and are thrown away afterwards; no recipe uses them.

- `Heads` (arXiv 2510.06254, and shortcut back-propagation, NeurIPS 2024): a linear map from each
  level's mean rates to the teacher's space; its loss is `losses.branches`.
- `BlockReplacement`: the student's first levels in front of the remaining blocks of a frozen
  partner, so that a level learns from what better blocks make of it. The partner is the teacher
  in `Hybrids` and the student itself in full precision in `FullPrecision`.
- `StudyTrainer` trains with them, and with the terms of `studies.losses`.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snn_encoder.network.model import SpikingNet
from snn_encoder.recipe import Recipe, Stage
from snn_encoder.studies import losses
from snn_encoder.train.losses import cosine
from snn_encoder.train.trainer import Pass, Terms, Trainer

_GROUP = 32  # sentences of like length that the teacher's layers take at once, padded


class Heads(nn.Module):
    """One linear map a level, from mean rates [B, width] to vectors [B, dim]."""

    def __init__(self, widths: Sequence[int], dim: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(width, dim) for width in widths)

    def forward(self, means: Sequence[Tensor]) -> list[Tensor]:
        return [head(mean) for head, mean in zip(self.maps, means, strict=False)]


class BlockReplacement(nn.Module, ABC):
    """Student levels 0…k in front of a frozen partner's remaining blocks; one k a step, in turn.

    Gradients reach the student through the partner's blocks.
    """

    def forward(self, student: Pass, step: int) -> Tensor:
        """Return the mixed network's vectors [B, dim] for a batch."""
        return self.mixed(student, step % self.cuts(student))

    @abstractmethod
    def cuts(self, student: Pass) -> int:
        """Return the number of levels after which the partner can take over."""

    @abstractmethod
    def mixed(self, student: Pass, level: int) -> Tensor:
        """Return the vectors of student levels 0…level and the partner's blocks after them."""


class Hybrids(BlockReplacement):
    """Student levels in front of the teacher's last layers (arXiv 2503.16572 and 2411.01547).

    A connector maps a level's rates to the teacher's hidden states. No surrogate gradient lies
    between the loss and the level.

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

    def cuts(self, student: Pass) -> int:
        return len(student.output.levels)

    def mixed(self, student: Pass, level: int) -> Tensor:
        lengths = student.layout.lengths
        hidden = self.connectors[level](student.output.tokens(level))
        sentences = hidden.split(lengths.tolist())
        order = lengths.argsort()
        rows = order.tolist()
        groups = [rows[i : i + _GROUP] for i in range(0, len(rows), _GROUP)]
        found = [self._rest([sentences[i] for i in group], level) for group in groups]
        return torch.cat(found)[order.argsort()]

    def _rest(self, sentences: list[Tensor], level: int) -> Tensor:
        """Return the vectors that the remaining layers make of sentences [length, d] each."""
        lengths = torch.tensor([len(rows) for rows in sentences], device=sentences[0].device)
        padded = nn.utils.rnn.pad_sequence(sentences, batch_first=True)
        valid = torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]
        mask = torch.where(valid, 0.0, torch.finfo(torch.float32).min)[:, None, None]
        for layer in self._layers[self.first(level) :]:
            out: Any = layer(padded, mask)
            padded = out[0] if isinstance(out, tuple) else out
        weight = valid[..., None].to(padded.dtype)
        mean: Tensor = (padded * weight).sum(1) / weight.sum(1)
        return mean


class FullPrecision(BlockReplacement):
    """Quantised student levels in front of the student's own blocks before quantisation.

    Quantisation-aware training by block replacement (arXiv 2412.15846): a level that is rounded
    learns to feed blocks that are not. Mixed networks are simulated like the student.

    Args:
        net: a network in full precision to copy.
    """

    def __init__(self, net: SpikingNet) -> None:
        super().__init__()
        self.partner = copy.deepcopy(net).requires_grad_(False)
        self.partner.freeze_statistics()

    def take(self, net: SpikingNet) -> None:
        """Copy the weights of a network again."""
        self.partner.load_state_dict(net.state_dict())

    def target(self, student: Pass) -> Tensor:
        """Return the partner's own vectors [B, dim]."""
        self.partner.depth = student.net.depth
        with torch.no_grad():
            return student.through(self.partner)

    def cuts(self, student: Pass) -> int:
        return max(1, student.net.depth)

    def mixed(self, student: Pass, level: int) -> Tensor:
        return student.through(_Spliced(student.net, self.partner, level))


class _Spliced(SpikingNet):
    """Levels 0…level of one network and those behind it of another; weights are shared."""

    def __init__(self, first: SpikingNet, last: SpikingNet, level: int) -> None:
        nn.Module.__init__(self)
        self.config, self.depth, self.bits = first.config, first.depth, first.bits
        self.table, self.token_neuron, self.bias = first.table, first.token_neuron, first.bias
        self.blocks = nn.ModuleList([*first.blocks[:level], *last.blocks[level:]])
        cut = level + 1
        self.readouts = nn.ModuleList([*first.readouts[:cut], *last.readouts[cut:]])


class StudyTrainer(Trainer):
    """A `Trainer` whose stages may also weigh what was tried beside the recipes' terms.

    Args:
        layers: the teacher's layers for the term "hybrid".
        bank: teacher vectors [K, dim], unit rows, for the term "bank".

    Attributes:
        known: the recipes' terms and self_teacher, bank, heads, features, hybrid, full_precision.
    """

    known = Trainer.known | {
        "self_teacher", "bank", "heads", "features", "hybrid", "full_precision",
    }  # fmt: skip

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        layers: Sequence[nn.Module] = (),
        bank: Tensor | None = None,
    ) -> None:
        super().__init__(recipe, folder)
        config = recipe.model
        widths = (config.width, *config.blocks)
        self.bank = bank
        self.heads = Heads(widths, config.dim)
        self.hybrids = Hybrids(layers, widths, config.dim)
        learnt = [*self.heads.parameters(), *self.hybrids.parameters()]
        self.auxiliary = torch.optim.AdamW(learnt, weight_decay=0.01)
        wanted = any("full_precision" in stage.weights for stage in recipe.stages)
        self.full_precision = FullPrecision(self.net) if wanted else None

    def enter(self, stage: Stage) -> None:
        super().enter(stage)
        if self.full_precision is not None:
            self.full_precision.take(self.net)

    def terms(self, student: Pass, y: Tensor, stage: Stage) -> Terms:
        vectors, out = student.output.vectors, super().terms(student, y, stage)
        found: Terms = {}
        if "self_teacher" in stage.weights and len(vectors) > 1:
            found["self_teacher"] = losses.self_teacher(vectors[0], vectors[-1], y)
        if "bank" in stage.weights and self.bank is not None:
            found["bank"] = torch.stack([losses.bank(z, y, self.bank) for z in vectors]).mean()
        if "hybrid" in stage.weights:
            found["hybrid"] = cosine(self.hybrids(student, self.step), y)
        if "full_precision" in stage.weights and self.full_precision is not None:
            target = self.full_precision.target(student)
            both = (vectors[-1], self.full_precision(student, self.step))
            found["full_precision"] = torch.stack([cosine(z, target) for z in both]).mean()
        found |= self._of_heads(student, y, stage)
        return out | {name: stage.weights[name] * value for name, value in found.items()}

    def _of_heads(self, student: Pass, y: Tensor, stage: Stage) -> Terms:
        """Return the terms of heads, which fade out over the stage (weight 1 − step / steps)."""
        if not stage.weights.keys() & {"heads", "features"}:
            return {}
        vectors = self.heads([mean[-1] for mean in student.output.means])
        fade, found = 1 - self.step / stage.steps, {}
        if "heads" in stage.weights:
            found["heads"] = fade * losses.branches(vectors, student.output.vectors[-1], y)
        if "features" in stage.weights:
            found["features"] = fade * losses.features(vectors, y)
        return found

    def optimise(self, stage: Stage, left: float) -> None:
        super().optimise(stage, left)
        for group in self.auxiliary.param_groups:
            group["lr"] = stage.rate * left
        self.auxiliary.step()
        self.auxiliary.zero_grad(set_to_none=True)
