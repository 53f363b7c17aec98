"""Contraction at every state proved: the inequality rebuilt with error bounds.

For each system it rebuilds, from the certificate and the system's own arrays, with V = [W N] and D = [0 I],

    M = −[ AᵀP + PA + 2λP    P E ]  +  (D − αV)ᵀ Λ (D − βV)  +  its transpose
         [        ·           0  ]

and proves M ≻ 0 and P ≻ 0 in real arithmetic from floating-point computations (`arithmetic.proved_positive`). With Λ > 0 diagonal
and slopes in [α, β] the term 2 (δz − αδv)ᵀΛ(δz − βδv) is never positive, so M ≻ 0 gives d/dt(δxᵀPδx) ≤ −2λ δxᵀPδx along
any two trajectories with the same input: contraction at rate λ in √(δxᵀPδx).

A tape adds its Jacobian: a centre to A, and units (`known.py`), which stand behind those of the layers.
"""

import math

import numpy as np
from numpy.typing import NDArray

from stability.proof.arithmetic import LARGEST, TINY, UP, Array, gamma, proved_positive
from stability.proof.budget import Meter
from stability.proof.known import Known, entries_in
from stability.proof.reading import array, get, number
from stability.proof.system import Stack, another, misnamed, unlike
from stability.proof.verdict import Verdict

# what a certificate of contraction does not say, each in words: every one of them carries these
NOT_COVERED = (
    "the discretisation: the statement is about the differential equation, not about a solver's steps",
    "deployment in lower precision than the stored float64 arrays",
    "feedback u = κ(x): the input must be the same signal on both trajectories",
    "member weights that depend on the state",
    "parameters averaged over members or people",
    "process noise",
    "parameters θ estimated jointly with the state x",
)


# what stands in the place of the third sentence, of a system under a policy
OTHER_FEEDBACK = (
    "any other feedback than the stated policy of the true state at every instant: one that is sampled, delayed, or sees an "
    "estimate of the state"
)


def not_covered(feedback: str, sentences: tuple[str, ...] = NOT_COVERED) -> tuple[str, ...]:
    """What a claim does not say: `sentences`, and of a system under a policy, which `feedback` names, of other feedback alone."""
    return tuple(OTHER_FEEDBACK if feedback and s == NOT_COVERED[2] else s for s in sentences)


def under(feedback: str) -> tuple[str, str]:
    """What a sentence says of the policy, and what it calls the inputs that remain."""
    return (f" under the feedback {feedback},", "external inputs") if feedback else ("", "inputs")


def same_parameters(wide: bool) -> str:
    """Whose trajectories are compared, where θ is a list, or a box."""
    return "parameters (any theta within its stated bounds)" if wide else "parameters"


def statement(rate: float, states: int, systems: int, *, wide: bool = False, feedback: str = "") -> str:
    """The sentence that a certificate claims; the checker refuses a certificate that carries another one.

    `wide`: the systems' tape has a box of θ; `feedback`: how the policy is named, under which they are, if they are.
    """
    policy, inputs = under(feedback)
    return (
        f"For every pair of trajectories in R^{states}{policy} with the same {inputs}, doses, {same_parameters(wide)} and "
        f"member, the distance sqrt(dx' P dx) shrinks at rate {rate!r} per unit of time or faster, for each of the {systems} "
        "systems, in real arithmetic with the stored float64 arrays."
    )


