"""The rate of a given candidate: for one metric and one set of multipliers, layer by layer, without a search."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stability.lure import SLOPES, Lure

Array = NDArray[np.float64]


def candidate_rate(
    system: Lure,
    metric: Array,  # P (n, n)
    multipliers: Array,  # (V, H)
) -> float:
    """The best rate that this P and these Λ prove for all systems, in float64; −inf where they prove none.

    With R the z block of M at λ = 0, q its border and Q its x block, M ≻ 0 at λ is R ≻ 0 and Q − qR⁻¹qᵀ ≻ 2λP, so
    λ = ½ λmin of P⁻¹(Q − qR⁻¹qᵀ). R is block tridiagonal, one block per layer: its Cholesky factor has one block on and one
    below the diagonal, which carries q from layer to layer. Time: two products of two layers' weights per layer.
    """
    flat = system.flatten()
    A, weights = flat.linear(), flat.weights
    found = np.inf
    for v in range(len(A)):
        here = [w[v] for w in weights]
        found = min(found, _one(A[v], here if len(here) > 1 else [], metric, multipliers[v], SLOPES[system.activation]))
    return float(found)


def capped(system: Lure) -> float:
    """The smallest −abscissa of each system's Jacobians with all slopes at their lower and at their upper end."""
    lower, upper = SLOPES[system.activation]
    ends = [system.jacobian([np.full(h, end) for h in system.widths]) for end in (lower, upper)]
    return min(float(-np.linalg.eigvals(J).real.max()) for J in ends)


def _one(A: Array, weights: Sequence[Array], P: Array, L: Array, slopes: tuple[float, float]) -> float:
    alpha, beta = slopes
    total, product = alpha + beta, alpha * beta
    Q = -(A.T @ P + P @ A)
    starts = np.concatenate([[0], np.cumsum([len(w) for w in weights[:-1]], dtype=int)])
    parts = [L[a:b] for a, b in itertools.pairwise(starts)]
    if weights and product:
        Q = Q + 2.0 * product * weights[0].T @ (parts[0][:, None] * weights[0])
    side, below = np.zeros((0, len(P))), None  # Cᵏ⁻¹qᵀ of the layer before; what couples it with this one
    for k, part in enumerate(parts):
        border = np.zeros((len(part), len(P)))
        if k == 0:
            border -= total * part[:, None] * weights[0]
        if k == len(parts) - 1:
            border -= weights[-1].T @ P
        block = np.diag(2.0 * part)
        if product and k + 1 < len(parts):
            block += 2.0 * product * weights[k + 1].T @ (parts[k + 1][:, None] * weights[k + 1])
        if below is not None:
            block, border = block - below @ below.T, border - below @ side
        try:
            C = np.linalg.cholesky(block)
        except np.linalg.LinAlgError:
            return -np.inf
        if k + 1 < len(parts):
            coupling = -total * parts[k + 1][:, None] * weights[k + 1]
            solved = np.linalg.solve(C, np.concatenate([border, coupling.T], axis=1))
            side, below = solved[:, : len(P)], solved[:, len(P) :].T
        else:
            side = np.linalg.solve(C, border)
        Q = Q - side.T @ side
    F = np.linalg.inv(np.linalg.cholesky(P))
    return 0.5 * float(np.linalg.eigvalsh(F @ ((Q + Q.T) / 2) @ F.T)[0])
