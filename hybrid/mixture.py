"""Mixtures of K equally weighted Gaussians on plain arrays, component axis first."""

import math

import torch
from torch import Tensor

SQRT_HALF = math.sqrt(0.5)
INVERSE_SQRT_PI = 1.0 / math.sqrt(math.pi)
BLOCK = 2**21  # numbers in one temporary array (16 MB in float64): bounds memory, and keeps the block near the cache


def mixture_cdf(
    y: Tensor,  # (G,)
    mean: Tensor,  # (K, G)
    variance: Tensor,  # (K, G)
) -> Tensor:  # (G,)
    """Distribution function of K equally weighted Gaussians, (1/K) Σ_k Φ((y − μ_k)/σ_k).

    Through erfc, so the lower tail keeps its relative precision; the upper tail is the mirrored mixture's lower tail.
    """
    return 0.5 * torch.erfc((mean - y) * (SQRT_HALF * variance.rsqrt())).mean(0)


def mixture_log_prob(
    y: Tensor,  # (G,)
    mean: Tensor,  # (K, G)
    variance: Tensor,  # (K, G)
) -> Tensor:  # (G,)
    """Log density of K equally weighted Gaussians, log (1/K) Σ_k N(y; μ_k, σ_k²), by logsumexp."""
    terms = -0.5 * ((y - mean).square() / variance + (2.0 * math.pi * variance).log())
    return torch.logsumexp(terms, 0) - math.log(mean.shape[0])


def mixture_quantile(
    level: float,
    mean: Tensor,  # (K, G)
    variance: Tensor,  # (K, G)
) -> Tensor:  # (G,)
    """The y at which the mixture's distribution function equals `level`, by Newton's method held inside a bracket.

    The bracket is [min_k q_k, max_k q_k] with q_k the components' own quantiles: at the upper end every component's
    distribution function is at least the level, at the lower end at most. Newton runs on log F, which is nearly quadratic in
    a tail; a step that leaves the bracket, or is not half as long as the one before, is replaced by a bisection.
    Levels above one half are solved for the mirrored mixture, so that both tails are relatively precise.
    Where the mixture has a gap wider than floating-point numbers resolve (F equal to the level over an interval), some point
    of that interval is returned.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"A quantile level of {level} was asked for; levels lie strictly between 0 and 1, e.g. 0.9.")
    with torch.no_grad():
        if level > 0.5:
            return -mixture_quantile(1.0 - level, -mean, variance)
        sd = variance.sqrt()
        ends = mean + sd * torch.special.ndtri(mean.new_tensor(level))
        low, high = ends.amin(0), ends.amax(0)
        answer = 0.5 * (low + high)
        x, last, smallest = answer.clone(), high - low, sd.amin(0)
        active = torch.arange(x.numel(), device=x.device)
        # Each pass halves either the bracket or the step; after 100 passes only bisection is allowed, and 1,200 halvings
        # exceed what the exponent range of float64 can hold.
        for iteration in range(1300):
            z = (x - mean) / sd
            below = 0.5 * torch.erfc(-SQRT_HALF * z).mean(0)
            density = ((-0.5 * z.square()).exp() / sd).mean(0) / math.sqrt(2.0 * math.pi)
            error = torch.log1p((below - level) / level)  # log F − log level, without the rounding of two logarithms
            low, high = torch.where(error < 0.0, x, low), torch.where(error < 0.0, high, x)
            newton = x - error * below / density
            step, tolerance = (newton - x).abs(), 1e-15 * (x.abs() + smallest)
            by_newton = (newton >= low) & (newton <= high) & (2.0 * step <= last) & (iteration < 100)
            bisected = 0.5 * (low + high)
            converged = (step <= tolerance) | (high - low <= tolerance) | (error.abs() <= 2e-16)
            answer[active[converged]] = x[converged]
            if bool(converged.all()):
                break
            following = torch.where(by_newton, newton, bisected)
            last, x = (following - x).abs(), following
            if 2 * int(converged.sum()) >= converged.numel():  # few columns are left: stop paying for the others
                keep = ~converged
                active, x, last, low, high = active[keep], x[keep], last[keep], low[keep], high[keep]
                mean, sd, smallest = mean[:, keep], sd[:, keep], smallest[keep]
        return answer


def mixture_crps(
    y: Tensor,  # (G,)
    mean: Tensor,  # (K, G)
    variance: Tensor,  # (K, G)
) -> Tensor:  # (G,)
    """Continuous ranked probability score of K equally weighted Gaussians, in closed form (smaller is better, unit of y).

    CRPS = (1/K) Σ_k A(y − μ_k, σ_k²) − (1/2K²) Σ_j Σ_k A(μ_j − μ_k, σ_j² + σ_k²), with
    A(d, v) = E|d + √v Z| = d (2Φ(d/√v) − 1) + 2 √v φ(d/√v)   (Grimit, Gneiting, Berrocal & Johnson 2006).
    Pairs are visited one component at a time, so memory is that of the components themselves.
    """
    count = mean.shape[0]
    to_observation = _expected_distance(y - mean, variance).mean(0)
    spread = 2.0 * INVERSE_SQRT_PI * variance.sqrt().sum(0)  # the pairs j = k
    for k in range(count - 1):
        spread = spread + 2.0 * _expected_distance(mean[k + 1 :] - mean[k], variance[k + 1 :] + variance[k]).sum(0)
    return to_observation - spread / (2.0 * count**2)


def mixture_crossing(
    threshold: Tensor,  # (T, G), of T times in each of G windows
    mean: Tensor,  # (K, T, G)
    variance: Tensor,  # (K, T, G)
    real: Tensor,  # (T, G) bool, which times count
) -> Tensor:  # (G,)
    """P(some of T observations > threshold) where they are independent given one of K components, 1 − (1/K) Σ_k Π_t Φ_kt.

    Exact for the mixture, no paths are drawn. The product is a sum of logarithms, and 1 − Π its expm1, so that a small
    probability keeps its relative precision. A variance of 0 asks of the component's mean itself.
    """
    sd = variance.sqrt()
    distance = torch.where(sd > 0.0, (threshold - mean) / torch.where(sd > 0.0, sd, 1.0), torch.nan)
    distance = torch.where(sd > 0.0, distance, torch.where(mean > threshold, -torch.inf, torch.inf))
    log_below = torch.where(real, torch.special.log_ndtr(torch.where(real, distance, 0.0)), 0.0)
    return -torch.expm1(log_below.sum(1)).mean(0)


def _expected_distance(difference: Tensor, variance: Tensor) -> Tensor:
    """E|d + √v Z| for standard normal Z."""
    scaled = difference * (SQRT_HALF * variance.rsqrt())
    gauss = (2.0 * variance).sqrt() * INVERSE_SQRT_PI * (-scaled.square()).exp()
    return difference * torch.erf(scaled) + gauss


def blocks(components: Tensor) -> list[slice]:
    """Slices of columns such that components × columns stays below BLOCK; one empty slice where there are no columns."""
    width = max(1, BLOCK // components.shape[0])
    return [slice(start, start + width) for start in range(0, max(1, components.shape[1]), width)]
