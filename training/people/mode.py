"""A new person: their own coordinates from their own data, with the population and the network frozen."""

import warnings
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from hybrid import HybridModel, Solver
from hybrid.defaults import differentiating
from hybrid.threads import of_slopes, threads_by
from physics.arguments import require_choice, require_kind, require_number, require_same_people, require_tensor
from training.people.arguments import require_fit
from training.people.arriving import arriving
from training.people.cohort import Cohort, in_float64
from training.people.information import observed_information
from training.people.posterior import Personal, prior
from training.people.quadratic import Batch, Gaussian

Curvature = Literal["fisher", "observed"]


def personalise(
    model: HybridModel,
    cohort: Cohort,
    *,
    start: Tensor | None = None,  # (M, N, d)
    before: Personal | None = None,
    curvature: Curvature = "fisher",
    iterations: int = 40,
    tolerance: float = 1e-4,
    solver: Solver | None = None,
) -> Personal:
    """Maximum a posteriori coordinates of every person under every member, all at once, with Laplace covariances.

    Minimises φ(η) = Σ_t ½[(y_t − μ_t)²/v_t + log v_t] + ½(η − m)ᵀC⁻¹(η − m) by Fisher scoring with Levenberg–Marquardt
    damping, each person and member with their own: with μ' and v' the derivatives along η, the gradient is
    g = Σ_t [−e μ'/v + ½ v'(1 − e²/v)/v] + C⁻¹(η − m) and the Fisher information H = Σ_t [μ'μ'ᵀ/v + ½ v'v'ᵀ/v²] + C⁻¹.
    A person is converged when a step was accepted at whose beginning the Newton decrement √(gᵀH⁻¹g), the distance to the
    mode in standard deviations of the person's own posterior, was at most `tolerance`. Who is converged is not moved any
    more, and as soon as fewer than half of the people simulated are not, those alone are simulated on.

    Arguments
    - `model`; `cohort`, whose NaN observations do not count; `start`, where to begin (the prior's mean).
    - `before`: what is known of these people without these data, m and C (`prior`: 0 and I). The posterior of earlier
      data is such knowledge.
    - `curvature` of the covariance at the mode: the inverse of the Fisher information, or of the "observed" one, the
      Hessian of φ, by central differences of its exact gradient. They differ where the model misfits a person: there the
      observed one is the curvature that φ has. Where it is not positive definite (the search ended at no minimum) the
      Fisher information stands in.
    - at most `iterations`; `tolerance`.

    Where θ says when doses arrive (`physics.Administered`, a lag that people differ in) φ has a minimum in more than one stretch
    between observations, and no slope leads from one to another: without a `start` everyone is searched for from the middle of
    each stretch that the lag can reach, and the lowest is kept. Where the lag is the very time of an observation φ has a kink; a
    minimum there has no curvature and is said not to have converged.

    Everything is float64, and so is the result: of a model in another type a float64 copy is taken, since differences of
    1e-5 and the inverse of an information matrix are beyond float32.
    A person who cannot be simulated stops nobody: a step that leads there is not taken, and a beginning that lies there
    is tried again at the prior's mean before the reason ends up in `failed`, and a warning says how many they are and why: what
    is drawn of them is what was known before. A mesh that was cut for another solver is such a reason.
    Errors: `ValueError` for shapes that do not fit.
    Law: with a mean that is linear in η and constant noise, the result is the exact Gaussian posterior, and data in two
    parts, the first part's result before the second, give what they give at once. A person's result is their own,
    whoever else is there (fixed-step solvers; an adaptive one shares its steps).
    Source: Osborne, Int. Stat. Rev. 60 (1992) 99 (Fisher's method of scoring); Nielsen, IMM-REP-1999-05 (1999) (damping);
    Boyd & Vandenberghe, Convex Optimization (2004) § 9.5.1 (decrement); MacKay, Neural Comput. 4 (1992) 448 (Laplace);
    Efron & Hinkley, Biometrika 65 (1978) 457 (observed against expected information).
    """
    found = modes(
        model,
        cohort,
        start=start,
        before=before,
        curvature=curvature,
        iterations=iterations,
        tolerance=tolerance,
        solver=solver,
    )
    if found.failed:
        first = next(iter(found.failed.values()))
        several = "" if len(found.failed) == 1 else f", and of {len(found.failed) - 1} more (Personal.failed)"
        warnings.warn(
            f"personalise: {len(found.failed)} of {len(cohort.ids)} people could not be simulated, and their result is what was "
            f"known before, not what their data say: {first}{several}",
            stacklevel=2,
        )
    return found


