"""Jacobians of layered systems for many slope patterns at once, and how fast each of them contracts."""

import numpy as np

from stability.lure import Array, Loop, Lure
from stability.search.states.activation import slope, value


def jacobians_at(flat: Lure, points: Array) -> tuple[tuple[Array, ...], Array]:
    """Slopes and Jacobians at points (V, S, n + m) of the combined argument (x, u), of `merged` systems."""
    n = flat.states
    argument = points[..., :n] @ flat.weights[0].swapaxes(1, 2) + flat.biases[0][:, None, :]
    if flat.input_weights is not None:
        argument = argument + points[..., n:] @ flat.input_weights.swapaxes(1, 2)
    units = flat.units
    slopes = [slope(units[0], argument)]
    for k, (weight, bias) in enumerate(zip(flat.weights[1:-1], flat.biases[1:-1], strict=True)):
        argument = value(units[k], argument) @ weight.swapaxes(1, 2) + bias[:, None, :]
        slopes.append(slope(units[k + 1], argument))
    return tuple(slopes), jacobians_of(flat, slopes)


def jacobians_of(flat: Lure, slopes: list[Array] | tuple[Array, ...]) -> Array:
    """Jacobians (V, S, n, n) for slopes (V, S, h), without repeating the weights along S."""
    product = np.broadcast_to(flat.weights[-1][:, None], (*slopes[0].shape[:2], *flat.weights[-1].shape[1:]))
    for weight, diagonal in zip(flat.weights[-2::-1], slopes[::-1], strict=True):
        product = (product * diagonal[:, :, None, :]) @ weight[:, None]
    return flat.linear()[:, None] + product


def abscissa(jacobians: Array) -> Array:
    """The largest real part of the eigenvalues, matrix by matrix."""
    return np.linalg.eigvals(jacobians).real.max(-1)


def log_norm(jacobians: Array, metric: Array) -> Array:
    """The logarithmic norm in √(xᵀPx): ½ λmax(C⁻¹(JᵀP + PJ)C⁻ᵀ), P = CCᵀ. Contraction at r in P means ≤ −r."""
    inverse = np.linalg.inv(np.linalg.cholesky(metric))
    product = metric @ jacobians
    values = np.linalg.eigvalsh(inverse @ (product + product.swapaxes(-1, -2)) @ inverse.T)
    return np.asarray(0.5 * values[..., -1], dtype=np.float64)


def linear(jacobians: Array) -> Loop:
    """Matrices (V, n, n) as systems without a residual."""
    count, n, _ = jacobians.shape
    none = np.zeros((1, 0))
    return Loop(jacobians, np.zeros((count, n, 0)), np.zeros((count, 0, n)), np.zeros((count, 0, 0)), none, none, ())
