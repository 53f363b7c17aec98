"""Whether a linear part decays, decided in rational numbers: where an eigenvalue lies on the axis, float64 cannot say.

An integrator, or an oscillation without damping, has eigenvalues on the imaginary axis, which rounding moves to either side; and
near a defective matrix by far more than a rounding. The characteristic polynomial of a matrix of finite doubles is known exactly
(Faddeev and Le Verrier, in integers: doubles are integers over one power of two), and every root of it lies left of the axis
exactly where the first column of Routh's array is positive.
Sources: Routh, A Treatise on the Stability of a Given State of Motion (1877); Gantmacher, The Theory of Matrices (1959), XV.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

LARGEST = 12  # states: the integers grow with n, their products with n⁴; some hundredths of a second here


def decays(
    parts: Sequence[NDArray[np.float64]],  # each (n, n), finite, n ≤ LARGEST
    rate: float = 0.0,
) -> bool:
    """Whether every eigenvalue of Σ parts + rate·I has a negative real part, in real arithmetic."""
    n = len(parts[0])
    total = [[sum((Fraction(float(part[i, j])) for part in parts), Fraction(0)) for j in range(n)] for i in range(n)]
    for i in range(n):
        total[i][i] += Fraction(rate)
    scale = math.lcm(*(entry.denominator for row in total for entry in row))
    return _routh(_characteristic([[int(entry * scale) for entry in row] for row in total]))


def _characteristic(A: list[list[int]]) -> list[int]:
    """The coefficients of det(sI − A), the leading one first."""
    n = len(A)
    found, M = [1], [[int(i == j) for j in range(n)] for i in range(n)]
    for k in range(1, n + 1):
        columns = list(zip(*M, strict=True))
        product = [[sum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in A]
        found.append(-sum(product[i][i] for i in range(n)) // k)  # exact
        M = [[entry + (found[-1] if i == j else 0) for j, entry in enumerate(row)] for i, row in enumerate(product)]
    return found


def _routh(polynomial: list[int]) -> bool:
    if min(polynomial) <= 0:
        return False
    above, row = ([Fraction(c) for c in polynomial[start::2]] for start in (0, 1))
    while row:
        if row[0] <= 0:
            return False
        after = above[1:]
        ratio = above[0] / row[0]
        following = [a - ratio * b for a, b in zip(after, [*row[1:], *[Fraction(0)] * len(after)], strict=False)]
        above, row = row, following
    return True
