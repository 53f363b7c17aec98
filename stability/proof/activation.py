"""Activations and their first four derivatives over intervals: bounds, outward; for the checker, numpy alone.

Between two neighbouring extremes a function is monotone, so over an interval it lies between its values at the ends and at the
extremes inside. Assumed: IEEE double precision, and tanh, exp, erf of the library right to a relative 2⁻⁴⁰ (they are to about
2⁻⁵²).
"""

import math
from collections.abc import Callable

import numpy as np

from stability.proof.arithmetic import Array

# Written out again on purpose: the checker does not ask the search what it assumed.
SLOPES = {
    "tanh": (0.0, 1.0),
    "relu": (0.0, 1.0),
    "sigmoid": (0.0, 0.25),
    "softplus": (0.0, 1.0),
    "silu": (-0.0998394, 1.0998394),  # in truth ±0.09983932…, 1.09983932…
    "gelu": (-0.1289043, 1.1289043),  # in truth ±0.12890415…, 1.12890415…
}

# |computed − true| ≤ BLUR (1 + |v|) for φ and its derivatives: a few factors with relative errors of 2⁻⁴⁰, generously.
BLUR = 2.0**-36


def slope_range(activation: str | tuple[str, ...], lower: Array, upper: Array) -> tuple[Array, Array]:
    """Bounds of φ' over the arguments in [lower, upper], elementwise; of several names each is that of a row."""
    if not isinstance(activation, str):
        return _row_by_row(activation, slope_range, lower, upper)
    if activation == "identity":
        return np.ones_like(lower), np.ones_like(upper)
    if activation == "relu":
        return (lower > 0).astype(np.float64), (~(upper < 0)).astype(np.float64)  # NaN is anything
    return _range(activation, 1, lower, upper)


def value_range(activation: str | tuple[str, ...], lower: Array, upper: Array) -> tuple[Array, Array]:
    """Bounds of φ over the arguments in [lower, upper], elementwise; of several names each is that of a row."""
    if not isinstance(activation, str):
        return _row_by_row(activation, value_range, lower, upper)
    return _range(activation, 0, lower, upper)


_Bounds = Callable[[str, Array, Array], tuple[Array, Array]]


def _row_by_row(names: tuple[str, ...], bounds: _Bounds, lower: Array, upper: Array) -> tuple[Array, Array]:
    low, high = np.empty_like(lower), np.empty_like(upper)
    for name in set(names):
        rows = np.array([one == name for one in names])
        low[rows], high[rows] = bounds(name, lower[rows], upper[rows])
    return low, high


def supremum(activation: str, order: int, lower: Array, upper: Array) -> Array:
    """A bound of |φ^(order)| over the arguments in [lower, upper], elementwise."""
    low, high = _range(activation, order, lower, upper)
    return np.maximum(np.abs(low), np.abs(high))


