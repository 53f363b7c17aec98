"""The population and its spread: the likelihood of every person with their own coordinates integrated out."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hybrid import HybridModel, Rollout, SimulationError, Solver, rollout
from learned import Zero, select
from training.fit import Fitted
from training.losses import Stability, gaussian_nll, mean_square, residual_share
from training.personalise import (
    Curvature,
    copies,
    difference_offsets,
    expand,
    personalise,
    simulate_copies,
    slopes,
)
from training.records import Cohort

_WIDE = 2e-4  # h of the second differences of φ: truncation h²φ⁗/12 ≈ 1e-8 and rounding 1e-16 φ/h² ≈ 1e-7 meet here
_MODE = 1e-6  # how well the modes are found, in standard deviations of the person's posterior


@dataclass(frozen=True)
class Marginal:
    """−log p(y_i), one number per member and person.

    `value` (M, N), differentiable, NaN for people in `failed` · `mode` (M, N, d), where everyone's coordinates are most
    likely, and the best start for the next call · `converged` (M, N), whether the mode was found · `failed`, index → why.
    """

    value: Tensor
    mode: Tensor
    converged: Tensor
    failed: dict[int, str]


def laplace_marginal(
    model: HybridModel,
    cohort: Cohort,
    *,
    start: Tensor | None = None,  # (M, N, d)
    curvature: Curvature = "fisher",
    iterations: int = 40,
    solver: Solver | None = None,
) -> Marginal:
    """−log ∫ p(y_i | η) N(η; 0, I) dη of every person, by Laplace's approximation at the mode η*.

    With φ(η) = −log p(y_i | η) + ½|η|² (constants included, so that this is the logarithm of a density in the units of
    y): −log p(y_i) ≈ φ(η*) + ½ log det H(η*).
    - `curvature="fisher"`: H = Σ_t [μ'μ'ᵀ/v + ½ v'v'ᵀ/v²] + I, first derivatives alone, by central differences. This is
      the information of FOCE with interaction (there without the second term in some programs).
    - "observed": H = ∂²φ/∂η², by second central differences: Laplace's method proper, exact to O(1/observations). Where
      it is not positive definite the Fisher information stands in.

    The value is differentiable in everything trainable, and the mode follows: with a = ½ log det H and w = K⁻¹ ∂a/∂η,
    where K = ∂²φ/∂η² is exact (also with the Fisher H), the derivative is ∂φ + ∂a − wᵀ ∂(∂φ/∂η), since dη*/dϕ =
    −K⁻¹ ∂²φ/∂η∂ϕ by the implicit function theorem and ∂φ/∂η = 0 at the mode. No term is left out; differences leave about
    1e-9 of it. Where a mode is found to 1e-2 standard deviations, what is left of the way to it is accounted for to second
    order in value and first in gradient; where K is not positive definite the Fisher information takes its place.

    Arguments: `start` of the search for the modes (the last call's `mode`); at most `iterations` of it.
    Errors: `ValueError` for a start that does not fit.
    Law: with a mean that is linear in η and constant noise it is the Gaussian log density of y. A person's value does not
    depend on who else is there.
    Source: Lindstrom & Bates, Biometrics 46 (1990) 673; Wang, J. Pharmacokinet. Pharmacodyn. 34 (2007) 575 (FOCE and
    Laplace in NONMEM); Almquist, Leander & Jirstrand, J. Pharmacokinet. Pharmacodyn. 42 (2015) 191 (exact gradients).
    """
    return _laplace(model, cohort, start, curvature, None, iterations, solver)


def _laplace(
    model: HybridModel,
    cohort: Cohort,
    start: Tensor | None,
    curvature: Curvature,
    penalty: Callable[[HybridModel, Rollout, Tensor], Tensor] | None,
    iterations: int,
    solver: Solver | None,
) -> Marginal:
    """The marginal, plus a penalty (M, N) of everyone's simulation at the mode."""
    if curvature not in ("fisher", "observed"):
        raise ValueError(f"the curvature of a marginal likelihood is 'fisher' or 'observed', got {curvature!r}")
    found = personalise(model, cohort, start=start, iterations=iterations, tolerance=_MODE, solver=solver)
    fine = [i for i in range(cohort.conditions.size) if i not in found.failed]
    rows = torch.tensor(fine, dtype=torch.long, device=found.mode.device)
    value = found.mode.new_full(found.mode.shape[:2], torch.nan)
    if fine:
        part = _at_modes(model, cohort.people(rows), found.mode[:, rows], rows, curvature, penalty, solver)
        value = value.index_copy(1, rows, part)
    return Marginal(value, found.mode, found.converged, found.failed)


def _at_modes(
    model: HybridModel,
    cohort: Cohort,
    mode: Tensor,  # (M, N, d)
    rows: Tensor,  # (N,), who these people are to the penalty
    curvature: Curvature,
    penalty: Callable[[HybridModel, Rollout, Tensor], Tensor] | None,
    solver: Solver | None,
) -> Tensor:  # (M, N)
    M, N, d = mode.shape
    with torch.enable_grad():
        eta = mode.detach().clone().requires_grad_()
        offsets = difference_offsets(eta)
        if curvature == "observed":
            offsets = torch.cat([offsets, _second_offsets(eta)])
        moved = copies(eta, offsets)
        # all copies of a person are in one simulation: one graph gives φ, its gradient, H, and by one more backward
        # pass each K and the slope of log det H
        run = simulate_copies(model, cohort.conditions, moved, N, solver)
        value, gradient, information = expand(cohort.y, slopes(run, N, d), eta)
        constant = 0.5 * math.log(2.0 * math.pi) * cohort.mask.to(value.dtype).sum((-1, -2))  # (N,)
        nearby = _objective(cohort, run, moved, len(offsets)) if d else value[:, None]  # (M, R, N)
        if curvature == "observed" and d:
            observed = _second_differences(nearby, d)
            definite = torch.linalg.cholesky_ex(observed.detach()).info == 0
            information = torch.where(definite[..., None, None], observed, information)
        root = torch.linalg.cholesky(information)
        extra = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)  # ½ log det H
        if penalty is not None:
            extra = extra + penalty(model, _first(run, N), rows)
        if d == 0:
            return value + extra + constant
        (pull,) = torch.autograd.grad(extra.sum(), eta, retain_graph=True)
        (slope,) = torch.autograd.grad(nearby[:, : 2 * d + 1].sum(), moved, retain_graph=True)
        h = offsets[1, 0]
        slope = slope.reshape(M, len(offsets), N, d)
        K = ((slope[:, 1 : d + 1] - slope[:, d + 1 : 2 * d + 1]) / (2.0 * h)).movedim(1, -1)
        K = 0.5 * (K + K.mT)
        definite = torch.linalg.cholesky_ex(K).info == 0
        K = torch.where(definite[..., None, None], K, information.detach())
        w = torch.linalg.solve(K, pull[..., None])[..., 0]
        newton = torch.linalg.solve(K, gradient[..., None])[..., 0]
        near = (gradient * newton).sum(-1).detach() <= 1e-4
        # to second order in the distance from the mode: φ(η*) = φ − ½gᵀK⁻¹g and a(η*) = a − wᵀg; far from it the quadratic
        # says nothing about the value, and wᵀg is there for its derivative alone
        to_mode = (w * gradient).sum(-1) + 0.5 * (gradient * newton).sum(-1)
        far = (w * (gradient - gradient.detach())).sum(-1)
        return value + extra + constant - torch.where(near, to_mode, far)


