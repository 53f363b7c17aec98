"""States and inputs at which a certificate is tried: inside its region, drawn by a seed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stability import Box
from stability.region import claimed

Array = NDArray[np.float64]


def sampled_states(
    region: str | Mapping[str, Any],
    metric: Array,  # P (n, n)
    *,
    nominal: Sequence[float],  # (n,)
    levels: Sequence[float],  # (m,), where inputs begin
    count: int,
    seed: int,
) -> tuple[Array, Array]:  # (count, n), (count, m)
    """Of a certificate about all states: over three orders of magnitude about the states' size, of both signs, 0 first.

    Of a region: all over it, with inputs within its levels; where a box has no end, as far as ten times the size."""
    draw = np.random.default_rng(seed)
    size, begun = np.asarray(nominal, dtype=np.float64), np.asarray(levels, dtype=np.float64)
    n, m = len(size), len(begun)
    u = begun + np.maximum(np.abs(begun), 1.0) * draw.uniform(-1.0, 1.0, (count, m))
    if isinstance(region, str):
        x = size * draw.choice([-1.0, 1.0], (count, n)) * 10.0 ** draw.uniform(-2.0, 1.0, (count, n))
        x[:1] = 0.0
        return x, u
    within, inputs = claimed(region)
    if inputs is not None:
        u = draw.uniform(inputs.lower, inputs.upper, (count, m))
    if isinstance(within, Box):
        low, high = np.maximum(within.lower, -10.0 * size), np.minimum(within.upper, 10.0 * size)
        return draw.uniform(np.minimum(low, high), np.maximum(low, high), (count, n)), u
    direction = draw.standard_normal((count, n))
    direction *= (draw.uniform(0.0, 1.0, count) ** (1.0 / n) / np.linalg.norm(direction, axis=1))[:, None]
    root = np.linalg.cholesky(np.asarray(metric, dtype=np.float64))  # P = L Lᵀ, and ‖Lᵀ(x − centre)‖ ≤ radius
    return within.centre + within.radius * (1.0 - 1e-9) * np.linalg.solve(root.T, direction.T).T, u
