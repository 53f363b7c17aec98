"""Bounds of a tape over boxes of x, u and θ: its values, and its secant slopes; and both in float64 at points.

Line by line, forward. For two points of the box with the same θ, and the same u (or the same x), write δ for a difference and
a bar for a mean of the two. Every operation has exact difference quotients:

    δφ(v) = s δv,  s a secant slope of φ over the range of v        δ(v ± w) = δv ± δw
    δ(vw) = v̄ δw + w̄ δv                                            δ(v/w) = (δv − z̄ δw)/w̄,  z = v/w, since v = zw
    δ max(v, w) = s δv + (1 − s) δw,  s ∈ [0, 1];  s = 1 where v ≥ w throughout, and 0 where v ≤ w

so that δz = Σ_j S_j δx_j, S_j a number within intervals that are computed along with the values; means lie in the ranges. The
matrix S is a mean Jacobian of the two points, kinks included, without a derivative. Each line sees only the ranges of those
that it reads: where one variable enters twice the bounds are wider than need be, but for v·v, which is a square, and max, whose
s is one number.
Source: slopes after Krawczyk & Neumaier, Interval slopes for rational functions (SIAM J. Numer. Anal. 22, 1985).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stability.proof.arithmetic import Array
from stability.proof.budget import Meter
from stability.proof.reading import Unusable, array
from stability.proof.tape.functions import FUNCTIONS, outside
from stability.proof.tape.interval import (
    MINUS,
    ONE,
    Interval,
    add,
    divide,
    everything,
    holds_zero,
    hull,
    multiply,
    negate,
    point,
    square,
    subtract,
)
from stability.proof.tape.reading import LEAVES, Line, Tape, Unbounded

Pair = tuple[Array, Array]  # lower and upper ends (..., k)
_LOOK = 64  # lines of a tape between two looks at the clock
_Slopes = dict[int, Interval]  # of a line, by the variable; what is not named is 0 exactly


def value_bounds(
    tape: Tape,
    x: Pair,  # (..., n)
    u: Pair,  # (..., m)
    theta: Pair,  # (..., q)
    *,
    strict: bool = True,
    meter: Meter | None = None,
) -> Pair:  # (..., n)
    """f(x, u, θ) for every x, u and θ between their ends, which may be infinite; leading axes broadcast.

    Where a line has no value somewhere in a box, `strict` raises `Unbounded`; else the bounds of that box are infinite.
    Errors: Unusable for ends that do not fit together; with a meter, `NotDecided` where its seconds are used up.
    """
    walk = _Walk(tape, x, u, theta, strict, meter)
    return walk.stacked([walk.values[i] for i in tape.rate])


def slope_bounds(
    tape: Tape,
    x: Pair,  # (..., n)
    u: Pair,  # (..., m)
    theta: Pair,  # (..., q)
    *,
    by_inputs: bool = False,
    strict: bool = True,
    meter: Meter | None = None,
) -> Pair:  # (..., n, n), or (..., n, m)
    """Every mean Jacobian between two points of the box with the same u and θ: f(x₂) − f(x₁) = S (x₂ − x₁), S within the bounds.

    `by_inputs`: between two u, with the same x and θ. An entry that θ alone enters comes with the width of its rounding.
    `strict`, errors: as `value_bounds`; an operation whose slope has no bound over a finite range counts as one without a value.
    """
    walk = _Walk(tape, x, u, theta, strict, meter)
    slopes = walk.slopes("input" if by_inputs else "state")
    count = len(tape.inputs if by_inputs else tape.states)
    if not count:
        nothing = np.zeros((*walk.shape, len(tape.states), 0))
        return nothing, nothing
    zero = point(0.0)
    rows = [walk.stacked([slopes[i].get(j, zero) for j in range(count)]) for i in tape.rate]
    return np.stack([low for low, _ in rows], -2), np.stack([high for _, high in rows], -2)


@np.errstate(all="ignore")
def plain(tape: Tape, x: object, u: object, theta: object) -> Array:  # (..., n)
    """f(x, u, θ) in float64 at points (..., k): for the search, never for a proof."""
    values = _plain_values(tape, x, u, theta)
    return np.stack(np.broadcast_arrays(*(values[i] for i in tape.rate), _lead(x, u, theta))[:-1], -1)


@np.errstate(all="ignore")
def slopes(tape: Tape, x: object, u: object, theta: object, *, by_inputs: bool = False) -> Array:  # (..., n, n|m)
    """∂f/∂x, or ∂f/∂u, in float64 at points; at a kink one of the slopes beside it. For the search, never for a proof."""
    values, leaf = _plain_values(tape, x, u, theta), "input" if by_inputs else "state"
    found: list[dict[int, Array]] = []
    for i, line in enumerate(tape.code):
        if line.operation in LEAVES:
            found.append({line.arguments[0]: np.array(1.0)} if line.operation == leaf else {})
            continue
        parts = _plain_slopes(line, values[i], [values[j] for j in line.arguments])
        one: dict[int, Array] = {}
        for part, inner in zip(parts, (found[j] for j in line.arguments), strict=True):
            for j, slope in inner.items():
                one[j] = one[j] + part * slope if j in one else np.asarray(part * slope)
        found.append(one)
    like, count = _lead(x, u, theta), len(tape.inputs if by_inputs else tape.states)
    out = np.zeros((*like.shape, len(tape.states), count))
    for row, i in enumerate(tape.rate):
        for j, slope in found[i].items():
            out[..., row, j] = slope
    return out


class _Walk:
    """The intervals of every line over the boxes, and which boxes a line has no value in."""

    @np.errstate(all="ignore")
    def __init__(self, tape: Tape, x: Pair, u: Pair, theta: Pair, strict: bool, meter: Meter | None) -> None:
        self.tape, self.strict, self.meter = tape, strict, meter
        given = {
            "state": (x, tape.states, "x"),
            "input": (u, tape.inputs, "u"),
            "parameter": (theta, tape.parameters, "θ"),
        }
        ends = {leaf: _ends(pair, len(names), what) for leaf, (pair, names, what) in given.items()}
        try:
            self.shape = np.broadcast_shapes(*(end.shape[:-1] for pair in ends.values() for end in pair))
        except ValueError as error:
            raise Unusable("the leading axes of the boxes of x, u and θ do not broadcast together") from error
        self.lost: NDArray[np.bool_] = np.zeros((), dtype=np.bool_)  # boxes in which some line has no value
        self.values: list[Interval] = []
        for i, line in enumerate(tape.code):
            self._look(i)
            if line.operation in ends:
                k = line.arguments[0]
                self.values.append((ends[line.operation][0][..., k], ends[line.operation][1][..., k]))
            elif line.operation == "constant":
                self.values.append(point(line.number))
            else:
                self.values.append(self._value(i, line))

    def _value(self, i: int, line: Line) -> Interval:
        parts = [self.values[j] for j in line.arguments]
        if line.operation in FUNCTIONS:
            bad, needs = outside(line.operation, parts[0], line.number)
            self._refuse(i, line.arguments[0], bad, f"needs an argument {needs}")
            found = FUNCTIONS[line.operation].value(parts[0], line.number)
        elif line.operation == "divide":
            bad = holds_zero(parts[1])
            self._refuse(i, line.arguments[1], bad, "needs a divisor other than 0")
            found = divide(*parts)
        elif line.operation == "multiply":
            bad = np.zeros((), dtype=np.bool_)
            found = square(parts[0]) if line.arguments[0] == line.arguments[1] else multiply(*parts)
        else:
            bad = np.zeros((), dtype=np.bool_)
            found = _PLAIN_PAIRS[line.operation](parts)
        if not bad.any():
            return found
        self.lost = self.lost | bad
        rest = everything(np.broadcast_arrays(*found, bad)[0])
        return np.where(bad, rest[0], found[0]), np.where(bad, rest[1], found[1])

    def _look(self, i: int) -> None:
        if self.meter is not None and i % _LOOK == 0:
            self.meter.look(f"at line {i} of a tape of {len(self.tape.code)}")

    def _refuse(self, i: int, argument: int, bad: NDArray[np.bool_], needs: str) -> None:
        if not (self.strict and bad.any()):
            return
        low, high = (np.broadcast_to(end, bad.shape)[bad].ravel()[0] for end in self.values[argument])
        names, operation = self.tape.names_in(argument), self.tape.code[i].operation
        on = f"an argument of {', '.join(names)}" if names else "a constant"
        cure = "shrink the region" + (", or write saturating(v) for v/(1 + v)" if operation == "divide" else "")
        raise Unbounded(
            f"line {i} of the tape, {operation}, {needs}, and has {on}, which may be anything from {low:g} to {high:g}: {cure}"
        )

    @np.errstate(all="ignore")
    def slopes(self, leaf: str) -> list[_Slopes]:
        """Of every line by every state, or input."""
        found: list[_Slopes] = []
        for i, line in enumerate(self.tape.code):
            self._look(i)
            if line.operation in LEAVES:
                found.append({line.arguments[0]: ONE} if line.operation == leaf else {})
            else:
                found.append(self._slopes(i, line, [found[j] for j in line.arguments]))
        return found

    def _slopes(self, i: int, line: Line, inner: Sequence[_Slopes]) -> _Slopes:
        names = sorted(set().union(*inner))
        if not names:
            return {}
        parts = [self.values[j] for j in line.arguments]
        if line.operation in FUNCTIONS:
            slope = FUNCTIONS[line.operation].slope(parts[0], line.number)
            no_end = np.asarray(
                (np.isinf(slope[0]) | np.isinf(slope[1])) & np.isfinite(parts[0][0]) & np.isfinite(parts[0][1])
            )
            self._refuse(i, line.arguments[0], no_end, "has slopes without a bound")
            return {j: chained(slope, inner[0][j]) for j in names}
        if line.operation == "multiply" and line.arguments[0] == line.arguments[1]:
            return {j: multiply((2.0 * parts[0][0], 2.0 * parts[0][1]), inner[0][j]) for j in names}
        one, two = inner
        out: _Slopes = {}
        for j in names:
            v, w = one.get(j), two.get(j)
            if line.operation in ("minimum", "maximum"):
                out[j] = _of_extreme(line.operation, parts, v or point(0.0), w or point(0.0))
                continue
            if line.operation == "multiply":
                v, w = (None if v is None else chained(parts[1], v)), (None if w is None else chained(parts[0], w))
            elif line.operation == "divide":
                w = None if w is None else chained(self.values[i], w)
            if v is None:
                assert w is not None  # one of the two names j
                total = w if line.operation in ("add", "multiply") else negate(w)
            elif w is None:
                total = v
            else:
                total = add(v, w) if line.operation in ("add", "multiply") else subtract(v, w)
            out[j] = divide(total, parts[1]) if line.operation == "divide" else total
        return out

    def stacked(self, parts: Sequence[Interval]) -> Pair:
        """Intervals as arrays (..., k) of the boxes' common shape; infinite in a box that a line has no value in."""
        low, high = (np.stack([np.broadcast_to(part[k], self.shape) for part in parts], -1) for k in (0, 1))
        if self.lost.any():
            lost = np.broadcast_to(self.lost, self.shape)[..., None]
            low, high = np.where(lost, -np.inf, low), np.where(lost, np.inf, high)
        return low, high


