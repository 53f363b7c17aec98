"""How measurements depend on a person's own coordinates: slopes, the Fisher information, and the Hessian of the likelihood."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hybrid import Conditions, Exponential, HybridModel, Rollout, SimulationError, Solver, rollout
from hybrid.defaults import differentiating
from hybrid.model_arguments import require_given
from hybrid.solve.unmesh import whole
from hybrid.threads import of_slopes, threads_by
from physics.arguments import require_kind, require_shape
from training.people.between import log_between
from training.people.cohort import Cohort
from training.people.joint import joint_expansion
from training.people.likelihoods import require_apart, standardised

_STEP = 1e-5  # h of the central differences along a person's coordinates, whose error is O(h²)


@dataclass(frozen=True)
class Sensitivity:
    """Means and variances (M, N, T, p) and their derivatives (M, N, T, p, d) along every person's own coordinates.

    `correlation` (M|1, p, p) of the errors of one time, which depends on nobody; None where they are independent.
    """

    mean: Tensor
    variance: Tensor
    mean_slope: Tensor
    variance_slope: Tensor
    correlation: Tensor | None


@threads_by(of_slopes)
def sensitivity(
    model: HybridModel,
    conditions: Conditions,
    personal: Tensor,  # (M, N, d)
    solver: Solver | None = None,
) -> Sensitivity:
    """How every measurement depends on the person's own coordinates, in one simulation.

    Every person is copied 2d + 1 times, moved by ±h along each coordinate in turn: central differences, whose error is
    O(h²) ≈ 1e-10 here. All copies share one batch and so one sequence of steps, adaptive or not, so that the solver's
    own error cancels in the differences. Forward-mode differentiation would be exact, and is eight times slower on the
    many small tensors of this simulation; reverse mode needs a backward pass per observation.
    Errors: `ValueError` for a model that is not in float64, whose differences would be rounding.
    """
    require_given(model, conditions, "sensitivity")
    _require_double(model, "sensitivity")
    require_shape(
        personal, "sensitivity: personal", "M", conditions.size, model.personal, write="Personal.mode", like=conditions.baseline
    )
    if not len(personal):
        raise ValueError("sensitivity: personal is of no member; write Personal.mode")
    if solver is not None:
        require_kind(solver, Solver, "sensitivity: solver", 'RungeKutta("rk4") or Exponential(rtol=1e-6)')
    with torch.no_grad():
        moved = copies(personal, difference_offsets(personal))
        run = simulate_copies(model, conditions, moved, personal.shape[1], solver)
        return slopes(run, personal.shape[1], personal.shape[2])


def _require_double(model: HybridModel, name: str) -> None:
    if model.dtype != torch.float64:
        raise ValueError(
            f"{name}: differences of {_STEP:g} need float64, and the model is {model.dtype}; write model.to(torch.float64) and "
            "cohort.to(torch.float64)"
        )


def difference_offsets(like: Tensor) -> Tensor:  # (2d+1, d)
    """0, then +h and then −h along each of the d coordinates of `like` (…, d)."""
    eye = torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)
    return torch.cat([eye.new_zeros(1, like.shape[-1]), _STEP * eye, -_STEP * eye])


def copies(
    personal: Tensor,  # (M, N, d)
    offsets: Tensor,  # (R, d)
) -> Tensor:  # (M, R·N, d)
    """Everyone R times, moved by every offset in turn."""
    M, N, d = personal.shape
    return (personal[:, None] + offsets[None, :, None, :]).reshape(M, len(offsets) * N, d)


def simulate_copies(
    model: HybridModel,
    conditions: Conditions,
    moved: Tensor,  # (M, R·N, d)
    people: int,
    solver: Solver | None,
    on_failure: Literal["raise", "return"] = "raise",
) -> Rollout:
    """One simulation of all copies of these N people, by default with the solver of what differentiates."""
    solver = solver or differentiating(model)
    if model.linear and isinstance(solver, Exponential) and not solver.adaptive:
        whole(conditions.segments)  # once, before everyone is copied
    who = torch.arange(people, device=moved.device).repeat(moved.shape[1] // people)
    return rollout(model, conditions.people(who), moved, solver, on_failure=on_failure)


def slopes(run: Rollout, people: int, d: int) -> Sensitivity:
    """Central differences out of a simulation whose first 2d + 1 copies are those of `difference_offsets`."""
    M, R = run.mean.shape[0], run.mean.shape[1] // people
    mean = run.mean.reshape(M, R, people, *run.mean.shape[2:])
    variance = run.variance.reshape(mean.shape)

    def slope(value: Tensor) -> Tensor:
        return ((value[:, 1 : d + 1] - value[:, d + 1 : 2 * d + 1]) / (2.0 * _STEP)).movedim(1, -1)

    return Sensitivity(mean[:, 0], variance[:, 0], slope(mean), slope(variance), run.correlation)


def expand(
    cohort: Cohort,
    s: Sensitivity,
    personal: Tensor,  # (M, N, d)
    mean: Tensor | None = None,  # (M, N, d), of what is known before
    precision: Tensor | None = None,  # (M, N, d, d)
) -> tuple[Tensor, Tensor, Tensor]:
    """φ (M, N), its gradient (M, N, d) and its Fisher information (M, N, d, d); see `personalise`.

    A value between limits has no Fisher information of its own kind: it counts with `limits_information`.
    """
    slope, bend = s.mean_slope.flatten(2, 3), s.variance_slope.flatten(2, 3)  # (M, N, T·p, d)
    y = cohort.y.flatten(1)
    there = torch.isfinite(y)
    # what was not measured takes no part, not even with a NaN of its own
    variance = torch.where(there, s.variance.flatten(2), 1.0)
    e = torch.where(there, y, 0.0) - torch.where(there, s.mean.flatten(2), 0.0)
    weight = torch.where(there, 1.0 / variance, 0.0)
    by_mean = -e * weight
    by_variance = 0.5 * weight * (1.0 - e.square() * weight)
    away = personal if mean is None else personal - mean
    pull = away if precision is None else (precision @ away[..., None])[..., 0]
    gradient = (by_mean[..., None] * slope + by_variance[..., None] * bend).sum(2) + pull
    information = slope.mT @ (weight[..., None] * slope) + 0.5 * bend.mT @ (weight.square()[..., None] * bend)
    value = 0.5 * torch.where(there, e.square() * weight + variance.log(), 0.0).sum(-1) + 0.5 * (away * pull).sum(-1)
    if s.correlation is not None:
        require_apart(cohort.limits, cohort.censoring == "m4", "expand")
        value, gradient, information = joint_expansion(
            cohort.y, s.mean, s.variance, s.mean_slope, s.variance_slope, s.correlation
        )
        value, gradient = value + 0.5 * (away * pull).sum(-1), gradient + pull
    beyond = cohort.limits_nll(s.mean, s.variance)
    if beyond is not None:
        by_mean, by_variance = (v.flatten(2) for v in _limits_slopes(cohort, s))
        value = value + beyond
        gradient = gradient + (by_mean[..., None] * slope + by_variance[..., None] * bend).sum(2)
        information = information + limits_information(cohort, s)
    own = (
        torch.eye(personal.shape[-1], dtype=personal.dtype, device=personal.device) if precision is None else precision
    )
    return value, gradient, information + own


def _limits_slopes(cohort: Cohort, s: Sensitivity) -> tuple[Tensor, Tensor]:  # (M, N, T, p) twice
    """∂/∂μ and ∂/∂v of what limits, and M4's condition, add to −log p."""
    positive, known = cohort.censoring == "m4", cohort.informative
    by_mean, by_variance = torch.zeros_like(s.mean), torch.zeros_like(s.mean)
    if cohort.limits is not None:
        z = standardised(cohort.limits, s.mean, s.variance, positive)
        v = torch.where(z.there, s.variance, 1.0)
        _, pa, pb = log_between(z.a, z.b, z.low, z.high)
        by_mean, by_variance = by_mean + (pb - pa) / v.sqrt(), by_variance + 0.5 * (z.b * pb - z.a * pa) / v
    if positive:
        v = torch.where(known, s.variance, 1.0)
        c = torch.where(known, s.mean, 0.0) / v.sqrt()
        _, p, _ = log_between(-c, torch.ones_like(c), known.expand(c.shape), torch.zeros_like(c, dtype=torch.bool))
        by_mean, by_variance = by_mean + p / v.sqrt(), by_variance - 0.5 * c * p / v
    return by_mean, by_variance


