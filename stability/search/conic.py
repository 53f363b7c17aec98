"""One metric for many linear systems: semidefinite programmes in the few numbers of P, given to the conic solver as its arrays.

The only file that meets clarabel. A symmetric matrix is written by its upper triangle, column by column; off the diagonal the
solver's cone wants its entries times √2. A bisection solves some tens of such programmes of the same form, each in less than a
millisecond, so they are written out here: a modelling language would take fifty times as long to translate them.
A solver's word is never taken: every P it returns is evaluated again here, and a certificate is proved elsewhere.
"""

import time
from dataclasses import dataclass

import clarabel
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csc_matrix

from stability.arguments import array, number, time_limit
from stability.threads import of_jacobians, threads_by

Array = NDArray[np.float64]


@threads_by(of_jacobians)
def common_metric(
    jacobians: ArrayLike,  # (V, n, n), 1/time
    rate: float | None = None,
    condition: float = 1e4,
    *,
    seconds: float = 60.0,
) -> tuple[Array, float]:
    """One metric for many linear systems, and the rate that it reaches on all of them.

    Equation: JᵀP + PJ + 2λP ⪯ 0 for every J, I ⪯ P ⪯ κI. λ multiplies P, so it is bisected; each trial is a semidefinite
    programme over the few worst J, and violated ones join (cutting planes). Of the metrics that reach the rate (less
    0.2 %) one of small condition number is returned.
    Arguments: `rate` in 1/time, or None for the best (to 0.1 %); `condition` is κ; `seconds` limits the whole search.
    Returns (P, reached): `reached` = −max_J of the logarithmic norm in P, evaluated in float64. With a rate given, the
    search succeeded if reached ≥ rate; failure is that comparison, not an exception.
    Errors: ValueError for wrong shapes or values.
    Law: reached ≤ −(spectral abscissa) of every J.
    """
    J = _jacobians(jacobians, condition)
    if rate is not None:
        number(rate, "the rate", "a finite rate in 1/time, or None for the best one")
    time_limit(seconds)
    deadline = time.monotonic() + seconds
    n = J.shape[-1]
    P = np.eye(n)
    low, high = _reached(J, P), float(-np.linalg.eigvals(J).real.max())
    active = list(np.argsort(_log_norms(J, P))[-4:])
    goal = high if rate is None else rate
    while (
        time.monotonic() < deadline and low < goal and (rate is not None or high - low > 1e-3 * max(abs(high), 1e-12))
    ):
        trial = rate if rate is not None else (low + high) / 2
        candidate, slack = _metric_at(J[active], trial, condition, deadline - time.monotonic())
        if candidate is None:
            break
        reached = _reached(J, candidate)
        if reached > low:
            low, P = reached, candidate
        if low >= trial:
            continue
        if slack is not None and slack < 0:  # the solver finds the trial rate out of reach already for the active ones
            high = trial
            if rate is not None:
                break
            continue
        worst = int(_log_norms(J, candidate).argmax())
        if worst in active:  # solved to the solver's accuracy and still short of the trial
            high = trial
            if rate is not None:
                break
        else:
            active.append(worst)
    return _well_conditioned(J, active, P, low, rate, deadline)


@dataclass(frozen=True)
class _Triangle:
    """Symmetric n × n matrices as the vectors of a cone, d = n(n+1)/2."""

    basis: Array  # (d, n, n): the matrices that P is a sum of
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    scale: Array  # (d,): 1 on the diagonal, √2 off it

    @staticmethod
    def of(n: int) -> "_Triangle":
        columns, rows = np.tril_indices(n)  # the upper triangle, column by column
        basis = np.zeros((len(rows), n, n))
        basis[np.arange(len(rows)), rows, columns] = basis[np.arange(len(rows)), columns, rows] = 1.0
        return _Triangle(basis, rows, columns, np.where(rows == columns, 1.0, np.sqrt(2.0)))

    def vectors(self, matrices: Array) -> Array:  # (..., n, n) -> (..., d)
        return np.asarray(matrices[..., self.rows, self.columns] * self.scale, dtype=np.float64)

    def matrix(self, entries: Array) -> Array:  # (d,) -> (n, n)
        return np.asarray(np.tensordot(entries, self.basis, 1), dtype=np.float64)

    def decays(self, J: Array, rate: float) -> Array:
        """P ↦ JᵀP + PJ + 2λP of every J, (V d, d)."""
        product = J.swapaxes(1, 2)[:, None] @ self.basis
        found = self.vectors(product + product.swapaxes(2, 3) + 2.0 * rate * self.basis)  # (V, d, d): basis, entries
        return np.asarray(found.swapaxes(1, 2).reshape(-1, len(self.rows)), dtype=np.float64)


