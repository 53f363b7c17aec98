"""Does a stated probability happen that often? Calibration errors, each beside what a perfect forecaster would score.

A calibration error of a finite sample is positive even for a perfect forecaster, and its size is a matter of binning. So
each number here has a convention that can be printed, and a null band: the same number for outcomes drawn from the
forecaster's own predictive distribution. Arrays in (numpy or torch, any shape), numbers out; a NaN observation is missing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch
from numpy.typing import NDArray

from physics.glance import glance
from training.trust.null_band import (
    Array,
    ArrayLike,
    NullBand,
    as_array,
    band,
    present,
    replicates,
    stray_band,
    tails,
    uniform,
)

Binning = Literal["mass", "width"]
# one convention for every event on a page: fifteen bins are what the error is reported in since Guo et al. (2017, ICML) and
# Kumar, Liang & Ma (2019). On few observations that error is mostly noise, which the null band beside it shows
EVENT_BINS = 15

__all__ = [
    "EVENT_BINS",
    "Binning",
    "NullBand",
    "Partition",
    "ReliabilityCurve",
    "calibration_null_band",
    "describe_convention",
    "ence",
    "ence_null_band",
    "events",
    "expected_calibration_error",
    "partition",
    "quantile_calibration_error",
    "quantile_null_band",
    "reliability_curve",
    "zms",
]


@final
@dataclass(frozen=True)
class ReliabilityCurve:
    """Per bin that is not empty, in order of probability: means, counts, and a pointwise null band for mean_outcome."""

    mean_probability: Array  # (B,)
    mean_outcome: Array  # (B,)
    count: NDArray[np.int64]  # (B,)
    null_lower: Array | None  # (B,), None without a generator
    null_upper: Array | None  # (B,)
    strays: NullBand | None = None  # how many means leave their own band, of perfect forecasters and observed

    __repr__, _repr_html_ = glance()


@final
@dataclass(frozen=True)
class Partition:
    """Values sorted into bins: `order` sorts by bin, `starts` are the bins' first places in that order, `counts` sizes."""

    order: NDArray[np.int64]  # (n,)
    starts: NDArray[np.int64]  # (B,), of the bins that are not empty
    counts: NDArray[np.int64]  # (B,)

    def means(self, values: Array) -> Array:  # (..., n) -> (..., B)
        """Mean of the values in each bin."""
        return np.add.reduceat(values[..., self.order], self.starts, axis=-1) / self.counts


