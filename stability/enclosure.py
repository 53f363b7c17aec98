"""Enclosures of a layered residual over boxes, in outward-rounded arithmetic: for the checker, numpy alone.

A cell is a box {c + δ : |δ_k| ≤ r_k} of y = (x, u). On it every unit v(y) of every layer is expanded about the centre,

    v(c + δ) = v + Σ_k g_k δ_k + ½ Σ_kj δ_k h_kj δ_j + …,

and what the expansion leaves out is bounded. For t ∈ [0, 1] along the ray c + tδ:

    |Σ_k δ_k (h_kj(c + tδ) − h_kj)| ≤ t R_j,                 R: the remainder,
    |g_j(c + tδ) − g_j| ≤ t (Σ_k r_k|h_kj| + ½R_j) =: t q_j,   |v(c + tδ) − v| ≤ t (Σ_j r_j|g_j| + ½ Σ_j r_j q_j) =: t s.

An activation z = φ(v) has ∂_k∂_j z = φ''(v) g_k g_j + φ'(v) h_kj. With |φ''(v(c + tδ)) − φ''(v)| ≤ t s sup|φ'''| and
|φ'(v(c + tδ)) − φ'(v)| ≤ t s sup|φ''| over the values that v takes in the cell, ρ = Σ_k r_k|g_k| and σ = Σ_k r_k q_k,

    R_j(z) = s sup|φ'''| (ρ + σ)(|g_j| + q_j) + |φ''|(σ(|g_j| + q_j) + ρ q_j) + s sup|φ''| (Σ_k r_k|h_kj| + R_j) + |φ'| R_j,

and a matrix W takes (v, g, h) to W(v, g, h) and R to |W|R. Integrated along the ray, the Jacobian at c + δ is that at c, plus
Σ_k δ_k h_k, up to ½R: an error of second order in r, where interval arithmetic on the Jacobian leaves one of first order.
A relu has no φ'': where its argument may change sign in the cell its slope is ½ ± ½ throughout, and h = R = 0.

Rounding: every error is carried along in sums of non-negative terms and raised. Assumed: IEEE double precision, and tanh,
exp, erf of the library right to a relative 2⁻⁴⁰ (they are to about 2⁻⁵²).
Source: mean-value and slope forms after Neumaier, Interval Methods for Systems of Equations (1990), chapter 2.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stability.proof import _TINY, _gamma

Array = NDArray[np.float64]

# |computed − true| ≤ _EPS (1 + |v|) for φ and its derivatives: a few factors with relative errors of 2⁻⁴⁰, generously.
_EPS = 2.0**-36
_UP = 1.0 + 2.0**-40  # pays for the rounding of a bound that is itself a short sum of non-negative terms


@dataclass(frozen=True)
class Layers:
    """The hidden layers of one system in y = (x, u): v_1 = weights[0] y + biases[0], v_l = weights[l] φ(v_{l−1}) + biases[l]."""

    weights: tuple[Array, ...]  # (h_1, d), (h_2, h_1), …
    biases: tuple[Array, ...]  # (h_l,)
    activation: str


@dataclass(frozen=True)
class Expansion:
    """What is known of several functions on K cells; the arrays of `_error` and `remainder` are bounds, never negative."""

    value: Array  # (o, K) at the centre
    value_error: Array  # (o, K)
    gradient: Array  # (o, d, K) at the centre
    gradient_error: Array  # (o, d, K)
    hessian: Array  # (o, d(d+1)/2, K), the upper triangle of h: any numbers, to which the remainder refers
    remainder: Array  # (o, d, K): R
    spread: Array  # (o, d, K): Σ_k r_k |h_kj|

    def ranges(self, radius: Array) -> tuple[Array, Array]:
        """Lower and upper bounds (o, K) over the cells."""
        change = np.abs(self.gradient) + self.gradient_error + 0.5 * (self.spread + 0.5 * self.remainder)
        reach = _raise(np.einsum("ojk,jk->ok", change, radius) + self.value_error)
        return self.value - reach - _EPS * _EPS * np.abs(self.value), self.value + reach + _EPS * _EPS * np.abs(self.value)


def pairs(axes: int) -> tuple[list[int], list[int]]:
    """The axes k ≤ j of each column of `Expansion.hessian`."""
    rows, columns = np.triu_indices(axes)
    return rows.tolist(), columns.tolist()


def expand(
    layers: Layers,
    centre: Array,  # (d, K)
    radius: Array,  # (d, K), ≥ 0
) -> tuple[Expansion, list[tuple[Array, Array]]]:
    """The last hidden layer's outputs z on K cells, and bounds of every layer's arguments v, (h_l, K) each.

    Law: for every y in a cell the functions and their Jacobians lie within the stated bounds, in real arithmetic.
    """
    W, (d, K) = layers.weights[0], centre.shape
    h = W.shape[0]
    none = np.zeros((h, d, 1))
    v = Expansion(
        value=W @ centre + layers.biases[0][:, None],
        value_error=_gamma(d + 2) * (np.abs(W) @ np.abs(centre) + np.abs(layers.biases[0])[:, None]) + _TINY,
        gradient=np.broadcast_to(W[:, :, None], (h, d, K)),
        gradient_error=none,
        hessian=np.zeros((h, d * (d + 1) // 2, 1)),
        remainder=none,
        spread=none,
    )
    lower, upper = v.ranges(radius)
    ranges = [(lower, upper)]
    z = _activate(v, lower, upper, layers.activation, radius)
    for W, bias in zip(layers.weights[1:], layers.biases[1:], strict=True):
        low, high = value_range(layers.activation, lower, upper)
        v = combine(z, W, np.zeros_like(W), radius, bias)
        lower, upper = v.ranges(radius)
        # The plain interval as well: better where the cell is large.
        middle, half = 0.5 * (low + high), _UP * 0.5 * (high - low) + _EPS * _EPS * (np.abs(low) + np.abs(high)) + _TINY
        plain = W @ middle + bias[:, None]
        size = _gamma(W.shape[1] + 3)
        off = _raise(np.abs(W) @ (half + size * np.abs(middle)) + size * np.abs(bias)[:, None] + size * np.abs(plain))
        lower, upper = np.maximum(lower, plain - off), np.minimum(upper, plain + off)
        ranges.append((lower, upper))
        z = _activate(v, lower, upper, layers.activation, radius)
    return z, ranges


def combine(
    z: Expansion,
    W: Array,  # (o, h)
    W_error: Array,  # (o, h): the true matrix lies within it
    radius: Array,  # (d, K)
    bias: Array | None = None,  # (o,)
) -> Expansion:
    """W z + bias."""
    h, d, K = z.gradient.shape
    p = z.hessian.shape[1]
    size, absolute = _gamma(h + 3), np.abs(W)
    # One product for everything that is signed, one for everything that bounds.
    signed = np.concatenate([z.value[:, None], z.gradient, z.hessian], axis=1)
    out = (W @ signed.reshape(h, -1)).reshape(-1, 1 + d + p, K)
    extent = np.concatenate([np.abs(z.value)[:, None], np.abs(z.gradient), 2.0 * z.spread], axis=1)
    error = np.concatenate([z.value_error[:, None], z.gradient_error, z.remainder], axis=1)
    bound = _raise(absolute @ (error + size * extent + _TINY).reshape(h, -1))
    if W_error.any():
        bound = _raise(bound + W_error @ (error + extent).reshape(h, -1))
    bound = bound.reshape(-1, 1 + 2 * d, K)
    value, value_error = out[:, 0], bound[:, 0]
    if bias is not None:
        value = value + bias[:, None]
        value_error = _raise(value_error + size * (np.abs(bias)[:, None] + np.abs(value)))
    hessian = out[:, 1 + d :]
    return Expansion(
        value=value,
        value_error=value_error,
        gradient=out[:, 1 : 1 + d],
        gradient_error=bound[:, 1 : 1 + d],
        hessian=hessian,
        remainder=bound[:, 1 + d :],
        spread=_spread(hessian, radius),
    )


def _activate(v: Expansion, lower: Array, upper: Array, activation: str, radius: Array) -> Expansion:
    """φ(v), by the formula for R at the head of this file; rounding enters R twice, since half of R is what is used."""
    r, size = radius[None], _gamma(8)
    phi = _PHI[activation]
    blur = _EPS * (1.0 + np.abs(v.value))
    z, first, second = (f(v.value) for f in phi[:3])
    if activation == "relu":
        uncertain = (lower <= 0) & (upper >= 0)
        first = np.where(uncertain, 0.5, lower > 0)
        first_error = np.where(uncertain, 0.5, 0.0)
        second_error = bend = twist = np.zeros((1, 1))
    else:
        # Over the cell's values sup|φ''| and sup|φ'''| bound also what an error of the centre's argument does.
        bend, twist = supremum(activation, 2, lower, upper), supremum(activation, 3, lower, upper)
        first_error, second_error = blur + bend * v.value_error, blur + twist * v.value_error
    g, ge = np.abs(v.gradient), v.gradient_error
    q = v.spread + 0.5 * v.remainder
    rho, sigma, rho_error = (_UP * np.sum(r * array, axis=1) for array in (g, q, ge))
    s = _UP * (rho + rho_error + 0.5 * sigma)
    f1, f2 = np.abs(first), np.abs(second)
    R = (s * twist * (rho + rho_error + sigma))[:, None] * (g + ge + q)
    R = R + f2[:, None] * (sigma[:, None] * (g + ge + q) + (rho + rho_error)[:, None] * q)
    R = R + (s * bend)[:, None] * (v.spread + v.remainder) + f1[:, None] * v.remainder
    rounding = (second_error * (rho + rho_error))[:, None] * (g + ge) + f2[:, None] * (rho_error[:, None] * (g + ge))
    rounding = rounding + f2[:, None] * rho[:, None] * (ge + size * g) + (first_error + size * f1)[:, None] * v.spread
    K = radius.shape[1]
    hessian = np.empty((len(g), v.hessian.shape[1], K))
    curved = v.hessian.any()
    for column, (k, j) in enumerate(zip(*pairs(len(radius)), strict=True)):
        hessian[:, column] = second * v.gradient[:, k] * v.gradient[:, j]
        if curved:
            hessian[:, column] += first * v.hessian[:, column]
    gradient = first[:, None] * v.gradient
    return Expansion(
        value=z,
        value_error=_raise(blur + (f1 + first_error + bend * v.value_error) * v.value_error),
        gradient=gradient,
        gradient_error=_raise((f1 + first_error)[:, None] * ge + (first_error + size * f1)[:, None] * g) + _TINY,
        hessian=hessian,
        remainder=_raise(R + 2.0 * rounding) + _TINY,
        spread=_spread(hessian, radius),
    )


def _spread(hessian: Array, radius: Array) -> Array:
    """Σ_k r_k |h_kj|."""
    out = np.zeros((len(hessian), *radius.shape))
    size = np.abs(hessian)
    for column, (k, j) in enumerate(zip(*pairs(len(radius)), strict=True)):
        out[:, j] += radius[k] * size[:, column]
        if k != j:
            out[:, k] += radius[j] * size[:, column]
    return _UP * out


def _raise(bound: Array) -> Array:
    return _UP * bound


def slope_range(activation: str, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Bounds of φ' over the arguments in [lower, upper], elementwise."""
    if activation == "relu":
        return (lower > 0).astype(np.float64), (upper >= 0).astype(np.float64)
    return _range(activation, 1, lower, upper)


