"""Slope and curvature of everyone's marginal likelihood along the numbers of a population, at one point of every member."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid import HybridModel, SimulationError, Solver
from learned import select
from training.descent import flat, place
from training.inference.approximations import Approximation, copies_of_each, marginal
from training.people.cohort import Cohort

_STEP = 1e-3  # h of the central differences of an exact gradient: truncation h² and the gradient's own 1e-8/h meet about here
_ROWS = 40_000  # simulated at once with their graph


@dataclass(frozen=True)
class Slope:
    """Σ_i w_i [−log p(y_i)] at a point: `value` (M, N) of each person, `total` (M,), `gradient` (M, P) and everyone's `mode`."""

    value: Tensor
    total: Tensor
    gradient: Tensor
    mode: Tensor


@dataclass(frozen=True)
class Curved:
    """A `Slope` with the `information` (M, P, P), the Hessian of the total, and each person's own `scores` (M, N, P).

    `noise` (M,): half the largest difference between an element of the Hessian and its mirror, which should be none.
    """

    at: Slope
    information: Tensor
    scores: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Likelihood:
    """The marginal likelihood of a cohort by one approximation, as a function of the named tensors of a model."""

    cohort: Cohort
    weights: Tensor  # (M, N)
    names: list[str]
    approximation: Approximation
    nodes: int
    solver: Solver | None

    def slope(self, model: HybridModel, start: Tensor | None, weights: Tensor | None = None) -> Slope:
        """At the model's own numbers, so many members and people at once as memory has room for.

        Errors: `SimulationError` for somebody who counts and cannot be simulated.
        """
        weights = self.weights if weights is None else weights
        M, N, d = model.members, self.cohort.conditions.size, model.personal
        each = max(1, _ROWS // copies_of_each(self.approximation, self.nodes, d))
        some = max(1, each // N)  # members at once
        parts = []
        for index in torch.arange(M).split(some):
            own = model if len(index) == M else select(model, index)
            parts.append(self._of_members(own, None if start is None else start[index], weights[index], each))
        return Slope(
            torch.cat([p.value for p in parts]),
            torch.cat([p.total for p in parts]),
            torch.cat([p.gradient for p in parts]),
            torch.cat([p.mode for p in parts]),
        )

    def _of_members(self, model: HybridModel, start: Tensor | None, weights: Tensor, each: int) -> Slope:
        M, N = weights.shape
        tensors = [model.get_parameter(name) for name in self.names]
        value, mode = weights.new_zeros(M, N), weights.new_zeros(M, N, model.personal)
        gradient = weights.new_zeros(M, sum(p.numel() // len(p) for p in tensors))
        for rows in torch.arange(N, device=weights.device).split(max(1, each // M)):
            cohort = self.cohort if len(rows) == N else self.cohort.people(rows)
            found = marginal(
                model,
                cohort,
                self.approximation,
                nodes=self.nodes,
                start=None if start is None else start[:, rows],
                solver=self.solver,
            )
            counts = weights[:, rows] > 0.0
            for i, why in found.failed.items():
                if bool(counts[:, i].any()):
                    raise SimulationError(f"the likelihood has no value here: {why}")
            total = torch.where(counts, weights[:, rows] * torch.where(counts, found.value, 0.0), 0.0).sum()
            own = torch.autograd.grad(total, tensors, allow_unused=True)
            gradient += torch.cat(
                [(torch.zeros_like(p) if g is None else g).reshape(M, -1) for p, g in zip(tensors, own, strict=True)], 1
            )
            value[:, rows], mode[:, rows] = found.value.detach(), found.mode
        total = torch.where(weights > 0.0, weights * value, 0.0).sum(1)
        return Slope(value, total, gradient, mode)

    def curved(self, model: HybridModel, start: Tensor | None) -> Curved:
        """Slope and Hessian: central differences of the exact gradient, all moved models members of one computation."""
        at = self.slope(model, start)
        M, P = at.gradient.shape
        N, point = self.weights.shape[1], flat(model, self.names)
        offsets = _STEP * torch.eye(P, dtype=point.dtype, device=point.device)
        moved = point[:, None] + torch.cat([offsets, -offsets])  # (M, 2P, P)
        who = torch.arange(M, device=point.device).repeat_interleave(2 * P)
        aside = select(model, who)
        place(aside, self.names, moved.reshape(M * 2 * P, P))
        found = self.slope(aside, at.mode[who], self.weights[who])
        gradient = found.gradient.reshape(M, 2, P, P)
        hessian = (gradient[:, 0] - gradient[:, 1]) / (2.0 * _STEP)
        value = found.value.reshape(M, 2, P, N)
        scores = ((value[:, 0] - value[:, 1]) / (2.0 * _STEP)).mT  # (M, N, P)
        noise = 0.5 * (hessian - hessian.mT).abs().amax((1, 2)) if P else hessian.new_zeros(M)
        return Curved(at, 0.5 * (hessian + hessian.mT), scores, noise)


@dataclass(frozen=True)
class Seen:
    """What an information matrix determines: of one member.

    `covariance` (P, P) along the directions that are seen, 0 along the others · `unseen` (K, P), unit vectors along which the
    likelihood does not bend, beyond what rounding could make · `saddle` (L, P), along which it bends the wrong way.
    """

    covariance: Tensor
    unseen: Tensor
    saddle: Tensor


def seen(information: Tensor, noise: Tensor) -> Seen:  # (P, P), ()
    """Split into what the likelihood determines and what it does not.

    The matrix is first scaled to a diagonal of ones, so that units play no part. A number without curvature of its own is not
    seen; nor is a direction whose eigenvalue then is below 1e−7, or below what the matrix is asymmetric by.
    """
    P = len(information)
    diagonal = information.diagonal()
    floor = 20.0 * noise + 1e-10 * diagonal.abs().amax() if P else noise
    alive = diagonal > floor
    rows = torch.nonzero(alive)[:, 0]
    eye = torch.eye(P, dtype=information.dtype, device=information.device)
    unseen, saddle = (
        [eye[j] for j in torch.nonzero(diagonal.abs() <= floor)[:, 0]],
        [eye[j] for j in torch.nonzero(diagonal < -floor)[:, 0]],
    )
    covariance = torch.zeros_like(information)
    if len(rows):
        scale = diagonal[rows].rsqrt()
        size, axes = torch.linalg.eigh(scale[:, None] * information[rows][:, rows] * scale)
        least = max(1e-7, float(20.0 * noise * scale.amax().square()))
        for k, eigenvalue in enumerate(size.tolist()):
            if eigenvalue <= least:
                way = eye.new_zeros(P)
                way[rows] = scale * axes[:, k]
                (unseen if eigenvalue > -least else saddle).append(way / way.norm())
        good = size > least
        root = scale[:, None] * axes[:, good] * size[good].rsqrt()
        covariance[rows[:, None], rows] = root @ root.mT
    nothing = eye[:0]
    return Seen(covariance, torch.stack(unseen) if unseen else nothing, torch.stack(saddle) if saddle else nothing)


def decrement(gradient: Tensor, covariance: Tensor) -> float:
    """By how much −2 log L would still fall, by the quadratic, along all that is seen: gᵀ I⁻¹ g."""
    fall = float(gradient @ covariance @ gradient)
    return fall if math.isfinite(fall) else math.inf
