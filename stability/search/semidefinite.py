"""The conic solver on the joint inequality, stated as it stands on paper. The only file that meets cvxpy.

A solver's word is never taken: every P it returns is evaluated again here, and a certificate is proved elsewhere.
"""

import warnings
from typing import Literal

import cvxpy as cp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from stability.lure import Loop

Array = NDArray[np.float64]


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


def _symmetric(value: ArrayLike) -> Array:
    P = np.array(value, dtype=np.float64)
    return (P + P.T) / 2
