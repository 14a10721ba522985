"""Loss terms that were tried and are in no recipe, each named after where it comes from.

Shapes as in `train.losses`: z are student vectors [B, d], y teacher vectors [B, d].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from snn_encoder.train.losses import cosine, similarity_kl


def bank(z: Tensor, y: Tensor, vectors: Tensor, tau: float = 0.05) -> Tensor:
    """EnOF-SNN's L_AF (NeurIPS 2024): both through the teacher's "classifier".

    For an encoder that classifier is similarity to frozen teacher vectors [K, d], unit rows.
    """
    z, y = functional.normalize(z, dim=-1), functional.normalize(y, dim=-1)
    return similarity_kl(z @ vectors.T, y @ vectors.T, tau)


def self_teacher(z: Tensor, z_last: Tensor, y: Tensor) -> Tensor:
    """Full-range-timestep self-distillation (arXiv 2501.15925) for vectors.

    A prefix's vector follows the full run's, only where that one is reliable: its nearest
    teacher vector in the batch is its own. Zero when none is.
    """
    target = functional.normalize(z_last.detach(), dim=-1)
    nearest = (target @ functional.normalize(y, dim=-1).T).argmax(-1)
    reliable = nearest == torch.arange(len(y), device=y.device)
    if not reliable.any():
        return z.sum() * 0
    return 1 - functional.cosine_similarity(z[reliable], target[reliable], dim=-1).mean()


def branches(outputs: list[Tensor], z: Tensor, y: Tensor, beta: float = 0.3) -> Tensor:
    """Self-distillation among heads (arXiv 2510.06254) for vectors.

    Each head follows the teacher, and the mean of those heads (and of z) that are reliable for
    the text: nearest to its own teacher vector in the batch. Texts without one are left out.
    """
    target = functional.normalize(y, dim=-1)
    own = torch.arange(len(y), device=y.device)
    unit = torch.stack([functional.normalize(x, dim=-1) for x in (*outputs, z)])
    reliable = (unit @ target.T).argmax(-1) == own
    total = torch.stack([cosine(x, y) for x in outputs]).sum()
    valid = reliable.any(0)
    if valid.any():
        mean = (unit.detach() * reliable[..., None]).sum(0)[valid]
        total = total + beta * torch.stack([cosine(x[valid], mean) for x in outputs]).sum()
    return total


def features(outputs: list[Tensor], y: Tensor) -> Tensor:
    """KDSNN's feature term (CVPR 2023): squared error of heads to the teacher."""
    target = functional.normalize(y, dim=-1)
    errors = [(functional.normalize(x, dim=-1) - target).square().sum(-1).mean() for x in outputs]
    return torch.stack(errors).sum()
