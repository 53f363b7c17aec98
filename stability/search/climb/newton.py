"""The Newton system behind the climb: the conditions of optimality of the joint inequality, and a step towards them.

In the notation of `interior_point`, with multipliers Z_v of M_v ≻ 0, B and C of I ⪯ P ⪯ κI, s and t of 0 < Λ < U, the conditions
of optimality of max λ are

    2 Σ⟨(Z_v)_xx, P⟩ = 1,     Σ(T_λ Z_v Iᵀ + its transpose) = B − C,     2(JᵀZ_vR)_jj = t_vj − s_vj,     slack · multiplier = 0.

The last is replaced by slack · multiplier = μ and linearised as dZ = μK − Z − sym(K dM Z), K = M⁻¹ (Helmberg, Rendl, Vanderbei &
Wolkowicz 1996; Kojima, Shindoh & Hara 1997; Monteiro 1997). The λP in M is bilinear and puts 2⟨Z_xx, dP⟩ dλ into the Hessian
of the Lagrangian. Λ_v meets the rest only through (λ, P): it is eliminated on its own, V solves of size H, then one of size
1 + n(n+1)/2. With F_j = e_jr_jᵀ + r_je_jᵀ = ∂M/∂Λ_j, e_j and r_j the columns of J and R, its coefficients are

    tr(F_iKF_jZ) = r_iᵀKr_j e_jᵀZe_i + e_iᵀKe_j r_jᵀZr_i + e_jᵀKr_i e_iᵀZr_j + e_iᵀKr_j e_jᵀZr_i.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stability.search.climb.problem import Point, Problem, inverse, positive, symmetric

Array = NDArray[np.float64]


def move(problem: Problem, point: Point) -> Point | None:
    """A predictor, a corrector, and as much of the latter's step as keeps slacks and multipliers positive.

    The predictor aims at μ = 0; how much of the gap it leaves says how far the corrector may aim (Mehrotra 1992). None at
    the end of float64.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is no step, and is seen below
        return _moved(problem, point)


def _moved(problem: Problem, point: Point) -> Point | None:
    M = problem.matrix(point.rate, point.P, point.L)
    gap = problem.gap(point, M)
    try:
        solve = _system(problem, point, inverse(M))
        guess = solve(0.0, None)
        ahead = point.along(guess, _room(problem, point, guess, False), _room(problem, point, guess, True))
        left = problem.gap(ahead, problem.matrix(ahead.rate, ahead.P, ahead.L)) / gap
        step = solve(float(np.clip(left, 0.03, 1.0)) ** 2 * gap / problem.slacks, guess)
        primal, dual = _room(problem, point, step, False), _room(problem, point, step, True)
        if min(primal, dual) < 1e-2:  # too near to an edge: first back towards the centre
            step = solve(0.9 * gap / problem.slacks, None)
            primal, dual = _room(problem, point, step, False), _room(problem, point, step, True)
    except np.linalg.LinAlgError:
        return None
    return None if min(primal, dual) < 1e-3 else point.along(step, primal, dual)


def _room(problem: Problem, point: Point, step: Point, dual: bool) -> float:
    """How long the step may be: all of it, or nine tenths of what was found to stay inside."""
    sides = [(point.L, step.L), (problem.most - point.L, -step.L)]
    if dual:
        sides = [(point.under, step.under), (point.over, step.over)]
    length = 1.0
    for value, change in sides:
        length = min(length, 1.0 / max(float((-change / value).max(initial=0.0)), 1.0))
    eye = np.eye(problem.n)
    for _ in range(60):
        if dual:
            boxed = (point.low + length * step.low, point.high + length * step.high)
        else:
            P = point.P + length * step.P
            boxed = (P - eye, problem.condition * eye - P)
        if problem.fixed or positive(np.stack(boxed)):
            if dual:
                whole = point.Z + length * step.Z
            else:
                whole = problem.matrix(point.rate + length * step.rate, P, point.L + length * step.L)
            if positive(whole):
                return 1.0 if length == 1.0 else 0.9 * length
        length *= 0.85
    return 0.0


