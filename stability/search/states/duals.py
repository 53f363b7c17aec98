"""One metric for many Jacobians, and the matrices that exclude one: a dual bound on the rate of any constant metric."""

import time

import numpy as np

from stability.lure import Array
from stability.search.climb.interior_point import Ascent, climb
from stability.search.states.jacobians import abscissa, linear, log_norm
from stability.search.states.sampling import Samples


def one_metric(
    samples: Samples,
    metric: Array,  # (n, n): where the search starts
    *,
    with_corners: bool,
    frame: Array | None = None,  # (n, n), see `climb`
    rounds: int = 4,
    condition: float = 1e4,
    deadline: float = float("inf"),
) -> tuple[Array, Ascent]:
    """Sampled Jacobians that decide how far one metric gets, their best common rate, and the dual matrices that bound it.

    Cutting planes: the worst by abscissa and by logarithmic norm, then those that the metric found treats worst. Fewer
    Jacobians can only raise the bound, so it bounds the rate over all of them.
    """
    n = samples.attained.shape[-1]
    pool = samples.attained.reshape(-1, n, n)
    if with_corners:
        pool = np.concatenate([pool, samples.corners.reshape(-1, n, n)])
    chosen = set(np.argsort(-abscissa(pool))[:12].tolist()) | set(np.argsort(-log_norm(pool, metric))[:12].tolist())
    while True:
        jacobians = pool[sorted(chosen)]
        ascent = climb(
            linear(jacobians), metric, tolerance=1e-3, condition=condition, frame=frame, deadline=deadline
        )
        norms = log_norm(pool, ascent.metric)
        worse = {int(i) for i in np.argsort(-norms)[:12] if norms[i] > -ascent.rate + 1e-3 * abs(ascent.rate)}
        rounds -= 1
        if worse <= chosen or rounds == 0 or time.monotonic() > deadline:
            return jacobians, ascent
        chosen |= worse


def metric_bound(jacobians: Array, ascent: Ascent, spectral: float) -> float:
    """What no constant metric of any condition number can exceed on these Jacobians, with the climb's answer for them.

    The climb's own bound holds for metrics of a limited condition number. A little above it, matrices are sought that exclude
    every metric; where there are none, what the climb's duals say of every metric, or each Jacobian alone.
    """
    known = min(spectral, dual_bound(jacobians, ascent.duals))
    heaviest = jacobians[np.argsort(-np.trace(ascent.duals, axis1=1, axis2=2))[:24]]
    for share in (2e-3, 1e-2):
        near = ascent.bound + share * abs(ascent.bound)
        if not near < known or jacobians.shape[-1] > 8:
            break
        if excluding(heaviest, near) is not None:
            return near
    return known


def excluding(jacobians: Array, rate: float, steps: int = 60) -> Array | None:
    """Z_v ≻ 0 of `dual_holds` at the rate, of good condition; None where they are not found.

    With K = J + rI the largest s of −(K_vᵀP + PK_v) ⪰ sI, tr P = 1, is sought by Newton's method along the central path. There
    Z_v = (−(K_vᵀP + PK_v) − sI)⁻¹ has Σ(K_vZ_v + Z_vK_vᵀ) = P⁻¹ + θI, positive as soon as θ is, where no P has s ≥ 0.
    """
    n, eye = jacobians.shape[-1], np.eye(jacobians.shape[-1])
    K, (rows, columns) = jacobians + rate * eye, np.triu_indices(n)
    B = np.zeros((len(rows), n, n))  # changes of P that leave its trace; the last one, of s, leaves P
    B[np.arange(len(rows)), rows, columns] = B[np.arange(len(rows)), columns, rows] = 1.0
    B -= np.trace(B, axis1=1, axis2=2)[:, None, None] / n * eye
    B[-1] = 0.0
    product = K.swapaxes(1, 2)[:, None] @ B
    A = -(product + product.swapaxes(2, 3))  # (V, d, n, n): changes of F
    A[:, -1] = -eye
    P, F, scale = eye / n, -(K + K.swapaxes(1, 2)) / n, max(float(np.abs(K).max()), 1e-300)
    s = float(np.linalg.eigvalsh(F).min()) - scale
    F, weight = F - s * eye, 10.0 * len(K) * n / scale

    def value(s: float, P: Array, F: Array) -> float:
        try:
            factors = [np.diagonal(np.linalg.cholesky(matrix), axis1=-2, axis2=-1) for matrix in (P, F)]
        except np.linalg.LinAlgError:
            return np.inf
        return -weight * s - 2.0 * sum(float(np.log(factor).sum()) for factor in factors)

    for _ in range(steps):
        try:
            Z = np.linalg.inv(F)
            Z = (Z + Z.swapaxes(1, 2)) / 2
            if s > 0 or dual_holds(jacobians, Z, rate):
                return None if s > 0 else Z
            ZA, PB = Z[:, None] @ A, np.linalg.inv(P) @ B
            gradient = -np.trace(ZA, axis1=2, axis2=3).sum(0) - np.trace(PB, axis1=1, axis2=2)
            gradient[-1] -= weight
            hessian = np.tensordot(ZA, ZA.swapaxes(2, 3), ((0, 2, 3), (0, 2, 3)))
            hessian += np.tensordot(PB, PB.swapaxes(1, 2), ((1, 2), (1, 2)))
            step = -np.linalg.solve(hessian, gradient)
        except np.linalg.LinAlgError:
            return None
        decrease, here, length = -float(gradient @ step), value(s, P, F), 1.0
        move, turn = np.tensordot(step, B, 1), np.tensordot(A, step, (1, 0))
        while length > 1e-8:
            there = s + length * float(step[-1]), P + length * move, F + length * turn
            if value(*there) < here - 0.1 * length * decrease:
                s, P, F = there
                break
            length *= 0.5
        weight *= 5.0 if decrease < 1.0 or length <= 1e-8 else 1.0
    return None


def dual_bound(jacobians: Array, duals: Array) -> float:
    """The largest r at which the Z_v of `dual_holds` do not yet exclude a common P ≻ 0, of any condition number; inf without any.

    Σ(J_vZ_v + Z_vJ_vᵀ + 2rZ_v) ≻ 0 from −½ λmin of the pencil (Σ(J_vZ_v + Z_vJ_vᵀ), ΣZ_v) on.
    """
    total, product = duals.sum(0), (jacobians @ duals).sum(0)
    try:
        inverse = np.linalg.inv(np.linalg.cholesky((total + total.T) / 2))
    except np.linalg.LinAlgError:  # time ran out before there were any
        return float("inf")
    margin = 1e-10 * float(np.abs(jacobians).max())
    return -0.5 * float(np.linalg.eigvalsh(inverse @ (product + product.T) @ inverse.T)[0]) + margin


def dual_holds(jacobians: Array, duals: Array, rate: float) -> bool:
    """Whether Σ(J_vZ_v + Z_vJ_vᵀ + 2rZ_v) ≻ 0 with all Z_v ≻ 0: then no P ≻ 0 has J_vᵀP + PJ_v + 2rP ⪯ 0 for all v.

    (Take the trace of that inequality with Z_v and sum.) Computed in float64 with a margin well above its rounding.
    """
    product = jacobians @ duals
    total = (product + product.swapaxes(1, 2) + 2.0 * rate * duals).sum(0)
    margin = 1e-10 * float(np.abs(product).sum())
    return bool(np.linalg.eigvalsh(duals).min() > 0 and np.linalg.eigvalsh(total)[0] > margin)