def chained(outer: Interval, inner: Interval) -> Interval:
    """Their product, without rounding where one of them is ±1."""
    for one, two in ((inner, outer), (outer, inner)):
        if one is ONE:
            return two
        if one is MINUS:
            return negate(two)
    return multiply(outer, inner)


def _of_extreme(operation: str, parts: Sequence[Interval], v: Interval, w: Interval) -> Interval:
    """s v + (1 − s) w, s ∈ [0, 1] one number: something between the two slopes, or one of them where it is known which."""
    (a, b), (c, d) = parts if operation == "maximum" else (parts[1], parts[0])
    first, second = a >= d, c >= b  # throughout: the first argument counts (of a minimum too), the second does
    both = hull(v, w)
    low, high = np.where(second, w[0], both[0]), np.where(second, w[1], both[1])
    return np.where(first, v[0], low), np.where(first, v[1], high)


def _ends(pair: Pair, count: int, what: str) -> Pair:
    low, high = (array(end, f"the box of {what}") for end in pair)
    if low.shape[-1:] != (count,) or high.shape[-1:] != (count,):
        raise Unusable(
            f"the box of {what} has ends of shapes {low.shape} and {high.shape}; the tape needs (…, {count})"
        )
    if not (low <= high).all() or (low == np.inf).any() or (high == -np.inf).any():
        raise Unusable(f"the box of {what} has a lower end above its upper one, or one that is no number")
    return low, high