@threads_by(of_slopes)
def modes(
    model: HybridModel,
    cohort: Cohort,
    *,
    start: Tensor | None = None,  # (M, N, d)
    before: Personal | None = None,
    curvature: Curvature = "fisher",
    iterations: int = 40,
    tolerance: float = 1e-4,
    solver: Solver | None = None,
) -> Personal:
    """`personalise` for who looks at `failed` themselves: nothing is said."""
    require_fit(model, cohort, "personalise", solver)
    require_number(iterations, "personalise: iterations", least=0.0, whole=True)
    require_number(tolerance, "personalise: tolerance", least=0.0)
    iterations, tolerance = int(iterations), float(tolerance)
    require_tensor(start, "personalise: start", "Personal.mode of an earlier search")
    if start is not None and not start.is_floating_point():
        raise ValueError(f"personalise: start is {start.dtype}, and coordinates are real numbers; write start.to(torch.float64)")
    if before is not None:
        require_kind(before, Personal, "personalise: before", "prior(model, people), or what personalise gave for earlier data")
        write = "give before.people(index) in the cohort's order"
        require_same_people(before.ids, cohort.ids, "personalise: before and the cohort", write)
    solver = solver or differentiating(model)  # one for all rounds: it keeps its buffers between them
    model, cohort = in_float64(model, cohort)
    M, N, d = model.members, cohort.conditions.size, model.personal
    known = prior(model, N) if before is None else before.to(model.device)
    if known.mode.shape != (M, N, d) or known.covariance.shape != (M, N, d, d):
        raise ValueError(
            f"personalise: before needs a mode (M, N, d) = {(M, N, d)} and a covariance with one more d, got "
            f"{tuple(known.mode.shape)} and {tuple(known.covariance.shape)}"
        )
    if start is not None and start.shape != (M, N, d):
        raise ValueError(f"personalise: start needs shape (M, N, d) = {(M, N, d)}, got {tuple(start.shape)}")
    require_choice(curvature, ("fisher", "observed"), "personalise: curvature")
    if start is not None and not bool(torch.isfinite(start).all()):
        raise ValueError("personalise: start must be finite, and is not; write Personal.mode of an earlier search")
    if N == 0:
        return replace(known, ids=cohort.ids)
    if start is None:
        places = arriving(model, cohort, known.mode)
        if places is not None:
            start = _likeliest(model, cohort, places, known, iterations, tolerance, solver)
    whole = cohort
    with torch.no_grad():
        gaussian = Gaussian.of(known)
        at = known.mode if start is None else start.detach().to(known.mode, copy=True)
        batch = Batch.at(model, cohort, at, gaussian, solver)
        lost = torch.nonzero(torch.isinf(batch.value).any(0))[:, 0]
        if start is not None and len(lost):
            again = Batch.at(model, cohort.people(lost), known.mode[:, lost], gaussian.people(lost), solver)
            batch = batch.placed(again, lost)
        failed = {i: batch.reasons[i] for i in torch.nonzero(torch.isinf(batch.value).any(0))[:, 0].tolist()}
        usable = torch.isfinite(batch.value)  # (M, N)
        hopeless = ~usable.any(0)
        converged = usable.clone() if d == 0 else torch.zeros_like(usable)
        found = batch
        rows = torch.arange(N, device=usable.device)  # who is in the batch
        damping = torch.full((M, N), 1e-3, dtype=torch.float64, device=usable.device)
        unfinished = usable & ~converged
        for _ in range(iterations):
            busy = unfinished.any(0)
            count = int(busy.sum())
            if count == 0:
                break
            # whoever failed under every member would fail in every step again
            if 2 * count < len(rows) or bool(hopeless[rows].any()):
                found, keep = found.placed(batch, rows), torch.nonzero(busy)[:, 0]
                rows, batch = rows[keep], batch.people(keep)
                gaussian, cohort = gaussian.people(keep), cohort.people(keep)
                damping, unfinished = damping[:, keep], unfinished[:, keep]
            batch, damping, done = _improve(model, cohort, batch, damping, unfinished, gaussian, tolerance, solver)
            converged[:, rows] |= done
            unfinished = unfinished & ~done
        found = found.placed(batch, rows)
    if d == 0:
        return Personal(found.eta, known.covariance, torch.where(usable, found.value, 0.0), converged, failed, whole.ids)
    information = found.information
    if curvature == "observed":
        observed = observed_information(model, whole, found.eta, torch.linalg.inv(known.covariance), solver=solver)
        definite = torch.linalg.cholesky_ex(observed).info == 0  # NaN is not
        information = torch.where(definite[..., None, None], observed, information)
    return Personal(
        torch.where(usable[..., None], found.eta, known.mode),
        torch.where(usable[..., None, None], torch.linalg.inv(information), known.covariance),
        torch.where(usable, found.value, 0.0),
        converged,
        failed,
        whole.ids,
    )