def limits_information(cohort: Cohort, s: Sensitivity) -> Tensor:  # (M, N, d, d)
    """Σ JᵀKJ over values between limits: K = −∂² log[Φ(b) − Φ(a)] exactly, J how a and b move with the person's coordinates.

    log[Φ(b) − Φ(a)] is concave in (a, b) (Prékopa), so that this is never negative; what it lacks of the Hessian is the second
    derivatives of a and b, which `observed_information` has. M4's condition, whose sign is the other one, is left to that too.
    """
    M, N, _, _, d = s.mean_slope.shape
    if cohort.limits is None:
        return s.mean.new_zeros(M, N, d, d)
    z = standardised(cohort.limits, s.mean, s.variance, cohort.censoring == "m4")
    v = torch.where(z.there, s.variance, 1.0)
    _, pa, pb = log_between(z.a, z.b, z.low, z.high)
    # along a shift of both limits, and along a width of the interval that changes: near limits would cancel in (a, b)
    shift = (z.b * pb - z.a * pa + (pb - pa).square()).clamp(min=0.0)
    mixed, width = pb * (z.b + pb - pa), pb * (z.b + pb)
    there = z.there[..., None]
    bend = torch.where(there, s.variance_slope, 0.0) / (2.0 * v[..., None])
    moved = -torch.where(there, s.mean_slope, 0.0) / v.sqrt()[..., None] - z.a[..., None] * bend  # of a
    wider = -(z.b - z.a)[..., None] * bend  # of b − a
    A, W = moved.flatten(2, 3), wider.flatten(2, 3)
    shift, mixed, width = (torch.where(z.there, k, 0.0).flatten(2)[..., None] for k in (shift, mixed, width))
    crossed = A.mT @ (mixed * W)
    return A.mT @ (shift * A) + crossed + crossed.mT + W.mT @ (width * W)


