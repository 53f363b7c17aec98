"""The Jacobian of a tape over a region, as the inequality takes it: a centre, what is not known of it, and slope units.

For two trajectories with the same input and θ, f(x₂) − f(x₁) = S (x₂ − x₁) with a matrix S whose entries lie within bounds that
the tape gives for the whole (convex) region, its levels and its θ (`tape.slope_bounds`). With c the centre of an entry's bounds
and r their half, S_ij = c + s, |s| ≤ r: an entry that differs by more than its rounding is a *unit* z = s x_j with slopes [−r,
r], whose column of E is e_i and whose row of W is e_jᵀ; of any other entry r goes into the error bound of the inequality.
Taking c out changes nothing of what can be proved: the matrix is congruent to that with slopes [c − r, c + r].

*Vertices* instead: for one P and λ, M is affine in the entries and multipliers together, so that it is positive on the whole
box of entries if it is at each of its corners, each with multipliers of its own. What is proved is the same, and sharper.

Rounding: the centre is some number; r is raised so that [c − r, c + r] holds both ends. Where both ends are equal, c is that
number and r zero. Differences that are flushed to zero are below 2⁻¹⁰²², and times P below 1e50: TINY of the inequality
covers them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stability.proof.arithmetic import LARGEST, UP, Array
from stability.proof.budget import Meter
from stability.proof.system import Stack
from stability.proof.tape import Unbounded, slope_bounds

# An entry whose ends differ by no more than this share of itself, for every system, is a constant that was rounded.
CONSTANT = 2.0**-28
MOST_CORNERS = 12  # units, where corners are tried


@dataclass(frozen=True)
class Known:
    """What the inequality needs for some systems, or corners, at a time: S = centre ± radius, and units in [−reach, reach]."""

    centre: Array  # (k, n, n)
    radius: Array  # (k, n, n)
    rows: NDArray[np.int64]  # (K,): i
    columns: NDArray[np.int64]  # (K,): j
    reach: Array  # (k, K)


@dataclass(frozen=True)
class Entries:
    """Bounds of each system's S over a region, and which entries are units, in the order of rows and then columns."""

    lower: Array  # (V, n, n)
    upper: Array
    rows: NDArray[np.int64]  # (K,)
    columns: NDArray[np.int64]

    @property
    def units(self) -> int:
        """K."""
        return len(self.rows)

    def some(self, part: slice) -> Known:
        """Systems with slope units."""
        centre, half = halved(self.lower[part], self.upper[part])
        radius = half.copy()
        radius[:, self.rows, self.columns] = 0.0
        return Known(centre, radius, self.rows, self.columns, half[:, self.rows, self.columns])

    def corners(self, which: NDArray[np.int64]) -> tuple[NDArray[np.int64], Known]:
        """Corners by their number, 2^K v + bits: of which systems they are, and their matrices. Bit k: unit k's end."""
        system, bits = which >> self.units, which & ((1 << self.units) - 1)
        centre, radius = halved(self.lower[system], self.upper[system])
        for k, (i, j) in enumerate(zip(self.rows, self.columns, strict=True)):
            at = (bits >> k) & 1 == 1
            centre[:, i, j] = np.where(at, self.upper[system, i, j], self.lower[system, i, j])
            radius[:, i, j] = 0.0
        none = np.zeros(0, dtype=np.int64)
        return system, Known(centre, radius, none, none, np.zeros((len(which), 0)))


def entries_in(
    stack: Stack,
    lower: Array,  # (n,), may be infinite
    upper: Array,
    levels: tuple[Array, Array],  # (m,) each
    meter: Meter | None = None,
) -> Entries | None:
    """The entries over a box of states, levels of the input and every θ of each system; None where there is no tape.

    Errors: Unusable where the tape has no values, or slopes without a bound, somewhere in there, in a sentence.
    """
    tape, theta = stack.tape, stack.theta
    if tape is None or theta is None:
        return None
    if meter is not None:
        meter.room(32.0 * len(tape.code) * stack.count * (len(lower) + 2), f"a tape of {len(tape.code)} lines")
    low, high = slope_bounds(tape, (lower, upper), levels, (theta[0][:], theta[1][:]), meter=meter)
    low, high = (np.broadcast_to(end, (stack.count, len(lower), len(lower))) for end in (low, high))
    bad = ~((np.abs(low) <= LARGEST) & (np.abs(high) <= LARGEST)).all(0)
    if bad.any():
        i, j = (int(k) for k in np.argwhere(bad)[0])
        raise Unbounded(
            f"the slope of the rate of {tape.states[i]} by {tape.states[j]} has no bound over the region (it may be anything "
            f"from {low[:, i, j].min():g} to {high[:, i, j].max():g}): shrink the region, or say which levels the inputs have"
        )
    differs = (high - low > CONSTANT * np.maximum(np.abs(low), np.abs(high))).any(0)
    rows, columns = np.nonzero(differs)
    return Entries(low, high, rows, columns)


def halved(low: Array, high: Array) -> tuple[Array, Array]:
    """The centre of intervals, and the distance of the ends from it, from above."""
    centre = 0.5 * low + 0.5 * high
    centre = np.where(low == high, low, centre)
    return centre, UP * np.maximum(high - centre, centre - low)


def bounded(entries: Entries | None) -> float:
    """The largest magnitude that enters the inequality."""
    return 0.0 if entries is None else float(max(np.abs(entries.lower).max(), np.abs(entries.upper).max()))
