"""Curves between which trajectories may stay: the lower and the upper field integrated, with a margin, and kept as cubics.

Nothing here is trusted: `proof/region/order.py` proves what is found, or does not.
"""

import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stability.proof.arithmetic import Array
from stability.proof.region.order import Pair, Tube
from stability.search.curves.two_fields import Ends, TwoFields

_OUTWARD = np.array([[-1.0], [1.0]])
_INNER = np.array([0.1, 0.3, 0.5, 0.7, 0.9])  # of a piece: where its residual is looked at


def dosed(
    problem: TwoFields,
    scale: Array,  # (n,): a typical size of each state
    doses: Pair,  # the least and the largest (n,), none among them
    gap: float,
    *,
    any_gap: bool,
    margin: float,  # of the scale, per gap: what the curves stand apart from the solutions
    deadline: float = np.inf,
) -> Tube | None:
    """x̲, x̄ to which the curves from x̲ + least and x̄ + largest dose come back; None where none were found.

    `any_gap`: and which are kept without doses too.
    """
    push = _OUTWARD * margin * scale / gap * problem.free
    shift = _OUTWARD * 0.1 * margin * scale * problem.free
    jump = np.stack(doses) + 1e-9 * _OUTWARD * scale * problem.free
    steps = problem.steps(gap)

    def pushed(y: Array) -> Array:
        return np.asarray(problem.ends(y) * problem.free + push)

    def after(y: Array) -> Array:
        return _flow(pushed, y + jump, gap, steps)[0][-1] + shift

    y = _periodic(problem, after, scale, 0.1 * margin, deadline)
    if y is not None and any_gap:
        y = _lifted(problem, pushed, after, (y, scale), gap, margin, deadline)
    if y is None:
        return None
    fine = 1 << int(np.ceil(np.log2(4 * steps)))
    states, slopes = (a[:, 0] for a in _flow(pushed, (y + jump)[None], gap, fine))
    if not (np.isfinite(states).all() and np.isfinite(slopes).all()):
        return None
    return _tube(problem, (states, slopes), y, gap, 0.9 * margin * scale / gap)


def _flow(field: Ends, y: Array, gap: float, count: int) -> tuple[Array, Array]:
    """States and slopes (count + 1, K, 2, n) at the steps, by Runge–Kutta's method of fourth order."""
    y, h = (y if y.ndim == 3 else y[None]), gap / count
    states, slopes = [y], list[Array]()
    with np.errstate(all="ignore"):
        for _ in range(count):
            k1 = field(y)
            k2 = field(y + h / 2 * k1)
            k3 = field(y + h / 2 * k2)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + field(y + h * k3))
            if not np.isfinite(y).all():
                y = np.where(np.isfinite(y), y, 0.0) + np.nan
                return np.stack([*states, y]), np.stack([*slopes, k1, k1])
            states.append(y)
            slopes.append(k1)
        return np.stack(states), np.stack([*slopes, field(y)])


def differences(
    f: Callable[[Array], Array], y: Array, free: Array, scale: Array
) -> tuple[Array, Array, NDArray[np.int64]]:
    """f (2, n), and its derivative by the free entries, by differences, all at once."""
    where = np.flatnonzero(free)
    step = 1e-6 * np.tile(scale, 2)[where]
    batch = np.repeat(y.reshape(1, -1), 1 + len(where), axis=0)
    batch[1 + np.arange(len(where)), where] += step
    out = f(batch.reshape(-1, *y.shape)).reshape(1 + len(where), -1)
    return out[0].reshape(y.shape), ((out[1:] - out[0]).T / step)[where], where


def _periodic(problem: TwoFields, after: Ends, scale: Array, close: float, deadline: float) -> Array | None:
    """y with after(y) = y, to that part of the scale: a few gaps, then Newton's method where it comes nearer."""
    y, free = problem.begin(), problem.free
    for _ in range(3):
        y = _freed(after(y[None])[0], y, free)
    for _ in range(40):
        if problem.outside(y) or time.monotonic() > deadline:
            return None
        reached, J, where = differences(after, y, free, scale)
        if not (np.isfinite(reached).all() and np.isfinite(J).all()):
            return None
        off = (reached - y) * free
        if np.abs(off / scale).max(initial=0.0) < 1e-3 * close:
            return y
        step = np.zeros(y.size)
        step[where] = np.linalg.lstsq(np.eye(len(where)) - J, off.ravel()[where], rcond=None)[0]
        ahead = y + step.reshape(y.shape)
        better = after(ahead[None])[0]
        gain = np.abs(((better - ahead) * free) / scale).max(initial=0.0) < 0.5 * np.abs(off / scale).max(initial=0.0)
        y = ahead if gain and not problem.outside(ahead) else _freed(reached, y, free)
    return None


