"""The checker of Lipschitz bounds: numpy and the standard library, with the arithmetic of `proof`.

For f(x) = W_L φ(W_{L−1} … φ(W_1 x + b_1) … + b_{L−1}) + b_L, hidden layers stacked into z, slopes in [α, β], V = [W N] and
D = [0 I],

    M = [ γ²I   ·      ]  +  (D − αV)ᵀ Λ (D − βV) + its transpose  ≻ 0
        [  0   −EᵀE    ]                                                 (E = [0 … 0 W_L]; without hidden layers γ²I − W_1ᵀW_1)

gives |δf|² = |Eδz|² ≤ γ²|δx|² + 2(δz − αδv)ᵀΛ(δz − βδv) ≤ γ²|δx|² for any two points: no biases enter.
Source: Fazlyab, Robey, Hassani, Morari & Pappas, NeurIPS 2019 (LipSDP-Neuron).
"""

import hashlib
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from stability.proof import (
    _LARGEST,
    _SLOPES,
    _TINY,
    Array,
    Unusable,
    Verdict,
    _array,
    _gamma,
    _get,
    _number,
    _proved_positive,
    _sequence,
)


def statement(bound: float, inputs: int, outputs: int) -> str:
    """The sentence that a bound claims; the checker refuses a bound that carries another one."""
    return (
        f"For every two points of R^{inputs} the values of the network in R^{outputs} differ, in Euclidean length, by at most "
        f"{bound!r} times the distance of the points, in real arithmetic with the stored float64 arrays."
    )


def digest(weights: Sequence[Array], activation: str) -> str:
    """SHA-256 of the lines `layers 1`, `activation NAME`, then per weight `weights[k] OUT,IN` and its entries (<f8, C order)."""
    parts = hashlib.sha256(f"layers 1\nactivation {activation}\n".encode("ascii"))
    for k, weight in enumerate(weights):
        parts.update(f"weights[{k}] {weight.shape[0]},{weight.shape[1]}\n".encode("ascii"))
        parts.update(weight.astype("<f8").tobytes("C"))
    return parts.hexdigest()


@np.errstate(all="ignore")  # overflow and NaN are meant to arrive at the comparisons, where they refuse
def judge(claim: object, system: object) -> Verdict:
    """Prove a Lipschitz bound for `system.weights` (each (out, in)) and `system.activation`, or say why it is refused.

    Errors: Unusable for what is not a bound and layers at all.
    Law: accepted ⇒ the inequality holds in real arithmetic.
    """
    activation = _get(system, "activation")
    if not isinstance(activation, str) or activation not in _SLOPES:
        raise Unusable(f"the activation {activation!r} is not one of {', '.join(_SLOPES)}")
    weights = [_array(w, f"weights[{k}]") for k, w in enumerate(_sequence(_get(system, "weights")))]
    fits = bool(weights) and all(w.ndim == 2 and w.size and np.isfinite(w).all() for w in weights)
    if not fits or any(w.shape[1] != before.shape[0] for before, w in pairwise(weights)):
        raise Unusable("the weights are not a chain of finite matrices (out, in)")
    bound, multipliers = _number(_get(claim, "bound")), _array(_get(claim, "multipliers"), "multipliers").reshape(-1)
    hidden = sum(w.shape[0] for w in weights[:-1])
    if not (math.isfinite(bound) and bound > 0):
        return Verdict(False, f"the bound is {bound!r}; needed is a finite positive number")
    if multipliers.shape != (hidden,) or not np.isfinite(multipliers).all() or not (multipliers > 0).all():
        return Verdict(False, f"the multipliers are not {hidden} finite positive numbers")
    if max(bound, multipliers.max(initial=0.0), *(np.abs(w).max() for w in weights)) > _LARGEST:
        return Verdict(False, f"some entry exceeds {_LARGEST:.0e}, beyond which the error bounds are not stated")
    if [_number(s) for s in _sequence(_get(claim, "slope_range"))] != list(_SLOPES[activation]):
        return Verdict(False, f"the slope range is not that of {activation}, {list(_SLOPES[activation])}")
    if _get(claim, "digest") != digest(weights, activation):
        return Verdict(False, "the digest is not that of the weights: they were changed after the bound was made")
    said = statement(bound, weights[0].shape[1], weights[-1].shape[0])
    if _get(claim, "claim") != said:
        return Verdict(False, "the claim is not the sentence that the numbers support")
    mid, radius = _inequality(weights, activation, bound, multipliers)
    if not _proved_positive(mid[None], radius[None])[0]:
        return Verdict(False, "the inequality is not proved")
    return Verdict(True, said, None, 1)


def _inequality(weights: Sequence[Array], activation: str, bound: float, multipliers: Array) -> tuple[Array, Array]:
    """M and a bound of its rounding error, entry by entry, as in `proof`: sums of products of at most six factors."""
    alpha, beta = _SLOPES[activation]
    n, widths = weights[0].shape[1], [w.shape[0] for w in weights[:-1]]
    edges = np.cumsum([0, n, *widths])
    parts = [slice(int(a), int(b)) for a, b in pairwise(edges)]  # x, then the layers
    size = int(edges[-1])
    mid, large = np.zeros((size, size)), np.zeros((size, size))

    def square(at: slice, sign: float, weight: Array, scale: Array) -> None:
        """± weightᵀ diag(scale) weight, symmetric to the last bit."""
        value, magnitude = weight.T @ (scale[:, None] * weight), np.abs(weight).T @ (np.abs(scale)[:, None] * np.abs(weight))
        mid[at, at] += sign * ((value + value.T) / 2)
        large[at, at] += abs(sign) * ((magnitude + magnitude.T) / 2)

    x, units = np.arange(n), np.arange(n, size)
    mid[x, x] += bound * bound
    large[x, x] += bound * bound
    square(parts[-1], -1.0, weights[-1], np.ones(weights[-1].shape[0]))
    for before, at, weight in zip(parts[:-1], parts[1:], weights[:-1], strict=True):
        L = multipliers[at.start - n : at.stop - n]
        side = (alpha + beta) * (L[:, None] * weight)
        mid[at, before] -= side
        mid[before, at] -= side.T
        magnitude = (abs(alpha) + abs(beta)) * (L[:, None] * np.abs(weight))
        large[at, before] += magnitude
        large[before, at] += magnitude.T
        if alpha:
            square(before, 2.0, weight, alpha * beta * L)
    mid[units, units] += 2.0 * multipliers
    large[units, units] += 2.0 * multipliers
    return mid, _gamma(max(n, *(w.shape[0] for w in weights)) + 12) * large + _TINY
