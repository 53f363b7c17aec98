"""The conic solver: common metrics and the joint inequality, stated as they stand on paper. The only file that meets cvxpy.

A solver's word is never taken: every P it returns is evaluated again here, and a certificate is proved elsewhere.
"""

import time
import warnings
from typing import Literal

import cvxpy as cp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from stability.arguments import array, number, time_limit
from stability.lure import Loop
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


def joint(
    loop: Loop,
    rate: float,
    *,
    condition: float = 1e4,
    seconds: float = 60.0,
    solver: Literal["CLARABEL", "SCS"] = "CLARABEL",
) -> tuple[Array, Array, float] | None:
    """The certificate's inequality at one rate as a dense semidefinite programme: P, the multipliers, and the slack.

    Equation: maximise t subject to M_v(λ, P, Λ_v) ⪰ tI for every system, Λ_v ⪰ 0, I ⪯ P ⪯ κI, with M as in
    `interior_point`. A positive slack is a candidate; a negative one says that the solver finds none. None where the solver
    ends without a point.
    `solver`: SCS, first order, is faster beyond n + H = 60 and less accurate.
    Costs grow with the sixth power of n + H (dense cones): meant for n + H up to about 100 and few systems;
    `interior_point.climb` does the same at any size, and this is what it is checked against.
    """
    V, n, H = loop.E.shape
    P, t = cp.Variable((n, n), symmetric=True), cp.Variable()
    multipliers = [cp.Variable(H, nonneg=True) for _ in range(V)] if H else []
    constraints = [P >> np.eye(n), condition * np.eye(n) >> P, t <= 1]
    for v in range(V):
        A, E, W, N = loop.A[v], loop.E[v], loop.W[v], loop.N[v]
        corner = A.T @ P + P @ A + 2 * rate * P
        if H:
            at = min(v, len(loop.lower) - 1)
            J, R = (
                np.concatenate([-W.T * s[at], np.eye(H) - N.T * s[at]]) for s in (loop.lower, loop.upper)
            )  # (n + H, H)
            sector = J @ cp.diag(multipliers[v]) @ R.T
            M = sector + sector.T - cp.bmat([[corner, P @ E], [(P @ E).T, np.zeros((H, H))]])
        else:
            M = -corner
        constraints.append((M + M.T) / 2 >> t * np.eye(n + H))
    value = _solve(cp.Problem(cp.Maximize(t), constraints), t, seconds, solver)
    if value is None or P.value is None:
        return None
    found = np.stack([np.asarray(m.value) for m in multipliers]) if H else np.zeros((V, 0))
    return _symmetric(P.value), found, value


