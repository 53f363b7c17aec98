"""The second opinion: the certificate's inequality in exact rational arithmetic, for small systems.

Every double is an integer times a power of two, so M = −[AᵀP + PA + 2λP, PE; ·, 0] + (D − αV)ᵀΛ(D − βV) + its transpose is a
matrix of rationals, and after one common scaling a matrix of integers. By Sylvester's criterion M ≻ 0 exactly if every leading
principal minor is positive; fraction-free elimination gives these minors as its pivots, without a single rounding.
Unlike `contraction`, which loses a few hundred roundings at the edge, this decides. The inequality is written here from its dense
form, not taken from there; only the reading of the file is shared.
Source: Bareiss, Mathematics of Computation 22 (1968) 565, for the elimination.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from stability.proof.budget import Budget, Meter
from stability.proof.reading import Unusable, array, get, number, sequence
from stability.proof.system import Stack, read_system
from stability.proof.units import names_of

Matrix = Sequence[Sequence[Fraction]]
Rationals = NDArray[np.object_]
LARGEST = 40  # n + H; the integers grow by a few hundred bits with every row

# The slope ranges once more, as the true claim needs them: at least these.
RANGES = {
    "tanh": (Fraction(0), Fraction(1)),
    "relu": (Fraction(0), Fraction(1)),
    "sigmoid": (Fraction(0), Fraction(1, 4)),
    "softplus": (Fraction(0), Fraction(1)),
    "silu": (Fraction(-998394, 10**7), Fraction(10998394, 10**7)),
    "identity": (Fraction(1), Fraction(1)),
    "gelu": (Fraction(-1289043, 10**7), Fraction(11289043, 10**7)),
}


def exactly(certificate: object, system: object, *, budget: Budget | None = None) -> bool:
    """Whether the inequality of a certificate about all states holds for the system, decided in rational arithmetic.

    Arguments: a `Certificate` and its `Lure`, or the dictionaries they write.
    Returns True exactly if the region is "global", the digest is the system's, λ > 0, P = Pᵀ ≻ 0, Λ > 0, the stated slope
    range covers the activation's, and M ≻ 0 for every system, with the stated slope range.
    Errors: ValueError for a system of more than 40 states and units together, which would take long; for a certificate in a
    region, whose slopes are those of transcendental functions, of a system with a tape, and for claims of other kinds: these it
    does not decide. Of a system with branches or under a policy it is the closed loop, whose units have each their own slopes.
    `NotDecided` where a budget is given and used up.
    Law: `check` accepts ⇒ `exactly` is True.
    """
    meter = Meter(budget) if budget else None
    try:
        if get(certificate, "kind", "certificate") != "certificate" or isinstance(get(certificate, "region"), Mapping):
            raise ValueError("rational arithmetic decides certificates about all states, not this kind of claim. Use check.")
        if get(system, "tape", None) is not None:
            raise ValueError("rational arithmetic does not decide tapes, and the system has one. Use check.")
        return _decided(certificate, read_system(system, mixed=True, policies=True, meter=meter), meter)
    except Unusable:
        return False


def positive_definite(matrix: Matrix, meter: Meter | None = None) -> bool:
    """Whether a symmetric rational matrix is positive definite: all leading principal minors positive."""
    scale = math.lcm(*(Fraction(entry).denominator for row in matrix for entry in row))
    rows = [[int(entry * scale) for entry in row] for row in matrix]
    before = 1
    for k, pivot_row in enumerate(rows):
        pivot = pivot_row[k]  # the k-th minor
        if pivot <= 0:
            return False
        for row in rows[k + 1 :]:
            if meter is not None:
                meter.look("in rational arithmetic")
            factor = row[k]
            # Bareiss: the division is exact. One half of the symmetric matrix would do; small systems allow both.
            row[k:] = [(pivot * a - factor * b) // before for a, b in zip(row[k:], pivot_row[k:], strict=True)]
        before = pivot
    return True


def inequality(
    stack: Stack,
    index: int,  # which of the V systems
    rate: float,
    P: Rationals,  # (n, n)
    multipliers: Rationals,  # (H,)
    slopes: tuple[Rationals, Rationals],  # α, β (H,)
) -> Matrix:  # (n + H, n + H)
    """M of one system, from the dense form."""
    alpha, beta = (end[:, None] for end in slopes)
    n, H = P.shape[0], len(multipliers)
    widths, zero = stack.widths, Fraction(0)
    V = np.full((H, n + H), zero, dtype=object)  # [W N]
    E = np.full((n, H), zero, dtype=object)
    row, column = 0, 0
    for k, width in enumerate(widths):
        before = n if k == 0 else widths[k - 1]
        V[row : row + width, column : column + before] = rational(stack.weights[k][index])
        row, column = row + width, column + before
    if H:
        E[:, H - widths[-1] :] = rational(stack.weights[-1][index])
    A = sum((rational(part[index]) for part in stack.linear), np.full((n, n), zero, dtype=object))
    D = np.full((H, n + H), zero, dtype=object)
    for j in range(H):
        D[j, n + j] = Fraction(1)
    M = np.full((n + H, n + H), zero, dtype=object)
    if H:
        half = (D - alpha * V).T @ (multipliers[:, None] * (D - beta * V))
        M = half + half.T
        M[:n, n:] -= P @ E
        M[n:, :n] -= (P @ E).T
    M[:n, :n] -= A.T @ P + P @ A + 2 * Fraction(rate) * P
    rows: Matrix = M.tolist()
    return rows


def rational(entries: NDArray[np.float64]) -> Rationals:
    """The same numbers as fractions; finite doubles are rationals."""
    return np.vectorize(Fraction, otypes=[object])(entries) if entries.size else entries.astype(object)


def _decided(certificate: object, stack: Stack, meter: Meter | None) -> bool:
    n, H = stack.A.shape[-1], sum(stack.widths)
    if n + H > LARGEST:
        raise ValueError(f"{n} states and {H} units are too many for exact arithmetic; up to {LARGEST} together. Use check.")
    rate, P = number(get(certificate, "rate")), array(get(certificate, "metric"), "metric")
    multipliers = array(get(certificate, "multipliers"), "multipliers")
    stated = [number(s) for s in sequence(get(certificate, "slope_range"))]
    if P.shape != (n, n) or multipliers.shape != (stack.count, H) or len(stated) != 2:
        return False
    if not (np.isfinite(P).all() and np.isfinite(multipliers).all() and np.isfinite([rate, *stated]).all()):
        return False
    slopes = slopes_of(stack, stated)
    if slopes is None:
        return False
    if get(certificate, "region") != "global" or get(certificate, "digest") != stack.digest or not rate > 0:
        return False
    if not ((P == P.T).all() and (multipliers > 0).all() and positive_definite(rational(P).tolist(), meter)):
        return False
    exact_P, exact_L = rational(P), rational(multipliers)
    systems = (inequality(stack, v, rate, exact_P, exact_L[v], slopes) for v in range(stack.count))
    return all(positive_definite(matrix, meter) for matrix in systems)


def slopes_of(stack: Stack, stated: Sequence[float]) -> tuple[Rationals, Rationals] | None:
    """α and β (H,): as stated, or each unit's own where they differ; None where that does not cover what is true.

    The decimals of the table round outward only as decimals: the double next to one may lie inside it by an ulp, which is far
    less than the distance of either from the true, irrational end.
    """
    slack, one = Fraction(1, 2**52), isinstance(stack.activation, str)
    names = [name for layer in names_of(stack.activation, stack.widths) for name in layer]
    own = [np.full(stack.units, end) for end in stated] if one else stack.slopes
    low, high = rational(own[0]), rational(own[1])
    needed = [RANGES[name] for name in {*names, *([str(stack.activation)] if one else [])}]
    least, most = (Fraction(end) for end in stated)
    ends = [*zip(low, high, (RANGES[name] for name in names), strict=True), *((least, most, true) for true in needed)]
    covered = all(
        a <= true[0] + slack * abs(true[0]) and b >= true[1] - slack * abs(true[1]) and a <= b for a, b, true in ends
    )
    return (low, high) if covered else None
