"""Enclosures of a layered residual over boxes, in outward-rounded arithmetic: for the checker, numpy alone.

A cell is a box {c + δ : |δ_k| ≤ r_k} of y = (x, u). On it every unit v(y) of every layer is expanded about the centre to third
order, with g_j = ∂_j v, h_kj = ∂_k∂_j v and t_klj the third derivatives there. Write, along the ray c + sδ, s ∈ [0, 1],

    g_j(s),   η_j(s) = Σ_k δ_k h_kj(c + sδ),   τ_j(s) = Σ_kl δ_k δ_l t_klj(c + sδ),   so that  dg_j/ds = η_j,  dη_j/ds = τ_j,

and let |τ_j(s) − τ_j(0)| ≤ s Q_j. With H_j = Σ_k r_k|h_kj| and T_j = Σ_kl r_k r_l|t_klj| it follows that

    |η_j(s) − η_j(0)| ≤ s p_j,  p_j = T_j + ½Q_j,     |g_j(s) − g_j(0)| ≤ s q_j,  q_j = H_j + ½T_j + Q_j/6,
    |g_j(1) − g_j(0) − η_j(0) − ½τ_j(0)| ≤ Q_j/6,     |v(s) − v(0)| ≤ s Σ_j r_j(|g_j| + ½q_j).

An activation z = φ(v) has, with σ = Σ_j δ_j g_j and η = Σ_j δ_j η_j,

    η_j(z) = φ″σg_j + φ′η_j,     τ_j(z) = φ‴σ²g_j + φ″(ηg_j + 2ση_j) + φ′τ_j.

Each factor a of these products satisfies |a(0)| ≤ A and |a(s) − a(0)| ≤ sD, so a product moves by at most s(Π(A + D) − ΠA): that
is Q_j(z). A derivative of φ moves by at most s |v(1) − v(0)| times the supremum of the next one over the values of v in the
cell. A matrix W takes (v, g, h, t) to W(v, g, h, t) and Q to |W|Q. So in the cell the Jacobian is a quadratic in δ, up to Q/6:
an error of third order in r, where interval arithmetic on the Jacobian leaves one of first order; and in the quadratic the
units cancel as far as they do. A relu has no φ″: where its argument may change sign in the cell its slope is ½ ± ½ throughout,
and h = t = Q = 0.

Rounding: every error is carried along in sums of non-negative terms and raised; IEEE double precision is assumed.

Underflow, widened, at once wherever products are summed, so that nothing lost meets a large factor later:
- a row of `combine` that is not zero, and `_activate` throughout, add TINY to every error and spread;
- Σ_j r_j · is at least TINY (`along`), so that its product with a bound of a derivative (never below BLUR where φ is smooth)
  is a normal number, and what underflows after that meets one gradient or one F at most: LOST times these is added to Q;
- of g_k g_j, which stands in h and t, 2⁻¹⁰²² is lost, and that meets one gradient and two radii: LOST (1 + Σr)²(1 + Σ|g|) in Q;
- r_k r_l is raised by LOST before it meets a third derivative.
A row of `combine` that is zero stays exactly zero, which a wall on which nothing flows needs.
Source: mean-value and Taylor forms after Neumaier, Interval Methods for Systems of Equations (1990), chapter 2.
"""

import math
from dataclasses import dataclass, fields
from itertools import combinations_with_replacement

import numpy as np

from stability.proof.activation import BLUR, FUNCTIONS, supremum, value_range
from stability.proof.arithmetic import TINY, UP, Array, gamma
from stability.proof.units import Activation, Layer
from stability.proof.units import layers as by_layer

LOST = 1e-300  # more than underflow takes from any sum of fewer than 1e7 products, 2⁻¹⁰²² ≈ 2.2e-308 each


@dataclass(frozen=True)
class Layers:
    """The hidden layers of one system in y = (x, u): v_1 = weights[0] y + biases[0], v_l = weights[l] φ(v_{l−1}) + biases[l]."""

    weights: tuple[Array, ...]  # (h_1, d), (h_2, h_1), …
    biases: tuple[Array, ...]  # (h_l,)
    activation: Activation

    def of(self, k: int) -> Layer:
        """The activation of the hidden layer k, from 0 on, or from the last one backwards."""
        return by_layer(self.activation, len(self.weights))[k]


