"""Rows of a tape's rate over cells: by its values, and by the mean-value form about the centre, both outward.

For y = (x, u) in a cell and the same θ, f(x, u) − f(x_c, u) = S (x − x_c) and f(x_c, u) − f(x_c, u_c) = S' (u − u_c), with S and
S' within the tape's secant slopes over the cell and its centre. So

    r · f(y) = r · f(y_c) + Σ_k s_k (y_k − y_ck),   s_k within r · S or r · S'.

The values alone keep an exact zero and a sign on a face; the mean-value form keeps what cancels between terms, and between the
tape and what stands beside it. Each is valid, so that their intersection is.

Underflow. A row of the identity, with a sign, picks an end of an interval: nothing is multiplied and nothing lost. Of other rows
each product is given LOST.
Source: Neumaier, Interval Methods for Systems of Equations (1990), chapter 2.
"""

from dataclasses import dataclass

import numpy as np

from stability.proof.arithmetic import UP, Array, gamma
from stability.proof.budget import Meter
from stability.proof.known import halved
from stability.proof.region.cells import batch_for
from stability.proof.region.enclosure import LOST
from stability.proof.region.field import Field
from stability.proof.tape import slope_bounds, value_bounds

_BATCH_BYTES = 1e8  # that the intervals of a tape's lines may take together; where one cell takes more, one at a time


@dataclass(frozen=True)
class Rows:
    """r · f for o rows on K cells; errors are bounds, never negative, and infinite where nothing is known."""

    low: Array  # (o, K): over the cells
    high: Array
    value: Array  # (o, K): at the centres
    value_error: Array
    gradient: Array  # (o, d, K): of the secant slopes from the centre
    gradient_error: Array

    @property
    def felt(self) -> Array:
        """How much of each axis the rows may see (d, K): for the choice of the axis to cut."""
        size = (np.abs(self.gradient) + self.gradient_error).max(0)
        return np.where(np.isfinite(size), size, 1e100)


def batch_of(field: Field, axes: int, meter: Meter | None) -> int:
    """How many cells of a field to try at a time. Errors: `NotDecided` where a single one takes more than the budget allows."""
    batch = batch_for(field, axes, meter, matrices=False)
    if field.tape is None:
        return batch
    each = 32.0 * len(field.tape.code) * (axes + 2)
    if meter is not None:
        meter.room(each, f"one cell of a tape of {len(field.tape.code)} lines")
    return int(min(batch, max(1.0, _BATCH_BYTES // each)))


@np.errstate(all="ignore")  # the bounds of a very large cell; what is not a number is nothing known
def tape_rows(
    field: Field,
    rows: Array,  # (o, n)
    error: Array,  # (o, n): of the rows and of a product with them; zero where they only pick
    centre: Array,  # (d, K)
    ends: tuple[Array, Array],  # (d, K) each: what of the cells counts
    meter: Meter | None = None,
    *,
    by_values: bool = False,
) -> Rows:
    """Of the tape of one field, for every θ of its own. `by_values`: without the mean-value form, of which nothing is known."""
    tape, theta, n = field.tape, field.theta, field.states
    assert tape is not None
    assert theta is not None
    low, high = ends[0], np.maximum(*ends)
    reach = np.minimum(low, centre), np.maximum(high, centre)

    def over(a: Array, b: Array) -> tuple[tuple[Array, Array], tuple[Array, Array], tuple[Array, Array]]:
        return (a[:n].T, b[:n].T), (a[n:].T, b[n:].T), theta

    whole = value_bounds(tape, *over(low, high), strict=False, meter=meter)
    a, b = along(rows, error, whole[0].T, whole[1].T)
    if by_values:
        none, unknown = np.zeros((len(rows), *centre.shape)), np.full((len(rows), *centre.shape), np.inf)
        return Rows(a, b, none[:, 0], unknown[:, 0], none, unknown)
    here = value_bounds(tape, *over(centre, centre), strict=False, meter=meter)
    box = over(*reach)
    parts = [slope_bounds(tape, *box, strict=False, meter=meter)]
    if len(centre) > n:
        # between two inputs, at the state of the centre
        parts.append(
            slope_bounds(tape, (centre[:n].T, centre[:n].T), *box[1:], by_inputs=True, strict=False, meter=meter)
        )
    slopes = tuple(np.concatenate([part[k] for part in parts], -1) for k in (0, 1))  # (K, n, d)
    c, d = along(rows, error, here[0].T, here[1].T)
    s, t = along(rows, error, *(np.moveaxis(end, 0, -1).reshape(n, -1) for end in slopes))
    shape = (len(rows), *centre.shape)
    return Rows(a, b, *halved_where_finite(c, d), *halved_where_finite(s.reshape(shape), t.reshape(shape)))


def along(rows: Array, error: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Bounds (o, K) of rows · v, where v lies between its ends (n, K) and the rows within the error of theirs."""
    n, picked = rows.shape[1], not error.any()
    out = np.zeros((2, len(rows), low.shape[1]))
    size = np.zeros_like(out[0])
    for k in range(n):
        M, E = rows[:, k, None], error[:, k, None]
        one, two = np.where(M != 0, M * low[k], 0.0), np.where(M != 0, M * high[k], 0.0)
        out += np.minimum(one, two), np.maximum(one, two)
        if not picked:
            most = np.maximum(np.abs(low[k]), np.abs(high[k]))
            size += np.where(E != 0, E * most, 0.0) + gamma(n + 4) * np.maximum(np.abs(one), np.abs(two))
            size += LOST * ((M != 0) | (E != 0))
    out[0] -= UP * size
    out[1] += UP * size
    return np.where(np.isnan(out[0]), -np.inf, out[0]), np.where(np.isnan(out[1]), np.inf, out[1])


def halved_where_finite(low: Array, high: Array) -> tuple[Array, Array]:
    """The middle and the distance of the ends from it, from above; 0 and infinity where an end is infinite."""
    middle, half = halved(low, high)
    known = np.isfinite(low) & np.isfinite(high) & np.isfinite(middle)
    return np.where(known, middle, 0.0), np.where(known, half + LOST * (low != high), np.inf)
