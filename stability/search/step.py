"""Contraction of the discretised step: |δx⁺|_P ≤ ρ|δx|_P for one step of Euler's or the classical Runge–Kutta method.

The step is a loop with a copy of the hidden units per stage (`proof_step`); P is the certificate's, and per system

    minimise τ = ρ² over Λ:   M(τ, Λ) = τP̂ − GᵀPG + JΛRᵀ + RΛJᵀ ≻ 0,   P̂ = [P 0; 0 0],   J = (D − αV)ᵀ,   R = (D − βV)ᵀ,

is a semidefinite programme with a diagonal unknown. It is solved as in `interior_point`: Newton's method at fixed τ on the
barrier −log det M − Σ (log Λ + log(U − Λ)), then a step along the path of centres most of the way to the edge, which lowers τ,
until a dual bound is met. Every iterate is feasible.
Source: Boyd & Vandenberghe, Convex Optimization (2004), chapter 11, on barriers; the loop of stages is ours.
"""

import time

import numpy as np
from numpy.typing import NDArray

from stability.arguments import choice, kind, number, time_limit
from stability.claims.certificate import Certificate
from stability.claims.step import Step
from stability.lure import Array, Loop, System, one_activation
from stability.proof.checker import prove
from stability.proof.step import METHODS
from stability.refusal import Refusal
from stability.threads import of_system, threads_by


@threads_by(of_system)
def certify_step(
    certificate: Certificate | Refusal,
    system: System,
    step: float,  # h, in time
    method: str = "rk4",
    *,
    seconds: float = 60.0,
) -> Step | Refusal:
    """Search multipliers with which one step of a solver contracts in the certificate's metric, and prove it.

    Arguments: a certificate of the system (its metric is used); the step size, in the system's unit of time; the method,
    "euler" or "rk4"; `seconds`, after which the best so far is used.
    Returns a `Step` that `check` accepts, or a `Refusal` (large steps do not contract); the refusal that `certify` gave is handed
    on.
    Errors: ValueError for arguments that cannot be used, and for a certificate of another system.
    Law: for a linear system ρ is ‖R(hA)‖ in the metric, R being the method's stability function, up to a relative 1e-3 of 1 − ρ².
    """
    if isinstance(certificate, Refusal):
        return certificate
    first = "certify(system), which gives a Certificate, and the system behind it: certify_step(certificate, system, step)"
    kind(certificate, Certificate, "the certificate", first)
    system = one_activation(system, "contracting step")
    step = number(step, "the step", "a finite positive step size, in the system's unit of time", above=0.0, most=1e100)
    choice(method, METHODS, "the method")
    time_limit(seconds)
    if certificate.digest != system.digest():
        raise ValueError("the certificate is of another system (its digest differs); certify this one first.")
    deadline, loop, P = time.monotonic() + seconds, system.loop(), certificate.metric
    layers = len(METHODS[method][0]) * loop.widths
    order = np.repeat(np.arange(len(layers)), layers)
    found: list[tuple[float, Array]] = []
    square = 0.0
    for v in range(len(loop.A)):  # whoever does as well as the worst so far need not be searched further
        found.append(_least(*stages(loop, v, step, method), P, order, square, deadline))
        square = max(square, found[-1][0])
    for slack in (1e-6, 1e-4, 1e-2):
        # Part of the way to 1, and never less than some roundings: M must be positive by more than its radius.
        factor = float(np.sqrt(square + max(slack * (1.0 - square), 1e-13)))
        if not factor < 1:
            break
        candidate = Step(
            method=method,
            step=float(step),
            factor=factor,
            metric=P,
            multipliers=np.stack([multipliers for _, multipliers in found]),
            slope_range=system.slope_range,
            leading=system.leading,
            digest=certificate.digest,
        )
        if prove(candidate, system):
            return candidate
    reached = float(np.sqrt(square)) if np.isfinite(square) else np.inf
    late = " The time ran out; give more seconds." if time.monotonic() > deadline else ""
    return Refusal(
        reason="not proved",
        message=(
            f"A step of {step:g} of {method} is not proved to contract in this metric: the best factor is {reached:.6g}."
            f" Take a smaller step.{late}"
        ),
        best_rate=-float(np.log(reached)) / step if 0 < reached < np.inf else None,
    )


def stages(loop: Loop, index: int, step: float, method: str) -> tuple[Array, Array, Array]:
    """G (n, n + sH) of x⁺ = G (x, z), and J and R (n + sH, sH), of one system."""
    A, E, W, N = loop.A[index], loop.E[index], loop.W[index], loop.N[index]
    starts, parts = METHODS[method]
    (n, H), s = E.shape, len(starts)
    first = np.eye(n, n + s * H)
    end, slope, arguments = first.copy(), np.zeros_like(first), []
    for k, (a, b) in enumerate(zip(starts, parts, strict=True)):
        own = np.eye(H, n + s * H, n + k * H)
        stage = first + step * a * slope
        slope = A @ stage + E @ own
        end += step * b * slope
        arguments.append(W @ stage + N @ own)
    V, D = np.concatenate(arguments), np.eye(s * H, n + s * H, n)
    at = min(index, len(loop.lower) - 1)
    alpha, beta = (np.tile(end_[at], s)[:, None] for end_ in (loop.lower, loop.upper))
    return end, (D - alpha * V).T, (D - beta * V).T


