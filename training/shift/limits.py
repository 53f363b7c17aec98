"""Limits that the next person of the same law passes with a stated probability, from a sample of any size."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import skew, t

Array = NDArray[np.float64]


def upper_limit(
    values: Array,  # (N,)
    share: float,
) -> float:
    """What one more value of the same law passes with probability `share`.

    Where at least two values lie beyond it, it is the sample's own quantile; with fewer an order statistic, the
    ⌈(N + 1)(1 − share)⌉-th smallest, as long as there is one, which holds for every law. Beyond the largest value it is the
    prediction limit m + t_{N−1} s √(1 + 1/N) of a normal law, or of a log-normal one where the logarithms are less skewed, and
    never below the largest. Law: of fewer than two values, or of values that are all equal, it is the largest. Source: Hahn &
    Meeker, Statistical Intervals (1991), chapters 4 and 5.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    N = len(ordered)
    if N * share >= 2.0:
        return float(np.quantile(ordered, 1.0 - share))
    rank = math.ceil((N + 1) * (1.0 - share) - 1e-9)
    if rank <= N:
        return float(ordered[max(rank, 1) - 1])
    highest = float(ordered[-1])
    if N < 2 or ordered[0] == ordered[-1]:
        return highest
    logs = bool(ordered[0] > 0.0) and abs(_skew(np.log(ordered))) < abs(_skew(ordered))
    given = np.log(ordered) if logs else ordered
    factor = float(t.isf(share, N - 1)) * math.sqrt(1.0 + 1.0 / N)
    limit = float(given.mean() + factor * given.std(ddof=1))
    return max(highest, math.exp(min(limit, 700.0)) if logs else limit)


def lower_limit(values: Array, share: float) -> float:
    """The same at the other end."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) and values.min() > 0.0:  # so that what is positive keeps a positive limit where its logarithms are even
        return 1.0 / upper_limit(1.0 / values, share)
    return -upper_limit(-values, share)


def box_of(
    columns: dict[str, Array],  # each (N,)
    share: float,
) -> tuple[dict[str, tuple[float, float]], float]:
    """The box that one more person leaves with probability `share`, and which share of the law lies beyond each of its sides.

    Of one column these are its share/2 quantiles: the 1st and the 99th percentile for 2 %. Several columns have equal shares,
    as small as the people show that leaving in one and in another do not go together: ½ share/m, with m between 1, all go
    together, and their number.
    """
    if not columns:
        return {}, 0.5 * share
    sides, most = share / 2.0, float(len(columns))
    if len(columns) > 1:
        first = _limits(columns, sides)
        out = np.stack([(v < first[k][0]) | (v > first[k][1]) for k, v in columns.items()])  # (k, N)
        each = float(out.mean())
        if out.sum() >= 20:  # with fewer nobody can say
            most = float(np.clip(out.any(0).mean() / each, 1.0, most))
    sides = sides / most
    return _limits(columns, sides), sides


def _limits(columns: dict[str, Array], share: float) -> dict[str, tuple[float, float]]:
    return {name: (lower_limit(values, share), upper_limit(values, share)) for name, values in columns.items()}


def _skew(values: Array) -> float:
    return float(skew(values)) if len(values) > 2 and values.std() > 1e-12 * np.abs(values).max() else 0.0