def _range(activation: str, order: int, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Ends, and the extremes that lie between them."""
    f = FUNCTIONS[activation][order]
    a, b = f(lower), f(upper)
    low, high = np.minimum(a, b), np.maximum(a, b)
    for point in EXTREMES[activation][order]:
        inside = (lower < point + 1e-6) & (upper > point - 1e-6)
        value = float(f(np.array(point)))
        low, high = np.where(inside, np.minimum(low, value), low), np.where(inside, np.maximum(high, value), high)
    blur = BLUR * (1.0 + np.maximum(np.abs(lower), np.abs(upper)))
    return low - blur, high + blur


def _logistic(v: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * v))


_ERF = np.vectorize(math.erf, otypes=[np.float64])


def _normal(v: Array) -> Array:
    return 0.5 * (1.0 + np.asarray(_ERF(v / math.sqrt(2.0)), dtype=np.float64))


def _density(v: Array) -> Array:
    return np.asarray(np.exp(-0.5 * v * v) / math.sqrt(2.0 * math.pi), dtype=np.float64)


def _sech2(v: Array) -> Array:
    t = np.tanh(v)
    return 1.0 - t * t


def _q(v: Array) -> Array:
    s = _logistic(v)
    return s * (1.0 - s)


_Functions = tuple[Callable[[Array], Array], ...]
# φ and its first four derivatives.
FUNCTIONS: dict[str, _Functions] = {
    "tanh": (
        np.tanh,
        _sech2,
        lambda v: -2.0 * np.tanh(v) * _sech2(v),
        lambda v: _sech2(v) * (4.0 - 6.0 * _sech2(v)),
        lambda v: np.tanh(v) * _sech2(v) * (24.0 * _sech2(v) - 8.0),
    ),
    "relu": (
        lambda v: np.maximum(v, 0.0),
        lambda v: np.where(v > 0, 1.0, 0.0),
        lambda v: 0.0 * v,
        lambda v: 0.0 * v,
        lambda v: 0.0 * v,
    ),
    "sigmoid": (
        _logistic,
        _q,
        lambda v: _q(v) * (1.0 - 2.0 * _logistic(v)),
        lambda v: _q(v) * (1.0 - 6.0 * _q(v)),
        lambda v: _q(v) * (1.0 - 2.0 * _logistic(v)) * (1.0 - 12.0 * _q(v)),
    ),
    "softplus": (
        lambda v: np.asarray(np.logaddexp(0.0, v), dtype=np.float64),
        _logistic,
        _q,
        lambda v: _q(v) * (1.0 - 2.0 * _logistic(v)),
        lambda v: _q(v) * (1.0 - 6.0 * _q(v)),
    ),
    "silu": (
        lambda v: v * _logistic(v),
        lambda v: _logistic(v) + v * _q(v),
        lambda v: _q(v) * (2.0 + v * (1.0 - 2.0 * _logistic(v))),
        lambda v: _q(v) * (3.0 * (1.0 - 2.0 * _logistic(v)) + v * (1.0 - 6.0 * _q(v))),
        lambda v: _q(v) * (4.0 * (1.0 - 6.0 * _q(v)) + v * (1.0 - 2.0 * _logistic(v)) * (1.0 - 12.0 * _q(v))),
    ),
    "identity": (lambda v: v, lambda v: 0.0 * v + 1.0, lambda v: 0.0 * v, lambda v: 0.0 * v, lambda v: 0.0 * v),
    "gelu": (
        lambda v: v * _normal(v),
        lambda v: _normal(v) + v * _density(v),
        lambda v: _density(v) * (2.0 - v * v),
        lambda v: _density(v) * v * (v * v - 4.0),
        lambda v: _density(v) * ((7.0 - v * v) * v * v - 4.0),
    ),
}


def _both(*points: float) -> tuple[float, ...]:
    return tuple(sign * p for p in points for sign in (-1.0, 1.0) if p or sign > 0)


# Where each of these has a local extreme, that is a zero of the next.
EXTREMES: dict[str, tuple[tuple[float, ...], ...]] = {
    "tanh": (
        (),
        (0.0,),
        _both(math.atanh(math.sqrt(1 / 3))),
        _both(0.0, math.atanh(math.sqrt(2 / 3))),
        _both(0.4213164740646883, 1.5721592030774652),
    ),
    "relu": ((), (), (), (), ()),
    "identity": ((), (), (), (), ()),
    "sigmoid": (
        (),
        (0.0,),
        _both(math.log(2 + math.sqrt(3))),
        _both(0.0, math.log(5 + 2 * math.sqrt(6))),
        _both(0.8426329481293766, 3.1443184061549303),
    ),
    "softplus": ((), (), (0.0,), _both(math.log(2 + math.sqrt(3))), _both(0.0, math.log(5 + 2 * math.sqrt(6)))),
    "silu": (  # zeros of s(v) + v q(v) and of its derivatives, to the last digits; a slip of 1e-12 costs 1e-24 in the value
        (-1.2784645427610737,),
        _both(2.3993572805154706),
        _both(0.0, 3.4358409935351104),
        _both(1.0319582417807494, 4.429235100557229),
        _both(0.0, 1.8197756117250128, 5.400818739495216),
    ),
    "gelu": (
        (-0.7517915246935646,),  # Φ(v) + vΦ'(v) = 0
        _both(math.sqrt(2.0)),
        _both(0.0, 2.0),
        _both(math.sqrt((7 - math.sqrt(33)) / 2), math.sqrt((7 + math.sqrt(33)) / 2)),
        _both(0.0, math.sqrt(2.0), 3.0),
    ),
}
