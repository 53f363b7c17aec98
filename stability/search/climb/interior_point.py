"""The joint search for the rate λ, one metric P and diagonal multipliers Λ_v: a structured interior-point climb.

Over V systems in the form dx/dt = A x + E z, v = W x + N z, z = φ(v), slopes in [α, β] (differences of trajectories), let

    M_v(λ, P, Λ_v) = −(IᵀP T_λ + T_λᵀP I) + JΛRᵀ + RΛJᵀ,     T_λ = [A + λI, E],   I = [I_n 0],
    J = [−Wᵀα; I − Nᵀα]  and  R = [−Wᵀβ; I − Nᵀβ]:  the rows of Jᵀ and Rᵀ take (δx, δz) to δz − αδv and δz − βδv.

For α = 0 this is −[AᵀP + PA + 2λP, PE + WᵀβΛ; ·, βΛN + NᵀΛβ − 2Λ]. The largest λ is sought under

    M_v ⪰ 0,    0 ≤ Λ ≤ U,    I ⪯ P ⪯ κI,

(U, far above any multiplier of use, keeps those of dead units finite) by a primal-dual interior-point method (`newton`):
the inequalities hold strictly at every iterate, hence each is a candidate certificate, and a time limit or an interrupt
costs only rate; their own multipliers, which bound the rate from above, become feasible on the way.

Dual bound. Take any K_v ≻ 0 (here the multipliers of M_v), and let λ', P' ≻ 0, Λ' ⪰ 0 be feasible. M is linear in (P, Λ), so
    0 ≤ Σ⟨K_v, M_v(λ', P', Λ'_v)⟩ = ⟨G, P'⟩ + Σ_vj 2(JᵀK_vR)_jj Λ'_vj − 2(λ' − λ)⟨Σ(K_v)_xx, P'⟩,
with G = −Σ(T_λ K Iᵀ + its transpose). With g = Σ 2 max(0, (JᵀK_vR)_jj) U_vj it follows, for Λ' ⪯ U, that
    λ' ≤ λ + ½ max (⟨G, P'⟩ + g)/⟨Σ(K_v)_xx, P'⟩ over the P' in question: the given one, or I ⪯ P' ⪯ κI.

Sources: Boyd & El Ghaoui, Linear Algebra and its Applications 188 (1993), on generalised eigenvalues; Helmberg, Rendl,
Vanderbei & Wolkowicz, SIAM J. Optim. 6 (1996), on the step; Mehrotra, SIAM J. Optim. 2 (1992), on predictor and corrector.
The elimination and the bound are derived here.
"""

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stability.lure import Loop
from stability.search.climb.newton import move
from stability.search.climb.problem import Problem, symmetric

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ascent:
    """Where the climb ended: a strictly feasible (rate, metric, multipliers), and how far any other could get."""

    rate: float
    metric: Array  # (n, n)
    multipliers: Array  # (V, H)
    bound: float  # no (P, Λ) reaches a higher rate in this inequality (computed in float64, not proved); inf if unknown
    duals: Array  # (V, n, n): the matrices (K_v)_xx ≻ 0 behind the bound
    iterations: int
    interrupted: bool = False  # by the keyboard, on the way


def climb(
    loop: Loop,
    metric: Array,  # (n, n): where to start, and with `fixed` where to stay
    *,
    fixed: bool = False,
    target: float | None = None,
    tolerance: float = 3e-3,
    condition: float = 1e4,
    frame: Array | None = None,  # (n, n)
    deadline: float = float("inf"),
) -> Ascent:
    """Maximise the rate at which all systems contract in one metric.

    Arguments: `fixed` keeps the metric and searches λ and the multipliers alone; `target` ends the climb as soon as that
    rate is passed, or found out of reach by the dual bound; `tolerance` is the relative gap between rate and bound at which
    to stop; `condition` the κ in I ⪯ P ⪯ κI, and `frame` the C of the coordinates Cᵀx in which that is meant; `deadline` a
    time.monotonic() after which the best iterate is returned.
    Law: the returned point is strictly feasible, up to rounding; the proof is made elsewhere.
    """
    if frame is not None:
        back = np.linalg.inv(frame)  # x̃ = Cᵀx: A ↦ CᵀAC⁻ᵀ, E ↦ CᵀE, W ↦ WC⁻ᵀ, P ↦ C⁻¹PC⁻ᵀ, Z ↦ CᵀZC
        turned = replace(loop, A=frame.T @ loop.A @ back.T, E=frame.T @ loop.E, W=loop.W @ back.T)
        found = climb(
            turned,
            symmetric(back @ metric @ back.T),
            fixed=fixed,
            target=target,
            tolerance=tolerance,
            condition=condition,
            deadline=deadline,
        )
        duals = symmetric(back.T @ found.duals @ back)
        return replace(found, metric=symmetric(frame @ found.metric @ frame.T), duals=duals)
    P = metric if fixed else _into_box(metric, condition)
    rates, multipliers = explicit(loop, P)
    scale = float(np.abs(loop.A).max())
    most = 1e6 * multipliers.max(axis=1, initial=1e-300, keepdims=True)
    first = float(rates.min()) - 0.5 * (abs(float(rates.min())) + scale)
    return ascend(
        Problem(loop, fixed, condition, most),
        (first, P, multipliers),
        target=target,
        tolerance=tolerance,
        scale=1e-6 * scale,  # rates far below the entries of A count as zero
        deadline=deadline,
    )


