"""Likelihoods and proper scores of what was measured, as a fit and a person's mode make them small."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from physics.arguments import require_flag, require_number, require_shape
from training.people.between import log_between
from training.people.joint import joint_nll


def gaussian_nll(
    y: Tensor,  # (N, T, p), NaN where there is nothing to score
    mean: Tensor,  # (M, N, T, p)
    variance: Tensor,  # (M, N, T, p)
    limits: Tensor | None = None,  # (N, T, p, 2)
    positive: bool = False,
    correlation: Tensor | None = None,  # (M|1, p, p)
) -> Tensor:  # (M, N)
    """−log N(y; mean, variance) summed over the times and channels of each person, without the constant ½ log 2π.

    `limits`: lower and upper of what is only known to lie between them, −∞ and +∞ where there is none: each such value counts
    with −log[Φ((upper − μ)/σ) − Φ((lower − μ)/σ)], the method M3, or the tobit model; there y is NaN. `positive`: everything
    known is conditioned on y > 0, M4: + log Φ(μ/σ) for each, and no lower limit is below 0.
    `correlation` R of the errors of one time, `model.noise.correlation()`: the channels that were measured then have the
    density N(y; mean, D R D) together. Errors: `ValueError` for it beside limits, whose probability would be that of a region.
    Source: Beal, J. Pharmacokinet. Pharmacodyn. 28 (2001) 481 (M1 to M7); Tobin, Econometrica 26 (1958) 24.
    """
    require_scored(y, mean, variance, "gaussian_nll")
    require_flag(positive, "gaussian_nll: positive")
    if correlation is not None:
        require_apart(limits, positive, "gaussian_nll")
        p = y.shape[-1]
        require_shape(correlation, "gaussian_nll: correlation", ..., p, p, write="model.noise.correlation()", like=mean)
        if correlation.ndim not in (3, 5) or (correlation.ndim == 5 and correlation.shape[1:3] != y.shape[:2]):
            raise ValueError(
                f"gaussian_nll: correlation has shape {tuple(correlation.shape)}; it needs (M, p, p), or one of each time, "
                "(M, N, T, p, p); write model.noise.correlation()"
            )
        return joint_nll(y, mean, variance, correlation)
    there, error, one = _masked(y, mean, variance)
    found = 0.5 * torch.where(there, error.square() / one + one.log(), 0.0).sum((-1, -2))
    if limits is None and not positive:
        return found
    if limits is not None:
        require_shape(limits, "gaussian_nll: limits", *y.shape, 2, write="cohort.limits", like=y)
    return found + limits_nll(y, mean, variance, limits, positive)


def require_apart(limits: Tensor | None, positive: bool, name: str) -> None:
    """Raise `ValueError`, beginning with `name`, for limits, or the condition y > 0, beside errors that are correlated."""
    if limits is not None or positive:
        what = "values are known by limits alone" if limits is not None else "values are conditioned on being above 0 (m4)"
        raise ValueError(
            f"{name}: errors of channels at one time are correlated (Correlated), and {what}: the probability of a region in "
            'several channels is not computed here; take the head without Correlated, or Cohort.of(…, censoring="m1")'
        )


def limits_nll(
    y: Tensor,  # (N, T, p)
    mean: Tensor,  # (M, N, T, p)
    variance: Tensor,  # (M, N, T, p)
    limits: Tensor | None,  # (N, T, p, 2)
    positive: bool,
) -> Tensor:  # (M, N)
    """What `gaussian_nll` adds for values between limits, and for the condition y > 0."""
    found = mean.new_zeros(mean.shape[:2])
    known = ~torch.isnan(y)
    if limits is not None:
        s = standardised(limits, mean, variance, positive)
        found = found - torch.where(s.there, log_between(s.a, s.b, s.low, s.high)[0], 0.0).sum((-1, -2))
        known = known | s.there
    if positive:
        m, one = torch.where(known, mean, 0.0), torch.where(known, variance, 1.0)
        above = log_between(-m / one.sqrt(), torch.ones_like(m), known, torch.zeros_like(known))[0]
        found = found + above.sum((-1, -2))
    return found


@dataclass(frozen=True)
class Standardised:
    """Limits in standard deviations from the mean, a and b (M, N, T, p); `low`, `high`: whether there is one; `there`: either."""

    a: Tensor
    b: Tensor
    low: Tensor
    high: Tensor
    there: Tensor


def standardised(
    limits: Tensor,  # (N, T, p, 2)
    mean: Tensor,  # (M, N, T, p)
    variance: Tensor,
    positive: bool = False,
) -> Standardised:
    """(limit − μ)/σ of both; 0 where there is none, and without a gradient there."""
    lower, upper = limits.unbind(-1)
    low, high = torch.isfinite(lower), torch.isfinite(upper)
    there = low | high
    if positive:
        lower, low = torch.where(there, lower.clamp(min=0.0), lower), there
    m, sd = torch.where(there, mean, 0.0), torch.where(there, variance, 1.0).sqrt()
    a = torch.where(low, (torch.where(low, lower, 0.0) - m) / sd, 0.0)
    b = torch.where(high, (torch.where(high, upper, 0.0) - m) / sd, 0.0)
    shape = a.shape
    return Standardised(a, b, low.expand(shape), high.expand(shape), there.expand(shape))


# what a fit makes small of the measurements: (y (N, T, p), mean, variance (M, N, T, p)) -> (M, N), NaN in y masked
Likelihood = Callable[[Tensor, Tensor, Tensor], Tensor]


def beta_nll(beta: float = 0.5) -> Likelihood:
    """A training loss: `gaussian_nll` whose every term is weighted by σ^{2β}, the weight held while differentiating.

    Σ ⌊σ^{2β}⌋ ½[(y − μ)²/σ² + log σ²]. The likelihood's gradient to the mean is (μ − y)/σ²: where a learned variance first
    explains the misfit as noise, the mean stops learning there. β = 0 is the likelihood, β = 1 gives the mean the gradient
    of least squares; ½ is the source's advice. It is not a score (σ^{2β} can be made small), and its value is in
    (unit of y)^{2β}, so that beside it a prior on people counts otherwise than beside a likelihood.
    Arguments: `beta` in [0, 1]. Returns a function for `Objective(likelihood=…)`. Errors: `ValueError` for another β.
    Law: its only stationary point in (μ, σ²), for one measurement's distribution, is that of the likelihood.
    Source: Seitzer, Tavakoli, Antić & Martius (2022), equation 5.
    """
    require_number(beta, "beta_nll: β")
    if not 0.0 <= beta <= 1.0:
        raise ValueError(f"beta_nll: β lies between 0 (the likelihood) and 1 (least squares), got {beta}; write beta_nll(0.5)")
    return functools.partial(_weighted_nll, beta=float(beta))


def _weighted_nll(y: Tensor, mean: Tensor, variance: Tensor, beta: float) -> Tensor:  # (M, N)
    require_scored(y, mean, variance, "beta_nll")
    there, error, one = _masked(y, mean, variance)
    weight = one.detach() ** beta
    return 0.5 * torch.where(there, weight * (error.square() / one + one.log()), 0.0).sum((-1, -2))


def gaussian_crps(
    y: Tensor,  # (N, T, p), NaN where there is nothing to score
    mean: Tensor,  # (M, N, T, p)
    variance: Tensor,  # (M, N, T, p)
) -> Tensor:  # (M, N)
    """Continuous ranked probability score of N(mean, variance), summed over the times and channels of each person.

    σ [z (2Φ(z) − 1) + 2φ(z) − 1/√π] with z = (y − μ)/σ. A proper score that grows linearly with an error where the
    likelihood grows with its square: it forgives outliers. In the unit of y: scale channels alike, and beside it a prior
    on people counts otherwise than beside a likelihood.
    Source: Gneiting, Raftery, Westveld & Goldman, Mon. Weather Rev. 133 (2005) 1098, equation 5.
    """
    require_scored(y, mean, variance, "gaussian_crps")
    there, error, one = _masked(y, mean, variance)
    sd = one.sqrt()
    z = error / sd
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2.0 * math.pi)
    score = sd * (z * torch.erf(z * math.sqrt(0.5)) + 2.0 * density - 1.0 / math.sqrt(math.pi))
    return torch.where(there, score, 0.0).sum((-1, -2))


def require_scored(y: Tensor, mean: Tensor, variance: Tensor, name: str) -> None:
    """Raise `ValueError`, beginning with `name`, unless these are measurements (N, T, p), and mean and variance (M, N, T, p)."""
    require_shape(y, f"{name}: y", "N", "T", "p", write="cohort.y")
    for what, value in (("mean", mean), ("variance", variance)):
        require_shape(value, f"{name}: {what}", "M", *y.shape, write=f"rollout(…).{what}", like=y)
    if len(mean) != len(variance) and 1 not in (len(mean), len(variance)):
        raise ValueError(f"{name}: mean is of {len(mean)} members and variance of {len(variance)}; give both for the same")


def _masked(y: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where something was measured, the error there, and the variance there; 0 and 1 elsewhere, without a gradient."""
    there = ~torch.isnan(y)
    return there, torch.where(there, y, 0.0) - torch.where(there, mean, 0.0), torch.where(there, variance, 1.0)
