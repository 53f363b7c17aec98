"""The likelihood of every person with their own coordinates integrated out."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hybrid import HybridModel, Rollout, Solver
from hybrid.derivative import once
from hybrid.threads import of_slopes, threads_by
from physics.arguments import require_choice, require_number, require_tensor
from physics.glance import glance
from training.marginal.kinks import at_kinks
from training.people.arguments import require_fit
from training.people.cohort import Cohort
from training.people.information import copies, difference_offsets, expand, limits_information, simulate_copies, slopes
from training.people.mode import Curvature, modes
from training.people.passing import beside, cliffs, pinned
from training.people.posterior import Personal

# a penalty (M, N) of everyone's simulation at the mode, given the rows (N,) that they have in the cohort
Penalty = Callable[[HybridModel, Rollout, Tensor], Tensor]

_WIDE = 2e-4  # h of the second differences of φ: truncation h²φ⁗/12 ≈ 1e-8 and rounding 1e-16 φ/h² ≈ 1e-7 meet here
_NO_SECOND = (  # numbers that are held say how the modes move
    "second derivatives (create_graph=True) do not go through a likelihood by Laplace's method; write differences of its "
    "gradient from the same modes (start=Marginal.mode), or standard_errors, which takes them"
)
_MODE = 1e-6  # how well the modes are found, in standard deviations of the person's posterior


@dataclass(frozen=True)
class Marginal:
    """−log p(y_i), one number per member and person.

    `value` (M, N), differentiable, NaN for people in `failed` · `mode` (M, N, d), where everyone's coordinates are most
    likely, and the best start for the next call · `converged` (M, N), whether the mode was found · `failed`, index → why ·
    `beside` (M, N), whose dose would begin to arrive at an observation, or end there, within two of their own standard deviations
    of the mode, or does so at the mode: there the likelihood has a kink or a cliff, of which Laplace's method sees the mode's
    side alone, and may be several nats off (5 were seen). None where θ says nothing of doses, and at the steps of a fit, which
    do not ask.
    """

    value: Tensor
    mode: Tensor
    converged: Tensor
    failed: dict[int, str]
    beside: Tensor | None = None

    __repr__, _repr_html_ = glance()


@threads_by(of_slopes)
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
    Values between limits count by their probability (`Cohort.censoring`), which has no Fisher information: with either curvature
    their part of H is its exact second derivative, by second central differences.

    The value is differentiable in everything trainable, and the mode follows: with a = ½ log det H and w = K⁻¹ ∂a/∂η,
    where K = ∂²φ/∂η² is exact (also with the Fisher H), the derivative is ∂φ + ∂a − wᵀ ∂(∂φ/∂η), since dη*/dϕ =
    −K⁻¹ ∂²φ/∂η∂ϕ by the implicit function theorem and ∂φ/∂η = 0 at the mode. No term is left out; differences leave about
    1e-9 of it. Where a mode is found to 1e-2 standard deviations, what is left of the way to it is accounted for to second
    order in value and first in gradient; where K is not positive definite the Fisher information takes its place.
    Differentiable once: second derivatives (`create_graph=True`) are refused with `RuntimeError`.

    Arguments: `start` of the search for the modes (the last call's `mode`); at most `iterations` of it. Where a dose with a lag
    goes into what is measured, modes are looked for anew on both sides of every observation, whatever the start.
    Errors: `ValueError` for a start that does not fit, or a model or cohort that is not float64.
    Law: with a mean that is linear in η and constant noise it is the Gaussian log density of y. A person's value does not
    depend on who else is there.
    Source: Lindstrom & Bates, Biometrics 46 (1990) 673; Wang, J. Pharmacokinet. Pharmacodyn. 34 (2007) 575 (FOCE and
    Laplace in NONMEM); Almquist, Leander & Jirstrand, J. Pharmacokinet. Pharmacodyn. 42 (2015) 191 (exact gradients).
    """
    require_fit(model, cohort, "laplace_marginal", solver)
    require_number(iterations, "laplace_marginal: iterations", least=0.0, whole=True)
    require_tensor(start, "laplace_marginal: start", "Marginal.mode of an earlier call")
    return penalised_marginal(model, cohort, start, curvature, None, iterations, solver, near=True)


def require_float64(model: HybridModel, cohort: Cohort) -> None:
    """Errors: `ValueError` for a model or cohort of another type: a copy would not be what is being trained."""
    if model.dtype != torch.float64 or cohort.y.dtype != torch.float64:
        raise ValueError(
            f"a marginal likelihood needs float64 (its differences of 1e-5 are beyond float32), and the model is {model.dtype} "
            f"and the cohort {cohort.y.dtype}; write model.to(torch.float64) and cohort.to(torch.float64)"
        )