@dataclass(frozen=True)
class Expansion:
    """What is known of several functions on K cells; errors, remainder and spreads are bounds, never negative."""

    value: Array  # (o, K) at the centre, and so the derivatives
    value_error: Array  # (o, K)
    gradient: Array  # (o, d, K)
    gradient_error: Array  # (o, d, K)
    hessian: Array  # (o, d(d+1)/2, K), the columns of `pairs`
    hessian_error: Array  # (o, d, K): of η_j
    third: Array  # (o, d(d+1)(d+2)/6, K), the columns of `triples`: numbers to which the remainder refers
    remainder: Array  # (o, d, K): Q
    spread: Array  # (o, d, K): H
    spread_third: Array  # (o, d, K): T

    def change(self) -> Array:
        """q (o, d, K), the errors included: how far the gradient may move in the cell."""
        return self.spread + self.hessian_error + 0.5 * self.spread_third + self.remainder / 6.0

    def ranges(self, radius: Array) -> tuple[Array, Array]:
        """Lower and upper bounds (o, K) over the cells."""
        slope = np.abs(self.gradient) + self.gradient_error + 0.5 * self.change()
        reach = UP * (np.einsum("ojk,jk->ok", slope, radius) + self.value_error) + BLUR * BLUR * np.abs(self.value)
        reach = np.where(np.isfinite(reach), reach, np.inf)  # a cell so large that its bounds overflow
        return self.value - reach, self.value + reach


def pairs(axes: int) -> list[tuple[int, int]]:
    """The axes k ≤ j of each column of `Expansion.hessian`."""
    return list(combinations_with_replacement(range(axes), 2))


def triples(axes: int) -> list[tuple[int, int, int]]:
    """The axes k ≤ l ≤ j of each column of `Expansion.third`."""
    return list(combinations_with_replacement(range(axes), 3))


def doubles(layers: Layers | None, axes: int, states: int, matrices: bool) -> float:
    """About how many numbers a cell takes while it is expanded and tried, as matrices or for the field alone."""
    if layers is None:
        return 5.0 * (axes + 8) * (states ** (2 if matrices else 1) + 1)
    columns = 1 + axes + math.comb(axes + 1, 2) + math.comb(axes + 2, 3)
    widest = max(len(w) for w in layers.weights)
    return 5.0 * (widest * columns + (4 * axes + 2 * math.comb(axes + 1, 2) + 8) * states**2) + 16.0 * columns


@np.errstate(over="ignore", invalid="ignore")  # the bounds of a very large cell: see `Expansion.ranges`
def expand(
    layers: Layers,
    centre: Array,  # (d, K)
    radius: Array,  # (d, K), ≥ 0
) -> Expansion:
    """The last hidden layer's outputs z on K cells.

    Law: for every y in a cell the functions and their Jacobians lie within the stated bounds, in real arithmetic.
    """
    v, ranges = _forward(layers, centre, radius)
    return _activate(v, *ranges[-1], layers.of(-1), radius)


@np.errstate(over="ignore", invalid="ignore")
def argument_ranges(layers: Layers, centre: Array, radius: Array) -> list[tuple[Array, Array]]:
    """Bounds of every hidden layer's arguments v over K cells, lower and upper (h_l, K) each."""
    return _forward(layers, centre, radius)[1]


def _forward(layers: Layers, centre: Array, radius: Array) -> tuple[Expansion, list[tuple[Array, Array]]]:
    """The last hidden layer's arguments, and the ranges of all."""
    W, (d, K) = layers.weights[0], centre.shape
    h = W.shape[0]
    none = np.zeros((h, d, 1))
    v = Expansion(
        value=W @ centre + layers.biases[0][:, None],
        value_error=gamma(d + 2) * (np.abs(W) @ np.abs(centre) + np.abs(layers.biases[0])[:, None]) + TINY,
        gradient=np.broadcast_to(W[:, :, None], (h, d, K)),
        gradient_error=none,
        hessian=np.zeros((h, len(pairs(d)), 1)),
        hessian_error=none,
        third=np.zeros((h, len(triples(d)), 1)),
        remainder=none,
        spread=none,
        spread_third=none,
    )
    lower, upper = v.ranges(radius)
    ranges = [(lower, upper)]
    for k, (W, bias) in enumerate(zip(layers.weights[1:], layers.biases[1:], strict=True)):
        z = _activate(v, lower, upper, layers.of(k), radius)
        low, high = value_range(layers.of(k), lower, upper)
        v = combine(z, W, np.zeros_like(W), radius, bias)
        lower, upper = v.ranges(radius)
        # The plain interval as well: better where the cell is large.
        middle, half = 0.5 * (low + high), UP * 0.5 * (high - low) + BLUR * BLUR * (np.abs(low) + np.abs(high)) + TINY
        plain = W @ middle + bias[:, None]
        size = gamma(W.shape[1] + 3)
        off = UP * (np.abs(W) @ (half + size * np.abs(middle)) + size * np.abs(bias)[:, None] + size * np.abs(plain))
        # of two bounds, one that overflowed does not count
        lower, upper = np.fmax(lower, plain - off), np.fmin(upper, plain + off)
        ranges.append((lower, upper))
    return v, ranges


