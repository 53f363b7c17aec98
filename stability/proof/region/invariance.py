"""That trajectories stay in a set, in outward-rounded arithmetic: for the checker, numpy alone.

Two ways. With contraction at rate λ in P on a convex set that contains the ball {|x − x̂|_P ≤ ρ},

    d/dt |x − x̂|_P ≤ −λ |x − x̂|_P + w,   w = sup over u and systems of |f(x̂, u)|_P,

so the ball is kept if w ≤ λρ. A bolus moves x by |d|_P ≤ δ; if boluses are at least τ apart, a trajectory that is within
ρ − δ before one is so again before the next exactly if w/λ + (ρ − w/λ)e^{−λτ} ≤ ρ − δ, that is, if

    w/λ + δ/(1 − e^{−λτ}) ≤ ρ.

Or the box is kept as it is: on every face the field points inward or along it (Nagumo 1942; on a box the condition face by
face is the condition at edges and corners too, since the tangent cone there is the intersection).

Underflow. On a face an exact zero has to stay zero, so nothing is added as a matter of course: walls, levels and the entries of
A and B are zero or at least 1e-100 (`claim.py`), so their products are zero or normal; where the end of a cell within the
face is so near to zero that a product is not, LOST is added (`field_bounds`). Elsewhere, rows of TᵀP carry an error of TINY and
more, and LOST is added throughout. Lengths are roots of sums of squares of numbers divided by the largest.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from stability.proof.arithmetic import TINY, UP, Array, gamma
from stability.proof.budget import Meter, NotDecided
from stability.proof.region.cells import Coverage, Frame, bisect, root_of_squares
from stability.proof.region.enclosure import LOST, combine, expand
from stability.proof.region.field import Field
from stability.proof.region.mean_value import along, batch_of, tape_rows
from stability.proof.region.unbounded import Chart, about, last_layer


def looseness(frame: Frame) -> float:
    """ε with (1 − ε) I ⪯ TᵀPT ⪯ (1 + ε) I."""
    n = len(frame.gram)
    return float((np.abs(frame.gram - np.eye(n)) + frame.gram_error).sum(1).max()) * UP + float(gamma(n + 4))


def extents(frame: Frame) -> Array:
    """max |x_i| over {|x|_P ≤ 1}, (n,), from above: x = Ty with |x|_P² = yᵀ(TᵀPT)y ≥ (1 − ε)|y|²."""
    room = 1.0 - looseness(frame)
    if not room > 0:
        return np.full(len(frame.gram), np.inf)
    return np.asarray(root_of_squares(frame.right, 1) * (UP / np.sqrt(room)))


def length(frame: Frame, low: Array, high: Array) -> Array:
    """A bound of |f|_P (K,) where the entries of TᵀP f lie in [low, high] (n, K): |f|_P ≤ |TᵀPf|₂/√(1 − ε)."""
    room = 1.0 - looseness(frame)
    if not room > 0:
        return np.full(low.shape[1], np.inf)
    size = np.maximum(np.abs(low), np.abs(high))
    return np.asarray(UP * root_of_squares(size, 0) / np.sqrt(room) + TINY)


def shortest(frame: Frame, low: Array, high: Array) -> Array:
    """About the least |f|_P (K,) where the entries of TᵀP f lie in [low, high]; nothing is accepted by it."""
    size = np.maximum(np.maximum(low, -high), 0.0)
    return np.asarray(root_of_squares(size, 0) / np.sqrt(1.0 + looseness(frame)) / UP)


def vector_length(frame: Frame, vector: Array) -> float:
    """A bound of |vector|_P."""
    value = frame.left @ vector
    error = (frame.left_error + gamma(len(vector) + 2) * np.abs(frame.left)) @ np.abs(vector) * UP + TINY
    return float(length(frame, (value - error)[:, None], (value + error)[:, None])[0])


@np.errstate(over="ignore", invalid="ignore")  # see `enclosure.expand`
def field_bounds(
    field: Field,
    rows: Array,  # (o, n)
    rows_error: Array,  # (o, n)
    centre: Array,  # (n + m, K)
    radius: Array,
    *,
    lower: Array,  # (n + m,): the box that the cells are meant to cover; nothing outside it counts
    upper: Array,
) -> tuple[Array, Array]:
    """Bounds (o, K) of rows · f over the cells, f being the whole field.

    The linear part is taken with the ends of each interval, and a tape with its values, so that what is zero or of one sign on
    a face stays so exactly; beside it the expansion about the centre, in which linear part, tape and residual may cancel.
    """
    low, high, _ = bounds_and_axes(field, rows, rows_error, centre, radius, ends=(lower[:, None], upper[:, None]))
    return low, high


@np.errstate(over="ignore", invalid="ignore")
def bounds_and_axes(
    field: Field,
    rows: Array,
    rows_error: Array,
    centre: Array,
    radius: Array,
    *,
    ends: tuple[Array, Array],  # (n + m, K), or (n + m, 1)
    meter: Meter | None = None,
    by_values: bool = False,  # of a tape without its slopes: cheaper, and as good at a point
) -> tuple[Array, Array, Array]:
    """The same, and how much the tape sees of each axis, (n + m, K), for the choice of the axis to cut.

    A radius may be infinite; then the ends, which may be so too, are what bounds the cell.
    """
    n, K = field.states, centre.shape[1]
    m = len(centre) - n
    size = gamma(2 * n + m + 10)
    # Rows of the identity, with a sign, pick entries out: no rounding, and zeros stay zeros.
    picked = bool(((rows != 0).sum(1) == 1).all() and np.isin(rows, (-1.0, 0.0, 1.0)).all())
    taken = np.abs(rows) * (0.0 if picked else size) + rows_error
    lost = LOST if taken.any() else 0.0  # where rows or their products are rounded anyway
    joined = [np.concatenate([matrix, np.zeros((n, m))], axis=1) for matrix in field.linear]
    joined += [np.concatenate([np.zeros((n, n)), matrix], axis=1) for matrix in field.B]
    a, b = np.maximum(centre - radius, ends[0]), np.minimum(centre + radius, ends[1])
    low, high = np.zeros((len(rows), K)), np.zeros((len(rows), K))
    slope, slope_error = np.zeros((len(rows), len(centre))), np.zeros((len(rows), len(centre)))
    for matrix in joined:
        M, bound = rows @ matrix, UP * (taken @ np.abs(matrix))
        one, two = (np.where(M[:, :, None] != 0, M[:, :, None] * end, 0.0) for end in (a, b))  # a cell may have no end
        blur = np.full((len(rows), K), lost)
        if bound.any():
            blur = blur + UP * (bound @ np.maximum(np.abs(a), np.abs(b)))
        faint = [(M != 0)[:, :, None] & (end != 0) & (np.abs(part) < 1e-290) for end, part in ((a, one), (b, two))]
        blur = blur + LOST * (faint[0] | faint[1]).sum(1)
        low = low + _summed(np.minimum(one, two), size, -1.0) - blur
        high = high + _summed(np.maximum(one, two), size, 1.0) + blur
        slope, slope_error = slope + M, slope_error + bound + size * np.abs(M)
    offset, offset_error = (rows @ field.bias)[:, None], (UP * (taken @ np.abs(field.bias)))[:, None]
    parts: list[_Part] = []
    if field.layers is None:
        c, d = offset - offset_error, offset + offset_error
    else:
        z = expand(field.layers, centre, radius)
        f = combine(z, rows @ field.last, UP * (taken @ np.abs(field.last)), radius)
        parts.append((f.value, f.value_error, f.gradient, f.gradient_error + 0.5 * f.change()))
        c, d = f.ranges(radius)
        far = np.isinf(radius).any(0)
        if far.any():  # of a cell without an end nothing but the range of the units is known, and that a row without any is 0
            W = rows @ field.last
            error = gamma(W.shape[1] + 2) * np.abs(W) + UP * (taken @ np.abs(field.last))
            beyond = along(W, error, *last_layer(field.layers))
            c, d = np.where(far, beyond[0], c), np.where(far, beyond[1], d)
        c, d = c + offset - offset_error - size * np.abs(c), d + offset + offset_error + size * np.abs(d)
    low = low + c - size * (np.abs(c) + np.abs(low))
    high = high + d + size * (np.abs(d) + np.abs(high))
    felt = np.zeros_like(centre)
    if field.tape is not None:
        of_tape = tape_rows(field, rows, taken, centre, (a, b), meter, by_values=by_values)
        felt = of_tape.felt
        parts.append((of_tape.value, of_tape.value_error, of_tape.gradient, of_tape.gradient_error))
        low = low + of_tape.low - size * (np.abs(of_tape.low) + np.abs(low))
        high = high + of_tape.high + size * (np.abs(of_tape.high) + np.abs(high))
    if not parts:
        return low, high, felt
    # The expansion of the sum: value ± Σ_k r_k |slope_k + g_k| ± what the parts leave out.
    value = slope @ centre + offset
    left = (slope_error + size * np.abs(slope)) @ np.abs(centre) + offset_error + size * np.abs(offset)
    gradient = np.broadcast_to(slope[:, :, None], (len(rows), *centre.shape))
    change = size * np.abs(gradient) + slope_error[:, :, None]
    for at, at_error, g, g_error in parts:
        value, left = value + at, left + at_error + size * np.abs(at)
        gradient, change = gradient + g, change + g_error + size * np.abs(g)
    left = left + size * np.abs(value)
    change = np.abs(gradient) + change
    change = np.where(radius > 0, change, 0.0)  # an axis that is one number, though a slope along it has no bound
    reach = UP * (left + np.einsum("ojk,jk->ok", change, radius)) + TINY
    # of two bounds, one that overflowed does not count
    return np.fmax(low, value - reach), np.fmin(high, value + reach), felt


# The value at the centres (o, K), the bound of its error, the gradient (o, n + m, K) and how far it may be off in the cells.
_Part = tuple[Array, Array, Array, Array]


def _summed(terms: Array, size: float, sign: float) -> Array:
    """The sum over axis 1, moved in the direction of the sign by its rounding, relative to the terms.

    What a term may have lost by underflow is not among it: see `field_bounds`.
    """
    return terms.sum(1) + sign * size * np.abs(terms).sum(1)


def drift_within(
    fields: Iterable[Field],
    frame: Frame,
    centre: Array,  # x̂ (n,)
    levels: tuple[Array, Array],  # (m,) each
    bound: float,
    *,
    most: int,
    meter: Meter | None = None,
) -> bool:
    """Whether |f(x̂, u)|_P ≤ bound is proved for every u within the levels and every system.

    Errors: with a meter, `NotDecided` where its budget or `most` is used up.
    """
    lower, upper = np.concatenate([centre, levels[0]]), np.concatenate([centre, levels[1]])

    def within(field: Field) -> Coverage:
        def test(c: Array, r: Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
            rows, ends = (frame.left, frame.left_error), (lower[:, None], upper[:, None])
            low, high, felt = bounds_and_axes(field, *rows, c, r, ends=ends, meter=meter)
            good, fails = length(frame, low, high) <= bound, np.zeros(c.shape[1], dtype=np.bool_)
            bad = np.flatnonzero(~good)
            if bad.size:
                centre, none = c[:, bad], np.zeros((len(c), bad.size))
                here = bounds_and_axes(field, *rows, centre, none, ends=ends, meter=meter, by_values=True)[:2]
                fails[bad] = (r[:, bad].max(0, initial=0.0) == 0) | (shortest(frame, *here) > bound)
            return good, fails, _widest(field, r, felt)

        batch = batch_of(field, len(lower), meter)
        return _told(bisect(test, lower, upper, most=most, batch=batch, meter=meter, doing="at the levels of the input"), meter)

    return all(within(field).proved for field in fields)


def box_kept(
    fields: Iterable[Field],
    lower: Array,  # (n,), infinite where the box has no end
    upper: Array,  # (n,)
    levels: tuple[Array, Array],  # (m,) each
    *,
    most: int,  # cells per face and system
    meter: Meter | None = None,
) -> str:
    """Empty if on every face of the box the field of every system is proved not to point outward; else which one may.

    Where the box has no end there is no face to leave through; that no trajectory leaves in finite time is for the caller.
    Errors: with a meter, `NotDecided` where its budget or `most` is used up.
    """
    for index, field in enumerate(fields):
        for i in range(len(lower)):
            for sign, at in ((-1.0, lower), (1.0, upper)):
                if np.isfinite(at[i]) and not _face_kept(field, i, sign, at[i], (lower, upper), levels, most, meter):
                    name = f"x[{i}]" if field.tape is None else field.tape.states[i]
                    return f"the field of system {index} is not proved to point inward on the face {name} = {at[i]:g}"
    return ""


def _face_kept(
    field: Field,
    i: int,
    sign: float,
    at: float,
    box: tuple[Array, Array],
    levels: tuple[Array, Array],
    most: int,
    meter: Meter | None,
) -> bool:
    low, high = np.concatenate([box[0], levels[0]]), np.concatenate([box[1], levels[1]])
    low[i] = high[i] = at
    row = np.zeros((1, len(box[0])))
    row[0, i] = sign  # the outward normal
    chart = None if np.isfinite(low).all() and np.isfinite(high).all() else Chart(low, high)

    def most_outward(c: Array, r: Array, ends: tuple[Array, Array], by_values: bool) -> tuple[Array, Array, Array]:
        zero = np.zeros_like(row)
        least, most, felt = bounds_and_axes(field, row, zero, c, r, ends=ends, meter=meter, by_values=by_values)
        return least[0], most[0], felt

    def test(c: Array, r: Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
        ends, size = (np.broadcast_to(low[:, None], c.shape), np.broadcast_to(high[:, None], c.shape)), r
        if chart is not None:
            ends = chart.cells(c, r)
            c, size = about(*ends)
        axis, fails = np.zeros(c.shape[1], dtype=np.int64), np.zeros(c.shape[1], dtype=np.bool_)
        good = np.zeros(c.shape[1], dtype=np.bool_)
        if field.tape is not None:  # its values alone suffice on most cells, and its slopes cost as much as it has states
            good = most_outward(c, size, ends, True)[1] <= 0
        bad = np.flatnonzero(~good)
        if bad.size:
            c, r, size, ends = c[:, bad], r[:, bad], size[:, bad], (ends[0][:, bad], ends[1][:, bad])
            _, most, felt = most_outward(c, size, ends, False)
            good[bad] = most <= 0
            point = most_outward(c, np.zeros_like(c), (c, c) if chart is not None else ends, True)[0]
            fails[bad] = ~good[bad] & ((point > 0) | (r.max(0) == 0))
            axis[bad] = _widest(field, np.where(np.isfinite(size), size, 1e100 * r), felt)
        return good, fails, axis

    batch = batch_of(field, len(low), meter)
    if chart is not None:
        low, high = chart.ends
    return _told(bisect(test, low, high, most=most, batch=batch, meter=meter, doing=f"on the face x[{i}] = {at:g}"), meter).proved


def _told(found: Coverage, meter: Meter | None) -> Coverage:
    """The same, unless it ended before it was decided and somebody asks for that."""
    if meter is not None and not found.proved and found.counterexample is None:
        raise NotDecided(f"{found.cells:,} pieces of a face, or of the input's levels, are used up; {found.left} are left")
    return found


def _widest(field: Field, radius: Array, felt: Array) -> NDArray[np.int64]:
    """The axis that moves the linear part, the first layer and the tape most."""
    scale = np.concatenate([sum(np.abs(m) for m in field.linear), sum(np.abs(m) for m in field.B)], axis=1).max(0)
    if field.layers is not None:
        scale = scale + np.abs(field.layers.weights[0]).max(0)
    return np.asarray((radius * np.maximum(scale[:, None] + felt, 1e-300)).argmax(0), dtype=np.int64)