def _freed(new: Array, old: Array, free: Array) -> Array:
    return np.where(free > 0, new, old)


def _lifted(
    problem: TwoFields, pushed: Ends, after: Ends, at: Pair, gap: float, margin: float, deadline: float
) -> Array | None:
    """From the periodic states outward, until they are kept without doses too."""
    y, scale = at
    while time.monotonic() < deadline:
        moved = y
        for _ in range(2000):
            f = pushed(moved[None])[0]
            out = np.stack([np.minimum(f[0], 0.0), np.maximum(f[1], 0.0)])
            size = np.abs(out / scale).max(initial=0.0)
            if not size > 0.0:
                break
            moved = moved + out * min(0.5 / max(problem.stiff, 1e-300), 1e-2 / size)
            if problem.outside(moved):
                return None
        back = after(moved[None])[0]
        y = np.stack([np.minimum(moved[0], back[0]), np.maximum(moved[1], back[1])])
        if problem.outside(y):
            return None
        if np.abs((y - moved) / scale).max(initial=0.0) <= 0.05 * margin:  # half of what `after` adds
            return moved
    return None


def _tube(problem: TwoFields, flow: Pair, y: Array, gap: float, room: Array) -> Tube:
    """Cubics through the states with the slopes of the flow, on pieces so short that they leave something of the margin."""
    states, slopes = flow
    count, scale = len(states) - 1, room * gap
    knots = [0, count // 4, count // 2, 3 * count // 4, count]
    waiting, done = list(pairwise(knots)), list[tuple[int, int]]()
    while waiting:
        ends = np.array(waiting)
        cubic = _cubics(states, slopes, ends, gap / count)
        s = _INNER[:, None] ** np.arange(4)
        steep = np.arange(1, 4) * _INNER[:, None] ** np.arange(3)
        at = np.einsum("kend,sd->ksen", cubic, s)
        rate = (
            np.einsum("kend,sd->ksen", cubic[..., 1:], steep)
            / ((ends[:, 1] - ends[:, 0]) * gap / count)[:, None, None, None]
        )
        f = problem.ends(at.reshape(-1, *at.shape[2:])).reshape(at.shape)
        left = np.where(problem.free > 0, _OUTWARD * (rate - f), np.inf)
        good = (left >= 0.3 * room).all((1, 2, 3)) | (ends[:, 1] - ends[:, 0] <= 1)
        done += [waiting[k] for k in np.flatnonzero(good)]
        halves = [waiting[k] for k in np.flatnonzero(~good)]
        waiting = [(a, (a + b) // 2) for a, b in halves] + [((a + b) // 2, b) for a, b in halves]
    pieces = np.array(sorted(done))
    cubic = _cubics(states, slopes, pieces, gap / count)
    # two pieces meet but for rounding: each begins a little beyond the end of the one before
    apart = 1e-12 * np.maximum(scale, np.abs(states).max((0, 1))) * np.arange(len(pieces))[:, None]
    cubic[:, 0, :, 0] -= apart * problem.free[0]
    cubic[:, 1, :, 0] += apart * problem.free[1]
    at = gap * np.append(pieces[:, 0], count) / count
    at[-1] = gap
    return Tube((y[0], y[1]), at, cubic[:, 0], cubic[:, 1])


def _cubics(states: Array, slopes: Array, ends: NDArray[np.int64], step: float) -> Array:
    """(K, 2, n, 4)."""
    first, second = states[ends[:, 0]], states[ends[:, 1]]
    h = ((ends[:, 1] - ends[:, 0]) * step)[:, None, None]
    d0, d1 = h * slopes[ends[:, 0]], h * slopes[ends[:, 1]]
    return np.stack([first, d0, 3 * (second - first) - 2 * d0 - d1, d0 + d1 - 2 * (second - first)], -1)
