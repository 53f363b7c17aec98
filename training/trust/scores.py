"""How good is a predictive distribution? Proper scores, coverage and the table that reports print.

Arrays in (numpy or torch), float64 numpy out. Scores of single observations come back one per observation, NaN where the
observation is missing (NaN); `pooled` averages them over the axes wanted, so that one function serves per horizon, per
channel or overall. A score named after a distribution takes that distribution's parameters alone. Smaller is better.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from hybrid.mixture import blocks, mixture_cdf, mixture_crps, mixture_log_prob
from hybrid.prediction import Prediction
from hybrid.threads import of_blocks, threads_by
from physics.arguments import require_generator
from training.trust.calibration import (
    EVENT_BINS,
    Binning,
    ence,
    ence_null_band,
    events,
    partition,
    quantile_calibration_error,
    zms,
)
from training.trust.null_band import Array, ArrayLike, as_array, levels_of, present
from training.trust.outcome import Outcome, require_outcome
from training.trust.score_frames import ScoreTable

Axis = int | tuple[int, ...] | None


def pooled(values: ArrayLike, *, axis: Axis = None) -> Array:
    """Mean over `axis` (all axes by default) of the values that are present; NaN where a cell has none of several.

    Errors: ValueError if nothing at all is present.
    """
    numbers = as_array(values)
    seen = ~np.isnan(numbers)
    if not seen.any():
        raise ValueError(
            f"None of the {numbers.size} values is present (NaN or masked out); a mean needs at least one. Check the "
            "mask, and that observations and forecasts are at the same times."
        )
    total, count = np.where(seen, numbers, 0.0).sum(axis), seen.sum(axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _mixture_score(
    function: Callable[[Tensor, Tensor, Tensor], Tensor], y: ArrayLike, mean: ArrayLike, variance: ArrayLike
) -> Array:
    """A mixture function at the observations present; refuses what is not a mixture of Gaussians."""
    seen, mu, v = as_array(y), as_array(mean), as_array(variance)
    if mu.shape != v.shape or mu.ndim != seen.ndim + 1 or mu.shape[1:] != seen.shape or mu.shape[0] < 1:
        raise ValueError(
            f"mean has shape {mu.shape}, variance {v.shape} and the observations {seen.shape}; a mixture needs one leading "
            "axis of components before the observations' own axes, and a single Gaussian the observations' shape itself."
        )
    here = ~np.isnan(seen)
    seen_here, mu, v = seen[here], mu[:, here], v[:, here]
    if not np.isfinite(mu).all():
        raise ValueError("mean is not finite where something was observed; set padding in the observations to NaN too.")
    if not (np.isfinite(v) & (v > 0.0)).all():
        raise ValueError("variance is not finite and above zero where something was observed; write variance + floor.")
    y_t, mu_t, v_t = torch.tensor(seen_here), torch.tensor(mu), torch.tensor(v)
    scores = np.full(seen.shape, np.nan)
    scores[here] = torch.cat([function(y_t[c], mu_t[:, c], v_t[:, c]) for c in blocks(mu_t)]).numpy()
    return scores


def nll_mixture(
    y: ArrayLike,  # any shape
    mean: ArrayLike,  # (K, *shape)
    variance: ArrayLike,  # (K, *shape)
) -> Array:  # shape of y
    """Negative log density of a mixture of K equally weighted Gaussians, −log (1/K) Σ_k N(y; μ_k, σ_k²).

    Not the density of the Gaussian with the mixture's mean and variance. Law: of all distributions, the one that the
    observations follow has the smallest score on average.
    """
    return -_mixture_score(mixture_log_prob, y, mean, variance)


def nll_gaussian(
    y: ArrayLike,  # any shape
    mean: ArrayLike,
    variance: ArrayLike,
) -> Array:  # shape of y, as are all three
    """Negative log density of a Gaussian, ½ (y − μ)²/σ² + ½ log 2πσ²."""
    return nll_mixture(y, as_array(mean)[None], as_array(variance)[None])


def crps_mixture(
    y: ArrayLike,  # any shape
    mean: ArrayLike,  # (K, *shape)
    variance: ArrayLike,  # (K, *shape)
) -> Array:  # shape of y
    """Continuous ranked probability score ∫ (F(z) − 1[y ≤ z])² dz of a Gaussian mixture, closed form.

    Unit of y. Source: Grimit, Gneiting, Berrocal & Johnson (2006); see `hybrid.mixture.mixture_crps`.
    """
    return _mixture_score(mixture_crps, y, mean, variance)


def crps_gaussian(
    y: ArrayLike,  # any shape
    mean: ArrayLike,
    variance: ArrayLike,
) -> Array:  # shape of y
    """Continuous ranked probability score of a Gaussian, σ (z (2Φ(z) − 1) + 2φ(z) − 1/√π) with z = (y − μ)/σ.

    Source: Gneiting, Raftery, Westveld & Goldman (2005), eq. 5.
    """
    return crps_mixture(y, as_array(mean)[None], as_array(variance)[None])


def nll(y: ArrayLike, mean: ArrayLike, variance: ArrayLike) -> Array:
    """`nll_gaussian`, or `nll_mixture` where mean and variance have one more, leading axis than y."""
    return (nll_mixture if as_array(mean).ndim > as_array(y).ndim else nll_gaussian)(y, mean, variance)


def crps(y: ArrayLike, mean: ArrayLike, variance: ArrayLike) -> Array:
    """`crps_gaussian`, or `crps_mixture` where mean and variance have one more, leading axis than y."""
    return (crps_mixture if as_array(mean).ndim > as_array(y).ndim else crps_gaussian)(y, mean, variance)


def pit(
    y: ArrayLike,  # any shape
    mean: ArrayLike,  # (K, *shape)
    variance: ArrayLike,  # (K, *shape)
) -> Array:  # shape of y
    """Probability integral transform F(y) of a Gaussian mixture; uniform if the observations follow it (Dawid 1984)."""
    return _mixture_score(mixture_cdf, y, mean, variance)


def _samples(samples: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    draws, seen = as_array(samples), as_array(y)
    if draws.ndim != seen.ndim + 1 or draws.shape[1:] != seen.shape or draws.shape[0] < 2:
        raise ValueError(
            f"Samples have shape {draws.shape} and the observations {seen.shape}; samples need one leading axis of at least "
            "two draws, (R, *observations): the fair estimator compares pairs of different draws."
        )
    if not np.isfinite(draws[:, ~np.isnan(seen)]).all():
        raise ValueError(
            "Samples are not finite where something was observed; set padding in the observations to NaN too."
        )
    return draws, seen


def crps_samples(
    samples: ArrayLike,  # (R, *shape)
    y: ArrayLike,  # any shape
) -> Array:  # shape of y
    """Fair estimate of the continuous ranked probability score from R independent draws.

    (1/R) Σ_i |x_i − y| − (1/2R(R−1)) Σ_{i≠j} |x_i − x_j|. Unbiased for the score of the distribution drawn from; the common
    1/2R² is the score of the R points themselves, and too large. The double sum by sorting: Σ_{i<j} |x_i − x_j| =
    Σ_i (2i − R − 1) x_(i). Source: Ferro (2014).
    """
    draws, seen = _samples(samples, y)
    centred = np.sort(draws - seen, axis=0)  # about y, so that the sorted sum does not cancel
    count = draws.shape[0]
    weight = (2.0 * np.arange(1, count + 1) - count - 1.0).reshape(-1, *([1] * seen.ndim))
    return np.abs(centred).mean(0) - (weight * centred).sum(0) / (count * (count - 1))


def energy_score(
    samples: ArrayLike,  # (R, *shape)
    y: ArrayLike,  # shape (..., *event)
    *,
    event_axes: int = 2,
) -> Array:  # (...)
    """Fair energy score of whole paths, (1/R) Σ_i ‖x_i − y‖ − (1/2R(R−1)) Σ_{i≠j} ‖x_i − x_j‖.

    The last `event_axes` axes make one path: 2 for (N, T, p), giving one score per person. Missing observations are left out
    of both norms; NaN where a path has none. The norm adds channels up: bring them to one scale first.
    Law: with one observation per path it is `crps_samples`. Source: Gneiting & Raftery (2007), eq. 22.
    """
    draws, seen = _samples(samples, y)
    if not 1 <= event_axes <= seen.ndim:
        raise ValueError(f"event_axes is {event_axes} for observations of shape {seen.shape}; write 1 to {seen.ndim}.")
    shape = seen.shape[: seen.ndim - event_axes]
    here = ~np.isnan(seen).reshape(*shape, -1)
    error = np.where(here, (draws - seen).reshape(-1, *here.shape), 0.0)
    count = error.shape[0]
    apart = sum(np.sqrt(np.square(error[i + 1 :] - error[i]).sum(-1)).sum(0) for i in range(count - 1))
    score = np.sqrt(np.square(error).sum(-1)).mean(0) - apart / (count * (count - 1))
    return np.where(here.any(-1), score, np.nan)


def _interval(y: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> tuple[Array, Array, Array]:
    seen, low, high = as_array(y), as_array(lower), as_array(upper)
    if not seen.shape == low.shape == high.shape:
        raise ValueError(
            f"Observations have shape {seen.shape}, lower {low.shape} and upper {high.shape}; they need the same."
        )
    here = ~np.isnan(seen)
    if not (low[here] <= high[here]).all():
        raise ValueError(
            "lower is above upper, or NaN, where something was observed; check the order: coverage(y, lower, upper)."
        )
    return seen, low, high


def covered(y: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> Array:  # shape of y
    """1 where lower ≤ y ≤ upper, 0 where not, NaN where y is missing."""
    seen, low, high = _interval(y, lower, upper)
    return np.where(np.isnan(seen), np.nan, (low <= seen) & (seen <= high))


def coverage(y: ArrayLike, lower: ArrayLike, upper: ArrayLike, *, axis: Axis = None) -> Array:
    """Fraction of observations inside their closed interval, over `axis`: (0, 2) of (N, T, p) gives it per horizon.

    Observations of one patient depend on each other: bootstrap by patient for an interval around this fraction.
    """
    return pooled(covered(y, lower, upper), axis=axis)


def path_coverage(y: ArrayLike, lower: ArrayLike, upper: ArrayLike, *, event_axes: int = 2) -> Array:
    """Fraction of paths (the last `event_axes` axes) all of whose observations are inside: simultaneous coverage."""
    inside = covered(y, lower, upper)
    axes = tuple(range(inside.ndim - event_axes, inside.ndim))
    everywhere = np.where((~np.isnan(inside)).any(axes), (inside != 0.0).all(axes), np.nan)
    return pooled(everywhere)


def interval_score(
    y: ArrayLike,  # any shape
    lower: ArrayLike,
    upper: ArrayLike,
    *,
    level: float,
) -> Array:  # shape of y
    """Interval score of a central interval of `level` = 1 − α, (u − l) + (2/α)(l − y)₊ + (2/α)(y − u)₊.

    Source: Gneiting & Raftery (2007), eq. 43.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"The interval's level is {level}; levels lie strictly between 0 and 1, e.g. 0.9.")
    seen, low, high = _interval(y, lower, upper)
    outside = np.maximum(low - seen, 0.0) + np.maximum(seen - high, 0.0)
    return (high - low) + 2.0 / (1.0 - level) * outside