def _likeliest(
    model: HybridModel,
    cohort: Cohort,
    places: Tensor,  # (M, S, N, d)
    known: Personal,
    iterations: int,
    tolerance: float,
    solver: Solver | None,
) -> Tensor:  # (M, N, d)
    """The lowest of the minima to which searches from these places come, all of them side by side."""
    M, S, N, d = places.shape
    index = torch.arange(N, device=places.device).repeat(S)
    before = Personal(known.mode[:, index], known.covariance[:, index], known.objective[:, index], known.converged[:, index])
    found = modes(
        model,
        cohort.people(index),
        start=places.reshape(M, S * N, d),
        before=before,
        iterations=iterations,
        tolerance=tolerance,
        solver=solver,
    )
    objective, mode = found.objective.reshape(M, S, N), found.mode.reshape(M, S, N, d)
    lost = torch.zeros(S * N, dtype=torch.bool, device=places.device)
    lost[list(found.failed)] = True
    # who failed under one member was found under the others
    untouched = (mode == known.mode[:, None]).all(-1) & (objective == 0.0) & lost.reshape(S, N)
    best = torch.where(untouched, torch.inf, objective).argmin(1)  # (M, N)
    return mode.gather(1, best[:, None, :, None].expand(-1, 1, -1, d))[:, 0]


def _improve(
    model: HybridModel,
    cohort: Cohort,
    at: Batch,
    damping: Tensor,  # (M, N)
    unfinished: Tensor,  # (M, N)
    gaussian: Gaussian,
    tolerance: float,
    solver: Solver | None,
) -> tuple[Batch, Tensor, Tensor]:
    """One damped step of the unfinished: where they then are, their damping, and who has converged."""
    diagonal = torch.diag_embed(at.information.diagonal(dim1=-2, dim2=-1))
    step = -torch.linalg.solve(at.information + damping[..., None, None] * diagonal, at.gradient[..., None])[..., 0]
    # no single step needs to be longer than two standard deviations of what was known before
    longest = 2.0 * gaussian.deviation
    step = torch.where(unfinished[..., None], torch.maximum(torch.minimum(step, longest), -longest), 0.0)
    trial = Batch.at(model, cohort, at.eta + step, gaussian, solver)
    decrement = at.decrement()
    promised = -(at.gradient * step).sum(-1) - 0.5 * ((at.information @ step[..., None])[..., 0] * step).sum(-1)
    # what the step promises may be less than the rounding of φ: then the gradient says whether it was good
    blind = promised <= 1e-13 * (1.0 + at.value.abs())
    better = unfinished & ((trial.value <= at.value) | (blind & (trial.decrement() <= decrement)))
    better = better & torch.isfinite(trial.value)
    gain = (at.value - trial.value) / promised.clamp(min=1e-300)
    # The information is not the curvature: where the model misfits, a whole step overshoots and is still better.
    # The gain, as a share of what the quadratic promised, says so: near 1 trust more, below ½ less (Nielsen 1999).
    factor = (1.0 - (2.0 * gain - 1.0).clamp(-1.0, 1.0) ** 3).clamp(min=0.1)
    damping = torch.where(better, damping * factor, damping * 10.0).clamp(1e-9, 1e9)
    done = unfinished & (decrement <= tolerance) & (better | blind)
    return at.moved(trial, better), damping, done
