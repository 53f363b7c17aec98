"""The checker's part for gains: the bordered inequality, rebuilt and proved. Numpy and the checker's arithmetic alone.

For each system, with the matrix M(λ') of `contraction` in (δx, δz), and U = W_u on the first layer's rows,

    [ M(λ') − CᵀC    b            ]          b = −[PB; 0] + [2αβ WᵀΛU; −(α + β)ΛU],
    [     bᵀ         μI + 2αβUᵀΛU ]  ≻ 0

gives V̇ + 2λ'V + |Cδx|² ≤ μ|δu|² along any two trajectories. A tube (C = 0, λ' > 0) has the height √(μ/2λ') in √V, an L2 gain
(λ' = 0) is √μ.
Underflow, widened: PB, CᵀC and the units² have two factors, (α + β)ΛU three, UᵀΛαβU and WᵀΛαβU five, evaluated so that what may
underflow first meets at most two more, each ≤ 1e50; TINY in every entry covers them. The value against the supply rate is
compared in rational numbers.
"""

import math
from fractions import Fraction

import numpy as np

from stability.proof.arithmetic import LARGEST, TINY, Array, gamma, proved_positive
from stability.proof.budget import Meter
from stability.proof.contraction import inequality
from stability.proof.reading import Unusable, array, get, number
from stability.proof.system import Stack, another, read_system, unlike
from stability.proof.verdict import Verdict

NOT_COVERED = (
    "the discretisation: the statement is about the differential equation, not about a solver's steps",
    "deployment in lower precision than the stored float64 arrays",
    "member weights that depend on the state",
    "parameters averaged over members or people",
    "process noise",
    "parameters θ estimated jointly with the state x",
)


def statement(kind: str, value: float, rate: float, states: int, systems: int) -> str:
    """The sentence that a gain claims; the checker refuses a gain that carries another one."""
    if kind == "tube":
        what = (
            f"whose inputs differ by at most d at every time, sqrt(dx' P dx) stays below exp(-{rate!r} t) times its first value "
            f"plus {value!r} d: a tube"
        )
    else:
        what = (
            f"the energy of C dx is at most {value!r} squared times the energy of du, plus dx' P dx at the start: an L2 gain, "
            "which bounds no single moment"
        )
    return (
        f"For every pair of trajectories in R^{states} with the same doses, parameters and member, {what}, "
        f"for each of the {systems} systems, in real arithmetic with the stored float64 arrays."
    )


@np.errstate(all="ignore")  # overflow and NaN are meant to arrive at the comparisons, where they refuse
def judge(claim: object, system: object, meter: Meter) -> Verdict:
    """Prove a gain for the system, or say why it is refused."""
    stack = read_system(system, meter=meter)
    kind, n = str(get(claim, "kind")), stack.A.shape[-1]
    value, rate, supply = (number(get(claim, name)) for name in ("value", "rate", "supply"))
    P, multipliers, units = (array(get(claim, name), name) for name in ("metric", "multipliers", "units"))
    C = array(get(claim, "output"), "output")
    C = np.zeros((0, n)) if C.size == 0 else C
    refusal = _disagreement(claim, stack, P, multipliers, (value, rate, supply))
    if refusal:
        return Verdict(False, refusal)
    B, U = _inputs(stack, meter)
    if max(np.abs(B).max(initial=0.0), np.abs(U).max(initial=0.0)) > LARGEST:
        refusal = f"an entry of B or input_weights exceeds {LARGEST:.0e}, beyond which the error bounds are not stated"
    if not refusal:
        refusal = _wrong_numbers(kind, value, rate, supply, C, units, n)
    if refusal:
        return Verdict(False, refusal)
    if not proved_positive(P[None], np.zeros_like(P[None]))[0]:
        return Verdict(False, "the metric P is not proved positive definite")
    if not _units_hold(P, units, meter):
        return Verdict(False, "the units do not bound every state by the distance in P")
    size = n + multipliers.shape[1] + B.shape[2]
    for first in range(0, stack.count, chunk := meter.matrices(size, stack.count, 14)):
        meter.look(f"at system {first} of {stack.count}")
        part = slice(first, first + chunk)
        good = proved_positive(*_bordered(stack, part, rate, P, multipliers[part], supply, (B[part], U[part], C)))
        if not good.all():
            index = [int(i) for i in np.unravel_index(first + int(np.argmin(good)), stack.leading)]
            return Verdict(False, f"the bordered inequality is not proved for system {index}", rate, stack.count)
    return Verdict(True, statement(kind, value, rate, n, stack.count), rate, stack.count)


def _inputs(stack: Stack, meter: Meter) -> tuple[Array, Array]:
    """B (V, n, m), and W_u on the first layer's rows (V, h_1, m), (V, 0, m) without one; zeros where absent."""
    given = {name: part for name, part in (("B", stack.B), ("input_weights", stack.input_weights)) if part is not None}
    m, n, h = stack.inputs, stack.A.shape[-1], (stack.widths or [0])[0]
    if not m:
        raise Unusable("the system has no input")
    meter.room(24.0 * stack.count * (n + h) * m, f"the inputs of {stack.count} systems")
    flat, zero = {name: part[:] for name, part in given.items()}, np.zeros((stack.count, n, m))
    if not h:  # a residual without hidden units: its input weights act on dx/dt directly; the sum is bounded apart
        return np.concatenate([flat.get("B", zero), flat.get("input_weights", zero)], 1), np.zeros((stack.count, 0, m))
    return flat.get("B", zero), flat.get("input_weights", np.zeros((stack.count, h, m)))