@threads_by(of_slopes)
def observed_information(
    model: HybridModel,
    cohort: Cohort,
    personal: Tensor,  # (M, N, d)
    precision: Tensor | None = None,  # (M, N, d, d), of what is known before; I
    *,
    solver: Solver | None = None,
) -> Tensor:  # (M, N, d, d)
    """The Hessian of φ at these coordinates, NaN for who cannot be simulated there.

    Column j is [∇φ(η + h e_j) − ∇φ(η − h e_j)]/2h with the exact gradient of the simulation (reverse mode), made
    symmetric. The error is O(h²) ≈ 1e-10. People are taken 64 at a time: reverse mode remembers every step of each.
    Errors: `ValueError` for a model that is not in float64, as `sensitivity`.
    """
    require_kind(cohort, Cohort, "observed_information: cohort", "Cohort.of(records, model)")
    require_given(model, cohort.conditions, "observed_information")
    _require_double(model, "observed_information")
    N, d = cohort.conditions.size, model.personal
    require_shape(personal, "observed_information: personal", "M", N, d, write="Personal.mode", like=cohort.y)
    if precision is not None:
        require_shape(
            *(precision, "observed_information: precision", "M", N, d, d), write="torch.linalg.inv(covariance)", like=cohort.y
        )
        if len(precision) != len(personal):
            raise ValueError(f"observed_information: precision is of {len(precision)} members and personal of {len(personal)}")
    if solver is not None:
        require_kind(solver, Solver, "observed_information: solver", 'RungeKutta("rk4") or Exponential(rtol=1e-6)')
    own = torch.eye(personal.shape[2], dtype=personal.dtype, device=personal.device)
    precision = own.expand(*personal.shape, -1) if precision is None else precision
    found = personal.new_full((*personal.shape, personal.shape[2]), torch.nan)
    waiting = list(torch.arange(N, device=personal.device).split(64))
    while waiting:
        rows = waiting.pop()
        try:
            found[:, rows] = _hessian(model, cohort.people(rows), personal[:, rows], solver) + precision[:, rows]
        except SimulationError:
            if len(rows) > 1:
                waiting += list(rows.chunk(2))
    return found


def _hessian(
    model: HybridModel,
    cohort: Cohort,
    personal: Tensor,  # (M, N, d)
    solver: Solver | None,
) -> Tensor:  # (M, N, d, d)
    """Of the likelihood alone."""
    M, N, d = personal.shape
    with torch.enable_grad():
        moved = copies(personal.detach(), difference_offsets(personal)[1:]).requires_grad_()
        run = simulate_copies(model, cohort.conditions, moved, N, solver)
        likelihood = cohort.nll(run.mean, run.variance, run.correlation).sum()
        (gradient,) = torch.autograd.grad(likelihood, moved)
    gradient = gradient.reshape(M, 2 * d, N, d)
    hessian = ((gradient[:, :d] - gradient[:, d:]) / (2.0 * _STEP)).movedim(1, -1)  # (M, N, d, d)
    return 0.5 * (hessian + hessian.mT)