def _system(problem: Problem, point: Point, K: Array) -> "Callable[[float, Point | None], Point]":
    """The conditions linearised at the point, as a function of μ and of the step whose second-order terms to correct for."""
    n, P, L, Z, units = problem.n, point.P, point.L, point.Z, np.arange(problem.H)
    T, d = problem.T(point.rate), problem.basis.shape[1]
    low, high = problem.box(P)
    k, z = _views(problem, K, T), _views(problem, Z, T)
    inside = k.rr * z.ee + k.ee * z.rr + k.er.swapaxes(1, 2) * z.er + k.er * z.er.swapaxes(1, 2)
    inside[:, units, units] += point.under / L + point.over / (problem.most - L)
    inside = _ridge(inside)
    centre_L = 2.0 * k.er[:, units, units] + 1.0 / L - 1.0 / (problem.most - L)
    border = np.empty((problem.V, problem.H, 1 + d))
    border[:, :, 0] = -2.0 * np.sum(z.Ie * (P @ k.Ir) + k.Ie * (P @ z.Ir), axis=1)
    pairs = ((k.Ir, z.Te), (k.Tr, z.Ie), (k.Ie, z.Tr), (k.Te, z.Ir))
    outer, centre = np.zeros((1 + d, 1 + d)), np.zeros(1 + d)
    outer[0, 0] = 4.0 * float(np.sum((P @ k.a) * (P @ z.a).swapaxes(1, 2)))
    centre[0] = -2.0 * float(np.sum(k.a * P))
    twist = np.zeros(d)
    if d:
        S = sum(np.einsum("vih,vkh->vhik", x, y) for x, y in pairs).reshape(problem.V, problem.H, n * n)
        border[:, :, 1:] = -S @ problem.basis
        quartic = _pairs(k.b, z.b) + _pairs(k.c, z.a) + _pairs(k.a, z.c)
        quartic += _pairs(k.b.swapaxes(1, 2), z.b.swapaxes(1, 2))
        quartic += _pairs(low[None], point.low[None]) + _pairs(high[None], point.high[None])
        outer[1:, 1:] = problem.basis.T @ quartic @ problem.basis
        mixed = 2.0 * (k.b @ P @ z.a + k.a @ P @ z.b.swapaxes(1, 2)).sum(0).T
        outer[0, 1:] = outer[1:, 0] = mixed.reshape(-1) @ problem.basis
        total = k.b.sum(0)
        centre[1:] = (low - high - total - total.T).reshape(-1) @ problem.basis
        twist = 2.0 * z.a.sum(0).reshape(-1) @ problem.basis
    solved = np.linalg.solve(inside, border)
    plain = outer - np.einsum("vhi,vhj->ij", border, solved)
    curved = plain.copy()  # with the curvature that λP brings; where it is not positive, without
    curved[0, 1:] += twist
    curved[1:, 0] += twist

    def solve(mu: float, before: Point | None) -> Point:
        right, right_L = mu * centre, mu * centre_L
        right[0] += 1.0
        none = Point(0.0, 0.0 * P, 0.0 * L, np.zeros_like(Z[:, :1, :1]), 0.0 * P, 0.0 * P, 0.0 * L, 0.0 * L)
        bent = none if before is None else second_order(before)
        if before is not None:
            right[0] += 2.0 * float(np.sum(bent.Z[:, :n, :n] * P))
            bQ = (T @ bent.Z[:, :, :n]).sum(0)
            right[1:] += (bQ + bQ.T - bent.low + bent.high).reshape(-1) @ problem.basis
            right_L = right_L - 2.0 * problem.slopes(bent.Z) - bent.under + bent.over
        right = right - np.einsum("vhi,vh->i", solved, right_L)
        out = _bordered(curved, right)
        out = _bordered(plain, right) if out is None else out
        if out is None:
            raise np.linalg.LinAlgError("the Newton system is not positive")
        dL = np.linalg.solve(inside, right_L[:, :, None])[:, :, 0] - solved @ out
        dP, rate = (problem.basis @ out[1:]).reshape(n, n), float(out[0])
        changed = problem.change_times(point.rate, dP, dL, rate * P, Z)
        return Point(
            rate,
            dP,
            dL,
            mu * K - Z - symmetric(K @ changed) - bent.Z,
            mu * low - point.low - symmetric(low @ dP @ point.low) - bent.low,
            mu * high - point.high + symmetric(high @ dP @ point.high) - bent.high,
            mu / L - point.under - point.under / L * dL - bent.under,
            mu / (problem.most - L) - point.over + point.over / (problem.most - L) * dL - bent.over,
        )

    def second_order(step: Point) -> Point:
        """What the linearised products of slack and multiplier leave out, over the slack."""
        Q = K @ problem.change_times(point.rate, step.P, step.L, step.rate * P, step.Z)
        Q -= K[:, :, :n] @ (2.0 * step.rate * step.P @ Z[:, :n])
        return Point(
            0.0,
            0.0 * P,
            0.0 * L,
            symmetric(Q),
            symmetric(low @ step.P @ step.low),
            -symmetric(high @ step.P @ step.high),
            step.L * step.under / L,
            -step.L * step.over / (problem.most - L),
        )

    return solve