def _disagreement(claim: object, stack: Stack, P: Array, multipliers: Array, numbers: tuple[float, ...]) -> str:
    n = stack.A.shape[-1]
    value, rate, _ = numbers
    if P.shape != (n, n) or multipliers.shape != (stack.count, sum(stack.widths)):
        return another(claim, stack) or "the metric or the multipliers do not have the shape of the system"
    if not (np.isfinite(P).all() and np.isfinite(multipliers).all() and all(map(math.isfinite, numbers))):
        return "the gain holds values that are not finite"
    if max(np.abs(P).max(), np.abs(multipliers).max(initial=0.0), stack.largest, *numbers) > LARGEST:
        return f"some entry exceeds {LARGEST:.0e}, beyond which the error bounds are not stated"
    if not (P == P.T).all():
        return "the metric is not exactly symmetric"
    if not (multipliers > 0).all():
        return "a multiplier is not positive"
    said = statement(str(get(claim, "kind")), value, rate, n, stack.count)
    return unlike(claim, stack, said, NOT_COVERED)


def _wrong_numbers(kind: str, value: float, rate: float, supply: float, C: Array, units: Array, n: int) -> str:
    """The value against the supply rate, in rational arithmetic."""
    if kind not in ("tube", "l2"):
        return f"a gain is a 'tube' or an 'l2', not {kind!r}"
    if not (value >= 0 and supply >= 0):
        return "the value or the supply rate is negative"
    if C.ndim != 2 or C.shape[1] != n or not np.isfinite(C).all() or np.abs(C).max(initial=0.0) > LARGEST:
        return "the output is not a matrix with one column per state"
    if kind == "tube":
        if not rate > 0 or C.size:
            return "a tube needs a positive rate, and no output"
        if Fraction(value) ** 2 * 2 * Fraction(rate) < Fraction(supply):
            return "the value is less than sqrt(supply/(2 rate))"
    elif rate != 0 or Fraction(value) ** 2 < Fraction(supply):
        return "an L2 gain has the rate 0 and is at least the root of the supply"
    if units.shape != (n,) or not np.isfinite(units).all() or not ((units > 0) & (units < LARGEST)).all():
        return "the units are not one positive number per state"
    return ""


def _units_hold(P: Array, units: Array, meter: Meter) -> bool:
    """|δx_i| ≤ units_i √(δxᵀPδx) for every i: [[P, e_i], [e_iᵀ, units_i²]] ≻ 0."""
    n = len(P)
    for first in range(0, n, chunk := meter.matrices(n + 1, n, 14)):
        meter.look("at the units")
        some = np.arange(first, min(first + chunk, n))
        count = np.arange(len(some))
        mid, radius = np.zeros((len(some), n + 1, n + 1)), np.zeros((len(some), n + 1, n + 1))
        mid[:, :n, :n] = P
        mid[count, some, n] = mid[count, n, some] = 1.0
        mid[:, n, n] = units[some] * units[some]
        radius[:, n, n] = gamma(4) * units[some] * units[some] + TINY
        if not proved_positive(mid, radius).all():
            return False
    return True


def _bordered(
    stack: Stack, part: slice, rate: float, P: Array, multipliers: Array, supply: float, inputs: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    """The bordered matrix and a bound of its rounding error, entry by entry, as in `inequality`."""
    alpha, beta = stack.slope_range
    B, U, C = inputs
    inner, blur = inequality(stack, part, rate, P, multipliers)
    count, size, _ = inner.shape
    n, h, m = len(P), U.shape[1], B.shape[2]
    mid, radius = np.zeros((count, size + m, size + m)), np.zeros((count, size + m, size + m))
    # The products that join pass at most five roundings each, their dot product's, and those of being put together.
    error = gamma(max(n, h, len(C)) + 14)
    square, large = C.T @ C, np.abs(C).T @ np.abs(C)
    square = (square + square.T) / 2
    mid[:, :size, :size], radius[:, :size, :size] = inner, blur
    mid[:, :n, :n] -= square
    radius[:, :n, :n] += error * (np.abs(inner[:, :n, :n]) + (large + large.T) / 2)
    border, span = np.zeros((count, size, m)), np.zeros((count, size, m))
    for rows in (B[:, :n], B[:, n:]):  # B, and the input weights of a residual without hidden units
        if rows.shape[1]:
            border[:, :n] -= P @ rows
            span[:, :n] += np.abs(P) @ np.abs(rows)
    own, weight = np.zeros((count, m, m)), np.zeros((count, m, m))
    if h:
        L, W = multipliers[:, :h, None], stack.weights[0][part]
        border[:, n : n + h] -= (alpha + beta) * (L * U)
        span[:, n : n + h] += (abs(alpha) + abs(beta)) * (L * np.abs(U))
        if alpha:
            border[:, :n] += 2.0 * (W.swapaxes(1, 2) @ (alpha * beta * L * U))
            span[:, :n] += 2.0 * (np.abs(W).swapaxes(1, 2) @ (abs(alpha * beta) * L * np.abs(U)))
            own = 2.0 * (U.swapaxes(1, 2) @ (alpha * beta * L * U))
            weight = 2.0 * (np.abs(U).swapaxes(1, 2) @ (abs(alpha * beta) * L * np.abs(U)))
    own = (own + own.swapaxes(1, 2)) / 2 + supply * np.eye(m)
    weight = (weight + weight.swapaxes(1, 2)) / 2 + supply * np.eye(m)
    mid[:, :size, size:], mid[:, size:, :size] = border, border.swapaxes(1, 2)
    radius[:, :size, size:] = error * span + TINY
    radius[:, size:, :size] = radius[:, :size, size:].swapaxes(1, 2)
    mid[:, size:, size:], radius[:, size:, size:] = own, error * weight + TINY
    return mid, radius