@np.errstate(all="ignore")  # overflow and NaN are meant to arrive at the comparisons, where they refuse
def prove_everywhere(certificate: object, stack: Stack, meter: Meter) -> Verdict:
    """Prove a certificate about all states, or say why it is refused.

    Demands: the digest of the system's arrays; the activation's own slope range; one multiplier vector per system, all finite and
    positive; P = Pᵀ exactly and proved positive definite; λ finite and positive; M ≻ 0 proved for every system; and the stated
    condition number, caps, claim and exclusions consistent with all that.
    Law: accepted ⇒ the inequality holds in real arithmetic.
    """
    rate, P = number(get(certificate, "rate")), array(get(certificate, "metric"), "metric")
    multipliers = array(get(certificate, "multipliers"), "multipliers")
    n, m = stack.A.shape[-1], stack.inputs
    words = statement(rate, n, stack.count, wide=stack.wide, feedback=stack.feedback)
    entries = entries_in(stack, np.full(n, -np.inf), np.full(n, np.inf), (np.full(m, -np.inf), np.full(m, np.inf)), meter)
    units = stack.units + (0 if entries is None else entries.units)
    refusal = disagreement(certificate, stack, rate, P, multipliers, words, (stack.count, units))
    if refusal:
        return Verdict(False, refusal)
    if not proved_positive(P[None], np.zeros_like(P[None]))[0]:
        return Verdict(False, "the metric P is not proved positive definite")
    meter.room(float(stack.count), f"{stack.count} systems")
    good = np.ones(stack.count, dtype=bool)
    size = P.shape[0] + multipliers.shape[1]
    for first in range(0, stack.count, chunk := meter.matrices(size, stack.count, 14)):  # some 32 MB per array at a time
        meter.look(f"at system {first} of {stack.count}")
        part = slice(first, first + chunk)
        known = None if entries is None else entries.some(part)
        good[part] = proved_positive(*inequality(stack, part, rate, P, multipliers[part], known=known))
        if not good[part].all():
            break
    if not good.all():
        where = tuple(int(i) for i in np.unravel_index(int(np.argmin(good)), stack.leading))
        return Verdict(False, f"the inequality is not proved for system {list(where)}", rate, stack.count)
    return Verdict(True, words, rate, stack.count)


def disagreement(
    certificate: object,
    stack: Stack,
    rate: float,
    P: Array,
    multipliers: Array,
    claim: str,
    needed: tuple[int, int],
) -> str:
    """Everything about a certificate that can be refused without arithmetic; empty if nothing is wrong.

    `needed`: the shape of the multipliers.
    """
    n = stack.A.shape[-1]
    if not (math.isfinite(rate) and rate > 0):
        return f"the rate is {rate!r}; a certificate needs a finite positive rate"
    if P.shape != (n, n):
        return another(certificate, stack) or f"the metric has shape {P.shape}; the system has {n} states"
    if multipliers.shape != needed:
        return another(certificate, stack) or f"the multipliers have shape {multipliers.shape}; needed is {needed}"
    if not (np.isfinite(P).all() and np.isfinite(multipliers).all()):
        return "the metric or the multipliers hold values that are not finite"
    if max(np.abs(P).max(), np.abs(multipliers).max(initial=0.0), rate, stack.largest) > LARGEST:
        return f"some entry exceeds {LARGEST:.0e}, beyond which the error bounds are not stated"
    if not (P == P.T).all():
        return "the metric is not exactly symmetric"
    if not (multipliers > 0).all():
        return "a multiplier is not positive"
    refusal = unlike(certificate, stack, claim, not_covered(stack.feedback))
    if refusal:
        return refusal
    refusal = misnamed(certificate, stack)
    if refusal:
        return refusal
    condition = float(np.linalg.cond(P))  # itself known to a relative error of about its size times the rounding
    if not math.isclose(number(get(certificate, "condition")), condition, rel_tol=min(1e-6 + 1e-14 * condition, 0.5)):
        return "the stated condition number is not that of the metric"
    for name in ("spectral_cap", "metric_cap", "inequality_cap"):
        cap = get(certificate, name, None) if name == "inequality_cap" else get(certificate, name)  # earlier ones lack it
        if cap is not None and not rate <= number(cap) + 1e-6 * stack.largest:
            return f"the rate exceeds the certificate's own {name}"
    return ""