def bordered(
    loop: Loop,
    B: Array,  # (V, n, m)
    U: Array,  # (V, H, m)
    rate: float,
    output: Array,  # C (p, n)
    *,
    tube: bool,
    seconds: float = 60.0,
) -> tuple[Array, Array] | None:
    """Metric and multipliers for the smallest supply rate μ in the bordered inequality of `gain`, as a dense programme.

    Equation: minimise μ subject to M_v(P, Λ_v, μ) ⪰ 0 for every system; for a tube with P ⪰ CᵀC, so that |Cδx| ≤ |δx|_P, for
    an L2 gain with CᵀC inside M. Returns (P, multipliers), a little inside the feasible set, or None.
    """
    V, n, H = loop.E.shape
    m = B.shape[2]
    P, mu = cp.Variable((n, n), symmetric=True), cp.Variable()
    multipliers = [cp.Variable(H, nonneg=True) for _ in range(V)] if H else []
    inside = 1e-6 * np.eye(n + H + m)  # at the optimum M is singular; what follows needs it strictly positive
    square = output.T @ output
    constraints = [P >> (square if tube else 0.0 * square) + 1e-7 * np.eye(n)]
    for v in range(V):
        A, E, W, N = loop.A[v], loop.E[v], loop.W[v], loop.N[v]
        corner = -(A.T @ P + P @ A + 2 * rate * P) - (0.0 if tube else 1.0) * square
        blocks = [[corner, -P @ B[v]], [-(P @ B[v]).T, mu * np.eye(m)]]
        if H:  # cvxpy before 1.9 takes no block without rows
            blocks = [[corner, -P @ E, -P @ B[v]], [-(P @ E).T, np.zeros((H, H)), np.zeros((H, m))]]
            blocks.append([-(P @ B[v]).T, np.zeros((m, H)), mu * np.eye(m)])
        M = cp.bmat(blocks)
        if H:
            at = min(v, len(loop.lower) - 1)
            J, R = (
                np.concatenate([-W.T * s[at], np.eye(H) - N.T * s[at], -U[v].T * s[at]]) for s in (loop.lower, loop.upper)
            )  # (n + H + m, H)
            sector = J @ cp.diag(multipliers[v]) @ R.T
            M = M + sector + sector.T
            constraints.append(multipliers[v] >= 1e-8)
        constraints.append((M + M.T) / 2 >> inside)
    if _solve(cp.Problem(cp.Minimize(mu), constraints), mu, seconds) is None or P.value is None:
        return None
    found = np.stack([np.asarray(x.value) for x in multipliers]) if H else np.zeros((V, 0))
    return _symmetric(P.value), np.maximum(found, 1e-9)


def _well_conditioned(
    J: Array, active: list[int], P: Array, low: float, rate: float | None, deadline: float
) -> tuple[Array, float]:
    """Minimise the condition number at very nearly the rate found; keep P wherever that brings nothing."""
    n = J.shape[-1]
    floor = low - 2e-3 * abs(low) if rate is None else min(rate, low)
    active = list(active)
    while time.monotonic() < deadline:
        Q, k = cp.Variable((n, n), symmetric=True), cp.Variable()
        constraints = [Q >> np.eye(n), k * np.eye(n) >> Q]
        for matrix in J[active]:
            # Asked for is a little more than the floor, so that the solver's inaccuracy does not end below it.
            M = -(matrix.T @ Q + Q @ matrix + 2 * (floor + 5e-4 * abs(low)) * Q)
            constraints.append((M + M.T) / 2 >> 0)
        if _solve(cp.Problem(cp.Minimize(k), constraints), k, deadline - time.monotonic()) is None or Q.value is None:
            break
        candidate = _symmetric(Q.value)
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
    n = J.shape[-1]
    P, t = cp.Variable((n, n), symmetric=True), cp.Variable()
    constraints = [P >> np.eye(n), condition * np.eye(n) >> P, t <= 1]
    for matrix in J:
        M = -(matrix.T @ P + P @ matrix + 2 * rate * P)
        constraints.append((M + M.T) / 2 >> t * np.eye(n))
    problem = cp.Problem(cp.Maximize(t), constraints)
    slack = _solve(problem, t, seconds)
    if P.value is None:
        return None, None
    candidate = _symmetric(P.value)
    if np.linalg.eigvalsh(candidate)[0] <= 0:
        return None, None
    # Only an accurate optimum may lower the upper end of the bisection.
    return candidate, slack if problem.status == cp.OPTIMAL else None


def _solve(problem: cp.Problem, t: cp.Variable, seconds: float, solver: str = "CLARABEL") -> float | None:
    """Solve under a time limit; the value of t, or None where there is no usable point."""
    limit = {"SCS": "time_limit_secs"}.get(solver, "time_limit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "may be inaccurate": it is evaluated again whatever the solver says
        try:
            problem.solve(solver=solver, **{limit: max(seconds, 0.01)})
        except (cp.error.SolverError, ArithmeticError):
            return None
    return None if t.value is None else float(t.value)


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


def _symmetric(value: ArrayLike) -> Array:
    P = np.array(value, dtype=np.float64)
    return (P + P.T) / 2