def _objective(cohort: Cohort, run: Rollout, moved: Tensor, count: int) -> Tensor:  # (M, R, N)
    """φ of every copy."""
    likelihood = gaussian_nll(cohort.y.repeat(count, 1, 1), run.mean, run.variance)
    return (likelihood + 0.5 * moved.square().sum(-1)).reshape(moved.shape[0], count, -1)


def _second_offsets(like: Tensor) -> Tensor:  # (2d + d(d−1), d)
    """±H along every coordinate, then ±H along the diagonal of every pair."""
    d = like.shape[-1]
    eye = _WIDE * torch.eye(d, dtype=like.dtype, device=like.device)
    rows = [eye, -eye]
    for i in range(d):
        for j in range(i + 1, d):
            rows.append(torch.stack([eye[i] + eye[j], -eye[i] - eye[j]]))
    return torch.cat(rows)


def _second_differences(
    values: Tensor,  # (M, R, N), at 0, ±h, then at `_second_offsets`
    d: int,
) -> Tensor:  # (M, N, d, d)
    middle, wide = values[:, 0], values[:, 2 * d + 1 :]
    plus, minus, pairs = wide[:, :d], wide[:, d : 2 * d], wide[:, 2 * d :]
    sums = plus + minus - 2.0 * middle[:, None]  # (M, d, N)
    rows: list[list[Tensor]] = [[sums[:, i] for _ in range(d)] for i in range(d)]
    k = 0
    for i in range(d):
        for j in range(i + 1, d):
            both = pairs[:, 2 * k] + pairs[:, 2 * k + 1] - 2.0 * middle
            rows[i][j] = rows[j][i] = 0.5 * (both - sums[:, i] - sums[:, j])
            k += 1
    return torch.stack([torch.stack(row, -1) for row in rows], -2) / _WIDE**2


