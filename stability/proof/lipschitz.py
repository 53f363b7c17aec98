"""The checker of Lipschitz bounds: numpy and the standard library.

For f(x) = W_L φ(W_{L−1} … φ(W_1 x + b_1) … + b_{L−1}) + b_L, hidden layers stacked into z, slopes in [α, β], V = [W N] and
D = [0 I],

    M = [ γ²I   ·      ]  +  (D − αV)ᵀ Λ (D − βV) + its transpose  ≻ 0
        [  0   −EᵀE    ]                                                 (E = [0 … 0 W_L]; without hidden layers γ²I − W_1ᵀW_1)

gives |δf|² = |Eδz|² ≤ γ²|δx|² + 2(δz − αδv)ᵀΛ(δz − βδv) ≤ γ²|δx|² for any two points: no biases enter. Where units are linear, or
nearly, over the region, and for a residual S x + f(x) with a linear term (`skip`), the same is proved in other coordinates
(`loop_shift`).

In a box α and β are each unit's own, bounded over the box from the weights and biases (`slopes.slopes_over`), here and
anew. Since a box is convex, the segment between two of its points lies in it, on which a unit's argument takes every value
between its two values: the difference quotient of φ is a mean of slopes within the range. (In a set that is not convex it need
not be.)
Underflow, widened: γ² and W_LᵀW_L have two factors, the rest is as in `inequality`; TINY in every entry covers them.
Source: Fazlyab, Robey, Hassani, Morari & Pappas, NeurIPS 2019 (LipSDP-Neuron).
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from stability.proof.activation import SLOPES
from stability.proof.arithmetic import LARGEST, SMALLEST, TINY, Array, gamma, proved_positive
from stability.proof.budget import Meter
from stability.proof.loop_shift import centre_and_radius, shifted_inequality
from stability.proof.reading import Unusable, array, get, has, number, sequence, shown, unlike_any
from stability.proof.region.slopes import slopes_in_box
from stability.proof.system import opened
from stability.proof.verdict import Verdict

MOST_INPUTS = 40  # of a bound in a box: the enclosures keep third derivatives, whose number grows with the cube


def statement(
    bound: float, inputs: int, outputs: int, region: Mapping[str, Any] | None = None, *, skip: bool = False
) -> str:
    """The sentence that a bound claims; the checker refuses a bound that carries another one."""
    where = f"R^{inputs}"
    if region is not None:
        where = f"the box {list(region['lower'])!r} <= x <= {list(region['upper'])!r}"
    of = "the network with its linear term" if skip else "the network"
    return (
        f"For every two points of {where} the values of {of} in R^{outputs} differ, in Euclidean length, by at most "
        f"{bound!r} times the distance of the points, in real arithmetic with the stored float64 arrays."
    )


def digest(
    weights: Sequence[Array], activation: str, biases: Sequence[Array] | None = None, skip: Array | None = None
) -> str:
    """SHA-256 of the lines `layers 1`, `activation NAME`, then per weight `weights[k] OUT,IN` and its entries (<f8, C order).

    Where the biases enter, in a region, the same of each `biases[k] OUT` follows, and last that of a linear term `skip OUT,IN`.
    """
    parts = hashlib.sha256(f"layers 1\nactivation {activation}\n".encode("ascii"))
    for k, weight in enumerate(weights):
        parts.update(f"weights[{k}] {weight.shape[0]},{weight.shape[1]}\n".encode("ascii"))
        parts.update(weight.astype("<f8").tobytes("C"))
    for k, bias in enumerate(biases or ()):
        parts.update(f"biases[{k}] {bias.shape[0]}\n".encode("ascii"))
        parts.update(bias.astype("<f8").tobytes("C"))
    if skip is not None:
        parts.update(f"skip {skip.shape[0]},{skip.shape[1]}\n".encode("ascii"))
        parts.update(skip.astype("<f8").tobytes("C"))
    return parts.hexdigest()


@np.errstate(all="ignore")  # overflow and NaN are meant to arrive at the comparisons, where they refuse
def judge(claim: object, system: object, meter: Meter) -> Verdict:
    """Prove a Lipschitz bound for `system.weights` (each (out, in)) and `system.activation`, or say why it is refused.

    In a region `system.biases`, one (out,) per weight, are needed too. `system.skip` (out, in), where there is one, is the linear
    term of a residual, and part of what is bounded. What has branches, a tape or a policy is refused: it is more than the layers.

    Errors: Unusable for what is not a bound and layers at all.
    Law: accepted ⇒ the inequality holds in real arithmetic.
    """
    if not has(system, "weights", "activation"):
        raise Unusable(unlike_any(system, "system", "the layers that are bounded: weights, each (out, in), and activation"))
    more = _beside(system)
    if more:
        raise Unusable(f"the system has {more}, which a bound of the layers alone does not see")
    activation = get(system, "activation")
    if not isinstance(activation, str) or activation not in SLOPES:
        raise Unusable(f"the activation {shown(activation)} is not one of {', '.join(SLOPES)}")
    weights = [array(w, f"weights[{k}]") for k, w in enumerate(sequence(get(system, "weights")))]
    fits = bool(weights) and all(w.ndim == 2 and w.size and np.isfinite(w).all() for w in weights)
    if not fits or any(w.shape[1] != before.shape[0] for before, w in pairwise(weights)):
        raise Unusable("the weights are not a chain of finite matrices (out, in)")
    bound, multipliers = number(get(claim, "bound")), array(get(claim, "multipliers"), "multipliers").reshape(-1)
    hidden = sum(w.shape[0] for w in weights[:-1])
    if not (math.isfinite(bound) and bound > 0):
        return Verdict(False, f"the bound is {bound!r}; needed is a finite positive number")
    if multipliers.shape != (hidden,) or not np.isfinite(multipliers).all() or not (multipliers > 0).all():
        return Verdict(False, f"the multipliers are not {hidden} finite positive numbers")
    if max(bound, multipliers.max(initial=0.0), *(np.abs(w).max() for w in weights)) > LARGEST:
        return Verdict(False, f"some entry exceeds {LARGEST:.0e}, beyond which the error bounds are not stated")
    if [number(s) for s in sequence(get(claim, "slope_range"))] != list(SLOPES[activation]):
        return Verdict(False, f"the slope range is not that of {activation}, {list(SLOPES[activation])}")
    region, biases, slopes = get(claim, "region", None), None, None
    if region is not None:
        biases = [array(b, f"biases[{k}]") for k, b in enumerate(sequence(get(system, "biases")))]
        if [b.shape for b in biases] != [(w.shape[0],) for w in weights]:
            return Verdict(False, "the biases are not one (out,) per weight")
    stated, skip = get(claim, "digest"), _linear_term(system, weights)
    if not isinstance(stated, str) or stated != digest(weights, activation, biases, skip):
        if skip is not None and isinstance(stated, str) and stated == digest(weights, activation, biases):
            return Verdict(False, "the bound is of the network without the linear term (skip) that this system has")
        return Verdict(False, "the digest is not that of the weights, or biases: they were changed after the bound was made")
    if region is not None and get(system, "input_weights", None) is not None:
        return Verdict(False, "in a region the bound is proved of layers without input_weights, which would move their slopes")
    if region is not None and biases is not None:
        refusal = _outside(region, weights, biases)
        if refusal:
            return Verdict(False, refusal)
        slopes = slopes_in_box(weights, biases, activation, *_ends(region), meter)
    said = statement(bound, weights[0].shape[1], weights[-1].shape[0], region, skip=skip is not None)
    words = get(claim, "claim")
    if not isinstance(words, str) or words != said:
        return Verdict(False, "the claim is not the sentence that the numbers support")
    meter.matrices(weights[0].shape[1] + hidden + weights[-1].shape[0], 1, 18)
    meter.look("before the inequality")
    if not holds(weights, activation, bound, multipliers, slopes, skip):
        return Verdict(False, "the inequality is not proved")
    return Verdict(True, said, None, 1)


@np.errstate(all="ignore")
def holds(
    weights: Sequence[Array],
    activation: str,
    bound: float,
    multipliers: Array,
    slopes: tuple[Array, Array] | None,  # α and β (H,); the activation's own where not given
    skip: Array | None = None,
) -> bool:
    """Whether the inequality is proved in one of its two forms: with shifted slopes in (x, q), else in (x, z)."""
    if holds_shifted(weights, activation, bound, multipliers, slopes, skip):
        return True
    if skip is not None:
        return False
    mid, radius = inequality(weights, activation, bound, multipliers, slopes)
    return bool(proved_positive(mid[None], radius[None])[0])


@np.errstate(all="ignore")
def holds_shifted(
    weights: Sequence[Array],
    activation: str,
    bound: float,
    multipliers: Array,
    slopes: tuple[Array, Array] | None,
    skip: Array | None = None,
) -> bool:
    """Whether `loop_shift.shifted_inequality` is proved."""
    lower, upper = slopes or tuple(np.full(multipliers.shape, end) for end in SLOPES[activation])
    centre, radius = centre_and_radius(lower, upper, max(abs(end) for end in SLOPES[activation]))
    found = shifted_inequality(weights, bound, multipliers, centre, radius, skip)
    return found is not None and bool(proved_positive(found[0][None], found[1][None])[0])


def _beside(system: object) -> str:
    """What the system has besides the layers, in a word; empty where it has nothing."""
    if opened(system)[1] is not None:
        return "a policy"
    branches = get(system, "branches", None)
    if branches is not None and not (isinstance(branches, list | tuple) and not branches):
        return "branches"
    return "" if get(system, "tape", None) is None else "a tape"


def _linear_term(system: object, weights: Sequence[Array]) -> Array | None:
    """The residual's own linear term. Errors: Unusable for one that is not a finite matrix (out, in) of ordinary size."""
    given = get(system, "skip", None)
    if given is None:
        return None
    skip = array(given, "skip")
    if skip.shape != (weights[-1].shape[0], weights[0].shape[1]) or not (np.abs(skip) <= LARGEST).all():
        raise Unusable("the skip is not a finite matrix (out, in) of ordinary size")
    return skip