_PLAIN_PAIRS = {
    "add": lambda p: add(*p),
    "subtract": lambda p: subtract(*p),
    "minimum": lambda p: (np.minimum(p[0][0], p[1][0]), np.minimum(p[0][1], p[1][1])),
    "maximum": lambda p: (np.maximum(p[0][0], p[1][0]), np.maximum(p[0][1], p[1][1])),
}


def _lead(*arrays: object) -> Array:
    return np.zeros(np.broadcast_shapes(*(np.asarray(a).shape[:-1] for a in arrays)))


def _plain_values(tape: Tape, x: object, u: object, theta: object) -> list[Array]:
    given = {"state": x, "input": u, "parameter": theta}
    arrays = {leaf: np.asarray(value, dtype=np.float64) for leaf, value in given.items()}
    values: list[Array] = []
    for operation, arguments, exponent in tape.code:
        if operation in arrays:
            values.append(arrays[operation][..., arguments[0]])
        elif operation == "constant":
            values.append(np.array(exponent))
        elif operation in FUNCTIONS:
            values.append(FUNCTIONS[operation].plain(values[arguments[0]], exponent))
        else:
            v, w = (values[j] for j in arguments)
            ufunc = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide}
            extreme = np.minimum if operation == "minimum" else np.maximum
            values.append(ufunc.get(operation, extreme)(v, w))
    return values


def _plain_slopes(line: Line, z: Array, parts: Sequence[Array]) -> tuple[Array, ...]:
    if line.operation in FUNCTIONS:
        return (FUNCTIONS[line.operation].derivative(parts[0], line.number),)
    v, w = parts
    one = np.array(1.0)
    if line.operation in ("minimum", "maximum"):
        first = np.where(v >= w if line.operation == "maximum" else v <= w, 1.0, 0.0)
        return first, 1.0 - first
    return {
        "add": lambda: (one, one),
        "subtract": lambda: (one, -one),
        "multiply": lambda: (w, v),
        "divide": lambda: (one / w, -z / w),
    }[line.operation]()