@np.errstate(over="ignore", invalid="ignore")
def combine(
    z: Expansion,
    W: Array,  # (o, h)
    W_error: Array,  # (o, h): the true matrix lies within it
    radius: Array,  # (d, K)
    bias: Array | None = None,  # (o,)
) -> Expansion:
    """W z + bias. What rounds in the third derivatives enters Q six times, since a sixth of Q is what is used at last."""
    h, d, K = z.gradient.shape
    p, size = z.hessian.shape[1], gamma(h + 3)
    # One product for everything that is signed, one for everything that bounds.
    signed = np.concatenate([z.value[:, None], z.gradient, z.hessian, z.third], axis=1)
    out = (W @ signed.reshape(h, -1)).reshape(len(W), -1, K)
    extent = np.concatenate([np.abs(z.value)[:, None], np.abs(z.gradient), z.spread, 6.0 * z.spread_third], axis=1)
    error = np.concatenate([z.value_error[:, None], z.gradient_error, z.hessian_error, z.remainder], axis=1)
    bound = UP * (np.abs(W) @ (error + size * extent + TINY).reshape(h, -1))
    if W_error.any():
        bound = UP * (bound + W_error @ (error + extent).reshape(h, -1))
    felt = TINY * ((W != 0) | (W_error != 0)).any(1)[:, None, None]
    bound = bound.reshape(len(W), -1, K) + felt
    value, value_error = out[:, 0], bound[:, 0]
    if bias is not None:
        value = value + bias[:, None]
        value_error = UP * (value_error + size * (np.abs(bias)[:, None] + np.abs(value)))
    hessian, third = out[:, 1 + d : 1 + d + p], out[:, 1 + d + p :]
    return Expansion(
        value=value,
        value_error=value_error,
        gradient=out[:, 1 : 1 + d],
        gradient_error=bound[:, 1 : 1 + d],
        hessian=hessian,
        hessian_error=bound[:, 1 + d : 1 + 2 * d],
        third=third,
        remainder=bound[:, 1 + 2 * d :],
        spread=_spread(hessian, radius) + felt,
        spread_third=_spread_third(third, radius) + felt,
    )


def _activate(v: Expansion, lower: Array, upper: Array, activation: Layer, radius: Array) -> Expansion:
    """φ(v), by the formulas at the head of this file; of several names each is that of a unit."""
    if not isinstance(activation, str):
        return _unit_by_unit(v, lower, upper, activation, radius)
    blur, size = BLUR * (1.0 + np.abs(v.value)), gamma(32)
    value, f1, f2, f3 = (f(v.value) for f in FUNCTIONS[activation][:4])
    if activation == "relu":
        uncertain = ~((lower > 0) | (upper < 0))  # what is not known, NaN, is uncertain
        f1, e1 = np.where(uncertain, 0.5, np.where(lower > 0, 1.0, 0.0)), np.where(uncertain, 0.5, 0.0)
        e2 = e3 = sup2 = sup3 = sup4 = np.zeros((1, 1))
    elif activation == "identity":
        blur, e1 = np.zeros((1, 1)), np.zeros((1, 1))  # exact, and so is its slope
        e2 = e3 = sup2 = sup3 = sup4 = np.zeros((1, 1))
    else:
        # Over the cell's values a supremum bounds also what an error of the centre's argument does.
        sup2, sup3, sup4 = (supremum(activation, order, lower, upper) for order in (2, 3, 4))
        e1, e2, e3 = (blur + sup * v.value_error for sup in (sup2, sup3, sup4))
    hessian, third = _derivatives(v, f1, f2, f3, len(radius))

    def along(array: Array) -> Array:
        return UP * np.sum(radius[None] * array, axis=1)[:, None] + TINY  # Σ_j r_j ·, (h, 1, K)

    # A, with and without the errors of the centre, and D of every factor; the derivatives of φ as (h, 1, K).
    g, H, T, Q = np.abs(v.gradient), v.spread, v.spread_third, v.remainder
    G, H_all, q, p = g + v.gradient_error, H + v.hessian_error, v.change(), T + 0.5 * Q
    rho, rho_all, sigma = along(g), along(G), along(q)
    eta, eta_all, eta_moves = along(H), along(H_all), along(p)
    a1, a2, a3, e1, e2, e3 = (np.abs(a)[:, None] for a in (f1, f2, f3, e1, e2, e3))
    s = rho_all + 0.5 * sigma
    F2, F3, F4 = (s * sup[:, None] for sup in (sup2, sup3, sup4))
    exact = a3 * rho * rho * g + a2 * (eta * g + 2.0 * rho * H) + a1 * T
    b1, b2, b3 = a1 + e1, a2 + e2, a3 + e3
    base = b3 * rho_all * rho_all * G + b2 * (eta_all * G + 2.0 * rho_all * H_all) + b1 * T
    R, N = rho_all + sigma, G + q
    top = (b3 + F4) * R * R * N + (b2 + F3) * ((eta_all + eta_moves) * N + 2.0 * R * (H_all + p)) + (b1 + F2) * (T + Q)
    top = top + LOST * (1.0 + N + F3 + np.square(1.0 + radius.sum(0)) * (1.0 + g.sum(1))[:, None])
    first = b2 * rho_all * G + b1 * H_all
    return Expansion(
        value=value,
        value_error=UP * (blur + (np.abs(f1) + e1[:, 0] + sup2 * v.value_error) * v.value_error),
        gradient=f1[:, None] * v.gradient,
        gradient_error=UP * (b1 * v.gradient_error + (e1 + size * a1) * g) + TINY,
        hessian=hessian,
        hessian_error=UP * (np.maximum(first - (a2 * rho * g + a1 * H), 0.0) + size * first) + TINY,
        third=third,
        remainder=UP * (np.maximum(top - base, 0.0) + 6.0 * np.maximum(base - exact, 0.0) + size * (top + 6.0 * base)) + TINY,
        spread=_spread(hessian, radius) + TINY,
        spread_third=_spread_third(third, radius) + TINY,
    )


