"""Slope and curvature of everyone's marginal likelihood along the numbers of a population, at one point of every member."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid import HybridModel, SimulationError, Solver
from learned import select
from training.inference.approximations import Approximation, copies_of_each, marginal
from training.inference.estimates import loosest
from training.loop.descent import flat, place
from training.people.cohort import Cohort

_STEP = 1e-3  # h of the central differences of an exact gradient: truncation h² and the gradient's own 1e-8/h meet about here
_OF_ERROR = (
    0.01  # the same of a number that has a unit, in its own standard errors, which is all that says how large it is
)
_WITHIN = (2e-3, 0.05)  # of a standard error: where such a step is as good
_LONGEST = 0.5  # what a number may be moved by in one step of a search: a logarithm
_ERRORS = 5.0  # … and one that has a unit, in its standard errors
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

    `size` (M, P): what each number is counted in, 1 for logarithms and their like, its own standard error with all others known
    for what has a unit, and NaN where that could not be found, since the likelihood does not bend · `loosest`
    (M, P): the standard error of each number, with all others known, beyond which an estimate that it moves is as good as not
    known · `noise` (M,): half the largest difference between an element of the Hessian and its mirror, which should be none, in
    these sizes.
    """

    at: Slope
    information: Tensor
    scores: Tensor
    size: Tensor
    loosest: Tensor
    noise: Tensor

    @property
    def longest(self) -> Tensor:  # (M, P)
        """What a step of a search may move each number by."""
        return torch.where(self.size == 1.0, _LONGEST, _ERRORS * torch.nan_to_num(self.size, nan=0.0))


@dataclass(frozen=True)
class Likelihood:
    """The marginal likelihood of a cohort by one approximation, as a function of the named tensors of a model."""

    cohort: Cohort
    weights: Tensor  # (M, N)
    names: list[str]
    united: Tensor  # (P,) bool, which numbers have a unit, and are not logarithms or their like
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
        step = torch.full_like(point, _STEP)
        hessian, scores = point.new_zeros(M, P, P), point.new_zeros(M, N, P)
        lost = torch.zeros_like(point, dtype=torch.bool)
        asked = torch.ones_like(lost)
        for _ in range(4):
            member, j = torch.nonzero(asked, as_tuple=True)
            if not len(member):
                break
            who = member.repeat_interleave(2)
            moved = point[who]
            moved[torch.arange(len(who)), j.repeat_interleave(2)] += step[member, j].repeat_interleave(
                2
            ) * point.new_tensor([1.0, -1.0]).repeat(len(member))
            aside = select(model, who)
            place(aside, self.names, moved)
            found = self.slope(aside, at.mode[who], self.weights[who])
            h = 2.0 * step[member, j]
            hessian[member, j] = (found.gradient[::2] - found.gradient[1::2]) / h[:, None]
            scores[member, :, j] = (found.value[::2] - found.value[1::2]) / h[:, None]
            own = hessian.diagonal(dim1=1, dim2=2)
            error = step * own.clamp(min=0.0).sqrt()
            asked = self.united & ~((error > _WITHIN[0]) & (error < _WITHIN[1])) & (own > 0.0)
            lost = self.united & ~((error > _WITHIN[0]) & (error < _WITHIN[1]))
            step = torch.where(asked, _OF_ERROR * own.clamp(min=1e-300).rsqrt(), step)
        own = hessian.diagonal(dim1=1, dim2=2)
        size = torch.where(self.united, own.clamp(min=1e-300).rsqrt(), 1.0)
        even = (hessian - hessian.mT) * size[:, :, None] * size[:, None]
        noise = (
            0.5 * torch.where(lost[:, :, None] | lost[:, None], 0.0, even.abs()).amax((1, 2)) if P else own.new_zeros(M)
        )
        size = torch.where(lost, torch.nan, size)
        return Curved(at, 0.5 * (hessian + hessian.mT), scores, size, loosest(model, self.names), noise)


@dataclass(frozen=True)
class Seen:
    """What an information matrix determines: of one member.

    `covariance` (P, P) along the directions that are seen, 0 along the others · `unseen` (K, P), unit vectors along which the
    likelihood does not bend, beyond what rounding could make · `saddle` (L, P), along which it bends the wrong way.
    """

    covariance: Tensor
    unseen: Tensor
    saddle: Tensor


def seen(
    information: Tensor,  # (P, P)
    size: Tensor,  # (P,), what each number is counted in, NaN where the likelihood does not bend along it
    loosest: Tensor,  # (P,)
    noise: Tensor,  # ()
) -> Seen:
    """Split into what the likelihood determines and what it does not.

    A number along which it does not bend, beyond `noise` in its size, is not seen; nor is one whose standard error, with all
    others known, is above the `loosest`. The matrix of the others is scaled to a diagonal of ones, so that
    units play no part; a direction whose eigenvalue then is below 1e−7, or below what noise could make, is not seen either.
    """
    P = len(information)
    unit = torch.nan_to_num(size, nan=0.0)
    bend = information.diagonal() * unit.square()
    floor = torch.maximum(20.0 * noise + (1e-10 * bend.abs().amax() if P else 0.0), (unit / loosest).square())  # (P,)
    rows = torch.nonzero(bend > floor)[:, 0]
    eye = torch.eye(P, dtype=information.dtype, device=information.device)
    unseen = [eye[j] for j in torch.nonzero(bend.abs() <= floor)[:, 0]]
    saddle = [eye[j] for j in torch.nonzero(bend < -floor)[:, 0]]
    covariance = torch.zeros_like(information)
    if len(rows):
        scale = information.diagonal()[rows].rsqrt()
        eigenvalues, axes = torch.linalg.eigh(scale[:, None] * information[rows][:, rows] * scale)
        least = max(1e-7, 20.0 * float(noise) / float(bend[rows].amin()))
        for k, eigenvalue in enumerate(eigenvalues.tolist()):
            if eigenvalue <= least:
                way = eye.new_zeros(P)
                way[rows] = scale * axes[:, k]
                (unseen if eigenvalue > -least else saddle).append(way / way.norm())
        good = eigenvalues > least
        root = scale[:, None] * axes[:, good] * eigenvalues[good].rsqrt()
        covariance[rows[:, None], rows] = root @ root.mT
    nothing = eye[:0]
    return Seen(covariance, torch.stack(unseen) if unseen else nothing, torch.stack(saddle) if saddle else nothing)


def decrement(gradient: Tensor, covariance: Tensor) -> float:
    """By how much −2 log L would still fall, by the quadratic, along all that is seen: gᵀ I⁻¹ g."""
    fall = float(gradient @ covariance @ gradient)
    return fall if math.isfinite(fall) else math.inf
