"""What one step exchanges between processes: gradients and their norms; and the state that all of them have."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hybrid import HybridModel
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


def sum_and_clip(
    model: HybridModel,
    personal: Tensor,  # (M, N, d)
    loss: Tensor,  # (M,)
    largest: float | None,
    shard: Shard,
) -> Tensor:  # (M,)
    """Sum the shared gradients over processes; scale each member's whole gradient to at most `largest`; the loss of all.

    Gradients that no loss reached stay None.
    """
    shared = [p.grad for p in model.parameters() if p.grad is not None]
    own = [] if personal.grad is None else [personal.grad]
    M = loss.shape[0]
    square = torch.stack([loss.new_zeros(M), *(g.flatten(1).square().sum(1) for g in own)]).sum(0)  # (M,)
    if shard.world > 1:
        # one exchange for everything: many small ones would each wait
        flat = shard.total(torch.cat([*(g.reshape(-1) for g in shared), square, loss]))
        *parts, square, loss = flat.split([*(g.numel() for g in shared), M, M])
        for g, part in zip(shared, parts, strict=True):
            g.copy_(part.view_as(g))
    if largest is not None:
        stacked = [g for g in shared if g.shape[0] == M]
        norm = torch.stack([*(g.flatten(1).square().sum(1) for g in stacked), square]).sum(0).sqrt()  # (M,)
        factor = (largest / norm.clamp(min=1e-12)).clamp(max=1.0)
        for g in [*stacked, *own]:
            g.mul_(factor.reshape(-1, *[1] * (g.ndim - 1)))
    return loss
