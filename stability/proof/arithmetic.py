"""Proofs in real arithmetic from floating-point computations: error bounds of sums of products, and a verified Cholesky.

Underflow. A relative error bound says nothing of a product that leaves the range of normal numbers, so every sum of products in
the checker's files is covered in one of two ways. Widened: an absolute term is added that exceeds what underflow can take, which
is at most 2⁻¹⁰²² ≈ 2.2e-308 a product (even where the hardware flushes subnormal numbers to zero) times the factors that it
still meets. Or bounded below: each factor is zero, and then so is the product, exactly, or at least so large that the product
is a normal number. Which way a file goes is said where its products stand; `LARGEST`, `SMALLEST` and `TINY` are the limits.
Weighted ℓ1 claims (`weighted_l1`) are decided in rational numbers, where nothing underflows.
Source: verified Cholesky after Rump, Verification of positive definiteness, BIT 46 (2006).
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Four times the unit roundoff 2⁻⁵³. One factor pays for the rounding of the bounds themselves, which are computed in the
# same arithmetic (each is a sum of non-negative terms, so its own relative error is far below a factor of two); the rest
# for any rounding direction. Summation order, blocking and fused multiply-add are covered by the bound as it stands.
UNIT = 2.0**-51
# With every entry below this, a product that underflows on the way (to zero, even where hardware flushes subnormals) and
# meets at most two more factors is off by less than 2⁻¹⁰²² · 1e100, so any sum of fewer than 1e7 of them by less than TINY.
# (Sums of 1e7 terms need matrices of 1e14 entries, more than any budget allows.) So P, Λ, the weights and the rate of a claim
# about all states, a gain, a step or a Lipschitz bound may be as small as they like: `inequality` and its kin add TINY.
LARGEST = 1e50
TINY = 1e-200
# A number of a regional claim (walls, levels, centres, doses, weights, …) that is not zero is at least this: then every product
# of two is a normal number, and what is exactly zero on a wall stays exactly zero, which an absolute term would not let it.
SMALLEST = 1e-100
# What a bound is raised by where a few roundings of it are of no account.
UP = 1.0 + 2.0**-40


def gamma(roundings: int) -> float:
    """γ_k = k u / (1 − k u): the relative error of a sum of products, each of which passes k roundings."""
    return roundings * UNIT / (1.0 - roundings * UNIT)


def proved_positive(mid: Array, radius: Array) -> NDArray[np.bool_]:
    """For each symmetric `mid` (V, k, k): True only if every symmetric matrix within `radius` of it is positive definite.

    1. Scale by powers of two, D mid D, to a diagonal in [1, 4): exact, and it keeps small blocks from drowning.
    2. Choose a shift c from Rump's a-priori bound (γ_{k+1}, trace, underflow) and from ‖D radius D‖_∞, with slack.
    3. Factor D mid D − c I = L Lᵀ + R in floating point. The factorisation is not trusted: L is multiplied out, and
       |R| ≤ |computed R| + γ (|L||L|ᵀ + |D mid D| + c I) holds for any L whatever, in any order of summation.
    4. If ‖R‖_∞ + ‖D radius D‖_∞ < c, then every matrix in question, scaled, is ⪰ L Lᵀ + (c − ‖R‖ − ‖radius‖) I ≻ 0.
    Underflow, widened: the scaling may take entries below 2⁻¹⁰²², which TINY in every entry of `blur` covers; the products of
    L, whose entries are at most 2 where the factorisation means anything, lose less than k 2⁻¹⁰²² a sum: k TINY in `rows`.
    """
    count, k, _ = mid.shape
    good = np.zeros(count, dtype=bool)
    diagonal = np.diagonal(mid, axis1=1, axis2=2)
    usable = np.isfinite(mid).all((1, 2)) & np.isfinite(radius).all((1, 2)) & (diagonal > TINY).all(1)
    usable &= (mid == mid.swapaxes(1, 2)).all((1, 2))  # one triangle is read below, so the other must say the same
    chosen = np.flatnonzero(usable)
    if not chosen.size:
        return good
    exponent = -((np.frexp(diagonal[chosen])[1] - 1) // 2)
    both = exponent[:, :, None] + exponent[:, None, :]
    scaled, blur = np.ldexp(mid[chosen], both), np.ldexp(radius[chosen], both) + TINY
    eye = np.eye(k)
    spread = outward(blur.sum(2).max(1), k)  # ‖·‖₂ ≤ ‖·‖_∞ for symmetric matrices
    trace = np.trace(scaled, axis1=1, axis2=2)
    shift = 2.0 * spread + 16.0 * gamma(k + 4) * trace + TINY  # |L||L|ᵀ has row sums ≤ 4k, and k ≤ trace
    shifted = scaled - shift[:, None, None] * eye
    L, factored = _cholesky(shifted)
    # Only row sums are needed, and those of |L||L|ᵀ are two products with a vector.
    size = np.abs(L)
    magnitude = (size @ size.sum(1)[:, :, None])[:, :, 0] + np.abs(scaled).sum(2) + shift[:, None]
    rows = np.abs(shifted - L @ L.swapaxes(1, 2)).sum(2) + outward(gamma(k + 4) * magnitude, k) + k * TINY
    lost = outward(rows.max(1), k) + spread
    good[chosen] = factored & (outward(lost, 1) < shift)  # a comparison with NaN is False
    return good


def outward(value: Array, terms: int) -> Array:
    """A computed sum of `terms` non-negative numbers, raised so that it cannot lie below the exact sum."""
    return value * (1.0 + gamma(2 * terms + 4)) + TINY


def _cholesky(matrices: Array) -> tuple[Array, NDArray[np.bool_]]:
    """The factors and whether each one exists; only a failure makes the stack go one by one."""
    try:
        whole = np.asarray(np.linalg.cholesky(matrices), dtype=np.float64)
        return whole, np.ones((len(matrices),), dtype=np.bool_)
    except np.linalg.LinAlgError:
        factors, exists = np.zeros_like(matrices), np.zeros((len(matrices),), dtype=np.bool_)
        for index, matrix in enumerate(matrices):
            try:
                factors[index], exists[index] = np.linalg.cholesky(matrix), True
            except np.linalg.LinAlgError:
                continue
        return factors, exists
