"""The best rate that cells prove in one metric, as far as time allows: the cell that proves least is cut next.

So at any moment the smallest rate over all cells holds on the whole box; what is reached is proved anew by the checker.
"""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stability.lure import Array
from stability.proof.region.cells import Affine, Frame, affine_on, axes_to_cut, halves
from stability.proof.region.jacobian import Jacobian

_LEVELS = 128  # of the rate, by which cells wait
_BATCH = 512


def raise_rate(
    jacobians: list[Jacobian],
    frame: Frame,
    stop: float,
    *,
    floor: float = -np.inf,
    deadline: float = np.inf,
) -> tuple[float, Array | None]:
    """The rate that holds on the whole box for every system: the least over the cells, of which the least is cut next.

    Arguments: `stop`, a positive rate at which to end; `floor`, a rate below which no centre may fall, else the search ends
    with that point. Returns the rate (−inf where none in [−stop, stop] was reached), and that point y = (x, u), else None.
    """
    rates = np.linspace(-stop, stop, _LEVELS)
    # Cells wait by the last of these rates that is proved on them: (system, centres, radii, axes to cut).
    waiting: list[list[tuple[Any, ...]]] = [[] for _ in rates]
    least = _LEVELS - 1
    for index, jacobian in enumerate(jacobians):
        lower, upper = jacobian.box
        centre, radius = ((lower + upper) / 2)[:, None], ((upper - lower) * (0.5 + 2.0**-40))[:, None]
        if not len(lower):  # nothing to cut
            least = min(least, int(_levels(affine_on(jacobian, frame, centre, radius), frame, rates)[0]))
            continue
        waiting[0].append((index, centre, radius, radius.argmax(0)))
    most, least = least, 0
    while time.monotonic() < deadline:
        least = next((k for k in range(least, most) if waiting[k]), most)
        if least == most:
            break
        # Many at a time, from the levels just above too where the least has few.
        index, taken, count, k = waiting[least][-1][0], [], 0, least
        while count < _BATCH // 2 and k < _LEVELS - 1:
            if waiting[k] and waiting[k][-1][0] == index:
                taken.append(waiting[k].pop())
                count += taken[-1][1].shape[1]
            else:
                k += 1
        c, r, axis = (np.concatenate([cells[part] for cells in taken], -1) for part in (1, 2, 3))
        c, r = halves(c, r, axis)
        jacobian = jacobians[index]
        affine = affine_on(jacobian, frame, c, r)
        at_centre = np.linalg.eigvalsh(np.moveaxis(np.where(np.isfinite(affine.centre), affine.centre, 0.0), 2, 0))[:, 0]
        if at_centre.min() < floor:
            return -np.inf, jacobian.whole(c)[:, int(at_centre.argmin())]
        low = _levels(affine, frame, rates)
        if jacobian.wide:  # θ is not cut: no cell about a centre gets beyond what is proved of the centre alone
            most = min(most, int(_levels(affine_on(jacobian, frame, c, np.zeros_like(r)), frame, rates).min()))
        rest = np.flatnonzero(low < _LEVELS - 1)
        axis = np.zeros(len(low), dtype=np.int64)
        if rest.size:
            axis[rest] = axes_to_cut(jacobian, frame, affine.take(rest), c[:, rest], r[:, rest])
        for k in np.unique(low[rest]):
            here = np.flatnonzero(low == k)
            waiting[k].append((index, c[:, here], r[:, here], axis[here]))
        least = min(least, int(low.min()))
    return (float(rates[least]) if least else -np.inf), None


def _levels(affine: Affine, frame: Frame, rates: Array) -> NDArray[np.int64]:
    """The last of the rates that is proved on each cell, by its position; 0 where none is."""
    K = affine.middle.shape[2]
    low, high = np.zeros(K, dtype=np.int64), np.full(K, len(rates))
    good = affine.holds(frame, rates[-1])
    low[good] = len(rates) - 1
    while (high - low > 1).any() and not good.all():
        middle = (low + high) // 2
        holds = affine.holds(frame, rates[middle])
        low, high = np.where(holds, middle, low), np.where(holds | good, high, middle)
        high = np.where(good, low + 1, high)
    return low
