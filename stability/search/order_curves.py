"""Curves between which trajectories may stay: the lower and the upper field integrated, with a margin, and kept as cubics.

Nothing here is trusted: `proof/region/order.py` proves what is found, or does not.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stability.proof.arithmetic import Array
from stability.proof.region.order import Pair, Tube, Whole, choices, tube_kept

Ends = Callable[[Array], Array]  # y⁻ and y⁺ (K, 2, n) to the lower and the upper field there
_OUTWARD = np.array([[-1.0], [1.0]])
_INNER = np.array([0.1, 0.3, 0.5, 0.7, 0.9])  # of a piece: where its residual is looked at


def together(fields: list[Whole]) -> Whole:
    """The hull of several: curves for it serve each of them."""

    def hull(pairs: list[Pair]) -> Pair:
        return np.min([p[0] for p in pairs], axis=0), np.max([p[1] for p in pairs], axis=0)

    if len(fields) == 1:
        return fields[0]
    return Whole(lambda a, b: hull([f.values(a, b) for f in fields]), lambda a, b: hull([f.slopes(a, b) for f in fields]))


def resting(field: Whole, region: Pair, scale: Array) -> Tube | None:
    """x̲ ≤ x̄ in the region that are kept without doses, as far apart as was found; None where none was."""
    n = len(scale)
    problem = _Problem.of(field, region, scale, None)
    found = None
    for margin in (1e-3, 1e-6):
        y = _still(problem.ends, problem.begin(), problem.free, scale, margin)
        if y is None:
            continue
        found = _bare(y)
        if _holds(field, found, region):
            break
    else:
        return None
    walls = np.stack(region)
    y = np.stack(found.rest)
    for share in (1.0, 0.5, 0.25, 0.1):
        wider = y + share * (walls - y)
        if np.isfinite(wider).all() and _holds(field, _bare(wider), region):
            y = wider
            break
    for _ in range(2):
        for end, i in [(end, i) for i in range(n) for end in (0, 1) if np.isfinite(walls[end, i])]:
            for share in (1.0, 0.5, 0.25, 0.1):
                wider = y.copy()
                wider[end, i] += share * (walls[end, i] - y[end, i])
                if _holds(field, _bare(wider), region):
                    y = wider
                    break
    return _bare(y)


def dosed(
    field: Whole,
    region: Pair,
    scale: Array,  # (n,): a typical size of each state
    doses: Pair,  # the least and the largest (n,), none among them
    gap: float,
    *,
    any_gap: bool,
    margin: float = 1e-2,  # of the scale, per gap: what the curves stand apart from the solutions
) -> Tube | None:
    """x̲, x̄ to which the curves from x̲ + least and x̄ + largest dose come back; None where none were found.

    `any_gap`: and which are kept without doses too.
    """
    problem = _Problem.of(field, region, scale, doses)
    push = _OUTWARD * margin * scale / gap * problem.free
    shift = _OUTWARD * 0.1 * margin * scale * problem.free
    jump = np.stack(doses) + 1e-9 * _OUTWARD * scale * problem.free

    def pushed(y: Array) -> Array:
        return np.asarray(problem.ends(y) * problem.free + push)

    steps = problem.steps(gap)

    def after(y: Array) -> Array:
        return _flow(pushed, y + jump, gap, steps)[0][-1] + shift

    y = _periodic(after, problem.begin(), problem.free, scale, 0.1 * margin)
    if y is not None and any_gap:
        y = _lifted(pushed, after, y, scale, gap, margin)
    if y is None:
        return None
    fine = 1 << int(np.ceil(np.log2(4 * steps)))
    states, slopes = (a[:, 0] for a in _flow(pushed, (y + jump)[None], gap, fine))
    if not (np.isfinite(states).all() and np.isfinite(slopes).all()):
        return None
    return _tube(problem, (states, slopes), y, gap, 0.9 * margin * scale / gap)


@dataclass(frozen=True)
class _Problem:
    """The lower and the upper field as one of twice as many states."""

    ends: Ends
    free: Array  # (2, n): 0 where a lower curve is a constant
    wall: Array  # (n,): that constant
    region: Pair
    stiff: float  # about the largest rate

    @staticmethod
    def of(field: Whole, region: Pair, scale: Array, doses: Pair | None) -> "_Problem":
        n = len(scale)
        box = tuple(np.clip(end, -1e6 * scale, 1e6 * scale) for end in region)
        slopes = field.slopes(box[0][None], box[1][None])
        worst = choices((slopes[0][0], slopes[1][0]))

        def ends(y: Array) -> Array:
            out, K = np.empty_like(y), len(y)
            picked = [_ordered(choice.pick((y[:, 0], y[:, 0]), (y[:, 1], y[:, 1]))) for choice in worst]
            f = field.values(*(np.concatenate([box[end] for box in picked]) for end in (0, 1)))
            for k, choice in enumerate(worst):
                for end in (0, 1):
                    out[:, end, choice.rows[end]] = f[end][k * K : (k + 1) * K, choice.rows[end]]
            return out

        # lower curves that may stay at 0 throughout, whatever the others do within the region
        least = np.zeros(n) if doses is None else doses[0]
        still = (region[0] <= 0) & (region[1] >= 0) & (least >= 0)
        while still.any():
            f = ends(np.stack([np.where(still, 0.0, box[0]), box[1]])[None])[0, 0]
            if (f[still] >= 0).all():
                break
            still = still & (f >= 0)
        speed = np.abs(np.diagonal(field.slopes(box[0][None], box[1][None])[0][0])).max()
        free = np.ones((2, n))
        free[0, still] = 0.0
        return _Problem(ends, free, np.zeros(n), region, float(min(speed, 1e6)))

    def begin(self) -> Array:
        """(2, n): the walls, and a point of the region near to zero."""
        low = np.where(np.isfinite(self.region[0]), self.region[0], np.minimum(self.region[1], 0.0))
        high = np.where(np.isfinite(self.region[1]), self.region[1], np.maximum(low, 0.0))
        near = np.clip(0.0, low, high)
        inside = np.where((low < 0.0) | (self.free[0] == 0.0), near, 0.5 * (low + high))
        return np.stack([np.where(self.free[0] == 0.0, self.wall, inside), inside])

    def steps(self, gap: float) -> int:
        """Of Runge–Kutta's method in a gap, so that it is stable."""
        return int(np.clip(np.ceil(gap * self.stiff), 32, 1000))