def _well_conditioned(
    J: Array, active: list[int], P: Array, low: float, rate: float | None, deadline: float
) -> tuple[Array, float]:
    """Minimise the condition number at very nearly the rate found; keep P wherever that brings nothing."""
    n, triangle = J.shape[-1], _Triangle.of(J.shape[-1])
    d, one, itself = len(triangle.rows), triangle.vectors(np.eye(n)), np.diag(triangle.scale)
    floor = low - 2e-3 * abs(low) if rate is None else min(rate, low)
    active = list(active)
    while time.monotonic() < deadline:
        # Q ⪰ I, kI ⪰ Q, and the rate; asked for is a little more than the floor, so that the solver's inaccuracy does not end
        # below it.
        decays = triangle.decays(J[active], floor + 5e-4 * abs(low))
        left = np.zeros(((2 + len(active)) * d, d + 1))  # of (Q, k)
        left[:d, :d], left[d : 2 * d, :d], left[d : 2 * d, d], left[2 * d :, :d] = -itself, itself, -one, decays
        right = np.concatenate([-one, np.zeros((1 + len(active)) * d)])
        found, _ = _solve(np.eye(d + 1)[d], left, right, (0, n, 2 + len(active)), deadline - time.monotonic())
        if found is None:
            break
        candidate = triangle.matrix(found[:d])
        if np.linalg.eigvalsh(candidate)[0] <= 0:
            break
        reached, worst = _reached(J, candidate), int(_log_norms(J, candidate).argmax())
        if reached >= floor:
            return (candidate, reached) if np.linalg.cond(candidate) < np.linalg.cond(P) else (P, low)
        if worst in active:
            break
        active.append(worst)
    return P, low


def _metric_at(J: Array, rate: float, condition: float, seconds: float) -> tuple[Array | None, float | None]:
    """The P, I ⪯ P ⪯ κI, and the largest t ≤ 1 with −(JᵀP + PJ + 2λP) ⪰ tI; t is None where it is not accurate."""
    n, triangle = J.shape[-1], _Triangle.of(J.shape[-1])
    d, one, itself = len(triangle.rows), triangle.vectors(np.eye(n)), np.diag(triangle.scale)
    left = np.zeros((1 + (2 + len(J)) * d, d + 1))  # of (P, t): t ≤ 1, P ⪰ I, κI ⪰ P, and the rate
    left[0, d], left[1 : 1 + d, :d], left[1 + d : 1 + 2 * d, :d] = 1.0, -itself, itself
    left[1 + 2 * d :, :d], left[1 + 2 * d :, d] = triangle.decays(J, rate), np.tile(one, len(J))
    right = np.concatenate([[1.0], -one, condition * one, np.zeros(len(J) * d)])
    found, accurate = _solve(-np.eye(d + 1)[d], left, right, (1, n, 2 + len(J)), seconds)
    if found is None:
        return None, None
    candidate = triangle.matrix(found[:d])
    if np.linalg.eigvalsh(candidate)[0] <= 0:
        return None, None
    # Only an accurate optimum may lower the upper end of the bisection.
    return candidate, float(found[d]) if accurate else None


def _solve(
    cost: Array, left: Array, right: Array, cones: tuple[int, int, int], seconds: float
) -> tuple[Array | None, bool]:
    """Minimise cost · x with right − left x in the cones: so many numbers ≥ 0, then matrices ⪰ 0 of this size, so many.

    Returns the point and whether it is an accurate optimum; None where the solver ends without one.
    """
    settings = clarabel.DefaultSettings()
    settings.verbose, settings.time_limit = False, max(seconds, 0.01)
    numbers, size, count = cones
    among = [clarabel.NonnegativeConeT(numbers)] * (numbers > 0) + [clarabel.PSDTriangleConeT(size)] * count
    nothing = csc_matrix((len(cost), len(cost)))
    found = clarabel.DefaultSolver(nothing, cost, csc_matrix(left), right, among, settings).solve()
    status, x = str(found.status), np.array(found.x, dtype=np.float64)
    if status not in ("Solved", "AlmostSolved", "MaxTime", "MaxIterations") or not np.isfinite(x).all():
        return None, False
    return x, status == "Solved"


def _jacobians(jacobians: ArrayLike, condition: float) -> Array:
    J = array(jacobians, "the Jacobians")
    if J.ndim < 2 or J.shape[-1] != J.shape[-2] or J.size == 0 or not np.isfinite(J).all():
        raise ValueError(f"the Jacobians have shape {J.shape}; give finite matrices (V, n, n), at least one.")
    number(condition, "the condition number", "a finite number above 1", above=1.0)
    return J.reshape(-1, *J.shape[-2:])


def _log_norms(J: Array, P: Array) -> Array:
    inverse = np.linalg.inv(np.linalg.cholesky(P))
    product = P @ J
    values = np.linalg.eigvalsh(inverse @ (product + product.swapaxes(1, 2)) @ inverse.T)
    return np.asarray(0.5 * values[:, -1], dtype=np.float64)


def _reached(J: Array, P: Array) -> float:
    return float(-_log_norms(J, P).max())