def partition(values: Array, *, bins: int = EVENT_BINS, binning: Binning = "mass") -> Partition:  # values (n,)
    """Sort values into bins [lo, hi), the last one closed; empty bins are dropped.

    "width": edges b/bins, for values in [0, 1]. "mass": edges at the sorted values number ⌈n b/bins⌉ (from 0), so that
    equal values are never split (a group of ties goes whole into the bin that starts at it) and the order of rows does
    not matter.
    """
    if bins < 1:
        raise ValueError(f"{bins} bins were asked for; write bins=1 or more (15 is the default for events).")
    inner = np.arange(1, bins)
    if binning == "width":
        edges = inner / bins
    elif binning == "mass":
        edges = np.sort(values)[np.minimum(-(-values.size * inner // bins), values.size - 1)]
    else:
        raise ValueError(f'binning is {binning!r}; write "mass" (equal counts) or "width" (equal widths).')
    index = np.searchsorted(edges, values, side="right")
    counts = np.bincount(index, minlength=bins)
    starts = np.cumsum(counts) - counts
    return Partition(np.argsort(index, kind="stable"), starts[counts > 0], counts[counts > 0])


def events(probability: ArrayLike, outcome: ArrayLike) -> tuple[Array, Array]:  # (n,), (n,)
    """Probabilities and outcomes of the events observed, flattened; refuses p outside [0, 1] and y but 0 and 1."""
    y, p = present(outcome, {"probability": as_array(probability, truths=False)})
    if (p < 0.0).any() or (p > 1.0).any():
        raise ValueError(
            f"Probabilities run from {p.min()} to {p.max()}; they lie in [0, 1]. Logits are the usual cause: write "
            "1 / (1 + exp(-logit))."
        )
    other = y[(y != 0.0) & (y != 1.0)]
    if other.size:
        raise ValueError(
            f"{other.size} outcomes are neither 0 nor 1, the first {other[0]}; an event happens or not (NaN: not observed). "
            "Write outcome = y > threshold."
        )
    return p, y


def describe_convention(*, bins: int = EVENT_BINS, binning: Binning = "mass", norm: float = 1, debias: bool = False) -> str:
    """One line that says how an expected calibration error was computed, to be printed with the number."""
    _check_norm(norm, debias)
    kind = {"mass": "equal-mass bins (ties never split)", "width": "equal-width bins"}[binning]
    measure = {1: "L1", 2: "L2", np.inf: "max"}[norm] + (" debiased (Kumar 2019)" if debias else "")
    return f"expected calibration error, {measure}, {bins} {kind} [lo, hi), last bin closed, empty bins skipped"


def _check_norm(norm: float, debias: bool) -> None:
    if norm not in (1, 2, np.inf):
        raise ValueError(f"norm is {norm}; write norm=1, norm=2 or norm=numpy.inf.")
    if debias and norm != 2:
        raise ValueError(f"debias=True came with norm={norm}; the correction is for squares: write norm=2.")


def expected_calibration_error(
    probability: ArrayLike,  # any shape
    outcome: ArrayLike,  # the same shape, 0 or 1, NaN is missing
    *,
    bins: int = EVENT_BINS,
    binning: Binning = "mass",
    norm: float = 1,
    debias: bool = False,
) -> float:
    """Expected calibration error (ECE) of event probabilities.

    With gap_b = |mean y − mean p| in bin b and weight n_b/N: norm 1 gives Σ (n_b/N) gap_b, norm 2 the root of
    Σ (n_b/N) gap_b², norm numpy.inf the largest gap. `debias` (norm 2 only) subtracts ȳ(1−ȳ)/(n_b−1) from each gap_b²,
    floors the sum at 0 and takes the root; a bin with one event then adds nothing, as its noise cannot be estimated.
    Returns a float in [0, 1]. Never read it alone: print `describe_convention`, `calibration_null_band` and the Brier
    score with its resolution. A constant forecaster has next to no calibration error, and no use.
    Errors: ValueError for p outside [0, 1], y other than 0, 1 and NaN, shapes that differ, no data, bins < 1.
    Law: does not depend on the order of events; 0 if within each bin events happen as often as said.
    Source: Naeini, Cooper & Hauskrecht (2015); debiased: Kumar, Liang & Ma (2019).
    """
    p, y = events(probability, outcome)
    return float(_binned_error(p, partition(p, bins=bins, binning=binning), norm, debias)(y))


def _binned_error(p: Array, parts: Partition, norm: float, debias: bool) -> Callable[[Array], Array]:
    """The calibration error as a function of outcomes (..., n); the bins depend on p alone."""
    _check_norm(norm, debias)
    weight, mean_p = parts.counts / parts.counts.sum(), parts.means(p)

    def error(y: Array) -> Array:
        mean_y = parts.means(y)
        gap = np.abs(mean_y - mean_p)
        if norm == 1:
            return (weight * gap).sum(-1)
        if norm == np.inf:
            return gap.max(-1)
        square = gap**2
        if debias:
            noise = mean_y * (1.0 - mean_y) / np.maximum(parts.counts - 1, 1)
            square = np.where(parts.counts > 1, square - noise, 0.0)
        return np.sqrt(np.maximum((weight * square).sum(-1), 0.0))

    return error


def calibration_null_band(
    probability: ArrayLike,  # any shape
    *,
    generator: torch.Generator,
    outcome: ArrayLike | None = None,
    bins: int = EVENT_BINS,
    binning: Binning = "mass",
    norm: float = 1,
    debias: bool = False,
    draws: int = 1000,
    groups: ArrayLike | None = None,
    joint: ArrayLike | None = None,
    level: float = 0.95,
) -> NullBand:
    """The expected calibration error that a perfect forecaster with these probabilities would score.

    Outcomes are drawn y* ~ Bernoulli(p) for independent events. Where events share a patient give `joint` (R, *shape):
    outcomes of R draws of whole predictive paths. Each row is then one replicate, and `draws` is not used; with `groups`
    as well (a label per event, broadcast to the shape) patients are independent, and each of `draws` replicates takes a
    row of its own for each patient. `groups` that hold several events without `joint` are refused.
    `outcome` gives `observed`, and its NaN say which events to leave out. The caller promises that the rows of `joint`
    have the mean `probability`.
    Returns a NullBand. Errors: as `expected_calibration_error`, and the shapes of groups and joint.
    Law: for outcomes drawn from the probabilities, `observed` falls inside the band `level` of the time.
    Source: Bröcker & Smith (2007), consistency resampling; here of the whole error, and for dependent events.
    """
    seen = np.zeros(as_array(probability).shape) if outcome is None else as_array(outcome)
    p, y = events(probability, seen)
    error = _binned_error(p, partition(p, bins=bins, binning=binning), norm, debias)
    blocks = replicates(
        lambda r: (uniform(r, p.size, generator) < p).astype(np.float64),
        ~np.isnan(seen),
        draws=draws,
        generator=generator,
        groups=groups,
        joint=joint,
    )
    return band(error, blocks, None if outcome is None else float(error(y)), level)


def reliability_curve(
    probability: ArrayLike,  # any shape
    outcome: ArrayLike,  # the same shape, 0 or 1, NaN is missing
    *,
    bins: int = EVENT_BINS,
    binning: Binning = "mass",
    generator: torch.Generator | None = None,
    draws: int = 1000,
    groups: ArrayLike | None = None,
    joint: ArrayLike | None = None,
    level: float = 0.95,
) -> ReliabilityCurve:
    """Mean probability, mean outcome and count per bin: the points of a reliability diagram.

    With a generator also the band in which each bin's mean outcome lies with probability `level` if the forecaster is
    perfect; dependence as in `calibration_null_band`. The band is pointwise: of 15 bins at 95 %, all are inside only
    about half the time; `strays` says how many are outside and how many that are by chance.
    """
    p, y = events(probability, outcome)
    parts = partition(p, bins=bins, binning=binning)
    lower = upper = strays = None
    mean_outcome = parts.means(y)
    if generator is not None:
        blocks = replicates(
            lambda r: (uniform(r, p.size, generator) < p).astype(np.float64),
            ~np.isnan(as_array(outcome)),
            draws=draws,
            generator=generator,
            groups=groups,
            joint=joint,
        )
        perfect = np.concatenate([parts.means(rows) for rows in blocks])
        lower, upper = np.quantile(perfect, tails(level), axis=0)
        strays = stray_band(perfect, mean_outcome, np.stack([lower, upper]), level)
    return ReliabilityCurve(parts.means(p), mean_outcome, parts.counts, lower, upper, strays)


def quantile_calibration_error(
    pit: ArrayLike,  # any shape, in [0, 1]; NaN is missing
    *,
    levels: int = 20,
    norm: float = 1,
) -> float:
    """Miscalibration of a predictive distribution's quantiles: how far P(y ≤ Q(a)) is from a.

    At levels a_j = (j − ½)/J, the fraction of observations at or below their predictive quantile; that is the fraction of
    probability integral transforms F(y) ≤ a_j, with F(y) = `Prediction.cdf(y)`. One-sided, never mirrored. Then the mean
    (norm 1), root mean square (2) or largest (numpy.inf) of |fraction − a_j|.
    Errors: ValueError for values outside [0, 1], no data, levels < 1.
    Law: at most 1/2n for the n transforms (i − ½)/n. Source: Kuleshov, Fenner & Ermon (2018), with one-sided levels.
    """
    (values,) = present(pit, {})
    return float(_quantile_error(values, levels, norm)(values))


def _quantile_error(pit: Array, levels: int, norm: float) -> Callable[[Array], Array]:
    _check_norm(norm, debias=False)
    if levels < 1:
        raise ValueError(f"{levels} levels were asked for; write levels=1 or more (20 is the default).")
    if (pit < 0.0).any() or (pit > 1.0).any():
        raise ValueError(
            f"Probability integral transforms run from {pit.min()} to {pit.max()}; they lie in [0, 1]. Pass "
            "prediction.cdf(y), not y."
        )
    grid = (np.arange(levels) + 0.5) / levels

    def error(values: Array) -> Array:  # (..., n) -> (...)
        gap = np.abs(np.stack([(values <= a).mean(-1) for a in grid], -1) - grid)
        if norm == 1:
            return gap.mean(-1)
        return np.sqrt((gap**2).mean(-1)) if norm == 2 else gap.max(-1)

    return error


def quantile_null_band(
    pit: ArrayLike,  # any shape
    *,
    generator: torch.Generator,
    levels: int = 20,
    norm: float = 1,
    draws: int = 1000,
    groups: ArrayLike | None = None,
    joint: ArrayLike | None = None,
    level: float = 0.95,
) -> NullBand:
    """The quantile calibration error of a perfect forecaster: transforms drawn uniform, or taken from `joint`.

    `joint` (R, *shape) holds the transforms of R draws of whole predictive paths, and is used as in
    `calibration_null_band`: prediction.cdf(prediction.sample(R, generator)). Give it where observations share a patient.
    """
    (values,) = present(pit, {})
    error = _quantile_error(values, levels, norm)
    blocks = replicates(
        lambda r: uniform(r, values.size, generator),
        ~np.isnan(as_array(pit)),
        draws=draws,
        generator=generator,
        groups=groups,
        joint=joint,
    )
    return band(error, blocks, float(error(values)), level)


def zms(variance: ArrayLike, squared_error: ArrayLike) -> float:
    """Mean of squared standardised errors, mean e²/σ²: 1 if the variances are right on average (Pernot 2023)."""
    v, e = _variances(variance, squared_error)
    return float((e / v).mean())


def _variances(variance: ArrayLike, squared_error: ArrayLike) -> tuple[Array, Array]:  # (n,), (n,)
    e, v = present(squared_error, {"variance": variance})
    if (v <= 0.0).any() or (e < 0.0).any():
        raise ValueError(
            f"variance goes down to {v.min()} and squared_error to {e.min()}; variances need to be above zero (write "
            "variance + floor) and squares not below it (write (y - point)**2)."
        )
    return v, e


def ence(variance: ArrayLike, squared_error: ArrayLike, *, bins: int = 10) -> float:
    """Expected normalised calibration error of variances: mean over bins of |RMSE_b − RMV_b| / RMV_b.

    Bins hold equal counts by variance (ties never split, empty bins skipped); RMSE_b = √mean e², RMV_b = √mean σ².
    It grows like √bins for calibrated data: print `ence_null_band` beside it.
    Source: Levi, Gispan, Giladi & Fetaya (2022).
    """
    v, e = _variances(variance, squared_error)
    return float(_normalised_error(v, bins)(e))


def _normalised_error(variance: Array, bins: int) -> Callable[[Array], Array]:
    parts = partition(variance, bins=bins, binning="mass")
    rmv = np.sqrt(parts.means(variance))
    return lambda e: np.abs(np.sqrt(parts.means(e)) / rmv - 1.0).mean(-1)


def ence_null_band(
    variance: ArrayLike,  # any shape
    squared_error: ArrayLike,  # the same shape; NaN is missing
    *,
    generator: torch.Generator,
    bins: int = 10,
    draws: int = 1000,
    groups: ArrayLike | None = None,
    joint: ArrayLike | None = None,
    level: float = 0.95,
) -> NullBand:
    """The expected normalised calibration error of a perfect forecaster: errors σZ with Gaussian Z, or from `joint`.

    `joint` (R, *shape) holds the squared errors of R draws of whole predictive paths, (prediction.sample(R, generator) −
    prediction.point)². A mixture is not Gaussian: there it is the exact reference, as for dependent observations.
    """
    v, e = _variances(variance, squared_error)
    error = _normalised_error(v, bins)
    blocks = replicates(
        lambda r: v * torch.randn((r, v.size), generator=generator, dtype=torch.float64).numpy() ** 2,
        ~np.isnan(as_array(squared_error)),
        draws=draws,
        generator=generator,
        groups=groups,
        joint=joint,
    )
    return band(error, blocks, float(error(e)), level)