@dataclass(frozen=True)
class _Views:
    """A matrix X seen from the columns of J (e), of R (r), of I and of T: the letters name the factors on its two sides."""

    ee: Array  # JᵀXJ (V, H, H)
    er: Array  # JᵀXR
    rr: Array  # RᵀXR
    Ie: Array  # IXJ (V, n, H)
    Ir: Array
    Te: Array
    Tr: Array
    a: Array  # IXIᵀ (V, n, n)
    b: Array  # TXIᵀ
    c: Array  # TXTᵀ


def _views(problem: Problem, X: Array, T: Array) -> "_Views":
    n = problem.n
    XJ, XR = problem.across(X), problem.right(X)
    JX, TX = XJ.swapaxes(1, 2), T @ X
    return _Views(
        ee=problem.across(JX),
        er=problem.right(JX),
        rr=problem.right(XR.swapaxes(1, 2)),
        Ie=XJ[:, :n],
        Ir=XR[:, :n],
        Te=T @ XJ,
        Tr=T @ XR,
        a=X[:, :n, :n],
        b=TX[:, :, :n],
        c=TX @ T.swapaxes(1, 2),
    )


def _bordered(matrix: Array, right: Array) -> Array | None:
    """The solution of matrix · x = right, x_0 last; None where eliminating the others leaves nothing positive for it."""
    half = np.linalg.solve(_ridge(matrix[1:, 1:]), np.stack([matrix[1:, 0], right[1:]], axis=1))
    pivot = matrix[0, 0] - matrix[0, 1:] @ half[:, 0]
    if not pivot > 0:
        return None
    first = (right[0] - matrix[0, 1:] @ half[:, 1]) / pivot
    return np.concatenate([[first], half[:, 1] - first * half[:, 0]])


def _pairs(left: Array, right: Array) -> Array:
    """Σ_v of the form tr(X left Y right) over matrices X, Y written as vectors: [ij, kl] ↦ left_jk right_li."""
    n = left.shape[-1]
    product = left.reshape(-1, n * n).T @ right.reshape(-1, n * n)
    return product.reshape(n, n, n, n).transpose(3, 0, 1, 2).reshape(n * n, n * n)


def _ridge(matrix: Array) -> Array:
    """A relative 1e-14 on the diagonal: the Newton step needs a direction, not an exact solution."""
    out = matrix.copy()
    units = np.arange(matrix.shape[-1])
    out[..., units, units] *= 1.0 + 1e-14
    return out
