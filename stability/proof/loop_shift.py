"""The Lipschitz inequality for slopes given as a centre and a radius: well scaled also where units are linear over the region.

With slopes in [c − r, c + r] a unit is δz = c δv + r q with |q| ≤ |δv| (a loop shift). In (x, q) all of δv and the output are
linear,

    δz_0 = δx,   δv_k = W_k δz_{k−1},   δz_k = c_k ∘ δv_k + r_k ∘ q_k,   δy = S δx + W_L δz_{L−1},

and Σ μ_j (δv_j² − q_j²) ≥ 0 for all μ > 0, so that

    F = diag(γ² I, μ) − GᵀG − Vᵀ diag(μ) V ≻ 0,      δy = G (δx, q),   δv = V (δx, q),

gives |δy| ≤ γ|δx|. It is the inequality of `lipschitz` in other coordinates, with 2Λ = μ/r². There the multiplier of a unit
that is linear over the region, r → 0, has no upper limit, and float64 ends; here μ goes to zero with r, and what is left of the
unit is c δv: it is eliminated.

In float64 (the checker). Let T_k be the float64 rows that the recursion gives for δz_k, and define p by (δx, δz) = T(δx, p); T is
block triangular with 1 and r > 0 on its diagonal, so p exists, and δz = T(δx, p) holds exactly, however T was rounded. With
δv_k = W_kT_{k−1}(δx, p) the true q is p + ε(δx, p)/r, where ε_k = T_k − c_k ∘ (W_kT_{k−1}) − [0 diag r_k] is what rounded in one
layer: nothing accumulates with depth. Since (p + εξ/r)² ≥ p² + 2pεξ/r, every entry (j, i) of F is off by at most μ_j|ε_ji|/r_j,
and by the rounding of the products themselves.
Source: Zames, IEEE Transactions on Automatic Control 11 (1966), on shifted loops; the error analysis is ours.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from stability.proof.arithmetic import TINY, Array, gamma

# With all factors below this, what underflows in fewer than 1e7 products stays below TINY: 2⁻¹⁰²² · 1e7 · _MOST · _LARGEST.
_LARGEST = 1e45
_MOST = 1e49  # of a multiplier Λ, as the checker reads it
_LEAST = 1e-100  # of a μ, which may be any positive number


def centre_and_radius(lower: Array, upper: Array, largest: float) -> tuple[Array, Array]:
    """c and r > 0 (H,) with [lower, upper] within [c − r, c + r] in real arithmetic; `largest`: of the activation's own slopes.

    A radius is at least 2⁻⁴⁰ of the largest slope, so that a unit of one slope has a multiplier like any other.
    """
    centre = (lower + upper) / 2
    radius = np.maximum(upper - centre, centre - lower) * (1.0 + 2.0**-50)
    return centre, np.maximum(radius, 2.0**-40 * largest)


def rows(
    weights: Sequence[Array],  # L arrays (out, in)
    centre: Array,  # c (H,)
    radius: Array,  # r (H,)
    skip: Array | None = None,  # S (out, in of the whole)
) -> tuple[Array, Array, Array]:
    """[G; V] (p + H, n + H), a bound of its rounding error, and of ε_ji (H, n + H), entry by entry."""
    n, widths = weights[0].shape[1], [w.shape[0] for w in weights[:-1]]
    edges, outputs = np.cumsum([0, *widths], dtype=int), weights[-1].shape[0]
    H = int(edges[-1])
    found, error = np.zeros((outputs + H, n + H)), np.zeros((outputs + H, n + H))
    slip = np.zeros((H, n + H))
    T = np.eye(n)
    for (a, b), W in zip(pairwise(edges.tolist()), weights[:-1], strict=True):
        v, size = W @ T, np.abs(W) @ np.abs(T)
        found[outputs + a : outputs + b, : n + a], error[outputs + a : outputs + b, : n + a] = v, gamma(W.shape[1] + 2) * size
        slip[a:b, : n + a] = gamma(W.shape[1] + 4) * np.abs(centre[a:b, None]) * size
        T = np.concatenate([centre[a:b, None] * v, np.diag(radius[a:b])], axis=1)
    W = weights[-1]
    found[:outputs], error[:outputs] = W @ T, gamma(W.shape[1] + 2) * (np.abs(W) @ np.abs(T))
    if skip is not None:
        error[:outputs, :n] += gamma(2) * (np.abs(found[:outputs, :n]) + np.abs(skip))
        found[:outputs, :n] += skip
    return found, error, slip


def multipliers_of(mu: Array, radius: Array) -> Array:
    """Λ (H,) of `lipschitz` for the μ of this inequality."""
    return np.minimum(np.maximum(mu, _LEAST) / (2.0 * radius * radius), _MOST)


def shifted_inequality(
    weights: Sequence[Array],
    bound: float,  # γ
    multipliers: Array,  # Λ (H,), as `lipschitz` has them
    centre: Array,
    radius: Array,
    skip: Array | None = None,
) -> tuple[Array, Array] | None:
    """F and a bound of its rounding error, entry by entry; None for numbers beyond the sizes for which that is stated.

    Any μ > 0 proves the same sentence, so that how 2Λr² rounds is of no account.
    """
    n, H, outputs = weights[0].shape[1], len(multipliers), weights[-1].shape[0]
    mu = np.maximum(2.0 * multipliers * radius * radius, _LEAST)
    A, error, slip = rows(weights, centre, radius, skip)
    weight = np.concatenate([np.ones(outputs), mu])[:, None]
    given = [*(np.abs(w).max() for w in weights), bound, np.abs(A).max()]
    if not max(given) < _LARGEST or not (mu / radius).max(initial=0.0) <= 2.0 * _MOST:  # NaN is not
        return None
    diagonal = np.concatenate([np.full(n, bound * bound), mu])
    value = A.T @ (weight * A)
    mid = np.diag(diagonal) - (value + value.T) / 2
    # |AᵀwA| is off by the errors of A, and by the roundings of the product.
    extent = np.abs(A) + error
    half = extent.T @ (weight * (error + gamma(outputs + H + 12) * extent))
    half[n:] += (mu / radius)[:, None] * slip
    return mid, half + half.T + gamma(8) * np.diag(diagonal) + TINY
