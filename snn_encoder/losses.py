"""The terms of the distillation loss, each named after where it comes from.

Shapes: z are student vectors [B, d], y teacher vectors [B, d]; both are normalised here.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cosine(z: Tensor, y: Tensor) -> Tensor:
    """1 − cos(z, y), mean over the batch: the output term of every recipe here."""
    return 1 - functional.cosine_similarity(z, y, dim=-1).mean()


def _similarity_kl(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    log_p = functional.log_softmax(student / tau, dim=-1)
    log_q = functional.log_softmax(teacher / tau, dim=-1)
    return functional.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def relational(z: Tensor, y: Tensor, tau: float = 0.05) -> Tensor:
    """KL between the teacher's and the student's in-batch similarities, without themselves."""
    z, y = functional.normalize(z, dim=-1), functional.normalize(y, dim=-1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    student = (z @ z.T).masked_fill(itself, -1e4)
    teacher = (y @ y.T).masked_fill(itself, -1e4)
    return _similarity_kl(student, teacher, tau)


def bank(z: Tensor, y: Tensor, vectors: Tensor, tau: float = 0.05) -> Tensor:
    """EnOF-SNN's L_AF (NeurIPS 2024): both through the teacher's "classifier".

    For an encoder that classifier is similarity to frozen teacher vectors [K, d], unit rows.
    """
    z, y = functional.normalize(z, dim=-1), functional.normalize(y, dim=-1)
    return _similarity_kl(z @ vectors.T, y @ vectors.T, tau)


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


def info_nce(q: Tensor, p: Tensor, tau: float = 0.05) -> Tensor:
    """InfoNCE of query→passage pairs with in-batch negatives (on prefixes: arXiv 2505.07921)."""
    scores = functional.normalize(q, dim=-1) @ functional.normalize(p, dim=-1).T / tau
    return functional.cross_entropy(scores, torch.arange(len(q), device=q.device))


def firing(mean: Tensor, high: float = 0.15, low: float = 0.0) -> Tensor:
    """Hinge on the levels' mean |rate| outside [low, high], summed (SNN_METHODS 5.4)."""
    return (functional.relu(mean - high) + functional.relu(low - mean)).sum()