def sharpness(lower: ArrayLike, upper: ArrayLike, *, axis: Axis = None) -> Array:
    """Mean width of intervals over `axis`, NaN ones (padding) left out; to be compared at equal coverage only."""
    width = as_array(upper) - as_array(lower)
    if (width < 0.0).any():
        raise ValueError("upper is below lower for some intervals; check the order: sharpness(lower, upper).")
    return pooled(width, axis=axis)


def brier(probability: ArrayLike, outcome: ArrayLike) -> float:
    """Brier score of event probabilities, mean (p − y)², 0 best; a NaN outcome is missing (Brier 1950)."""
    p, y = events(probability, outcome)
    return float(np.square(p - y).mean())


@final
@dataclass(frozen=True)
class BrierDecomposition:
    """score = reliability − resolution + uncertainty + within_bin_variance − within_bin_covariance, exactly."""

    score: float
    reliability: float  # Σ (n_b/N) (p̄_b − ȳ_b)², 0 best
    resolution: float  # Σ (n_b/N) (ȳ_b − ȳ)², large best; 0 for a constant forecaster
    uncertainty: float  # ȳ (1 − ȳ), of the events alone
    within_bin_variance: float  # (1/N) Σ (p − p̄_b)²
    within_bin_covariance: float  # (2/N) Σ (p − p̄_b)(y − ȳ_b)