def _ends(region: object) -> tuple[Array, Array]:
    return array(get(region, "lower"), "lower"), array(get(region, "upper"), "upper")


def _outside(region: object, weights: Sequence[Array], biases: Sequence[Array]) -> str:
    """What keeps a region from being used; empty if nothing does."""
    kind = region.get("kind") if isinstance(region, Mapping) else None
    if not isinstance(region, Mapping) or not isinstance(kind, str) or kind != "box":
        return "the region is not a box, the only kind in which a Lipschitz bound is proved"
    lower, upper = _ends(region)
    for value in (*sequence(region["lower"]), *sequence(region["upper"])):
        number(value)  # as the sentence quotes it
    inputs = weights[0].shape[1]
    if lower.shape != (inputs,) or upper.shape != (inputs,) or not (lower < upper).all() or inputs > MOST_INPUTS:
        return f"the box is empty, flat, or not of the network's {inputs} inputs, or these are more than {MOST_INPUTS}"
    sizes = np.concatenate([np.abs(a).ravel() for a in (*weights, *biases, lower, upper)])
    if not (sizes <= LARGEST).all() or (sizes[sizes > 0] < SMALLEST).any():
        return "a weight, a bias or an end of the box is so large or so small that the error bounds are not stated"
    return ""


def inequality(
    weights: Sequence[Array],
    activation: str,
    bound: float,
    multipliers: Array,
    slopes: tuple[Array, Array] | None = None,  # α and β (H,); the activation's own where not given
) -> tuple[Array, Array]:
    """M and a bound of its rounding error, entry by entry, as in `contraction`: sums of products of at most six factors."""
    ends = slopes or tuple(np.full(multipliers.shape, end) for end in SLOPES[activation])
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
        L, alpha, beta = (values[at.start - n : at.stop - n] for values in (multipliers, *ends))
        side = (alpha + beta)[:, None] * (L[:, None] * weight)
        mid[at, before] -= side
        mid[before, at] -= side.T
        magnitude = (np.abs(alpha) + np.abs(beta))[:, None] * (L[:, None] * np.abs(weight))
        large[at, before] += magnitude
        large[before, at] += magnitude.T
        if alpha.any():
            square(before, 2.0, weight, alpha * beta * L)
    mid[units, units] += 2.0 * multipliers
    large[units, units] += 2.0 * multipliers
    return mid, gamma(max(n, *(w.shape[0] for w in weights)) + 12) * large + TINY
