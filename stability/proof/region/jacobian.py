"""Each system's Jacobian over a box, in the axes of y = (x, u) that it depends on, as cells see it.

∂f/∂x = linear + last · D(z) + S, z the last hidden layer in (x, u), S the slopes of a tape. Only axes that the layers or the
tape's slopes depend on are cut; along all others the box is taken whole, and there it may be without an end.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stability.proof.arithmetic import Array
from stability.proof.reading import Unusable
from stability.proof.region.enclosure import Layers
from stability.proof.system import Stack
from stability.proof.tape import Tape, seen_by_slopes

Axes = NDArray[np.int64]


@dataclass(frozen=True)
class Jacobian:
    """The Jacobian by x of one system over a box of y = (x, u)."""

    linear: tuple[Array, ...]  # (n, n) each; the linear part is their sum
    layers: Layers | None  # in the axes of y that they see, which are `felt`; None where they see none
    last: Array  # (n, h)
    felt: Axes  # positions among `axes` of what the layers see
    tape: Tape | None
    theta: tuple[Array, Array]  # (q,) each: every θ between the two
    axes: Axes  # (d,): positions in y of what is cut
    lower: Array  # (n + m,): the box
    upper: Array

    @property
    def states(self) -> int:
        """n."""
        return int(self.linear[0].shape[0])

    @property
    def wide(self) -> bool:
        """Whether θ is a box, which is not cut."""
        return bool((self.theta[0] < self.theta[1]).any())

    @property
    def box(self) -> tuple[Array, Array]:
        """The ends (d,) along the axes that are cut."""
        return self.lower[self.axes], self.upper[self.axes]

    def whole(self, cut: Array) -> Array:
        """Points (n + m, K) from their coordinates (d, K): along all other axes the middle, or an end, or zero."""
        low, high = np.isfinite(self.lower), np.isfinite(self.upper)
        ends = np.where(low, self.lower, np.where(high, self.upper, 0.0))
        middle = np.where(low & high, 0.5 * ends + 0.5 * np.where(high, self.upper, 0.0), ends)
        out = np.repeat(middle[:, None], cut.shape[1], axis=1)
        out[self.axes] = cut
        return out


def jacobians_over(
    stack: Stack,
    lower: Array,  # (n,)
    upper: Array,
    levels: tuple[Array, Array],  # (m,) each
) -> Iterator[Jacobian]:
    """One system after the other.

    Errors: Unusable for a box without an end along an axis that is cut.
    """
    n = stack.A.shape[-1]
    low, high = np.concatenate([lower, levels[0]]), np.concatenate([upper, levels[1]])
    by_tape = np.zeros(0, dtype=np.int64) if stack.tape is None else seen_by_slopes(stack.tape)
    for v in range(stack.count):
        by_layers, layers, last = _hidden(stack, v)
        axes = np.union1d(by_tape, by_layers)
        endless = axes[~(np.isfinite(low[axes]) & np.isfinite(high[axes]))]
        if endless.size:
            k = int(endless[0])
            name = f"state {k}" if stack.tape is None or k >= n else stack.tape.states[k]
            raise Unusable(f"cells need a box with ends, and there is none along {name}, on which slopes depend")
        yield Jacobian(
            linear=tuple(a[v] for a in stack.linear),
            layers=layers,
            last=last,
            felt=np.searchsorted(axes, by_layers),
            tape=stack.tape,
            theta=(np.zeros(0), np.zeros(0)) if stack.theta is None else (stack.theta[0][v], stack.theta[1][v]),
            axes=axes,
            lower=low,
            upper=high,
        )


def _hidden(stack: Stack, v: int) -> tuple[Axes, Layers | None, Array]:
    """The axes that the hidden layers of a system see, these layers in them, and what follows."""
    n, m = stack.A.shape[-1], stack.inputs
    if len(stack.weights) < 2:
        return np.zeros(0, dtype=np.int64), None, np.zeros((n, 0))
    first = stack.weights[0][v]
    of_inputs = np.zeros((len(first), m)) if stack.input_weights is None else stack.input_weights[v]
    first = np.concatenate([first, of_inputs], axis=1)
    axes = np.flatnonzero((first != 0).any(0))
    if not axes.size:
        return axes, None, np.zeros((n, 0))
    hidden = (np.ascontiguousarray(first[:, axes]), *(w[v] for w in stack.weights[1:-1]))
    return axes, Layers(hidden, tuple(b[v] for b in stack.biases[:-1]), stack.activation), stack.weights[-1][v]
