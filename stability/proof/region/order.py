"""Staying between two curves, with doses: proved by differential inequalities, without an integrator.

Let y⁻ ≤ y⁺ be piecewise polynomials on [0, τ]. If for every level of the inputs and every θ

    ẏ⁺_i ≥ F_i(z) for every z between y⁻ and y⁺ with z_i = y⁺_i,    ẏ⁻_i ≤ F_i(z) for every such z with z_i = y⁻_i,

and jumps, if any, lead apart, a trajectory between them at 0 stays between them until τ (Müller 1926). Proof: with π the
projection onto the interval from y⁻(t) to y⁺(t), let ẇ = F(π(w)) from the same start. While w_i > y⁺_i, π(w)_i = y⁺_i, so that
w_i − y⁺_i does not grow; it was 0 when that began; so it never begins, and w = π(w) solves the equation itself. F has bounded
secant slopes over the region, so its solution is unique: w is the trajectory. Hence the inequalities need not be strict.

*Order.* Where F_i never falls with z_j over the tube, its largest value is at the largest z_j, and where it never rises at the
least: z_j is then the end of a curve and no interval. If all slopes beside the diagonal have signs with σ_i σ_j ∂F_i/∂x_j ≥ 0,
this is the order of the orthant σ (Kamke 1932): the upper curves of σ then see one another alone, and F is looked at on two
curves, with the inputs of most, and of least, effect. A column without a sign is taken as an interval: the coupled form. So no
σ is stored, and a field of which some rows have signs loses nothing there.

*Doses.* Let x̲ ≤ x̄ with y⁺(0) ≥ x̄ + largest dose, y⁻(0) ≤ x̲ + least dose, where no dose is one of them, y⁺(τ) ≤ x̄ and
y⁻(τ) ≥ x̲. Then trajectories that start between x̲ and x̄, dosed at multiples of τ exactly, stay, and are between x̲ and x̄
again before every dose. For doses at gaps of at least τ the interval from x̲ to x̄ has to be kept without doses too: the same
inequalities with ẏ = 0. Without that the conclusion is false: a second peak after τ may exceed x̄. Without doses they alone
are needed, and [0, τ] has no pieces.

*Along a piece* the residual r(s) = ẏ_i − F_i(z(s)) is taken at the middle m of a stretch, and r(s) − r(m) = (ÿ_i − S ż)(s − m)
with S the secant slopes of F over the stretch: what is lost is of second order in its length, and few stretches suffice.

Rounding, underflow: `tape/interval.py`; exact zeros stay zeros.
Source: Müller, Math. Z. 26 (1926); Kamke, Acta Math. 58 (1932); Walter, Differential and Integral Inequalities (1970), § 12.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stability.proof.arithmetic import Array
from stability.proof.budget import Meter, NotDecided
from stability.proof.reading import Unusable
from stability.proof.tape.interval import Interval, add, hull, multiply, point, subtract

Pair = tuple[Array, Array]
_LEAST, _LARGEST, _BETWEEN = 0, 1, 2  # which curve stands for a state: y⁻, y⁺, or all between them
_ENTRIES = 2_000_000  # of slopes at a time


@dataclass(frozen=True)
class Whole:
    """The whole field F of one system over boxes of states, for every level of its inputs and every θ.

    `values`: of boxes (K, n), lower and upper, to bounds (K, n) of F · `slopes`: to bounds (K, n, n) of every mean Jacobian
    between two of its states with the same input and θ · `keeps`: another way to prove that a box (n,), lower and upper, is
    kept, by cells of its faces, where there is one: over a whole face too little is known of a network.
    """

    values: Callable[[Array, Array], Pair]
    slopes: Callable[[Array, Array], Pair]
    keeps: Callable[[Array, Array], bool] | None = None


@dataclass(frozen=True)
class Tube:
    """The states before a dose, x̲ and x̄ (n,) · y⁻ and y⁺ on [0, τ], where there are doses.

    `knots` (S + 1,): from 0 to τ; (1,) without doses · `least`, `largest` (S, n, d + 1): on each piece the coefficients of
    1, s, s², …, s = (t − t_k)/(t_{k+1} − t_k).
    """

    rest: Pair
    knots: Array
    least: Array
    largest: Array

    def fits(self, n: int) -> bool:
        """Whether the arrays belong together, and are finite."""
        pieces, arrays = len(self.knots) - 1, (*self.rest, self.knots, self.least, self.largest)
        shapes = self.least.shape == self.largest.shape and self.least.ndim == 3 and self.least.shape[:2] == (pieces, n)
        shapes = shapes and self.knots.ndim == 1 and pieces >= 0 and all(end.shape == (n,) for end in self.rest)
        shapes = shapes and 0 < self.least.shape[2] <= 12 and all(np.isfinite(a).all() for a in arrays)
        return bool(shapes and self.knots[0] == 0 and (np.diff(self.knots) > 0).all())


@dataclass(frozen=True)
class Choice:
    """Which curve stands for each state, (n,), and for which rows of the lower and of the upper field this is the worst case."""

    columns: NDArray[np.int64]
    rows: tuple[list[int], list[int]]

    def pick(self, below: Interval, above: Interval) -> Interval:
        """Of intervals (K, n) that hold y⁻ and y⁺."""
        low = np.where(self.columns == _LARGEST, above[0], below[0])
        return low, np.where(self.columns == _LEAST, below[1], above[1])

    def slope(self, falls: Interval, rises: Interval) -> Interval:
        """Of intervals that hold their derivatives: any mean of the two where all between them count."""
        both, c = hull(falls, rises), self.columns
        low, high = (
            np.where(c == _LEAST, f, np.where(c == _LARGEST, r, b)) for f, r, b in zip(falls, rises, both, strict=True)
        )
        return low, high


def choices(slopes: Pair) -> list[Choice]:
    """The worst cases by the signs of bounds (n, n) of the slopes over the tube: two of them in the order of an orthant."""
    n = len(slopes[0])
    found: list[tuple[NDArray[np.int64], tuple[list[int], list[int]]]] = []
    rises, falls = slopes[0] >= 0, slopes[1] <= 0
    for end, i in [(end, i) for i in range(n) for end in (_LEAST, _LARGEST)]:
        asked = np.where(rises[i], end, np.where(falls[i], 1 - end, _BETWEEN))
        asked = np.where(rises[i] & falls[i], -1, asked)  # it is not read: whichever
        asked[i] = end
        for k, (known, rows) in enumerate(found):
            if ((known == asked) | (known == -1) | (asked == -1)).all():
                rows[end].append(i)
                found[k] = np.maximum(known, asked), rows
                break
        else:
            rows = ([], [])
            rows[end].append(i)
            found.append((asked, rows))
    return [Choice(np.maximum(known, _LEAST), rows) for known, rows in found]


@np.errstate(all="ignore")  # what is not a number proves nothing
def tube_kept(
    field: Whole,
    tube: Tube,
    region: Pair,  # (n,) each
    doses: Pair | None,  # the least and the largest (n,), or None where there are none
    *,
    any_gap: bool = True,  # doses at gaps of at least τ; else at multiples of τ exactly
    most: int = 200_000,  # stretches of [0, τ]
    meter: Meter | None = None,
) -> str:
    """Empty if it is proved that every trajectory from between x̲ and x̄, so dosed, stays within the tube; else what is not.

    Errors: Unusable for arrays that do not fit together; with a meter, `NotDecided` where its budget is used up.
    """
    (low, high), n = tube.rest, len(region[0])
    if not tube.fits(n):
        raise Unusable("the curves, their knots from 0 on and the states before a dose do not fit together")
    if not (low <= high).all():
        return "the states before a dose are not in order"
    if not ((region[0] <= low).all() and (high <= region[1]).all()):
        return "the states that are kept between doses are not all within the region"
    over = low, high
    if doses is not None:
        refusal = _not_joined(tube, doses)
        if refusal:
            return refusal
        whole = point(0.0)[0][None, None], point(1.0)[0][None, None]
        parts = [_value(_coefficients(c), whole) for c in (tube.least, tube.largest)]
        # it has to lie in the region anyhow, stretch by stretch
        over = np.clip(parts[0][0].min(0), region[0], low), np.clip(parts[1][1].max(0), high, region[1])
    elif len(tube.least):
        return "there are curves, and no doses"
    slopes = field.slopes(over[0][None], over[1][None])
    if not (np.isfinite(slopes[0]).all() and np.isfinite(slopes[1]).all()):
        return "the slopes of the field have no bound over the states between the curves"
    worst = choices((slopes[0][0], slopes[1][0]))
    if doses is None or any_gap:
        refusal = _rests(field, tube.rest, worst)
        if refusal:
            return (
                refusal
                if doses is None
                else f"{refusal}, so that only doses at multiples of the gap exactly could be covered"
            )
    return _pieces_kept(field, tube, region, worst, most, meter) if len(tube.least) else ""


def _not_joined(tube: Tube, doses: Pair) -> str:
    (low, high), (least, largest) = tube.rest, doses
    if not len(tube.least):
        return "there are doses, and no curves"
    if not ((least <= 0).all() and (largest >= 0).all()):
        return "a dose may be left out, and none is not between the least and the largest"
    if not (add((high, high), (largest, largest))[1] <= tube.largest[0, :, 0]).all():
        return "the upper curve does not begin above the largest state with the largest dose"
    if not (add((low, low), (least, least))[0] >= tube.least[0, :, 0]).all():
        return "the lower curve does not begin below the least state with the least dose"
    ends = [_value(_coefficients(c), point(1.0)) for c in (tube.least, tube.largest)]
    if not ((ends[1][1][-1] <= high).all() and (ends[0][0][-1] >= low).all()):
        return "the curves do not come back to the states before a dose"
    if not ((ends[1][1][:-1] <= tube.largest[1:, :, 0]).all() and (ends[0][0][:-1] >= tube.least[1:, :, 0]).all()):
        return "a curve jumps towards the other where two pieces meet"
    return ""


def _rests(field: Whole, rest: Pair, worst: list[Choice]) -> str:
    """Whether the interval from x̲ to x̄ is kept as it is: at the worst state of each face the field does not point outward."""
    below, above = ((end[None], end[None]) for end in rest)
    for choice in worst:
        f = field.values(*choice.pick(below, above))
        for end, wrong in ((_LEAST, ~(f[0][0] >= 0)), (_LARGEST, ~(f[1][0] <= 0))):
            for i in choice.rows[end]:
                if wrong[i]:
                    if field.keeps is not None and field.keeps(*rest):
                        return ""
                    return (
                        f"the states from {rest[0].tolist()} to {rest[1].tolist()} are not kept without doses: at "
                        f"x[{i}] = {rest[end][i]:g} the field is not proved to point inward"
                    )
    return ""


def _pieces_kept(field: Whole, tube: Tube, region: Pair, worst: list[Choice], most: int, meter: Meter | None) -> str:
    n = len(region[0])
    widths = subtract((tube.knots[1:], tube.knots[1:]), (tube.knots[:-1], tube.knots[:-1]))
    batch = max(1, _ENTRIES // (n * n))
    waiting = [(np.arange(len(tube.least)), np.zeros(len(tube.least)), np.ones(len(tube.least)))]
    tried = 0
    while waiting:
        piece, a, b = waiting.pop()
        if len(piece) > batch:
            waiting.append((piece[batch:], a[batch:], b[batch:]))
            piece, a, b = piece[:batch], a[:batch], b[:batch]
        tried += len(piece)
        if meter is not None:
            meter.cut(len(piece), "between the curves of the doses")
        h = widths[0][piece, None], widths[1][piece, None]
        good, hopeless = _stretches(field, (tube.least[piece], tube.largest[piece]), (a, b), h, region, worst)
        if hopeless.any() or (tried > most and not good.all()):
            k = int(np.argmax(hopeless)) if hopeless.any() else int(np.argmin(good))
            t = tube.knots[piece[k]] + 0.5 * (a[k] + b[k]) * (tube.knots[piece[k] + 1] - tube.knots[piece[k]])
            why = (
                "it is not proved that trajectories stay between the curves of the doses, and these in the region: not at "
                f"t = {t:g} after a dose"
            )
            if meter is not None and not hopeless.any():
                raise NotDecided(why)
            return why
        piece, a, b = piece[~good], a[~good], b[~good]
        if len(piece):
            middle = 0.5 * (a + b)
            waiting.append((np.concatenate([piece, piece]), np.concatenate([a, middle]), np.concatenate([middle, b])))
    return ""


def _stretches(
    field: Whole,
    curves: Pair,  # (K, n, d + 1) each: of the pieces that the stretches lie in
    ends: Pair,  # (K,) each: the stretches of s
    h: Interval,  # (K, 1): the lengths of the pieces in time
    region: Pair,
    worst: list[Choice],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of each stretch whether the inequalities are proved there, and whether they fail at its middle, as far as bounds say."""
    s = ends[0][:, None], ends[1][:, None]
    middle = 0.5 * (s[0] + s[1])
    off = subtract(s, (middle, middle))
    below, above = (_Over.of(c, s, (middle, middle), off) for c in curves)
    apart = _coefficients(curves[1])
    apart = subtract(apart, _coefficients(curves[0]))
    between = _mean_value(apart, s, (middle, middle), off)[0] >= 0
    good = ((region[0] <= below.value[0]) & (above.value[1] <= region[1]) & between).all(1)
    hopeless = ~((region[0] <= below.middle[1]) & (above.middle[0] <= region[1])).all(1)
    hopeless |= (_value(apart, (middle, middle))[1] < 0).any(1)
    for choice in worst:
        box = choice.pick(below.value, above.value)
        over, at = field.values(*box), field.values(*choice.pick(below.middle, above.middle))
        S, z = field.slopes(*box), choice.slope(below.slope, above.slope)
        moves = point(0.0)
        for j in range(len(region[0])):
            moves = add(moves, multiply((S[0][:, :, j], S[1][:, :, j]), (z[0][:, j, None], z[1][:, j, None])))
        for end, curve in ((_LEAST, below), (_LARGEST, above)):
            rows = choice.rows[end]
            plain = subtract(curve.slope, multiply(h, over))
            here = subtract(curve.slope_middle, multiply(h, at))
            about = add(here, multiply(subtract(curve.bend, multiply(h, moves)), off))
            if end == _LARGEST:
                good &= (np.maximum(plain[0], about[0]) >= 0)[:, rows].all(1)
                hopeless |= ~(here[0] >= 0)[:, rows].all(1)
            else:
                good &= (np.minimum(plain[1], about[1]) <= 0)[:, rows].all(1)
                hopeless |= ~(here[1] <= 0)[:, rows].all(1)
    return np.asarray(good), np.asarray(hopeless & ~good)


