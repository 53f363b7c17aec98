"""The functions of one argument that a tape may hold, over intervals: their values, and their secant slopes.

The secant slopes (φ(b) − φ(a))/(b − a) between points of an interval are means of φ' over subintervals: they fill, up to its
ends, the hull of φ' there, kinks included, with the slopes on either side. So `value` and `slope` bound φ and φ' between their
ends and the extremes inside, and both are reached but for rounding.

Infinite ends of the argument are limits. Where a function has no values (`outside`) its bounds mean nothing, and are not used.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stability.proof.arithmetic import Array
from stability.proof.tape.interval import (
    FUNCTION,
    LOST,
    MINUS,
    Interval,
    divide,
    holds_zero,
    multiply,
    negate,
    outward,
    point,
    square,
    within,
)

_INF = math.inf
Over = Callable[[Interval, float], Interval]  # an interval and the number of the line, where it has one, to an interval
At = Callable[[Array, float], Array]


@dataclass(frozen=True)
class Function:
    """z = φ(v).

    `value`, `slope`: bounds of φ and of its secant slopes over an interval · `plain`, `derivative`: in float64 at points (at a
    kink a slope beside it) · `floor`, `closed`: where it begins to have values, and whether there already.
    """

    value: Over
    slope: Over
    plain: At
    derivative: At
    floor: float = -_INF
    closed: bool = True


def _monotone(f: Callable[[Array], Array], a: Interval, falling: bool = False) -> Interval:
    """Of a function that rises (or falls): its values at the ends; zero only where the argument is."""
    ends = a[::-1] if falling else a
    low, high = (f(end) for end in ends)
    lost = [np.where((np.abs(z) < 1e-290) & (v != 0), LOST, 0.0) for z, v in zip((low, high), ends, strict=True)]
    low, high = outward(low, high, FUNCTION)
    return low - lost[0], high + lost[1]


def _hump(f: Callable[[Array], Array], a: Interval, peak: float, top: float) -> Interval:
    """Of a function that rises to `top` at `peak`, and falls beyond; not negative. The peak may be a little off."""
    low, high = outward(np.minimum(f(a[0]), f(a[1])), np.maximum(f(a[0]), f(a[1])), FUNCTION)
    slack = 1e-9 * abs(peak)
    inside = (a[0] <= peak + slack) & (a[1] >= peak - slack)
    most = top * (1.0 + FUNCTION)
    return np.maximum(low - LOST, 0.0), np.minimum(np.where(inside, most, high + LOST), most)


def _exp(a: Interval, n: float = 0.0) -> Interval:
    low, high = _monotone(np.exp, a)
    return np.maximum(low, 0.0), np.where(a[1] == -_INF, 0.0, high)


def _log(a: Interval, n: float = 0.0) -> Interval:
    return _monotone(np.log, (np.maximum(a[0], 0.0), np.maximum(a[1], 0.0)))


def _reciprocal(a: Interval, n: float = 0.0) -> Interval:
    return divide(point(1.0), a)


def _sqrt(a: Interval, n: float = 0.0) -> Interval:
    return outward(np.sqrt(np.maximum(a[0], 0.0)), np.sqrt(np.maximum(a[1], 0.0)))


def _sqrt_slope(a: Interval, n: float) -> Interval:
    low, high = divide(point(0.5), _sqrt(a))
    floor = divide(point(0.5), (_sqrt(a)[1], _sqrt(a)[1]))[0]
    touches = a[0] <= 0
    return np.where(touches, np.where(a[1] > 0, floor, 0.0), low), np.where(touches, _INF, high)


def _trigonometric(f: Callable[[Array], Array], first: float) -> Over:
    """A sine whose largest value stands at `first` + 2πk; exact zero at the argument 0 of the sine alone."""

    def over(a: Interval, n: float = 0.0) -> Interval:
        near = np.maximum(np.abs(a[0]), np.abs(a[1])) < 2.0**20  # beyond, the counting of periods is not trusted
        c, d = (np.where(near, end, 0.0) for end in a)
        share = (
            FUNCTION * (np.minimum(np.abs(c), 1.0) if f is np.sin else 1.0),
            FUNCTION * (np.minimum(np.abs(d), 1.0) if f is np.sin else 1.0),
        )
        one, two = f(c), f(d)
        low, high = np.minimum(one - share[0], two - share[1]), np.maximum(one + share[0], two + share[1])
        turn = 2.0 * math.pi
        tops, bottoms = (np.ceil((c - at) / turn - 1e-9) <= (d - at) / turn + 1e-9 for at in (first, first + math.pi))
        low, high = np.where(bottoms | ~near, -1.0, low), np.where(tops | ~near, 1.0, high)
        return within((low, high), -1.0, 1.0)

    return over


_SIN, _COS = _trigonometric(np.sin, math.pi / 2), _trigonometric(np.cos, 0.0)


def _sech2(v: Array) -> Array:
    e = np.exp(-np.abs(v))
    return np.asarray(np.square(2.0 * e / (1.0 + e * e)))


def _logistic(v: Array) -> Array:
    e = np.exp(-np.abs(v))
    return np.asarray(np.where(v >= 0, 1.0, e) / (1.0 + e))


def _logistic_slope(v: Array) -> Array:
    e = np.exp(-np.abs(v))
    return np.asarray(e / np.square(1.0 + e))


def _sigmoid(a: Interval, n: float = 0.0) -> Interval:
    return within(_monotone(_logistic, a), 0.0, 1.0)


def _softplus(v: Array) -> Array:
    return np.asarray(np.maximum(v, 0.0) + np.log1p(np.exp(-np.abs(v))))


def _atan_slope(v: Array) -> Array:
    return np.asarray(1.0 / (1.0 + v * v))


def _step(a: Interval) -> tuple[Array, Array]:
    """Whether all slopes lie above a kink at 0, and whether some do."""
    return np.asarray((a[0] >= 0) & (a[1] > 0)), np.asarray((a[1] > 0) | (a[0] >= 0))


def _relu_slope(a: Interval, n: float) -> Interval:
    every, some = _step(a)
    return np.where(every, 1.0, 0.0), np.where(some, 1.0, 0.0)


def _abs(a: Interval, n: float) -> Interval:
    most = np.maximum(np.abs(a[0]), np.abs(a[1]))
    return np.maximum(np.maximum(a[0], -a[1]), 0.0), most


def _abs_slope(a: Interval, n: float) -> Interval:
    every, some = _step(a)
    return np.where(every, 1.0, -1.0), np.where(some, 1.0, -1.0)


def _saturating_plain(v: Array) -> Array:
    return np.where(np.isinf(v), 1.0, v / (1.0 + np.where(np.isinf(v), 0.0, v)))


def _above_pole(a: Interval) -> Interval:
    """Beyond the pole, or anything where it is not: those arguments are refused anyhow."""
    return np.where(a[0] > -1, a[0], 0.0), np.where(a[0] > -1, a[1], 0.0)


def _saturating(a: Interval, n: float = 0.0) -> Interval:
    low, high = _monotone(_saturating_plain, _above_pole(a))
    return low, np.minimum(high, 1.0)


def _saturating_slope(a: Interval, n: float) -> Interval:
    low, high = _monotone(lambda v: np.asarray(np.square(1.0 / (1.0 + v))), _above_pole(a), falling=True)
    return np.maximum(low, 0.0), high


def _hill_plain(v: Array, n: float) -> Array:
    with np.errstate(divide="ignore", over="ignore"):
        return np.where(v > 0, 1.0 / (1.0 + np.where(v > 0, v, 1.0) ** -n), 0.0)


def _hill(a: Interval, n: float) -> Interval:
    low, high = _monotone(lambda v: _hill_plain(v, n), (np.maximum(a[0], 0.0), np.maximum(a[1], 0.0)))
    return within((low, high), 0.0, 1.0)


def _hill_derivative(v: Array, n: float) -> Array:
    """n vⁿ⁻¹/(1 + vⁿ)² above 0, as n h (1 − h)/v; 0 elsewhere and at infinity."""
    inside = (v > 0) & np.isfinite(v)
    safe = np.where(inside, v, 1.0)
    if n == 1.0:
        return np.where(inside, np.square(1.0 / (1.0 + safe)), 0.0)
    with np.errstate(over="ignore", under="ignore"):
        found = n * (1.0 / (1.0 + safe**-n)) * (1.0 / (1.0 + safe**n)) / safe
    return np.where(inside, found, 0.0)


def steepest_hill(n: float) -> tuple[float, float]:
    """Where vⁿ/(1 + vⁿ), n > 1, is steepest, and its slope there: h_n = (n − 1)^{1−1/n} (n + 1)^{1+1/n}/(4n)."""
    where = ((n - 1.0) / (n + 1.0)) ** (1.0 / n)
    return where, (n - 1.0) ** (1.0 - 1.0 / n) * (n + 1.0) ** (1.0 + 1.0 / n) / (4.0 * n)


_NEAR = 1e-280  # nearer to 0 the factors of the slope may underflow, and the next value that does not is taken


def _hill_slope(a: Interval, n: float) -> Interval:
    near = np.maximum(a[0], _NEAR), np.maximum(a[1], _NEAR)
    if n > 1.0:  # 0 below 0, then a hump
        low, high = _hump(lambda v: _hill_derivative(v, n), near, *steepest_hill(n))
        return np.where(a[0] < _NEAR, 0.0, low), np.where(a[1] <= 0, 0.0, high)
    # The slope falls on v > 0 from 1 (n = 1) or ∞ (n < 1); below 0 there is none.
    low, high = _monotone(lambda v: _hill_derivative(v, n), near, falling=True)
    high = np.where(a[0] < _NEAR, 1.0 if n == 1.0 else _INF, high)
    flat = (a[1] < 0) | ((a[1] <= 0) & (a[0] < 0))
    return np.where(a[0] < 0, 0.0, np.maximum(low, 0.0)), np.where(flat, 0.0, high)


def power(a: Interval, n: float) -> Interval:
    """vⁿ: a whole n for every v, others of what lies at 0 and above; n < 0 up to the pole at 0, if it touches it from above."""
    whole = float(n).is_integer()
    if n in (0.0, 1.0, 2.0):
        return {0.0: point(1.0), 1.0: a, 2.0: square(a)}[n]
    if not whole:
        a = np.maximum(a[0], 0.0), np.maximum(a[1], 0.0)
    if n < 0:
        low, high = divide(point(1.0), power(a, -n))
        least = divide(point(1.0), power((a[1], a[1]), -n))[0]
        return np.where((a[0] == 0) & (a[1] > 0), least, low), high
    if whole and n % 2 == 0:
        a = np.maximum(np.maximum(a[0], -a[1]), 0.0), np.maximum(np.abs(a[0]), np.abs(a[1]))
    return _monotone(lambda v: np.asarray(np.power(v, n)), a)


def _power_slope(a: Interval, n: float) -> Interval:
    return multiply(point(n), power(a, n - 1.0)) if n else point(0.0)


def _power_plain(v: Array, n: float) -> Array:
    return np.asarray(np.power(v, n))


def _power_derivative(v: Array, n: float) -> Array:
    return np.asarray(n * np.power(v, n - 1.0)) if n else 0.0 * v


# z = φ(v): written out again on purpose, beside physics/operation.py, which the checker does not know
FUNCTIONS: dict[str, Function] = {
    "negate": Function(lambda a, n: negate(a), lambda a, n: MINUS, lambda v, n: -v, lambda v, n: 0.0 * v - 1.0),
    "exp": Function(_exp, _exp, lambda v, n: np.exp(v), lambda v, n: np.exp(v)),
    "log": Function(_log, _reciprocal, lambda v, n: np.log(v), lambda v, n: 1.0 / v, 0.0, False),
    "sqrt": Function(_sqrt, _sqrt_slope, lambda v, n: np.sqrt(v), lambda v, n: 0.5 / np.sqrt(v), 0.0),
    "sin": Function(_SIN, _COS, lambda v, n: np.sin(v), lambda v, n: np.cos(v)),
    "cos": Function(
        _COS, lambda a, n: (-_SIN(a, n)[1], -_SIN(a, n)[0]), lambda v, n: np.cos(v), lambda v, n: -np.sin(v)
    ),
    "atan": Function(
        lambda a, n: _monotone(np.arctan, a),
        lambda a, n: _hump(_atan_slope, a, 0.0, 1.0),
        lambda v, n: np.arctan(v),
        lambda v, n: _atan_slope(v),
    ),
    "tanh": Function(
        lambda a, n: within(_monotone(np.tanh, a), -1.0, 1.0),
        lambda a, n: _hump(_sech2, a, 0.0, 1.0),
        lambda v, n: np.tanh(v),
        lambda v, n: _sech2(v),
    ),
    "sigmoid": Function(
        _sigmoid,
        lambda a, n: _hump(_logistic_slope, a, 0.0, 0.25),
        lambda v, n: _logistic(v),
        lambda v, n: _logistic_slope(v),
    ),
    "softplus": Function(
        lambda a, n: _monotone(_softplus, a), _sigmoid, lambda v, n: _softplus(v), lambda v, n: _logistic(v)
    ),
    "relu": Function(
        lambda a, n: (np.maximum(a[0], 0.0), np.maximum(a[1], 0.0)),
        _relu_slope,
        lambda v, n: np.maximum(v, 0.0),
        lambda v, n: np.where(v > 0, 1.0, 0.0),
    ),
    "abs": Function(_abs, _abs_slope, lambda v, n: np.abs(v), lambda v, n: np.sign(v)),
    "saturating": Function(
        _saturating, _saturating_slope, lambda v, n: v / (1.0 + v), lambda v, n: np.square(1.0 / (1.0 + v)), -1.0, False
    ),
    "hill": Function(_hill, _hill_slope, _hill_plain, _hill_derivative),
    "square": Function(
        lambda a, n: square(a), lambda a, n: (2.0 * a[0], 2.0 * a[1]), lambda v, n: v * v, lambda v, n: 2.0 * v
    ),
    "power": Function(power, _power_slope, _power_plain, _power_derivative),
}
NUMBERED = ("power", "hill")


def outside(name: str, a: Interval, n: float) -> tuple[NDArray[np.bool_], str]:
    """Where the argument may have values for which the function has none, and what it needs, in words."""
    one = FUNCTIONS[name]
    floor, closed = one.floor, one.closed
    if name == "power":
        if float(n).is_integer():
            return np.asarray(holds_zero(a) & (n < 0)), "other than 0"
        floor, closed = 0.0, n > 0
    return np.asarray(a[0] < floor if closed else a[0] <= floor), f"{'of at least' if closed else 'above'} {floor:g}"
