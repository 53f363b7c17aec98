"""One system's whole field over boxes of states, for every level of its inputs and every θ: values and mean Jacobians, outward.

Values are those of `invariance.bounds_and_axes`, row by row. A mean Jacobian between two states of a box with the same input and
θ is the sum of the linear part, of a mean of the layers' Jacobian over the box, and of a matrix of the tape's secant slopes. The
layers' is within `Expansion.change` of that at the centre, which is sharp in small boxes, and within the product of weights and
units' slopes, which keeps signs in large ones. An entry that no part has is zero exactly.

Underflow: of a product that is nearly zero LOST is taken, and nothing of one that is zero.
"""

from dataclasses import replace

import numpy as np

from stability.proof.activation import slope_range, value_range
from stability.proof.arithmetic import SMALLEST, UP, Array, gamma
from stability.proof.budget import Meter
from stability.proof.region.enclosure import LOST, Layers, argument_ranges, combine, expand
from stability.proof.region.field import Field
from stability.proof.region.invariance import bounds_and_axes, box_kept
from stability.proof.region.order import Pair, Whole
from stability.proof.tape import slope_bounds
from stability.proof.tape.interval import Interval, add, multiply, point
from stability.proof.units import unit_slopes

_MOST_SIDE_CELLS = 4_000  # per face


def whole_of(field: Field, levels: Pair, meter: Meter | None = None) -> Whole:
    """The field over boxes (K, n), for every input between the levels (m,)."""
    n = field.states
    bare = replace(field, layers=None)
    rows, none = np.eye(n), np.zeros((n, n))

    def cells(low: Array, high: Array) -> tuple[Array, Array, Pair]:
        """Centres and radii (n + m, K) of cells that hold the boxes, and the ends, which count."""
        a, b = (
            np.concatenate([x.T, np.repeat(u[:, None], len(x), 1)]) for x, u in zip((low, high), levels, strict=True)
        )
        centre = np.where(a == b, a, 0.5 * a + 0.5 * b)
        radius = np.maximum(b - centre, centre - a)
        return centre, np.where(a == b, 0.0, UP * radius + LOST), (a, b)

    def values(low: Array, high: Array) -> Pair:
        centre, radius, ends = cells(low, high)
        found = bounds_and_axes(field, rows, none, centre, radius, ends=ends, meter=meter)[:2]
        if field.layers is not None:  # of a large box the expansion of the layers says less than their plain ranges
            rest = bounds_and_axes(bare, rows, none, centre, radius, ends=ends, meter=meter)[:2]
            more = add(rest, _ranges(field.layers, field.last, centre, radius))
            found = np.fmax(found[0], more[0]), np.fmin(found[1], more[1])
        return found[0].T, found[1].T

    def slopes(low: Array, high: Array) -> Pair:
        total = point(0.0)
        for matrix in field.linear:
            total = add(total, (matrix, matrix))
        total = tuple(np.broadcast_to(end, (len(low), n, n)) for end in total)  # type: ignore[assignment]
        if field.layers is not None:
            centre, radius, _ = cells(low, high)
            total = add(total, _of_layers(field.layers, field.last, centre, radius, n))
        if field.tape is not None and field.theta is not None:
            total = add(total, slope_bounds(field.tape, (low, high), levels, field.theta, strict=False, meter=meter))
        return total

    def keeps(low: Array, high: Array) -> bool:
        ends = np.abs(np.concatenate([low, high]))
        usual = bool(((ends == 0) | (ends >= SMALLEST)).all())  # as the walls of a region are
        return usual and not box_kept([field], low, high, levels, most=_MOST_SIDE_CELLS, meter=meter)

    return Whole(values, slopes, None if field.layers is None else keeps)


@np.errstate(all="ignore")  # the bounds of a very large cell; what is not a number is nothing known
def _of_layers(layers: Layers, last: Array, centre: Array, radius: Array, n: int) -> Pair:
    """(K, o, n), by the first n axes."""
    f = combine(expand(layers, centre, radius), last, np.zeros_like(last), radius)
    off = UP * (f.gradient_error + f.change())
    low, high = (f.gradient - off)[:, :n], (f.gradient + off)[:, :n]
    J: Interval = (layers.weights[0][:, :n, None], layers.weights[0][:, :n, None])
    for k, (ends, W) in enumerate(
        zip(argument_ranges(layers, centre, radius), (*layers.weights[1:], last), strict=True)
    ):
        lowest, highest = unit_slopes(layers.of(k), len(layers.weights[k]))
        s = [np.clip(end, lowest[:, None], highest[:, None]) for end in slope_range(layers.of(k), *ends)]
        J = _times(W, multiply((s[0][:, None], s[1][:, None]), J))
    low, high = np.fmax(low, J[0]), np.fmin(high, J[1])
    return np.moveaxis(np.where(np.isnan(low), -np.inf, low), 2, 0), np.moveaxis(
        np.where(np.isnan(high), np.inf, high), 2, 0
    )


def _ranges(layers: Layers, last: Array, centre: Array, radius: Array) -> Interval:
    """Of what the layers give, (o, K)."""
    low, high = value_range(layers.of(len(layers.weights) - 1), *argument_ranges(layers, centre, radius)[-1])
    found = _times(last, (low[:, None], high[:, None]))
    return found[0][:, 0], found[1][:, 0]


def _times(W: Array, J: Interval) -> Interval:
    """W J (o, n, K) of intervals J (h, n, K); a sum of what has one sign has that sign."""
    low, high, size = (np.zeros((len(W), *J[0].shape[1:])) for _ in range(3))
    most = np.zeros_like(size)
    for k in range(W.shape[1]):
        one, two = W[:, k, None, None] * J[0][k], W[:, k, None, None] * J[1][k]
        faint = [
            (np.abs(part) < 1e-290) & (W[:, k, None, None] != 0) & (end[k] != 0)
            for part, end in ((one, J[0]), (two, J[1]))
        ]
        lost = LOST * (faint[0] | faint[1])
        least, largest = np.minimum(one, two), np.maximum(one, two)
        low, high = low + least - lost, high + largest + lost
        size, most = size + np.abs(least), most + np.abs(largest)
    share = gamma(W.shape[1] + 4)
    return low - share * size, high + share * most
