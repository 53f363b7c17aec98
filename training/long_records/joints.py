"""What joins the windows of long records: the variables of an augmented Lagrangian."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Joints:
    """What joins the windows of everyone: the augmented Lagrangian Σ_w λ_w·d_w + ρ/2 Σ_w |d_w|², d in the states' scales.

    `starts` (M, N, W-1, n) of the windows after the first, in the states' scales · `multiplier` λ (M, N, W-1, n) · `rho` ρ (M, N)
    · `before` (M, N), each person's |d| at the last update of λ · `gap`, the d of the last step. Changed in place, so that a
    captured graph and a checkpoint go on with the same tensors.
    """

    starts: Tensor
    multiplier: Tensor
    rho: Tensor
    before: Tensor
    gap: Tensor
    growth: float

    @staticmethod
    def of(starts: Tensor, stiffness: float, growth: float) -> "Joints":
        """Before the first step."""
        each = starts.new_ones(starts.shape[:2])
        begin = starts.detach().clone().requires_grad_()
        nothing = torch.zeros_like(begin, requires_grad=False)
        return Joints(begin, nothing, stiffness * each, torch.inf * each, nothing.clone(), growth)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What a step changes, by name."""
        return {name: getattr(self, name) for name in ("starts", "multiplier", "rho", "before", "gap")}

    def cost(self, d: Tensor, share: Tensor) -> Tensor:  # (M, N, W-1, n), (M, N) -> (M,)
        """What the defects cost each member."""
        self.gap.copy_(d.detach())
        each = (self.multiplier * d).sum((-1, -2)) + 0.5 * self.rho * d.square().sum((-1, -2))
        return (share * each).sum(1)

    def multiply(self) -> None:
        """λ ← λ + ρ d; ρ grows for the people whose |d| has not fallen fourfold."""
        self.multiplier.add_(self.rho[..., None, None] * self.gap)
        size = self.gap.square().sum((-1, -2)).sqrt()  # (M, N)
        self.rho.copy_(torch.where(size > 0.25 * self.before, self.growth * self.rho, self.rho))
        self.before.copy_(size)

    def defect(self, counted: Tensor) -> Tensor:  # (M, N) bool -> (M,)
        """The largest |d| of the people whom each member counts."""
        of = torch.where(counted[..., None, None], self.gap.abs(), 0.0).flatten(1)
        return of.amax(1) if of.shape[1] else of.sum(1)
