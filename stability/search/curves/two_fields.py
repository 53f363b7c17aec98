"""The lower and the upper field of several systems, as one of twice as many states: in float64, for the search alone.

F_i is least, or largest, over all levels of the inputs, all systems and θ, and over what lies between y⁻ and y⁺ with z_i at its
end. Where the sign of a slope is known this is at one end of that state or input; else both ends are tried, and the corners of θ.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from stability.proof.arithmetic import Array
from stability.proof.region.field import Field
from stability.proof.region.order import Pair, Whole, choices
from stability.proof.tape import plain, slope_bounds
from stability.search.states.activation import value as activated

Ends = Callable[[Array], Array]  # y⁻ and y⁺ (K, 2, n) to the lower and the upper field there
_MOST_CORNERS = 256  # of states without a sign, and of θ


@dataclass(frozen=True)
class TwoFields:
    """`ends` · `free` (2, n): 0 where a lower curve may stay at 0, else 1 · `speeds` (n,): about each state's largest rate ·
    `sharp`: whether every sign is known, so that the proof sees just these fields."""

    ends: Ends
    free: Array
    region: Pair
    speeds: Array
    sharp: bool

    @property
    def stiff(self) -> float:
        """The largest of the rates."""
        return float(self.speeds.max())

    def begin(self) -> Array:
        """(2, n): one state of the region, near to zero."""
        low = np.where(np.isfinite(self.region[0]), self.region[0], np.minimum(self.region[1], 0.0))
        high = np.where(np.isfinite(self.region[1]), self.region[1], np.maximum(low, 0.0))
        resting = self.free[0] == 0.0
        near = np.where(resting | (low < 0.0), np.clip(0.0, low, high), 0.5 * (low + high))
        return np.stack([near, near])

    def steps(self, gap: float) -> int:
        """Of Runge–Kutta's method in a gap, so that it is stable."""
        return int(np.clip(np.ceil(gap * self.stiff), 32, 1000))

    def outside(self, y: Array) -> bool:
        """Whether the upper states are above the region, or the lower ones below, or no numbers."""
        return not ((self.region[0] <= y[0]).all() and (y[1] <= self.region[1]).all())


def two_fields(
    fields: Sequence[Field],
    wholes: Sequence[Whole],
    levels: Pair,  # (m,)
    region: Pair,  # (n,)
    scale: Array,  # (n,)
    least: Array,  # (n,): the least dose
    *,
    by_intervals: bool = False,  # over what has no sign, as the proof sees it: slower
) -> TwoFields:
    """For curves that serve all of the fields."""
    n = len(scale)
    far = 1e6 * scale
    box = (
        np.clip(region[0], np.minimum(-far, region[1] - far), far),
        np.clip(region[1], -far, np.maximum(far, region[0] + far)),
    )
    by_state = _hull([whole.slopes(box[0][None], box[1][None]) for whole in wholes])
    speeds = np.abs(np.stack([np.diagonal(end[0]) for end in by_state])).max(0)
    ends = sure = _of_intervals(wholes, (by_state[0][0], by_state[1][0]))
    signed = ((by_state[0] >= 0) | (by_state[1] <= 0))[0][~np.eye(n, dtype=np.bool_)].all()
    if not by_intervals:
        by_input = _hull([_by_input(field, box, levels) for field in fields])
        ends = _of_corners(fields, levels, (by_state[0][0], by_state[1][0]), by_input)
    still = (region[0] <= 0) & (region[1] >= 0) & (least >= 0)
    while still.any():  # what may stay at 0 whatever the others do within the region
        f = sure(np.stack([np.where(still, 0.0, box[0]), box[1]])[None])[0, 0]
        if (f[still] >= 0).all():
            break
        still = still & (f >= 0)
    free = np.ones((2, n))
    free[0, still] = 0.0
    sharp = bool(signed) and all(
        f.layers is None and (f.theta is None or (f.theta[0] == f.theta[1]).all()) for f in fields
    )
    return TwoFields(ends, free, region, np.where(np.isfinite(speeds), np.minimum(speeds, 1e6), 1e6), sharp)


def _hull(pairs: Sequence[Pair]) -> Pair:
    return np.min([p[0] for p in pairs], axis=0), np.max([p[1] for p in pairs], axis=0)


def _by_input(field: Field, box: Pair, levels: Pair) -> Pair:
    """Bounds (n, m) of the slopes by the inputs; without an end where the layers see them."""
    m = len(levels[0])
    low = high = np.sum(field.B, axis=0)
    if field.tape is not None and field.theta is not None and m:
        more = slope_bounds(field.tape, box, levels, field.theta, by_inputs=True, strict=False)
        low, high = low + more[0], high + more[1]
    if field.layers is not None:
        seen = np.abs(field.layers.weights[0][:, field.states :]).max(0) > 0
        low, high = np.where(seen, -np.inf, low), np.where(seen, np.inf, high)
    return low, high