def _unit_by_unit(v: Expansion, lower: Array, upper: Array, names: tuple[str, ...], radius: Array) -> Expansion:
    parts, order = [], []
    for name in sorted(set(names)):
        rows = [j for j, one in enumerate(names) if one == name]
        some = Expansion(**{f.name: getattr(v, f.name)[rows] for f in fields(v)})
        parts.append(_activate(some, lower[rows], upper[rows], name, radius))
        order += rows
    back = np.argsort(order)
    return Expansion(**{f.name: np.concatenate([getattr(part, f.name) for part in parts])[back] for f in fields(v)})


def _derivatives(v: Expansion, f1: Array, f2: Array, f3: Array, d: int) -> tuple[Array, Array]:
    """The second and third derivatives of φ(v) at the centre."""
    g, K = v.gradient, v.gradient.shape[2]
    curved = v.hessian.any()  # not in the first layer
    second, column = pairs(d), {kj: c for c, kj in enumerate(pairs(d))}
    product, bent = [g[:, k] * g[:, j] for k, j in second], [f2 * v.hessian[:, c] for c in range(len(second))]
    hessian, third = np.empty((len(g), len(second), K)), np.empty((len(g), v.third.shape[1], K))
    common = []
    for c in range(len(second)):
        hessian[:, c] = f2 * product[c]
        common.append(f3 * product[c])
        if curved:
            hessian[:, c] += f1 * v.hessian[:, c]
            common[c] = common[c] + bent[c]
    for c, (k, m, j) in enumerate(triples(d)):
        third[:, c] = common[column[k, m]] * g[:, j]
        if curved:
            third[:, c] += bent[column[k, j]] * g[:, m]
            third[:, c] += bent[column[m, j]] * g[:, k]
            third[:, c] += f1 * v.third[:, c]
    return hessian, third


def _spread(hessian: Array, radius: Array) -> Array:
    """Σ_k r_k |h_kj|."""
    out, size = np.zeros((len(hessian), *radius.shape)), np.abs(hessian)
    for column, (k, j) in enumerate(pairs(len(radius))):
        out[:, j] += radius[k] * size[:, column]
        if k != j:
            out[:, k] += radius[j] * size[:, column]
    return UP * out


def _spread_third(third: Array, radius: Array) -> Array:
    """Σ_kl r_k r_l |t_klj|."""
    out, size = np.zeros((len(third), *radius.shape)), np.abs(third)
    for column, axes in enumerate(triples(len(radius))):
        for j in set(axes):
            k, m = _others(axes, j)
            out[:, j] += ((1.0 if k == m else 2.0) * radius[k] * radius[m] + LOST) * size[:, column]
    return UP * out


def _others(axes: tuple[int, int, int], j: int) -> tuple[int, int]:
    """The axes without one j."""
    left = list(axes)
    left.remove(j)
    return left[0], left[1]