def _least(
    G: Array,  # (n, n + sH)
    J: Array,  # (n + sH, sH)
    R: Array,
    P: Array,  # (n, n)
    order: NDArray[np.int_],  # (sH,), see `_first_multipliers`
    enough: float,  # a τ at which to stop
    deadline: float,
) -> tuple[float, Array]:
    """The least τ of one system and the multipliers that reach it, both feasible."""
    (n, size), units = G.shape, J.shape[1]
    cost = G.T @ P @ G
    weight = np.zeros((size, size))
    weight[:n, :n] = P
    L = _first_multipliers(J, R, cost, n, order)

    def matrix(tau: float, L: Array) -> Array:
        half = (J * L) @ R.T
        return np.asarray(tau * weight - cost + half + half.T)

    tau = _schur_level(matrix(0.0, L), P)
    tau += 0.1 * abs(tau) + 1e-3
    most = 1e6 * L.max(initial=1e-300)
    best, bound, reach = (tau, L), -np.inf, tau

    def value(tau: float, L: Array) -> float:
        if units and not (L.min() > 0 and L.max() < most):
            return np.inf
        try:
            factor = np.linalg.cholesky(matrix(tau, L))
        except np.linalg.LinAlgError:
            return np.inf
        return float(-2.0 * np.log(np.diagonal(factor)).sum() - np.log(L).sum() - np.log(most - L).sum())

    while time.monotonic() < deadline and units and tau > enough:
        try:
            K = np.linalg.inv(matrix(tau, L))
        except np.linalg.LinAlgError:
            break
        KJ, KR = K @ J, K @ R
        er, rr, ee = J.T @ KR, R.T @ KR, J.T @ KJ
        hessian = 2.0 * (ee * rr + er * er.T) + np.diag(1.0 / L**2 + 1.0 / (most - L) ** 2)
        gradient = -2.0 * np.diagonal(er) - 1.0 / L + 1.0 / (most - L)
        across = 2.0 * np.einsum("ij,ij->j", KJ[:n], P @ KR[:n])  # ∂/∂τ of the gradient
        scale = np.sqrt(np.diagonal(hessian))
        right = -np.stack([gradient, across], 1) / scale[:, None]
        solved = np.linalg.solve(hessian / np.outer(scale, scale) + 1e-14 * np.eye(units), right) / scale[:, None]
        move, tangent = solved.T
        decrement = -float(gradient @ move)
        if decrement > 0.1:
            here, length = value(tau, L), 1.0
            while length > 1e-9 and not value(tau, L + length * move) < here - 0.1 * length * decrement:
                length *= 0.5
            if length > 1e-9:
                L = L + length * move
                best = (tau, L) if tau <= best[0] else best
                continue
        # No (τ, Λ) can do better than this: 0 ≤ ⟨Z, M⟩ for the Z ≻ 0 near K that meets the equations of the centre.
        half = (J * move) @ R.T
        Z = K - K @ (half + half.T) @ K
        excess = 2.0 * float(np.sum(np.maximum(np.einsum("ij,ij->j", Z @ J, R), 0.0) * most))
        bound = max(bound, (float(np.sum(Z * cost)) - excess) / float(np.sum(Z[:n, :n] * P)))
        if tau - bound <= max(1e-3 * abs(1.0 - tau), 1e-12):
            break
        reach = min(4.0 * reach, tau - bound)
        while reach > 1e-15 and not np.isfinite(value(tau - reach, L - reach * tangent)):
            reach *= 0.7
        if reach <= 1e-15:
            break
        tau, L = tau - 0.75 * reach, L - 0.75 * reach * tangent
        best = tau, L
    # The last multipliers carry a smaller τ than the barrier kept.
    level = _schur_level(matrix(0.0, best[1]), P)
    return max(min(level, best[0]), 0.0), best[1]


def _schur_level(M: Array, P: Array) -> float:
    """The least τ with M + τP̂ ⪰ 0, for an M whose block of z is positive definite."""
    n = len(P)
    Q = M[:n, :n] - M[:n, n:] @ np.linalg.solve(M[n:, n:], M[n:, :n]) if len(M) > n else M
    inverse = np.linalg.inv(np.linalg.cholesky(P))
    return -float(np.linalg.eigvalsh(inverse @ ((Q + Q.T) / 2) @ inverse.T)[0])


def _first_multipliers(J: Array, R: Array, cost: Array, n: int, order: NDArray[np.int_]) -> Array:
    """Multipliers that make the block of z positive: falling from layer to layer and stage to stage until they do.

    Then they are scaled until they outweigh GᵀPG there. `order` numbers the layers of all stages, unit by unit.
    """
    units = J.shape[1]
    if not units:
        return np.ones(0)
    inner = cost[n:, n:]
    fall = 1.0
    for _ in range(60):
        L = fall ** order.astype(np.float64)
        half = (J[n:] * L) @ R[n:].T
        scaled = (half + half.T) / np.sqrt(np.outer(L, L))
        if np.linalg.eigvalsh(scaled)[0] > 0.2:
            break
        fall *= 0.8
    needed = np.linalg.eigvals(np.linalg.solve(half + half.T, inner)).real.max()
    return np.asarray(L * (2.0 * max(needed, 0.0) + 1e-3 * np.abs(cost).max()))
