"""The rate of a given candidate: for one metric and one set of multipliers, layer by layer, without a search."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stability.lure import Lure
from stability.proof.units import slope_ends

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
    flat = system.merged()
    A, weights = flat.linear(), flat.weights
    found = np.inf
    for v in range(len(A)):
        here = [w[v] for w in weights]
        ends = slope_ends(flat.activation, flat.widths)
        found = min(found, _one(A[v], here if len(here) > 1 else [], metric, multipliers[v], ends))
    return float(found)


def capped(system: Lure) -> float:
    """The smallest −abscissa of each system's Jacobians with all slopes at their lower and at their upper end."""
    whole = system.together()
    edges = np.cumsum(whole.widths)[:-1]
    ends = [whole.jacobian(np.split(end, edges) if whole.widths else []) for end in slope_ends(whole.activation, whole.widths)]
    return min(float(-np.linalg.eigvals(J).real.max()) for J in ends)


def _one(A: Array, weights: Sequence[Array], P: Array, L: Array, slopes: tuple[Array, Array]) -> float:
    Q = -(A.T @ P + P @ A)
    starts = np.concatenate([[0], np.cumsum([len(w) for w in weights[:-1]], dtype=int)])
    parts, alpha, beta = ([row[a:b] for a, b in itertools.pairwise(starts)] for row in (L, *slopes))
    total = [(low + high)[:, None] for low, high in zip(alpha, beta, strict=True)]
    product = [low * high for low, high in zip(alpha, beta, strict=True)]
    if weights and product[0].any():
        Q = Q + 2.0 * product[0] * weights[0].T @ (parts[0][:, None] * weights[0])
    side, below = np.zeros((0, len(P))), None  # Cᵏ⁻¹qᵀ of the layer before; what couples it with this one
    for k, part in enumerate(parts):
        border = np.zeros((len(part), len(P)))
        if k == 0:
            border -= total[k] * part[:, None] * weights[0]
        if k == len(parts) - 1:
            border -= weights[-1].T @ P
        block = np.diag(2.0 * part)
        if k + 1 < len(parts) and product[k + 1].any():
            block += 2.0 * product[k + 1] * weights[k + 1].T @ (parts[k + 1][:, None] * weights[k + 1])
        if below is not None:
            block, border = block - below @ below.T, border - below @ side
        try:
            C = np.linalg.cholesky(block)
        except np.linalg.LinAlgError:
            return -np.inf
        if k + 1 < len(parts):
            coupling = -total[k + 1] * parts[k + 1][:, None] * weights[k + 1]
            solved = np.linalg.solve(C, np.concatenate([border, coupling.T], axis=1))
            side, below = solved[:, : len(P)], solved[:, len(P) :].T
        else:
            side = np.linalg.solve(C, border)
        Q = Q - side.T @ side
    F = np.linalg.inv(np.linalg.cholesky(P))
    return 0.5 * float(np.linalg.eigvalsh(F @ ((Q + Q.T) / 2) @ F.T)[0])
