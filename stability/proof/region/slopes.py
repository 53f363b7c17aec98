"""Each unit's slope range over a box, from the arrays and the box alone; each bound holds at every point of the box.

The box is cut into pieces, on each of which the arguments of every unit are enclosed (`enclosure.py`) and the slope is bounded
between them (`activation.py`): the range is the union over the pieces.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stability.proof.activation import SLOPES, slope_range
from stability.proof.arithmetic import Array
from stability.proof.budget import Meter, NotDecided
from stability.proof.reading import Unusable
from stability.proof.region.cells import batch_for, bisect
from stability.proof.region.enclosure import Layers, argument_ranges
from stability.proof.region.field import Field, each_field
from stability.proof.system import Stack

_PIECES = 8192  # cells in all over which slopes are bounded, for up to four axes


def slopes_in(
    stack: Stack, lower: Array, upper: Array, levels: tuple[Array, Array], meter: Meter | None = None
) -> tuple[Array, Array]:
    """Each unit's slope range over the box, lower and upper ends (V, H): the union over the pieces that the box is cut into."""
    with_inputs = stack.input_weights is not None
    low = np.concatenate([lower, levels[0]]) if with_inputs else lower
    high = np.concatenate([upper, levels[1]]) if with_inputs else upper
    alpha, beta = (np.repeat(end[None], stack.count, axis=0) for end in stack.slopes)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return alpha, beta  # a box without an end: what holds everywhere
    for v, field in enumerate(each_field(stack, with_inputs)):
        if field.layers is not None:
            ends = slopes_over(field.layers, low, high, stack.count, meter)
            alpha[v], beta[v] = np.maximum(alpha[v], ends[0]), np.minimum(beta[v], ends[1])
    return alpha, beta


def slopes_over(
    layers: Layers, low: Array, high: Array, systems: int = 1, meter: Meter | None = None
) -> tuple[Array, Array]:
    """Bounds (H,) of the slopes of one system's units over a box (d,) of (x, u); the work is shared among so many systems."""
    columns = math.comb(len(low) + 2, 3)
    pieces = max(16, _PIECES * 20 // (systems * max(20, columns)))  # as the columns grow, fewer of them
    H = sum(len(w) for w in layers.weights)
    alpha, beta = np.full(H, np.inf), np.full(H, -np.inf)
    scale = np.linalg.norm(layers.weights[0], axis=0)[:, None]
    half = (high - low) / 2
    volume = half.prod(where=half > 0) / pieces * 1.5

    def test(c: Array, r: Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
        # A piece that is small enough counts; another is cut along the axis that moves the first layer most.
        small = r.prod(0, where=r > 0) <= volume
        if small.any():
            ranges = argument_ranges(layers, c[:, small], r[:, small])
            bounds = [slope_range(layers.of(k), a, b) for k, (a, b) in enumerate(ranges)]
            alpha[:] = np.minimum(alpha, np.concatenate([a.min(1) for a, _ in bounds]))
            beta[:] = np.maximum(beta, np.concatenate([b.max(1) for _, b in bounds]))
        return small, np.zeros(len(small), dtype=np.bool_), (r * scale).argmax(0)

    batch = batch_for(Field((np.zeros((0, 0)),), (), layers, np.zeros((0, 0)), np.zeros(0)), len(low), meter)
    if not bisect(test, low, high, most=64 * pieces, batch=batch, meter=meter, doing="bounding slopes").proved:
        why = "the box cannot be cut into pieces small enough for its slopes to be bounded"
        raise Unusable(why) if meter is None else NotDecided(why)
    return alpha, beta


def slopes_in_box(
    weights: Sequence[Array],
    biases: Sequence[Array],
    activation: str,
    lower: Array,
    upper: Array,
    meter: Meter | None = None,
) -> tuple[Array, Array]:
    """Each hidden unit's slope range over the box, lower and upper ends (H,), within the activation's own.

    In pieces, but where the box in one piece already leaves every slope to a hundred thousandth of the steepest.
    """
    whole = tuple(np.full(sum(w.shape[0] for w in weights[:-1]), end) for end in SLOPES[activation])
    if len(weights) == 1:
        return whole[0], whole[1]
    layers = Layers(tuple(weights[:-1]), tuple(biases[:-1]), activation)
    batch_for(Field((np.zeros((0, 0)),), (), layers, np.zeros((0, 0)), np.zeros(0)), len(lower), meter)  # is there room?
    centre = (lower + upper) / 2
    half = np.maximum(upper - centre, centre - lower) * (1.0 + 2.0**-40)
    ranges = [slope_range(activation, *ends) for ends in argument_ranges(layers, centre[:, None], half[:, None])]
    found = np.concatenate([low for low, _ in ranges])[:, 0], np.concatenate([high for _, high in ranges])[:, 0]
    if not (found[1] - found[0]).max() <= 1e-5 * whole[1].max():
        found = slopes_over(layers, lower, upper, meter=meter)
    return np.maximum(whole[0], found[0]), np.minimum(whole[1], found[1])