def _ordered(box: Pair) -> Pair:
    return np.minimum(*box), np.maximum(*box)


def _holds(field: Whole, tube: Tube, region: Pair) -> bool:
    return not tube_kept(field, tube, region, None)


def _bare(y: Array) -> Tube:
    none = np.zeros((0, y.shape[1], 1))
    return Tube((y[0], y[1]), np.zeros(1), none, none)


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


def _differences(f: Callable[[Array], Array], y: Array, free: Array, scale: Array) -> tuple[Array, Array, NDArray[np.int64]]:
    """f (2, n), and its derivative by the free entries, by differences, all at once."""
    where = np.flatnonzero(free)
    step = 1e-6 * np.tile(scale, 2)[where]
    batch = np.repeat(y.reshape(1, -1), 1 + len(where), axis=0)
    batch[1 + np.arange(len(where)), where] += step
    out = f(batch.reshape(-1, *y.shape)).reshape(1 + len(where), -1)
    return out[0].reshape(y.shape), ((out[1:] - out[0]).T / step)[where], where


def _periodic(after: Ends, y: Array, free: Array, scale: Array, close: float) -> Array | None:
    """y with after(y) = y, to that part of the scale: a few gaps, then Newton's method where it comes nearer."""
    for _ in range(3):
        y = _freed(after(y[None])[0], y, free)
    for _ in range(40):
        if not np.isfinite(y).all():
            return None
        reached, J, where = _differences(lambda b: after(b), y, free, scale)
        if not (np.isfinite(reached).all() and np.isfinite(J).all()):
            return None
        off = (reached - y) * free
        if np.abs(off / scale).max(initial=0.0) < 1e-3 * close:
            return y
        step = np.zeros(y.size)
        matrix = np.eye(len(where)) - J
        step[where] = np.linalg.lstsq(matrix, off.ravel()[where], rcond=None)[0]
        ahead = y + step.reshape(y.shape)
        better = after(ahead[None])[0]
        gain = np.abs(((better - ahead) * free) / scale).max(initial=0.0) < 0.5 * np.abs(off / scale).max(initial=0.0)
        y = ahead if gain else _freed(reached, y, free)
    return None