def value_range(activation: str, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Bounds of φ over the arguments in [lower, upper], elementwise."""
    return _range(activation, 0, lower, upper)


def supremum(activation: str, order: int, lower: Array, upper: Array) -> Array:
    """A bound of |φ^(order)| over the arguments in [lower, upper], elementwise."""
    low, high = _range(activation, order, lower, upper)
    return np.maximum(np.abs(low), np.abs(high))


def _range(activation: str, order: int, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Ends, and the extremes that lie between them."""
    f = _PHI[activation][order]
    a, b = f(lower), f(upper)
    low, high = np.minimum(a, b), np.maximum(a, b)
    for point in _EXTREMES[activation][order]:
        inside = (lower < point + 1e-6) & (upper > point - 1e-6)
        value = float(f(np.array(point)))
        low, high = np.where(inside, np.minimum(low, value), low), np.where(inside, np.maximum(high, value), high)
    blur = _EPS * (1.0 + np.maximum(np.abs(lower), np.abs(upper)))
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
# φ, φ', φ'', φ'''.
_PHI: dict[str, _Functions] = {
    "tanh": (
        np.tanh,
        _sech2,
        lambda v: -2.0 * np.tanh(v) * _sech2(v),
        lambda v: _sech2(v) * (4.0 - 6.0 * _sech2(v)),
    ),
    "relu": (lambda v: np.maximum(v, 0.0), lambda v: np.where(v > 0, 1.0, 0.0), lambda v: 0.0 * v, lambda v: 0.0 * v),
    "sigmoid": (
        _logistic,
        _q,
        lambda v: _q(v) * (1.0 - 2.0 * _logistic(v)),
        lambda v: _q(v) * (1.0 - 6.0 * _q(v)),
    ),
    "softplus": (
        lambda v: np.asarray(np.logaddexp(0.0, v), dtype=np.float64),
        _logistic,
        _q,
        lambda v: _q(v) * (1.0 - 2.0 * _logistic(v)),
    ),
    "silu": (
        lambda v: v * _logistic(v),
        lambda v: _logistic(v) + v * _q(v),
        lambda v: _q(v) * (2.0 + v * (1.0 - 2.0 * _logistic(v))),
        lambda v: _q(v) * (3.0 * (1.0 - 2.0 * _logistic(v)) + v * (1.0 - 6.0 * _q(v))),
    ),
    "gelu": (
        lambda v: v * _normal(v),
        lambda v: _normal(v) + v * _density(v),
        lambda v: _density(v) * (2.0 - v * v),
        lambda v: _density(v) * v * (v * v - 4.0),
    ),
}


def _both(*points: float) -> tuple[float, ...]:
    return tuple(sign * p for p in points for sign in (-1.0, 1.0) if p or sign > 0)


# Where each of these has a local extreme, that is a zero of the next.
_EXTREMES: dict[str, tuple[tuple[float, ...], ...]] = {
    "tanh": ((), (0.0,), _both(math.atanh(math.sqrt(1 / 3))), _both(0.0, math.atanh(math.sqrt(2 / 3)))),
    "relu": ((), (), (), ()),
    "sigmoid": ((), (0.0,), _both(math.log(2 + math.sqrt(3))), _both(0.0, math.log(5 + 2 * math.sqrt(6)))),
    "softplus": ((), (), (0.0,), _both(math.log(2 + math.sqrt(3)))),
    "silu": (  # zeros of s(v) + v q(v) and of its derivatives, to the last digits; a slip of 1e-12 costs 1e-24 in the value
        (-1.2784645427610737,),
        _both(2.3993572805154706),
        _both(0.0, 3.4358409935351104),
        _both(1.0319582417807494, 4.429235100557229),
    ),
    "gelu": (
        (-0.7517915246935646,),  # Φ(v) + vΦ'(v) = 0
        _both(math.sqrt(2.0)),
        _both(0.0, 2.0),
        _both(math.sqrt((7 - math.sqrt(33)) / 2), math.sqrt((7 + math.sqrt(33)) / 2)),
    ),
}