@threads_by(of_slopes)
def penalised_marginal(
    model: HybridModel,
    cohort: Cohort,
    start: Tensor | None,
    curvature: Curvature,
    penalty: Penalty | None,
    iterations: int,
    solver: Solver | None,
    *,
    near: bool = False,
) -> Marginal:
    """`laplace_marginal` plus a penalty at the modes, whose gradient follows them too; `near`: who is `beside` a kink is said."""
    require_float64(model, cohort)
    require_choice(curvature, ("fisher", "observed"), "the curvature of a marginal likelihood")
    # over a cliff no slope leads back: whose mode lies at one would be lost as soon as another lag put the start beyond it
    start = None if start is not None and cliffs(model, cohort) else start
    found = modes(model, cohort, start=start, iterations=iterations, tolerance=_MODE, solver=solver)
    fine = [i for i in range(cohort.conditions.size) if i not in found.failed]
    rows = torch.tensor(fine, dtype=torch.long, device=found.mode.device)
    value = found.mode.new_full(found.mode.shape[:2], torch.nan)
    if fine:
        part = _at_modes(model, cohort.people(rows), found.mode[:, rows], rows, curvature, penalty, solver)
        value = value.index_copy(1, rows, part)
        if model.delivery:
            value = _with_kinks(model, cohort, found, rows, value, penalty, solver)
    value = once(value, _NO_SECOND)
    # looked at person by person, a twentieth of an evaluation of 200 people: not at every step of a fit
    kinked = beside(model, cohort, found.mode, found.covariance) if near and model.delivery else None
    return Marginal(value, found.mode, found.converged, found.failed, kinked)


def _with_kinks(
    model: HybridModel,
    cohort: Cohort,
    found: Personal,
    rows: Tensor,  # of those who have a value
    value: Tensor,  # (M, N)
    penalty: Penalty | None,
    solver: Solver | None,
) -> Tensor:  # (M, N)
    """The same, of people whose mode is a kink by what is known there."""
    open_ = rows[(~found.converged[:, rows]).any(0)]  # no search ends at a kink, and hardly anybody is looked at
    if not len(open_):
        return value
    edge = pinned(model, cohort.people(open_), found.mode[:, open_])
    there = edge.people & ~found.converged[:, open_]
    some = torch.nonzero(there.any(0))[:, 0]
    if len(some):
        who = open_[some]
        cost = None if penalty is None else _of_copies(penalty, model, who)
        kinked = at_kinks(model, cohort.people(who), found.mode[:, who], edge.some(some), solver, cost)
        value = value.index_copy(1, who, torch.where(there[:, some], kinked, value[:, who]))
    return value


def _of_copies(penalty: Penalty, model: HybridModel, who: Tensor) -> Callable[[Rollout], Tensor]:
    """The penalty of these people, out of a simulation of all their copies."""
    return lambda run: penalty(model, _first(run, len(who)), who)


def _at_modes(
    model: HybridModel,
    cohort: Cohort,
    mode: Tensor,  # (M, N, d)
    rows: Tensor,  # (N,), who these people are to the penalty
    curvature: Curvature,
    penalty: Penalty | None,
    solver: Solver | None,
) -> Tensor:  # (M, N)
    M, N, d = mode.shape
    with torch.enable_grad():
        eta = mode.detach().clone().requires_grad_()
        offsets = difference_offsets(eta)
        # values between limits have no Fisher information: their second derivatives are taken whatever the curvature
        beyond = cohort.limits is not None or cohort.censoring == "m4"
        if curvature == "observed" or beyond:
            offsets = torch.cat([offsets, _second_offsets(eta)])
        moved = copies(eta, offsets)
        # all copies of a person are in one simulation: one graph gives φ, its gradient, H, and by one more backward
        # pass each K and the slope of log det H
        run = simulate_copies(model, cohort.conditions, moved, N, solver)
        s = slopes(run, N, d)
        value, gradient, information = expand(cohort, s, eta)
        constant = 0.5 * math.log(2.0 * math.pi) * cohort.mask.to(value.dtype).sum((-1, -2))  # (N,)
        nearby = _objective(cohort, run, moved, len(offsets)) if d else value[:, None]  # (M, R, N)
        if (curvature == "observed" or beyond) and d:
            far = None if curvature == "observed" else cohort.limits_nll(run.mean, run.variance)
            if far is None:
                observed = _second_differences(nearby, d)
            else:
                curved = _second_differences(far.reshape(M, len(offsets), N), d)
                observed = information - limits_information(cohort, s) + curved
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
    likelihood = cohort.nll(run.mean, run.variance, run.correlation)
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
        infused=None if run.infused is None else run.infused[:, :people],
    )