@dataclass(frozen=True)
class _Over:
    """Polynomials (K, n) over stretches of s: value, first and second derivative by s, and at the middle."""

    value: Interval
    slope: Interval
    bend: Interval
    middle: Interval
    slope_middle: Interval

    @staticmethod
    def of(c: Array, s: Interval, middle: Interval, off: Interval) -> "_Over":
        whole = _coefficients(c)
        first = _derived(whole)
        slope = _mean_value(first, s, middle, off)
        at = _value(whole, middle)
        mean, plain = add(at, multiply(slope, off)), _value(whole, s)
        value = np.maximum(mean[0], plain[0]), np.minimum(mean[1], plain[1])
        return _Over(value, slope, _value(_derived(first), s), at, _value(first, middle))


def _coefficients(c: Array) -> Interval:
    return c, c


def _derived(c: Interval) -> Interval:
    """The coefficients of the derivative by s; at least one."""
    if c[0].shape[2] == 1:
        return np.zeros_like(c[0]), np.zeros_like(c[0])
    order = np.arange(1.0, c[0].shape[2])
    return multiply((c[0][:, :, 1:], c[1][:, :, 1:]), (order, order))


def _mean_value(c: Interval, s: Interval, middle: Interval, off: Interval) -> Interval:
    mean = add(_value(c, middle), multiply(_value(_derived(c), s), off))
    plain = _value(c, s)
    return np.maximum(mean[0], plain[0]), np.minimum(mean[1], plain[1])


def _value(c: Interval, s: Interval) -> Interval:
    """Horner's scheme, (K, n)."""
    out = c[0][:, :, -1], c[1][:, :, -1]
    for k in reversed(range(c[0].shape[2] - 1)):
        out = add(multiply(out, s), (c[0][:, :, k], c[1][:, :, k]))
    return out


def hull_of_doses(doses: Array) -> Pair:
    """The least and the largest (n,) of doses (D, n) and of none: between them is every mean of them, too."""
    return np.minimum(doses.min(0), 0.0), np.maximum(doses.max(0), 0.0)