def brier_decomposition(
    probability: ArrayLike, outcome: ArrayLike, *, bins: int = EVENT_BINS, binning: Binning = "mass"
) -> BrierDecomposition:
    """The Brier score as reliability − resolution + uncertainty, and the two terms that binning leaves over.

    With each distinct probability in a bin of its own the last two vanish (Murphy 1973); in wider bins they do not, and the
    three-part sum is off by as much. Source: Stephenson, Coelho & Jolliffe (2008).
    """
    p, y = events(probability, outcome)
    parts = partition(p, bins=bins, binning=binning)
    weight, mean_p, mean_y, base = parts.counts / p.size, parts.means(p), parts.means(y), y.mean()
    inside_p = p[parts.order] - np.repeat(mean_p, parts.counts)
    inside_y = y[parts.order] - np.repeat(mean_y, parts.counts)
    return BrierDecomposition(
        score=float(np.square(p - y).mean()),
        reliability=float((weight * np.square(mean_p - mean_y)).sum()),
        resolution=float((weight * np.square(mean_y - base)).sum()),
        uncertainty=float(base * (1.0 - base)),
        within_bin_variance=float(np.square(inside_p).mean()),
        within_bin_covariance=float(2.0 * (inside_p * inside_y).mean()),
    )


@threads_by(of_blocks)
def score_table(
    outcome: Outcome,
    *,
    mask: ArrayLike | None = None,  # (N, T) or (N, T, p), true where to score
    levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95),
    generator: torch.Generator | None = None,
) -> ScoreTable:
    """The numbers that a report prints about one outcome, over the observations that are present and in `mask`.

    count; nll (of the mixture), crps, rmse (of the mixture's mean); coverage_50 … of central intervals; ence and zms of the
    mixture's variance; sharpness_80, the mean width of the 80 % interval; quantile_calibration_error (20 levels, L1);
    aleatoric_sd, epistemic_sd, personal_sd, roots of the mean variances. With a generator also ence_reference, what Gaussian
    errors of these variances would score. Per horizon or channel: call it with a mask of that horizon or channel.
    Returns a dictionary that knows its `unit`, and is a pandas DataFrame by `.to_frame()`.
    Errors: ValueError for shapes, no data, or a selection that mixes units, over which no mean is meaningful.
    """
    require_outcome(outcome, "score_table")
    levels = levels_of(levels, "score_table")
    if generator is not None:
        require_generator(generator, "score_table: generator")
    prediction, seen = outcome.prediction, outcome.y
    shape = seen.shape
    chosen = ~torch.isnan(seen)
    if mask is not None:
        wanted = torch.from_numpy(np.atleast_1d(as_array(mask)) != 0.0)
        if wanted.shape not in (shape, shape[:2]):
            raise ValueError(f"mask has shape {tuple(wanted.shape)}; write (people, times) or {tuple(shape)}.")
        chosen = chosen & (wanted if wanted.dim() == 3 else wanted[..., None])
    present(torch.where(chosen, seen, torch.nan), {})
    units = {prediction.units[channel] for channel in range(shape[2]) if bool(chosen[..., channel].any())}
    if len(units) > 1:
        raise ValueError(
            f"The observations scored are in different units ({', '.join(sorted(units))}), which no mean can mix. Score one "
            "channel at a time: mask = np.zeros(y.shape, bool); mask[..., channel] = True."
        )
    unit = units.pop()
    # The chosen observations as one record of G times in one channel: nothing is computed for the others.
    count, chosen = int(chosen.sum()), chosen.to(prediction.mean.device)
    size = (*prediction.mean.shape[:2], 1, count, 1)
    selected = Prediction(
        mean=prediction.mean.detach()[:, :, chosen].reshape(size),
        variance=prediction.variance.detach()[:, :, chosen].reshape(size),
        times=torch.zeros(1, count),
        mask=torch.ones(1, count, dtype=torch.bool),
        channels=("selected",),
        units=(unit,),
    )
    value = seen.to(chosen.device)[chosen].reshape(1, count, 1)
    transform, variance = as_array(selected.cdf(value)), as_array(selected.total)
    squared_error = as_array((value - selected.point) ** 2)
    table = {
        "count": float(count),
        "nll": float(-selected.log_prob(value).mean()),
        "crps": float(selected.crps(value).mean()),
        "rmse": float(np.sqrt(squared_error.mean())),
    }
    for level in levels:
        if not 0.0 < level < 1.0:
            raise ValueError(
                f"A coverage level of {level} was asked for; levels lie strictly between 0 and 1, e.g. 0.9."
            )
        # y is inside the central interval exactly when its transform is within level/2 of one half.
        table[f"coverage_{100.0 * level:g}"] = float((np.abs(transform - 0.5) <= 0.5 * level).mean())
    table["ence"] = ence(variance, squared_error)
    if generator is not None:
        table["ence_reference"] = ence_null_band(variance, squared_error, generator=generator, draws=200).mean
    table["zms"] = zms(variance, squared_error)
    lower, upper = selected.interval(0.8)
    table["sharpness_80"] = float(sharpness(lower, upper))
    table["quantile_calibration_error"] = quantile_calibration_error(transform)
    table["aleatoric_sd"] = float(selected.aleatoric.mean().sqrt())
    table["epistemic_sd"] = float(selected.epistemic.mean().sqrt())
    table["personal_sd"] = float(selected.personal.mean().sqrt())
    return ScoreTable(table, unit)
