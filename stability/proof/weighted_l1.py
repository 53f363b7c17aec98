"""The checker's part for weighted ℓ1 distances, in rational arithmetic throughout: nothing is rounded.

Between any two states the residual acts as W_L S_{L−1} W_{L−1} … S_1 W_1 with diagonal S_l, entries in [α, β] (difference
quotients of φ). Interval arithmetic over these products gives lower and upper ends of every entry of the matrices J that take
δx to d/dt δx; with M_jj the upper end of J_jj and M_ij the largest |J_ij|,

    Σ_i w_i M_ij ≤ −λ w_j  for every j     ⇒     d/dt Σ_i w_i|δx_i| ≤ −λ Σ_i w_i|δx_i|

(upper right derivative), for every input signal. Doubles are rationals, so each inequality is decided, not approximated, and
nothing underflows.
"""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from stability.proof.budget import Meter, NotDecided
from stability.proof.contraction import NOT_COVERED
from stability.proof.reading import Unusable, array, get, number
from stability.proof.system import Stack, another, read_system, unlike
from stability.proof.verdict import Verdict

Rationals = NDArray[np.object_]
LARGEST = 3_000_000  # exact sums and products over all systems; a few seconds
_EACH = 10  # as many products take what one system costs apart from them
_ROWS = 10_000  # products at a time, between two looks at the clock


def statement(rate: float, states: int, systems: int) -> str:
    """The sentence that a weighted ℓ1 certificate claims; the checker refuses one that carries another."""
    return (
        f"For every pair of trajectories in R^{states} with the same inputs, doses, parameters and member, the distance "
        f"sum_i w_i |dx_i| shrinks at rate {rate!r} per unit of time or faster, for each of the {systems} systems, "
        "in real arithmetic with the stored float64 arrays."
    )


def judge(claim: object, system: object, meter: Meter) -> Verdict:
    """Prove a weighted ℓ1 certificate for the system, or say why it is refused."""
    stack = read_system(system, meter=meter)
    n, rate, weights = stack.A.shape[-1], number(get(claim, "rate")), array(get(claim, "weights"), "weights")
    if not (np.isfinite(rate) and rate > 0):
        return Verdict(False, f"the rate is {rate!r}; a certificate needs a finite positive rate")
    if weights.shape != (n,) and (other := another(claim, stack)):
        return Verdict(False, other)
    if weights.shape != (n,) or not np.isfinite(weights).all() or not (weights > 0).all():
        return Verdict(False, f"the weights are not {n} finite positive numbers")
    refusal = unlike(claim, stack, statement(rate, n, stack.count), NOT_COVERED)
    if refusal:
        return Verdict(False, refusal)
    if work(stack) > LARGEST:
        raise NotDecided(f"the systems need more than {LARGEST:,} exact products")
    exact = rational(weights)
    some = max(1, _ROWS * stack.count // work(stack))
    for first in range(0, stack.count, some):
        meter.look(f"at system {first} of {stack.count}")
        columns = exact @ majorant(stack, slice(first, first + some), meter)
        large = (columns > -Fraction(rate) * exact).any(1)
        if large.any():
            where = [int(i) for i in np.unravel_index(first + int(np.argmax(large)), stack.leading)]
            return Verdict(False, f"the column sums are too large for system {where}", rate, stack.count)
    return Verdict(True, statement(rate, n, stack.count), rate, stack.count)


def work(stack: Stack) -> int:
    """How many sums and products of rationals the systems ask for, with or without layers."""
    n = stack.A.shape[-1]
    return stack.count * (_EACH + len(stack.linear) * n * n + sum(w[0].size for w in stack.weights) * n)


def majorant(stack: Stack, index: int | slice, meter: Meter | None = None) -> Rationals:
    """M (n, n) of one system, (K, n, n) of several: the upper ends on the diagonal, the largest magnitudes beside it."""
    n = stack.A.shape[-1]
    if work(stack) > LARGEST:
        raise Unusable(f"the system needs more than {LARGEST:,} exact products; certify it in a metric P instead")
    low, high = hull(stack, index, meter)
    M = np.maximum(abs(low), abs(high))
    M[..., np.arange(n), np.arange(n)] = np.diagonal(high, axis1=-2, axis2=-1)
    return M


def hull(stack: Stack, index: int | slice, meter: Meter | None = None) -> tuple[Rationals, Rationals]:
    """The ends, entry by entry, of every J of one system, or of each of several."""
    alpha, beta = (Fraction(s) for s in stack.slope_range)
    linear = sum((rational(part[index]) for part in stack.linear[1:]), rational(stack.linear[0][index]))
    if not stack.widths:
        return linear, linear
    low = high = rational(stack.weights[0][index])
    for weight in stack.weights[1:]:
        ends = np.stack([alpha * low, alpha * high, beta * low, beta * high])
        low, high = ends.min(0), ends.max(0)
        W = rational(weight[index])
        up, down = np.maximum(W, 0 * W), np.minimum(W, 0 * W)
        rows = max(1, _ROWS // low.size)  # numbers of very different sizes make rationals long, and their products slow
        parts = []
        for first in range(0, W.shape[-2], rows):
            if meter is not None:
                meter.look("in exact products")
            a, b = up[..., first : first + rows, :], down[..., first : first + rows, :]
            parts.append((a @ low + b @ high, a @ high + b @ low))
        low, high = (np.concatenate(ends, axis=-2) for ends in zip(*parts, strict=True))
    return linear + low, linear + high


def rational(entries: NDArray[np.float64]) -> Rationals:
    """The same numbers as fractions."""
    found = np.empty(entries.size, dtype=object)
    found[:] = [Fraction(value) for value in entries.ravel().tolist()]
    return found.reshape(entries.shape)
