"""The best rate that cells prove in one metric, as far as time allows: the cell that proves least is cut next.

So at any moment the smallest rate over all cells holds on the whole box; what is reached is proved anew by the checker.
"""

import time
from typing import Any

import numpy as np

from stability.lure import Array
from stability.proof.region.cells import Frame, affine_on, halves
from stability.proof.region.field import Field

_LEVELS = 128  # of the rate, by which cells wait
_BATCH = 512


def raise_rate(
    fields: list[Field],
    frame: Frame,
    lower: Array,  # (d,)
    upper: Array,  # (d,)
    stop: float,
    *,
    floor: float = -np.inf,
    deadline: float = np.inf,
) -> tuple[float, Array | None]:
    """The rate that holds on the whole box for every system: the least over the cells, of which the least is cut next.

    Arguments: `stop`, a positive rate at which to end; `floor`, a rate below which no centre may fall, else the search ends
    with that point. Returns the rate (−inf where none in [−stop, stop] was reached), and that point, else None.
    """
    rates = np.linspace(-stop, stop, _LEVELS)
    # Cells wait by the last of these rates that is proved on them: (system, centres, radii, axes to cut).
    waiting: list[list[tuple[Any, ...]]] = [[] for _ in rates]
    centre, radius = ((lower + upper) / 2)[:, None], ((upper - lower) * (0.5 + 2.0**-40))[:, None]
    waiting[0] = [(index, centre, radius, radius.argmax(0)) for index in range(len(fields))]
    least = 0
    while time.monotonic() < deadline:
        least = next((k for k in range(least, _LEVELS - 1) if waiting[k]), _LEVELS - 1)
        if least == _LEVELS - 1:
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
        affine = affine_on(fields[index], frame, c, r)
        at_centre = np.linalg.eigvalsh(np.moveaxis(affine.centre, 2, 0))[:, 0]
        if at_centre.min() < floor:
            return -np.inf, c[:, int(at_centre.argmin())]
        low, high = np.zeros(c.shape[1], dtype=np.int64), np.full(c.shape[1], _LEVELS)
        good = affine.holds(frame, stop)
        low[good] = _LEVELS - 1
        while (high - low > 1).any() and not good.all():
            middle = (low + high) // 2
            holds = affine.holds(frame, rates[middle])
            low, high = np.where(holds, middle, low), np.where(holds | good, high, middle)
            high = np.where(good, low + 1, high)
        axis = affine.influence.argmax(0)
        for k in np.unique(low[low < _LEVELS - 1]):
            here = np.flatnonzero(low == k)
            waiting[k].append((index, c[:, here], r[:, here], axis[here]))
        least = min(least, int(low.min()))
    return (float(rates[least]) if least else -np.inf), None