def _first(run: Rollout, people: int) -> Rollout:
    """The copies that were not moved."""
    return replace(
        run,
        theta=run.theta[:, :people],
        context=run.context[:, :people],
        states=run.states[:, :people],
        inputs=run.inputs[:, :people],
        mean=run.mean[:, :people],
        variance=run.variance[:, :people],
    )


@dataclass(frozen=True)
class PopulationStep:
    """One step of `fit_population`.

    `index` of at most `total` · `loss` (M,) each member's objective at the best point so far · `slope` (M,) its largest
    derivative there · `converged` (M,) · `best`, the fit to keep if the search ends here, with everyone's modes.
    """

    index: int
    total: int
    loss: Tensor
    slope: Tensor
    converged: Tensor
    best: Fitted


def fit_population(
    model: HybridModel,
    cohort: Cohort,
    *,
    weights: Tensor | None = None,  # (M, N)
    steps: int = 100,
    tolerance: float = 1e-4,
    longest: float = 0.5,
    least_residual: float = 1.0,
    stability: Stability | None = None,
    curvature: Curvature = "fisher",
    start: Tensor | None = None,  # (M, N, d)
    solver: Solver | None = None,
) -> Iterator[PopulationStep]:
    """Fit every member's population, spread, noise and weights by marginal likelihood, all members in one computation.

    Member m minimises the weighted mean over people of −log p(y_i) (`laplace_marginal`) + `least_residual`·(residual's
    share) + stability penalty, the last two at the person's mode, over the model's trainable tensors, and those that the
    population names in `by_marginal`: with `LogNormalPopulation(…, learn_spread=True)` the spread ω. Every step starts
    the search for modes at the last accepted ones.
    The method is L-BFGS with Armijo's condition, each member with its own memory and step length; one step is one
    evaluation of the objective and its gradient, for all members at once. A trial that is no better, or in which someone
    cannot be simulated, is taken back and its step shortened.

    Arguments
    - `weights`: how often each member counts each person (1 for all). A person with weight 0 teaches the member nothing.
    - at most `steps` evaluations; a member is converged when no derivative of its objective is above `tolerance`, and
      finished then, or when ten steps gained no more than a tenth of `tolerance` (the objective is per person: a network
      has directions that no likelihood minds), or when its step has shrunk to nothing. `fit_population` ends early once
      every member is finished.
    - `longest`: no step moves any number of a member by more than this (they are logarithms and weights of order 1).
    - `least_residual`, `stability`: as in `fit`, but that the residual's share is measured in scales of the states that are
      held from the first modes on, and differentiated whole: a line search needs one function.
    - `curvature`: as in `laplace_marginal`. `start`: where the first search for modes begins.

    Yields a `PopulationStep` after every evaluation. Interrupting the loop loses nothing.
    Errors: `ValueError` for shapes and numbers that cannot be; `SimulationError` that names the person when the model
    cannot simulate someone at the very start.
    Law: members do not influence each other; a person with weight 0 does not influence the member.
    Source: Liu & Nocedal, Math. Program. 45 (1989) 503 (L-BFGS); Armijo, Pacific J. Math. 16 (1966) 1.
    """
    M, N, d = model.members, cohort.conditions.size, model.personal
    device = cohort.y.device
    weights = torch.ones(M, N, dtype=torch.float64, device=device) if weights is None else weights.to(device)
    for name, number in (("steps", steps), ("tolerance", tolerance), ("longest", longest)):
        if not number > 0:
            raise ValueError(f"fit_population: {name} must be positive, got {number}")
    if weights.shape != (M, N):
        raise ValueError(f"fit_population: weights needs shape (M, N) = ({M}, {N}), got {tuple(weights.shape)}")
    if not bool((torch.isfinite(weights) & (weights >= 0)).all()) or not bool((weights.sum(1) > 0).all()):
        raise ValueError(
            "fit_population: weights must be finite and not negative, and every member needs someone to learn from"
        )
    if start is not None and start.shape != (M, N, d):
        raise ValueError(f"fit_population: start needs shape (M, N, d) = {(M, N, d)}, got {tuple(start.shape)}")
    share = weights / weights.sum(1, keepdim=True)
    objective = _Objective.of(model, cohort, share, start, least_residual, stability, curvature, solver)

    best = copy.deepcopy(model)  # carries the accepted point; what asks for gradients in it stays as it was
    trial = copy.deepcopy(model)
    for name in trial.population.by_marginal:
        trial.population.get_parameter(name).requires_grad_()
    names = [name for name, p in trial.named_parameters() if p.requires_grad]
    for name in names:
        if trial.get_parameter(name).shape[0] != M:
            raise ValueError(f"fit_population: {name} has {trial.get_parameter(name).shape[0]} members and the model {M}")
    if not names:
        raise ValueError("fit_population: nothing in the model asks to be trained")
    point = _flat(trial, names)  # (M, P)
    first = objective.at(trial, names, share, start)
    if not bool(torch.isfinite(first.loss).all()):
        why = next(iter(first.failed.values()), "the objective is not finite")
        raise SimulationError(f"the population cannot be fitted from here: {why}")
    loss, gradient, mode = first.loss, first.gradient, first.mode
    memory = _Memory(M, point.shape[1], point)
    length = torch.ones(M, dtype=torch.float64, device=device)
    losses = [loss]
    direction = memory.direction(gradient)
    for index in range(1, steps + 1):
        slope = gradient.abs().amax(1)
        converged = slope <= tolerance
        stalled = losses[max(0, len(losses) - 11)] - loss <= 0.1 * tolerance if index > 10 else converged
        finished = converged | stalled | (length < 1e-8)
        yield PopulationStep(
            index, steps, loss.clone(), slope, converged, Fitted(copy.deepcopy(best), mode.clone())
        )
        if bool(finished.all()) or index == steps:
            return
        # a quasi-Newton step trusts a curvature that it has seen along a few directions; none may leap
        bounded = (longest / direction.abs().amax(1).clamp(min=1e-300)).clamp(max=1.0)
        move = torch.where(finished, 0.0, length * bounded)[:, None] * direction
        _place(trial, names, point + move)
        new = objective.at(trial, names, share, mode)
        expected = (gradient * move).sum(1)  # < 0
        better = ~finished & (new.loss <= loss + 1e-4 * expected)
        memory.remember(move, new.gradient - gradient, better)
        # the minimum of the parabola through both losses and the slope, within reason
        bend = new.loss - loss - expected
        shorter = torch.where(torch.isfinite(bend), -0.5 * expected / bend.clamp(min=1e-300), 0.1).clamp(0.1, 0.5)
        length = torch.where(better, 1.0, torch.where(finished, length, length * shorter))
        keep = better[:, None]
        point, gradient = torch.where(keep, point + move, point), torch.where(keep, new.gradient, gradient)
        loss, mode = torch.where(better, new.loss, loss), torch.where(keep[..., None], new.mode, mode)
        losses.append(loss)
        _place(best, names, point)
        direction = torch.where(keep, memory.direction(gradient), direction)


