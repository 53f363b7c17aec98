"""Curves between which trajectories may stay: the upper and the lower field integrated, with a margin, and kept as cubics.

Nothing here is trusted: `proof/region/order.py` proves what is found, or does not.
"""

import numpy as np

from stability.proof.arithmetic import Array
from stability.proof.region.order import Bounds, Curves


def order_curves(
    bounds: Bounds,  # of the whole field over boxes of states (K, n)
    sigma: Array,  # (n,), ±1
    gap: float,  # τ
    doses: tuple[Array, Array],  # the least and the largest (n,), in the order σ
    *,
    scale: Array,  # (n,): a typical size of each state
    monotone: bool = True,  # else the coupled form
    pieces: int = 200,
    margin: float = 1e-3,  # of the scale, per gap: what the curves stand apart from the solutions
    start: Array | None = None,  # (n,) a state to begin from, else 0
) -> Curves:
    """Periodic curves: y⁺ from x̄ + largest dose to below x̄, y⁻ from x̲ + least dose to above x̲."""
    n = len(sigma)
    push = margin * scale / gap

    def ends(below: Array, above: Array) -> tuple[Array, Array]:
        """The lower and the upper field at y⁻ and y⁺, in z = σx, with the margin."""
        if monotone:
            boxes = np.stack([below, above]), np.stack([below, above])
        else:
            low, high = np.tile(below, (2 * n, 1)), np.tile(above, (2 * n, 1))
            i = np.arange(n)
            high[i, i], low[n + i, i] = below, above
            boxes = low, high
        one, two = sigma * boxes[0], sigma * boxes[1]
        f = bounds(np.minimum(one, two), np.maximum(one, two))
        least, most = np.minimum(sigma * f[0], sigma * f[1]), np.maximum(sigma * f[0], sigma * f[1])
        if monotone:
            return least[0] - push, most[1] + push
        return np.diagonal(least[:n]) - push, np.diagonal(most[n:]) + push

    def flow(below: Array, above: Array, count: int) -> tuple[list[Array], list[Array]]:
        """States and slopes (2, n) at the knots, by Runge–Kutta's method of fourth order."""
        y, states, slopes, h = np.stack([below, above]), list[Array](), list[Array](), gap / count
        for _ in range(count):
            k1 = np.stack(ends(*y))
            k2, states, slopes = np.stack(ends(*(y + h / 2 * k1))), [*states, y], [*slopes, k1]
            k3 = np.stack(ends(*(y + h / 2 * k2)))
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + np.stack(ends(*(y + h * k3))))
        return [*states, y], [*slopes, np.stack(ends(*y))]

    z_doses = sigma * doses[0], sigma * doses[1]
    before = np.stack([np.zeros(n) if start is None else sigma * start] * 2)
    shift = np.stack([-margin * scale, margin * scale])  # so that y(τ) lies within before by as much
    for _ in range(200):
        last = flow(before[0] + z_doses[0], before[1] + z_doses[1], min(pieces, 60))[0][-1] + shift
        moved, before = np.abs((last - before) / scale).max(initial=0.0), last
        if not moved > 1e-2 * margin:
            break
    h, begin = gap / pieces, 1e-9 * scale
    found = flow(before[0] + z_doses[0] - begin, before[1] + z_doses[1] + begin, pieces)
    states, slopes = np.stack(found[0]), np.stack(found[1])
    first, second, d0, d1 = states[:-1], states[1:], h * slopes[:-1], h * slopes[1:]
    cubic = np.stack([first, d0, 3 * (second - first) - 2 * d0 - d1, d0 + d1 - 2 * (second - first)], -1)
    # two pieces meet but for rounding: each begins a little beyond the end of the one before
    apart = 1e-12 * scale * np.arange(pieces)[:, None]
    cubic[:, 0, :, 0] -= apart
    cubic[:, 1, :, 0] += apart
    by = sigma[:, None]
    knots = gap * np.arange(pieces + 1) / pieces
    return Curves(knots, by * cubic[:, 0], by * cubic[:, 1], (sigma * before[0], sigma * before[1]), doses)
