"""Whether a dose is a mean of certified ones, or less: the first phase of the simplex method, in rationals."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_MOST_KINDS = 300
ROUNDING = Fraction(1, 2**49)  # eight units in the last place: what a change of units and of clocks may cost


def is_mean(
    dose: Array,  # (n,)
    doses: Array,  # (D, n)
) -> bool:
    """Whether the dose is Σ w_j d_j with w ≥ 0 and Σ w ≤ 1, each entry up to the rounding of a change of units; in rationals.

    Among more than 300 kinds of doses only less of one of them into a single compartment is recognised.

    Source: the first phase of the simplex method with Bland's rule (Mathematics of Operations Research 2 (1977) 103).
    """
    same = ((doses == 0) | (dose != 0)) & (doses >= dose) & (dose >= 0)
    if (dose != 0).sum() <= 1 and bool(same.all(1).any()):
        return True  # less of one that goes into the same compartment, as everyday doses are
    if len(doses) > _MOST_KINDS:
        return False
    # A w + p + a = (1 + ε)|dose|, p + q = 2ε|dose|, Σ w + s = 1: all ≥ 0, and the a, where it begins, are to become 0.
    n, D = len(dose), len(doses)
    size = [abs(Fraction(v)) for v in dose.tolist()]
    columns = [[Fraction(v) * (-1 if d < 0 else 1) for v, d in zip(row, dose.tolist(), strict=True)] for row in doses.tolist()]
    one = [[Fraction(int(i == k)) for k in range(n)] for i in range(n)]
    zero, nothing = [Fraction(0)] * n, [Fraction(0)] * D
    rows = [[c[i] for c in columns] + one[i] + one[i] + zero + [Fraction(0), size[i] * (1 + ROUNDING)] for i in range(n)]
    rows += [[*nothing, *one[i], *zero, *one[i], Fraction(0), 2 * ROUNDING * size[i]] for i in range(n)]
    rows += [[Fraction(1)] * D + zero * 3 + [Fraction(1), Fraction(1)]]
    first = D + n  # the a
    basis = [*range(first, first + 2 * n), first + 2 * n]
    while True:
        own = [row for row, b in zip(rows, basis, strict=True) if first <= b < first + n]
        if not any(row[-1] for row in own):
            return True
        # their sum falls along a column whose entries in their rows add up to something positive
        usable = (j for j in range(first + 2 * n + 1) if not first <= j < first + n and j not in basis)
        j = next((j for j in usable if sum(row[j] for row in own) > 0), None)
        if j is None:
            return False
        _, _, k = min((row[-1] / row[j], b, k) for k, (row, b) in enumerate(zip(rows, basis, strict=True)) if row[j] > 0)
        pivot = rows[k][j]
        rows[k] = [v / pivot for v in rows[k]]
        for i, row in enumerate(rows):
            if i != k and row[j]:
                rows[i] = [v - row[j] * w for v, w in zip(row, rows[k], strict=True)]
        basis[k] = j