def _freed(new: Array, old: Array, free: Array) -> Array:
    return np.where(free > 0, new, old)


def _lifted(pushed: Ends, after: Ends, y: Array, scale: Array, gap: float, margin: float) -> Array | None:
    """From the periodic states outward, until they are kept without doses too."""
    for _ in range(60):
        moved = y
        for _ in range(2000):
            f = pushed(moved[None])[0]
            out = np.stack([np.minimum(f[0], 0.0), np.maximum(f[1], 0.0)])
            size = np.abs(out / scale).max(initial=0.0)
            if not np.isfinite(size) or size == 0.0:
                break
            moved = moved + out * min(gap / 20, 1e-2 / size)
        if not np.isfinite(moved).all() or (np.abs(moved - y) > 1e3 * scale).any():
            return None
        back = after(moved[None])[0]
        y = np.stack([np.minimum(moved[0], back[0]), np.maximum(moved[1], back[1])])
        if not np.isfinite(y).all():
            return None
        if np.abs((y - moved) / scale).max(initial=0.0) <= 0.05 * margin:  # half of what `after` adds
            return moved
    return None


def _still(ends: Ends, y: Array, free: Array, scale: Array, margin: float) -> Array | None:
    """Where the lower and the upper field, a little apart, are zero: implicit steps that grow."""
    jacobian_at = _differences
    pace, y = 0.0, y.copy()

    def pushed(batch: Array) -> Array:
        return np.asarray(ends(batch) * free)

    with np.errstate(all="ignore"):
        for k in range(200):
            f, J, where = jacobian_at(pushed, y, free, scale)
            if not (np.isfinite(f).all() and np.isfinite(J).all()):
                return None
            rate = np.abs(np.diagonal(J))
            aim = f + _OUTWARD * margin * scale * np.maximum(rate.max(initial=0.0), 1e-300) * free * 0.1
            size = np.abs(aim / scale).max(initial=0.0)
            if size <= 1e-12 * max(rate.max(initial=0.0), 1e-300):
                return y
            pace = max(size, rate.max(initial=0.0)) / 2.0 ** min(k, 60)
            step = np.zeros(y.size)
            step[where] = np.linalg.lstsq(pace * np.eye(len(where)) - J, aim.ravel()[where], rcond=None)[0]
            y = y + step.reshape(y.shape)
            if k > 60 and np.abs(step.reshape(y.shape) / scale).max() < 1e-12:
                return y
    return None


def _tube(problem: _Problem, flow: Pair, y: Array, gap: float, room: Array) -> Tube:
    """Cubics through the states with the slopes of the flow, on pieces so short that they leave something of the margin."""
    states, slopes = flow
    count, scale = len(states) - 1, room * gap
    knots = [0, count // 4, count // 2, 3 * count // 4, count]
    waiting, done = list(zip(knots[:-1], knots[1:], strict=True)), list[tuple[int, int]]()
    while waiting:
        ends = np.array(waiting)
        cubic = _cubics(states, slopes, ends, gap / count)
        s = _INNER[:, None] ** np.arange(4)
        steep = np.arange(1, 4) * _INNER[:, None] ** np.arange(3)
        at = np.einsum("kend,sd->ksen", cubic, s)
        rate = np.einsum("kend,sd->ksen", cubic[..., 1:], steep) / ((ends[:, 1] - ends[:, 0]) * gap / count)[:, None, None, None]
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