def ascend(
    problem: Problem,
    first: tuple[float, Array, Array],  # λ, P, Λ: strictly feasible
    *,
    target: float | None = None,
    tolerance: float = 3e-3,
    scale: float = 0.0,
    deadline: float = float("inf"),
) -> Ascent:
    """The climb itself, from a given point; see `climb`. `scale`: gaps between rate and bound below it are none."""
    rate, P, multipliers = first
    nothing = np.zeros((problem.V, problem.n, problem.n))
    point = problem.start(rate, P, multipliers)
    if point is None:  # the metric is singular to float64
        return Ascent(rate, P, multipliers, np.inf, nothing, 0)
    bound, duals, near, interrupted = np.inf, nothing, 0.0, False
    # Of the points that are good enough the first is the most central: the roundest metric, and room for the proof.
    passed = [(rate, P, multipliers)]
    try:
        while True:
            above = problem.bound(point)
            if above < bound:
                bound, duals = above, point.Z[:, : problem.n, : problem.n]
            near = max(tolerance * abs(bound), scale)
            if target is not None and (point.rate >= target or bound < target):
                break
            if bound - max(p[0] for p in passed) <= near or time.monotonic() > deadline or len(passed) > 200:
                break
            moved = move(problem, point)
            if moved is None:
                break
            point = moved
            passed.append((point.rate, point.P, point.L))
    except KeyboardInterrupt:  # the best so far is an answer
        interrupted = True
    best = max(passed, key=lambda p: p[0])
    wanted = bound - near if target is None or best[0] < target else target
    best = next((p for p in passed if p[0] >= wanted), best)
    if bound > 1e3 * max(abs(best[0]), scale * 1e6):  # multipliers not yet feasible: a number without content
        bound = np.inf
    return Ascent(*best, bound, duals, len(passed) - 1, interrupted)


def lyapunov_frame(A: Array, condition: float = 1e4) -> Array | None:
    """Coordinates C, P = CCᵀ, for systems whose own units leave no room: None where they do.

    P solves (A + rI)ᵀP + P(A + rI) = −I for the mean A and half its decay rate r: a metric in which A contracts. A long chain of
    compartments has a P of condition number beyond κ in any case; seen from C, it lies in the middle of the box.
    """
    mean = A.mean(0)
    n = mean.shape[0]
    decay = -float(np.linalg.eigvals(mean).real.max())
    if decay <= 0:  # stable matrices whose mean is not
        return None
    shifted = mean.T + 0.5 * decay * np.eye(n)
    P = np.linalg.solve(np.kron(shifted, np.eye(n)) + np.kron(np.eye(n), shifted), -np.eye(n).reshape(-1)).reshape(n, n)
    values = np.linalg.eigvalsh(symmetric(P))
    if values[0] <= 0 or values[-1] < condition * values[0]:
        return None
    return np.asarray(np.linalg.cholesky(symmetric(P) / values[-1]), dtype=np.float64)


def _into_box(metric: Array, condition: float) -> Array:
    """The metric scaled towards the top of I ≺ P ≺ κI, since M grows with it; eigenvalues squeezed where they spread too far."""
    values, vectors = np.linalg.eigh(metric)
    top = 1.0 + 0.9 * (condition - 1.0)
    room = min(condition**0.9, top**0.95)  # the second where κ is near 1
    values = np.maximum(values, values.max() / room)
    values *= top / values.max()
    P = (vectors * values) @ vectors.T
    return (P + P.T) / 2


def explicit(loop: Loop, P: Array) -> tuple[Array, Array]:
    """Each system's rate (V,) with explicit multipliers (V, H), which make M's block of z positive for any depth.

    With one number t_l per layer and a = max (α + β)₊, b = max (−αβ)₊, the block of layer l, over t_l, is at least
    2 − 2b s², beside off-diagonal blocks of norm a s, if t_{l+1} = t_l (s/‖W_{l+1}‖)²: positive for b s² + a s < 1. A common
    factor balances the two sides of the border.
    """
    V, n, H = loop.E.shape
    L = np.ones((V, H))
    a = float(np.maximum(loop.lower + loop.upper, 0.0).max(initial=0.0))
    b = float(np.maximum(-loop.lower * loop.upper, 0.0).max(initial=0.0))
    s = 0.95 * 2.0 / (a + np.sqrt(a * a + 4.0 * b)) if a > 0 else 1.0  # the root of b s² + a s = 1, with some room
    edges = np.concatenate([[0], np.cumsum(loop.widths, dtype=int)])
    for k in range(1, len(loop.widths)):
        here, before = slice(edges[k], edges[k + 1]), slice(edges[k - 1], edges[k])
        norm = np.linalg.norm(loop.N[:, here, before], ord=2, axis=(1, 2))
        # The norm is raised off zero: a smaller Λ is as valid, and a layer of zeros gets an ordinary number.
        L[:, here] = L[:, before][:, :1] / np.maximum(norm / s, 0.1)[:, None] ** 2
    if H:
        left, right = np.abs(P @ loop.E).max((1, 2)), np.abs(loop.W).max((1, 2)) * max(a, 1e-9)
        L *= (np.maximum(left, 1e-9) / np.maximum(right, 1e-9) / L[:, 0])[:, None]
    M = Problem(loop, True, 0.0, L).matrix(0.0, P, L)
    Q = -M[:, :n, :n]
    if H:
        Q = Q + M[:, :n, n:] @ np.linalg.solve(M[:, n:, n:], M[:, n:, :n])
    inverse = np.linalg.inv(np.linalg.cholesky(P))
    norms = np.linalg.eigvalsh(inverse @ ((Q + Q.swapaxes(1, 2)) / 2) @ inverse.T)[:, -1]
    return np.asarray(-0.5 * norms, dtype=np.float64), L