@dataclass(frozen=True)
class _Point:
    """The objective (M,), infinite where someone who counts failed; its gradient (M, P); modes (M, N, d)."""

    loss: Tensor
    gradient: Tensor
    mode: Tensor
    failed: dict[int, str]


@dataclass(frozen=True)
class _Objective:
    """The weighted mean marginal likelihood with its penalties; `scale` (M, 1, 1, n) of the states, held for the fit."""

    cohort: Cohort
    scale: Tensor | None
    least_residual: float
    stability: Stability | None
    curvature: Curvature
    solver: Solver | None

    @staticmethod
    def of(
        model: HybridModel,
        cohort: Cohort,
        share: Tensor,  # (M, N)
        start: Tensor | None,  # (M, N, d)
        least_residual: float,
        stability: Stability | None,
        curvature: Curvature,
        solver: Solver | None,
    ) -> "_Objective":
        """With the scale of the states at a few steps from the start."""
        scale: Tensor | None = None
        if least_residual > 0 and not isinstance(model.residual, Zero):
            found = personalise(model, cohort, start=start, iterations=4, solver=solver)
            fine = [i for i in range(cohort.conditions.size) if i not in found.failed]
            if fine:
                rows = torch.tensor(fine, device=share.device)
                with torch.no_grad():
                    run = rollout(model, cohort.people(rows).conditions, found.mode[:, rows], solver)
                scale = mean_square(run, share[:, rows])
        return _Objective(cohort, scale, least_residual, stability, curvature, solver)

    def at(self, model: HybridModel, names: list[str], share: Tensor, start: Tensor | None) -> _Point:
        M = model.members
        try:
            # a search that starts at the last step's modes is a few iterations away from the new ones
            found = _laplace(model, self.cohort, start, self.curvature, self._penalty(share), 40, self.solver)
            failed = found.failed
        except SimulationError as error:
            failed = {-1: str(error)}
        if failed and M > 1:  # who failed under one member must not stop the others
            parts = []
            for m in range(M):
                row = torch.tensor([m], device=share.device)
                alone = self if self.scale is None else replace(self, scale=self.scale[row])
                parts.append(alone.at(select(model, row), names, share[row], None if start is None else start[row]))
            return _Point(
                torch.cat([p.loss for p in parts]),
                torch.cat([p.gradient for p in parts]),
                torch.cat([p.mode for p in parts]),
                failed,
            )
        trained = [model.get_parameter(name) for name in names]
        size = sum(p.numel() // p.shape[0] for p in trained)
        if -1 in failed:
            shape = (M, self.cohort.conditions.size, model.personal)
            nothing = share.new_zeros(shape) if start is None else start
            return _Point(share.new_full((M,), torch.inf), share.new_zeros(M, size), nothing, failed)
        counted = share > 0
        loss = (share * torch.where(counted, found.value, 0.0)).sum(1)
        good = torch.isfinite(loss.detach())
        gradients = torch.autograd.grad(loss[good].sum(), trained, allow_unused=True)
        flat = torch.cat(
            [
                (torch.zeros_like(p) if g is None else g).reshape(M, -1)
                for p, g in zip(trained, gradients, strict=True)
            ],
            1,
        )
        good = good & torch.isfinite(flat).all(1)
        flat = torch.where(good[:, None], flat, 0.0)
        return _Point(torch.where(good, loss.detach(), torch.inf), flat, found.mode, failed)

    def _penalty(self, share: Tensor) -> Callable[[HybridModel, Rollout, Tensor], Tensor]:
        def penalty(model: HybridModel, run: Rollout, rows: Tensor) -> Tensor:
            total = run.states.new_zeros(run.states.shape[:2])
            if self.scale is not None:
                part = residual_share(model, run, share[:, rows], scale=self.scale, hold_field=False)
                total = total + self.least_residual * part
            return total if self.stability is None else total + self.stability.penalty(model, run.theta)

        return penalty


class _Memory:
    """The last moves and changes of gradient, each member with its own; L-BFGS's product with a gradient."""

    def __init__(self, members: int, size: int, like: Tensor, length: int = 20) -> None:
        self.move = like.new_zeros(length, members, size)
        self.change = torch.zeros_like(self.move)
        self.inverse = like.new_zeros(length, members, 1)  # 1/(moveᵀchange), 0 where there is no pair yet
        self.scale = like.new_ones(members, 1)

    def remember(self, move: Tensor, change: Tensor, accepted: Tensor) -> None:
        """Keep an accepted pair along which the objective bends upwards."""
        inner, square = (move * change).sum(1, keepdim=True), change.square().sum(1, keepdim=True)
        useful = accepted[:, None] & (inner > 1e-10 * move.norm(dim=1, keepdim=True) * square.sqrt())  # (M, 1)

        def pushed(kept: Tensor, new: Tensor) -> Tensor:
            return torch.where(useful, torch.cat([kept[1:], new[None]]), kept)

        self.move, self.change = pushed(self.move, move), pushed(self.change, change)
        one = torch.ones_like(inner)
        self.inverse = pushed(self.inverse, 1.0 / torch.where(useful, inner, one))
        self.scale = torch.where(useful, inner / torch.where(useful, square, one), self.scale)

    def direction(self, gradient: Tensor) -> Tensor:  # (M, P)
        """−(inverse Hessian)·gradient: the two loops of Nocedal, Math. Comput. 35 (1980) 773."""
        q, left = gradient, []
        pairs = list(zip(self.move, self.change, self.inverse, strict=True))
        for move, change, inverse in reversed(pairs):
            left.append(inverse * (move * q).sum(1, keepdim=True))
            q = q - left[-1] * change
        q = self.scale * q
        for (move, change, inverse), a in zip(pairs, reversed(left), strict=True):
            q = q + move * (a - inverse * (change * q).sum(1, keepdim=True))
        return -q


def _flat(model: HybridModel, names: list[str]) -> Tensor:  # (M, P)
    return torch.cat([model.get_parameter(n).detach().reshape(model.members, -1) for n in names], 1)


def _place(model: HybridModel, names: list[str], point: Tensor) -> None:
    """Write the numbers of every member into the model."""
    with torch.no_grad():
        at = 0
        for name in names:
            parameter = model.get_parameter(name)
            size = parameter.numel() // parameter.shape[0]
            parameter.copy_(point[:, at : at + size].reshape(parameter.shape))
            at += size