def inequality(
    stack: Stack,
    part: "slice | NDArray[np.int64]",
    rate: float,
    P: Array,
    multipliers: Array,  # (k, H + K): those of the layers' units, then those of the tape's
    slopes: tuple[Array, Array] | None = None,  # α and β (k, H); the activation's own where not given
    *,
    known: Known | None = None,  # of the same systems, where they have a tape
) -> tuple[Array, Array]:
    """M and a bound of its rounding error, entry by entry.

    Every entry is a sum of products of at most six factors; the same expression over absolute values, times γ_k, bounds the
    error, where k counts the roundings that one product can pass: four for itself, the additions of the dot product (n − 1,
    or the layer's width − 1), and six more for the terms put together.
    Written out, (D − αV)ᵀΛ(D − βV) + its transpose is 2Λ on the diagonal, −(α + β)Λ V beside it, and 2Vᵀ(αβΛ)V.
    A tape's unit z = s x_j, |s| ≤ r, has −P e_i beside 2Λ, and −2r²Λ at (j, j); up to n of these meet there, each with three
    roundings. Of the entries that are not units the radius R, which is no rounding, is taken at its full size: |P|R + R|P|.
    Underflow, widened: r²Λ as (rΛ)r, with r ≤ 1e50. PA and PE have two factors; 2λP and (α + β)(ΛW) three, and Wᵀ(αβΛW) five,
    evaluated so that what may
    underflow first, αβΛ or ΛW, meets at most W and Wᵀ, each ≤ 1e50; α, β and 2 are about 1. So TINY covers every entry.
    """
    ends = slopes or tuple(np.broadcast_to(end, (len(multipliers), stack.units)) for end in stack.slopes)
    weights = [w[part] for w in stack.weights]
    widths = stack.widths
    count, n, H = len(multipliers), stack.A.shape[-1], multipliers.shape[1]
    edges = [n + sum(widths[:k]) for k in range(len(widths) + 1)]
    mid, size = (np.zeros((count, n + H, n + H)) for _ in range(2))
    loose = np.zeros((count, n, n))

    def add(rows: slice, columns: slice, value: Array, magnitude: Array) -> None:
        # The block and its mirror image: both get the same float, so M is symmetric to the last bit.
        if rows == columns:
            value = (value + value.swapaxes(1, 2)) / 2
            magnitude = (magnitude + magnitude.swapaxes(1, 2)) / 2
        mid[:, rows, columns] += value
        size[:, rows, columns] += magnitude
        if rows != columns:
            mid[:, columns, rows] += value.swapaxes(1, 2)
            size[:, columns, rows] += magnitude.swapaxes(1, 2)

    x = slice(0, n)
    for linear in stack.linear:
        PA, magnitude = P @ linear[part], np.abs(P) @ np.abs(linear[part])
        add(x, x, -(PA + PA.swapaxes(1, 2)), magnitude + magnitude.swapaxes(1, 2))
    add(x, x, np.broadcast_to(-(2.0 * rate) * P, (count, n, n)), np.broadcast_to(2.0 * rate * np.abs(P), (count, n, n)))
    layers = [slice(edges[k], edges[k + 1]) for k in range(len(widths))]
    if layers:
        add(x, layers[-1], -(P @ weights[-1]), np.abs(P) @ np.abs(weights[-1]))
    for k, layer in enumerate(layers):
        L, before = multipliers[:, layer.start - n : layer.stop - n], layers[k - 1] if k else x
        alpha, beta = (end[:, layer.start - n : layer.stop - n, None] for end in ends)
        side = (alpha + beta) * (L[:, :, None] * weights[k])
        add(layer, before, -side, (np.abs(alpha) + np.abs(beta)) * (L[:, :, None] * np.abs(weights[k])))
        if alpha.any():
            corner = weights[k].swapaxes(1, 2) @ (alpha * beta * L[:, :, None] * weights[k])
            large = np.abs(weights[k]).swapaxes(1, 2) @ (np.abs(alpha * beta) * L[:, :, None] * np.abs(weights[k]))
            add(before, before, 2.0 * corner, 2.0 * large)
    if known is not None:
        PA, magnitude = P @ known.centre, np.abs(P) @ np.abs(known.centre)
        add(x, x, -(PA + PA.swapaxes(1, 2)), magnitude + magnitude.swapaxes(1, 2))
        reach = np.abs(P) @ known.radius
        loose += UP * (reach + reach.swapaxes(1, 2))
        for k, (i, j) in enumerate(zip(known.rows, known.columns, strict=True)):
            unit = edges[-1] + k
            mid[:, :n, unit] -= P[:, i]
            mid[:, unit, :n] -= P[:, i]
            r = known.reach[:, k]
            turned = 2.0 * (r * multipliers[:, unit - n]) * r
            mid[:, j, j] -= turned
            size[:, j, j] += turned
    diagonal = np.arange(n, n + H)
    mid[:, diagonal, diagonal] += 2.0 * multipliers
    size[:, diagonal, diagonal] += 2.0 * multipliers
    radius = gamma(max(n, *widths, 0) + n * (known is not None) + 12) * size + TINY
    radius[:, x, x] += loose
    return mid, radius