def _of_intervals(wholes: Sequence[Whole], slopes: Pair) -> Ends:
    worst = choices(slopes)

    def ends(y: Array) -> Array:
        out, K = np.full_like(y, np.nan), len(y)
        known = np.isfinite(y).all((1, 2)) & (y[:, 0] <= y[:, 1] + 1e-9 * np.abs(y).max((1, 2))[:, None]).all(1)
        y = np.where(known[:, None, None], y, 0.0)
        picked = [choice.pick((y[:, 0], y[:, 0]), (y[:, 1], y[:, 1])) for choice in worst]
        boxes = [np.concatenate([f(*box) for box in picked]) for f in (np.minimum, np.maximum)]
        f = _hull([whole.values(*boxes) for whole in wholes])
        for k, choice in enumerate(worst):
            for end in (0, 1):
                out[:, end, choice.rows[end]] = f[end][k * K : (k + 1) * K, choice.rows[end]]
        return np.where(known[:, None, None], out, np.nan)

    return ends


def _of_corners(fields: Sequence[Field], levels: Pair, by_state: Pair, by_input: Pair) -> Ends:
    n, m = by_input[0].shape
    # the inputs as further states, whose own rows ask for nothing
    whole = [np.zeros((n + m, n + m)) for _ in (0, 1)]
    for end, x, u in zip(whole, by_state, by_input, strict=True):
        end[:n, :n], end[:n, n:] = x, u
    groups = [c for c in choices((whole[0], whole[1])) if any(i < n for rows in c.rows for i in rows)]
    corners = []
    for choice in groups:
        between = np.flatnonzero(choice.columns == 2)
        bits = list(product((0, 1), repeat=min(len(between), int(np.log2(_MOST_CORNERS)))))
        ends = np.repeat(choice.columns[None], len(bits), axis=0)
        for row, chosen in zip(ends, bits, strict=True):
            row[between] = 0
            row[between[: len(chosen)]] = chosen
        corners.append(ends)
    which = np.concatenate(corners)
    starts = np.cumsum([0, *(len(c) for c in corners)])
    u = np.where(which[:, n:] == 1, levels[1], levels[0])[:, None]  # (C, 1, m)
    value = _values(fields)

    def ends_of(y: Array) -> Array:
        out = np.empty_like(y)
        with np.errstate(all="ignore"):
            x = np.where(which[:, None, :n] == 1, y[:, 1], y[:, 0])  # (C, K, n)
            low, high = value(x, np.broadcast_to(u, (*x.shape[:2], m)))
        for k, choice in enumerate(groups):
            part = slice(starts[k], starts[k + 1])
            for end, f in ((0, low[part].min(0)), (1, high[part].max(0))):
                rows = [i for i in choice.rows[end] if i < n]
                out[:, end, rows] = f[:, rows]
        return out

    return ends_of


def _values(fields: Sequence[Field]) -> Callable[[Array, Array], Pair]:
    """x (C, K, n) and u to the least and the largest value (C, K, n) of the fields, at the corners of θ."""
    linear, B, bias = (np.stack([np.sum(part, axis=0) for part in parts]) for parts in _parts(fields))
    tape = fields[0].tape
    theta = np.zeros((1, 0)) if tape is None else np.concatenate([_theta(field) for field in fields])
    each = len(theta) // len(fields) or 1

    def value(x: Array, u: Array) -> Pair:
        f = np.einsum("vij,ckj->ckvi", linear, x) + np.einsum("vij,ckj->ckvi", B, u) + bias
        for v, field in enumerate(fields):
            if field.layers is not None:
                z, layers = np.concatenate([x, u], -1)[..., : field.layers.weights[0].shape[1]], field.layers
                for k, (W, b) in enumerate(zip(layers.weights, layers.biases, strict=True)):
                    z = activated(layers.of(k), z @ W.T + b)
                f[:, :, v] += z @ field.last.T
        if tape is None:
            return f.min(2), f.max(2)
        g = np.repeat(f, each, axis=2) + plain(tape, x[:, :, None], u[:, :, None], theta)
        return g.min(2), g.max(2)

    return value


def _parts(fields: Sequence[Field]) -> list[list[tuple[Array, ...]]]:
    return [[f.linear for f in fields], [f.B for f in fields], [(f.bias,) for f in fields]]


def _theta(field: Field) -> Array:
    """(C, q): what θ is, or where it is a box its corners, or as many of them as are tried."""
    assert field.theta is not None
    low, high = field.theta
    wide = np.flatnonzero(low < high)[: int(np.log2(_MOST_CORNERS))]
    found = np.repeat(0.5 * (low + high)[None] if len(wide) else low[None], 1 << len(wide), axis=0)
    for row, bits in zip(found, product((0, 1), repeat=len(wide)), strict=True):
        row[wide] = np.where(np.array(bits, dtype=bool), high[wide], low[wide])
    return found
