"""One training run: network, optimisers, progress, and what a single step does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snn_encoder.network.layout import Layout, pack
from snn_encoder.network.model import Output, SpikingNet
from snn_encoder.network.neurons import Neuron
from snn_encoder.network.restore import usable
from snn_encoder.recipe import Recipe, Stage
from snn_encoder.tokenizer import load_tokenizer
from snn_encoder.train import losses

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Pass:
    """One batch through the student: what went in (see `SpikingNet.forward`) and came out."""

    net: SpikingNet
    ids: Tensor
    layout: Layout
    timesteps: int
    snapshots: tuple[int, ...]
    method: str
    output: Output

    def through(self, net: SpikingNet) -> Tensor:
        """Return the vectors [B, dim] of another network for the same batch."""
        output = net(self.ids, self.layout, self.timesteps, self.snapshots, self.method)
        vectors: Tensor = output.vectors[-1]
        return vectors


class Optimisers:
    """AdamW for dense weights, sparse Adam for the table's touched rows."""

    def __init__(self, net: SpikingNet) -> None:
        table = net.table.weight
        token = [*net.readouts[0].parameters(), net.bias]
        known = {id(p) for p in (table, *token)}
        others = [p for p in net.parameters() if id(p) not in known]
        groups = [
            {"params": [p for p in part if (p.ndim > 1) == wide], "weight_decay": decay}
            for part in (token, others)
            for wide, decay in ((True, 0.01), (False, 0.0))
        ]
        self.dense = torch.optim.AdamW([g for g in groups if g["params"]], betas=(0.9, 0.98))
        self.sparse = torch.optim.SparseAdam([table], betas=(0.9, 0.98))
        self.parameters = [*token, *others]

    def step(self, rate: float, table_rate: float, token_rate: float) -> None:
        for place, group in enumerate(self.dense.param_groups):
            group["lr"] = token_rate if place < 2 else rate
        for group in self.sparse.param_groups:
            group["lr"] = table_rate
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.dense.step()
        self.sparse.step()  # type: ignore[no-untyped-call]
        self.dense.zero_grad(set_to_none=True)
        self.sparse.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        return {"dense": self.dense.state_dict(), "sparse": self.sparse.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.dense.load_state_dict(state["dense"])
        self.sparse.load_state_dict(state["sparse"])


def encode_with(
    net: SpikingNet,
    texts: Sequence[str],
    timesteps: int,
    max_tokens: int = 256,
) -> np.ndarray:
    """Return unit vectors float32 [n, dim] of texts by the network in training."""
    ids = [
        e.ids[:max_tokens] or [100]
        for e in load_tokenizer().encode_batch_fast(list(texts), add_special_tokens=False)
    ]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    out = np.empty((len(ids), net.config.dim), dtype=np.float32)
    training, device = net.training, net.bias.device
    net.eval()
    with torch.no_grad():
        for start in range(0, len(order), 256):
            rows = order[start : start + 256]
            flat, layout = pack([ids[i] for i in rows])
            z = net(flat.to(device), layout.to(device), timesteps, method="bptt").vectors[-1]
            out[rows] = torch.nn.functional.normalize(z, dim=-1).cpu().numpy()
    net.train(training)
    return out


class Trainer:
    """Everything of a run that a checkpoint restores; on one device.

    Attributes:
        known: names of loss terms that a stage's `weights` may hold.

    Raises:
        ValueError: a stage weighs a loss term that there is not.
        RuntimeError: a GPU was asked for and there is none.
    """

    known = frozenset({*losses.TERMS, "firing"})

    def __init__(self, recipe: Recipe, folder: Path, device: str = "cpu") -> None:
        self._check(recipe)
        torch.manual_seed(recipe.seed)
        self.recipe, self.folder, self.device = recipe, folder, usable(device)
        self.net = SpikingNet(recipe.model).to(self.device)
        self.optimisers = Optimisers(self.net)
        self.stage, self.step, self.seconds, self.texts = 0, 0, 0.0, 0
        self.sources: dict[str, int] = {}  # corpora, as `corpora.sources` counts them

    def _check(self, recipe: Recipe) -> None:
        for stage in recipe.stages:
            for name in stage.weights.keys() - self.known:
                raise ValueError(
                    f"Stage {stage.name!r} weighs a term {name!r}, which training does not have: "
                    f"{', '.join(sorted(self.known))}."
                )

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint in one move, so that an interruption leaves the old one."""
        unfinished = self.checkpoint.with_suffix(".part")
        torch.save(
            {
                "net": self.net.state_dict(),
                "optimisers": self.optimisers.state_dict(),
                "random": torch.get_rng_state(),
                "progress": (self.stage, self.step, self.seconds, self.texts),
                "sources": self.sources,
            },
            unfinished,
        )
        unfinished.replace(self.checkpoint)

    def resume(self) -> None:
        """Go on from the checkpoint.

        Raises:
            ValueError: it was made with another configuration.
        """
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        try:
            self.net.load_state_dict(state["net"])
        except RuntimeError as error:
            raise ValueError(
                f"{self.checkpoint} holds a network of another configuration: resume with that "
                "one, or train into another folder."
            ) from error
        self.optimisers.load_state_dict(state["optimisers"])
        torch.set_rng_state(state["random"])
        self.stage, self.step, self.seconds, self.texts = state["progress"]
        self.sources = state.get("sources", {})

    def enter(self, stage: Stage) -> None:
        """Set the network up for a stage."""
        self.net.depth = stage.depth
        self.net.freeze_statistics(stage.frozen)
        self.net.quantise(stage.bits)
        for module in self.net.modules():
            if isinstance(module, Neuron):
                module.config = type(module.config)(
                    **{**vars(module.config), "perturbation": stage.perturbation}
                )

    def update(
        self, stage: Stage, ids: list[np.ndarray], y: Tensor, elapsed: float = 0.0
    ) -> dict[str, float]:
        """Take one optimiser step; return the terms' values.

        Args:
            ids: token ids of each text; y: their teacher vectors [B, dim].
            elapsed: share of the time that is over: learning rates fall to their end by
                the last step or by the end of the time, whichever comes first.

        Raises:
            FloatingPointError: a term is not finite; names the step and the term.
        """
        values = self.terms(self._through(stage, ids), y.to(self.device), stage)
        for name, value in values.items():
            if not torch.isfinite(value):
                raise FloatingPointError(
                    f"{name} became {value.item()} at step {self.step} of stage {stage.name!r}."
                )
        torch.autograd.backward(torch.stack(list(values.values())).sum())
        warm = min(1.0, (self.step + 1) / 100)
        done = min(1.0, max(self.step / stage.steps, elapsed))
        self.optimise(stage, warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))))
        self.step += 1
        self.texts += len(ids)
        return {name: value.item() for name, value in values.items()}

    def _through(self, stage: Stage, ids: list[np.ndarray]) -> Pass:
        """Send a batch through the network, with one of the stage's step counts."""
        flat = torch.from_numpy(np.concatenate(ids).astype(np.int64)).to(self.device)
        layout = Layout(torch.tensor([len(row) for row in ids])).to(self.device)
        pick = np.random.default_rng((self.recipe.seed, self.stage, self.step))
        timesteps = int(pick.choice(stage.timesteps))
        shorter = [t for t in stage.snapshots if t < timesteps]
        snapshots = (int(pick.choice(shorter)), timesteps) if shorter else (timesteps,)
        output = self.net(flat, layout, timesteps, snapshots, stage.method)
        return Pass(self.net, flat, layout, timesteps, snapshots, stage.method, output)

    def terms(self, student: Pass, y: Tensor, stage: Stage) -> Terms:
        """Return the weighted terms of one batch; those of `losses.TERMS` a snapshot each."""
        weights, vectors = stage.weights, student.output.vectors
        out: Terms = {}
        for z in vectors:
            for name, term in losses.TERMS.items():
                if name in weights:
                    value = weights[name] * term(z, y) / len(vectors)
                    out[name] = out.get(name, z.new_zeros(())) + value
        firing = losses.firing(student.output.firing, stage.firing)
        out["firing"] = weights.get("firing", 20.0) * firing
        return out

    def optimise(self, stage: Stage, left: float) -> None:
        """Move the weights along their gradients, at a share of the stage's rates."""
        token_rate = stage.rate if stage.token_rate is None else stage.token_rate
        self.optimisers.step(stage.rate * left, stage.table_rate * left, token_rate * left)
