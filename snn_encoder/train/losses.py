"""The terms of the distillation loss; those that recipes do not use are in `studies.losses`.

Shapes: z are student vectors [B, d], y teacher vectors [B, d]; both are normalised here. A term of
these two belongs into `TERMS`, under the name that a stage's `weights` give it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def cosine(z: Tensor, y: Tensor) -> Tensor:
    """1 − cos(z, y), mean over the batch: the output term of every recipe here."""
    return 1 - functional.cosine_similarity(z, y, dim=-1).mean()


def similarity_kl(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """KL between the softmax of the teacher's and of the student's similarities, [B, K] each."""
    log_p = functional.log_softmax(student / tau, dim=-1)
    log_q = functional.log_softmax(teacher / tau, dim=-1)
    return functional.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def relational(z: Tensor, y: Tensor, tau: float = 0.05) -> Tensor:
    """KL between the teacher's and the student's in-batch similarities, without themselves."""
    z, y = functional.normalize(z, dim=-1), functional.normalize(y, dim=-1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    student = (z @ z.T).masked_fill(itself, -1e4)
    teacher = (y @ y.T).masked_fill(itself, -1e4)
    return similarity_kl(student, teacher, tau)


def firing(mean: Tensor, high: float = 0.15, low: float = 0.0) -> Tensor:
    """Hinge on the levels' mean |rate| outside [low, high], summed (docs/methods.md, firing)."""
    return (functional.relu(mean - high) + functional.relu(low - mean)).sum()


TERMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cosine": cosine, "relational": relational}
