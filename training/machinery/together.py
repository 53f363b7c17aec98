"""What one step exchanges between processes: gradients and their norms; and the state that all of them have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.machinery.checkpoint import Checkpoint, Saved
from training.machinery.distributed import Shard


def latest_of(checkpoint: Checkpoint, fingerprint: Mapping[str, Any], shard: Shard) -> Saved | None:
    """The state to go on from: the latest one that every process has."""
    found = {saved.index: saved for saved in reversed(checkpoint.read(fingerprint))}
    index = shard.latest_common(sorted(found)) if shard.world > 1 else max(found, default=None)
    if index is None:
        return None
    checkpoint.back_to(found[index])
    return found[index]


@dataclass(frozen=True)
class Part:
    """Tensors whose gradients are clipped together: `shared` (M, …) by everyone, summed over processes, and people's `own`."""

    shared: Sequence[Tensor]
    own: Sequence[Tensor] = ()


def sum_and_clip(
    parts: Sequence[Part],
    losses: Tensor,  # (K, M)
    largest: float | None,
    shard: Shard,
) -> Tensor:  # (K, M)
    """Sum the shared gradients over processes; scale each member's gradient of each part to at most `largest`; the losses of all.

    Gradients that no loss reached stay None. A tensor that all members share, (1, …), is not scaled.
    """
    M = losses.shape[1]
    shared = [[t.grad for t in part.shared if t.grad is not None] for part in parts]
    own = [[t.grad for t in part.own if t.grad is not None] for part in parts]
    nothing = losses.new_zeros(M)
    squares = torch.stack([torch.stack([nothing, *(_square(g) for g in part)]).sum(0) for part in own])  # (parts, M)
    if shard.world > 1:
        # one exchange for everything: many small ones would each wait
        every = [g for part in shared for g in part]
        flat = shard.total(torch.cat([*(g.reshape(-1) for g in every), squares.reshape(-1), losses.reshape(-1)]))
        *summed, total, said = flat.split([*(g.numel() for g in every), squares.numel(), losses.numel()])
        for g, value in zip(every, summed, strict=True):
            g.copy_(value.view_as(g))
        squares, losses = total.view_as(squares), said.view_as(losses)
    if largest is not None:
        for mine, others, square in zip(shared, own, squares, strict=True):
            stacked = [g for g in mine if g.shape[0] == M]
            norm = torch.stack([*(_square(g) for g in stacked), square]).sum(0).sqrt()  # (M,)
            factor = (largest / norm.clamp(min=1e-12)).clamp(max=1.0)
            for g in [*stacked, *others]:
                g.mul_(factor.reshape(-1, *[1] * (g.ndim - 1)))
    return losses


def _square(gradient: Tensor) -> Tensor:  # (M,)
    return gradient.flatten(1).square().sum(1)
