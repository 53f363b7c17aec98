"""Staying between two curves in the order of an orthant, with doses: proved by differential inequalities, without an integrator.

σ ∈ {−1, 1}ⁿ orders the states: y ≤ z means σ_i y_i ≤ σ_i z_i for each i. Let y⁻ ≤ y⁺ be piecewise polynomials on [0, τ] with, for
every level of the inputs, in the coupled form

    σ_i ẏ⁺_i ≥ σ_i F_i(z),  σ_i ẏ⁻_i ≤ σ_i F_i(z)      for every z between y⁻ and y⁺ whose z_i is that of y⁺, of y⁻

and jumps, if any, apart: a trajectory between them at 0 stays between them until τ (Müller 1926; Walter, Differential and
Integral Inequalities, § 12). Where σ_i σ_j ∂F_i/∂x_j ≥ 0 for i ≠ j, the largest of these is at z = y⁺, the least at y⁻
(Kamke): then F is looked at there alone (`monotone`). With least ≤ every dose ≤ largest, and
y⁺(0) ≥ x̄ + largest, y⁻(0) ≤ x̲ + least,
y⁺(τ) ≤ x̄, y⁻(τ) ≥ x̲, trajectories dosed at multiples of τ exactly stay, and are between x̲ and x̄ before every dose. For doses at
gaps of at least τ the interval from x̲ to x̄ has to be kept without doses too: the same inequalities with ẏ = 0 at its ends.
Without that the conclusion is false: a second peak after τ may exceed x̄.

All is done in z = σx, whose order is that of the numbers. Rounding, underflow: `tape/interval.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stability.proof.arithmetic import Array
from stability.proof.reading import Unusable
from stability.proof.tape.interval import Interval, add, divide, multiply, point, subtract

# boxes of states (K, n), lower and upper, to bounds (K, n) of the whole field F over them, all input levels and parameters
Bounds = Callable[[Array, Array], tuple[Array, Array]]


@dataclass(frozen=True)
class Curves:
    """y⁻ and y⁺ on [0, τ], and the states before a dose.

    `knots` (S + 1,): from 0 to τ · `least`, `largest` (S, n, d + 1): on each piece the coefficients of 1, s, s², …,
    s = (t − t_k)/(t_{k+1} − t_k) · `before`: x̲ and x̄ (n,) · `doses`: the least and the largest dose (n,), in the order σ.
    """

    knots: Array
    least: Array
    largest: Array
    before: tuple[Array, Array]
    doses: tuple[Array, Array]


def monotone(slopes: tuple[Array, Array], sigma: Array) -> bool:
    """Whether σ_i σ_j ∂F_i/∂x_j ≥ 0 for i ≠ j within bounds (…, n, n) of the slopes of the whole field over the region."""
    signs = np.outer(sigma, sigma)
    least = np.where(signs > 0, slopes[0], -slopes[1])
    apart = ~np.eye(len(sigma), dtype=np.bool_)
    return bool((least[..., apart] >= 0).all())


@np.errstate(all="ignore")  # what is not a number proves nothing
def order_kept(
    bounds: Bounds,
    curves: Curves,
    region: tuple[Array, Array],  # (n,) each: the box in which `bounds`, and monotone slopes, hold
    sigma: Array,  # (n,), ±1
    *,
    signs_proved: bool,  # `monotone` over the region: else the coupled form is used
    any_gap: bool,  # doses at gaps of at least τ; else at multiples of τ exactly
    most: int = 200_000,  # pieces of [0, τ] tried
) -> str:
    """Empty if it is proved that every trajectory from between x̲ and x̄, so dosed, stays within the curves; else what is not.

    Errors: Unusable for arrays that do not fit together.
    """
    z = _turned(curves, sigma)
    least, largest = z.least, z.largest
    field = _in_order(bounds, sigma)
    (x_least, x_largest), (d_least, d_largest) = z.before, z.doses
    lower, upper = (np.minimum(sigma * region[0], sigma * region[1]), np.maximum(sigma * region[0], sigma * region[1]))
    if not ((x_least <= x_largest).all() and (d_least <= d_largest).all()):
        return "the states before a dose, or the doses, are not in order"
    if not ((lower <= x_least).all() and (x_largest <= upper).all()):
        return "the states before a dose are not all within the region"
    ends = [_at_one(c) for c in (least, largest)]
    if not (add((x_largest, x_largest), (d_largest, d_largest))[1] <= largest[0, :, 0]).all():
        return "the upper curve does not begin above the largest state with the largest dose"
    if not (add((x_least, x_least), (d_least, d_least))[0] >= least[0, :, 0]).all():
        return "the lower curve does not begin below the least state with the least dose"
    if not ((ends[1][1][-1] <= x_largest).all() and (ends[0][0][-1] >= x_least).all()):
        return "the curves do not come back to the states before a dose"
    if not ((ends[1][1][:-1] <= largest[1:, :, 0]).all() and (ends[0][0][:-1] >= least[1:, :, 0]).all()):
        return "a curve jumps towards the other where two pieces meet"
    if any_gap:
        rest = [end[None] for end in (x_least, x_least, x_largest, x_largest)]
        low, high = _extremes(field, (rest[0], rest[1]), (rest[2], rest[3]), signs_proved)
        if not ((high <= 0).all() and (low >= 0).all()):
            return (
                "the states before a dose are not kept where the next dose comes later: the field at their ends is not proved to "
                "point inward, so that only doses at multiples of the gap exactly could be covered"
            )
    return _pieces_kept(field, z, (lower, upper), signs_proved, most)


def _pieces_kept(field: Bounds, z: Curves, region: tuple[Array, Array], signs_proved: bool, most: int) -> str:
    widths = subtract((z.knots[1:], z.knots[1:]), (z.knots[:-1], z.knots[:-1]))
    piece = np.arange(len(z.least))
    a, b = np.zeros(len(piece)), np.ones(len(piece))
    tried = 0
    while len(piece):
        tried += len(piece)
        if tried > most:
            k = piece[0]
            return f"the differential inequality is not proved near t = {z.knots[k] + a[0] * (z.knots[k + 1] - z.knots[k]):g}"
        s, h = (a[:, None], b[:, None]), (widths[0][piece, None], widths[1][piece, None])
        (below, falls), (above, rises) = (_enclosed(c[piece], s) for c in (z.least, z.largest))
        inside = (region[0] <= below[0]).all(1) & (above[1] <= region[1]).all(1) & (below[1] <= above[0]).all(1)
        low, high = _extremes(field, below, above, signs_proved)
        good = inside & (divide(rises, h)[0] >= high).all(1) & (divide(falls, h)[1] <= low).all(1)
        left = ~good
        middle = 0.5 * (a + b)
        piece, a, b = (
            np.concatenate([piece[left], piece[left]]),
            np.concatenate([a[left], middle[left]]),
            np.concatenate([middle[left], b[left]]),
        )
    return ""


def _extremes(field: Bounds, below: Interval, above: Interval, signs_proved: bool) -> tuple[Array, Array]:
    """The least of F_i where z_i is that of y⁻, and the largest where it is that of y⁺, (K, n)."""
    if signs_proved:
        return field(*below)[0], field(*above)[1]
    n = below[0].shape[1]
    low, high = np.empty_like(below[0]), np.empty_like(below[0])
    for i in range(n):
        for at, out, end in ((below, low, 0), (above, high, 1)):
            box = below[0].copy(), above[1].copy()
            box[0][:, i], box[1][:, i] = at[0][:, i], at[1][:, i]
            out[:, i] = field(*box)[end][:, i]
    return low, high


def _enclosed(c: Array, s: Interval) -> tuple[Interval, Interval]:
    """Polynomials (K, n, d + 1) and their derivatives by s, over the stretches s (K, 1)."""
    order = np.arange(1, c.shape[2])
    first = c[:, :, 1:]
    steep = multiply((first, first), (order.astype(np.float64), order.astype(np.float64)))
    slope = _horner(steep, s)
    middle = 0.5 * (s[0] + s[1])
    off = subtract(s, (middle, middle))
    mean = add(_horner((c, c), (middle, middle)), multiply(slope, off))
    plain = _horner((c, c), s)
    return (np.maximum(mean[0], plain[0]), np.minimum(mean[1], plain[1])), slope


def _horner(c: Interval, s: Interval) -> Interval:
    if not c[0].shape[2]:
        return np.zeros(c[0].shape[:2]), np.zeros(c[0].shape[:2])
    out = c[0][:, :, -1], c[1][:, :, -1]
    for k in reversed(range(c[0].shape[2] - 1)):
        out = add(multiply(out, s), (c[0][:, :, k], c[1][:, :, k]))
    return out


def _at_one(c: Array) -> Interval:
    """The ends (S, n) of the pieces."""
    return _horner((c, c), point(1.0))


def _turned(curves: Curves, sigma: Array) -> Curves:
    """The same in z = σx. Errors: Unusable for arrays that do not fit together."""
    n = len(sigma)
    S = len(curves.knots) - 1
    pairs = (*curves.before, *curves.doses)
    fits = set(np.unique(sigma)) <= {-1.0, 1.0} and S > 0 and curves.least.shape == curves.largest.shape
    fits = fits and curves.least.ndim == 3 and curves.least.shape[:2] == (S, n) and curves.least.shape[2] > 0
    fits = fits and all(a.shape == (n,) and np.isfinite(a).all() for a in pairs)
    fits = fits and all(np.isfinite(a).all() for a in (curves.knots, curves.least, curves.largest))
    if not (fits and curves.knots[0] == 0 and (np.diff(curves.knots) > 0).all()):
        raise Unusable("the curves, their knots from 0 on, the states before a dose and the doses do not fit together")
    by = sigma[:, None]
    return Curves(
        curves.knots,
        by * curves.least,
        by * curves.largest,
        (sigma * curves.before[0], sigma * curves.before[1]),
        (sigma * curves.doses[0], sigma * curves.doses[1]),
    )


def _in_order(bounds: Bounds, sigma: Array) -> Bounds:
    """σF(σz), exactly: a change of signs."""

    def turned(low: Array, high: Array) -> tuple[Array, Array]:
        one, two = sigma * low, sigma * high
        f = bounds(np.minimum(one, two), np.maximum(one, two))
        first, second = sigma * f[0], sigma * f[1]
        return np.minimum(first, second), np.maximum(first, second)

    return turned
