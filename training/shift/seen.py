"""What a model makes of people: how far their measurements are from what it expects, and where its members disagree."""

import torch
from torch import Tensor

from hybrid import HybridModel, Solver, rollout
from hybrid.defaults import predicting
from training.people import Cohort, Personal
from training.people.cohort import in_float64
from training.people.likelihoods import standardised

LEAST = 0.02  # of a direction of η: how much smaller its variance must have become for the measurements to see it


def distances(
    model: HybridModel,
    known: Cohort,
    personal: Personal,
    solver: Solver | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # each (N,)
    """How far each person's measurements are from what the training's law predicts, in two parts with their degrees of freedom.

    Equation: D² = min_η Σ (y − μ(η))²/v(η) + ηᵀη, at the mode that `personal` holds, is the squared Mahalanobis distance; of it
    T = η̂ᵀ(I − C)⁻¹η̂, with C the posterior covariance, is the part that moved parameters explain, over the r directions of η that
    the measurements see, and D² − T is what no parameters explain. Means over members. A value that is known by limits alone
    stands where it is nearest to its mean within them, and counts in n like a number, so that people like those of the training
    pass a limit less often than its share.
    Returns T, r, D² − T and n − r, NaN for who has no measurements or cannot be simulated.
    Law: with a mean that is linear in η and constant noise, D² of numbers is (y − E y)ᵀ (Cov y)⁻¹ (y − E y), the sum of the
    squared standardised innovations, and T and D² − T are independent χ² of r and n − r degrees of freedom.
    """
    model, known = in_float64(model, known)
    mode, covariance = (v.to(model.device, torch.float64) for v in (personal.mode, personal.covariance))
    with torch.no_grad():
        run = rollout(model, known.conditions, mode, predicting(solver, model.dtype), on_failure="return")
        z = torch.where(known.mask, (known.y - run.mean) / run.variance.sqrt(), 0.0)  # (M, N, T, p)
        if known.limits is not None:
            s = standardised(known.limits, run.mean, run.variance, known.censoring == "m4")
            z = torch.where(s.low, s.a.clamp_min(0.0), 0.0) + torch.where(s.high, (-s.b).clamp_min(0.0), 0.0) + z
        whole = z.square().sum((-1, -2)) + mode.square().sum(-1)  # (M, N)
        moved, ways = explained(mode, covariance)  # (M, N)
    count = known.informative.sum((-1, -2)).double()
    rank = torch.minimum(ways.mean(0), count)
    moved, whole = moved.mean(0), whole.mean(0)
    lost = count == 0
    lost[list(personal.failed)] = True
    found = (moved, rank, (whole - moved).clamp_min(0.0), count - rank)
    own, freedom, rest, left = (torch.where(lost, torch.nan, v).cpu() for v in found)
    return own, freedom, rest, left


def explained(
    mode: Tensor,  # (..., d)
    covariance: Tensor,  # (..., d, d)
) -> tuple[Tensor, Tensor]:  # (...) each
    """T = η̂ᵀ(I − C)⁻¹η̂ over the directions of η that the measurements see, and their number.

    Law: for linear means and normal noise η̂ ~ N(0, I − C), so that T is χ² with as many degrees of freedom.
    """
    share, ways = torch.linalg.eigh(torch.eye(mode.shape[-1]).to(mode) - covariance)  # (..., d)
    seen = share > LEAST
    along = (ways.mT @ mode[..., None])[..., 0]
    return torch.where(seen, along.square() / share.clamp_min(LEAST), 0.0).sum(-1), seen.sum(-1).double()


def disagreement(
    model: HybridModel,
    conditions: object,
    real: Tensor,  # (N, T)
    solver: Solver | None = None,
) -> Tensor | None:  # (N,)
    """How far members disagree about each person before anything was measured of them, in units of the noise: `typically`.

    Of the typical person with these covariates under this schedule, so that it does not depend on how much was measured. None for
    one member.
    """
    found = apart(model, conditions, real, solver)
    return None if found is None else typically(found)


Apart = tuple[Tensor, Tensor]  # (N, T) each: the variance between members, and of the noise; 0 and 0 where no time is


def apart(
    model: HybridModel,
    conditions: object,
    real: Tensor,  # (N, T)
    solver: Solver | None = None,
) -> Apart | None:
    """Of the typical person, η = 0, at each time var_m μ_m and the mean over members of v, summed over channels."""
    if model.members == 1:
        return None
    N = real.shape[0]
    eta = torch.zeros(model.members, N, model.personal, dtype=model.dtype, device=model.device)
    with torch.no_grad():
        run = rollout(model, conditions, eta, predicting(solver, model.dtype), on_failure="return")  # type: ignore[arg-type]
        there = real.to(run.mean.device)[..., None]
        between = torch.where(there, run.mean.var(0, correction=0), 0.0).sum(-1)
        noise = torch.where(there, run.variance.mean(0), 0.0).sum(-1)
    return between.double().cpu(), noise.double().cpu()


def typically(found: Apart) -> Tensor:  # (N,)
    """√(mean over times and channels of var_m μ_m / mean over these, and members, of v)."""
    return (found[0].sum(-1) / found[1].sum(-1)).sqrt()


def largest(found: Apart) -> Tensor:  # (N,)
    """The largest of √(Σ var_m μ_m / Σ v) at any one time, sums over channels."""
    return torch.where(found[1] > 0.0, found[0] / found[1], 0.0).amax(-1).sqrt()


def coordinates(model: HybridModel) -> tuple[str, ...]:
    """What the coordinates of a person are called."""
    effects = tuple(model.population.effects)
    d = model.personal
    named = effects if len(effects) <= d else ()
    return (*named, *(f"coordinate {j + 1} of the person" for j in range(len(named), d)))
