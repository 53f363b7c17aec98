"""The rate that cells reach, and a metric for it: found on sampled Jacobians, found again where a cell's centre does worse."""

from collections.abc import Callable

import numpy as np

from stability.lure import Array
from stability.proof.region.cells import Frame
from stability.proof.region.jacobian import Jacobian
from stability.search.raise_rate import raise_rate
from stability.search.states.jacobians import log_norm

MOST_AXES = 8  # beyond so many cells are not tried: their number grows exponentially
_ATTEMPTS = 6


def rate_by_cells(
    jacobians: Callable[[Frame], list[Jacobian]],  # over the region, which may turn with its metric
    metric: Array,  # (n, n): the first one
    attained: Array,  # (V, S, n, n): Jacobians at states of the region
    *,
    around: Callable[[Array], Array],  # of a point y = (x, u): Jacobians (V, s, n, n) there and beside it
    another: Callable[[Array, Array], Array] | None,  # of those attained and a metric: a better one; None where it is given
    rate: float | None,  # to reach, or None for the best
    deadline: float,
) -> tuple[float, Array]:
    """The rate that holds on every cell in a metric, and that metric; −inf where none was reached."""
    reached = -np.inf
    for attempt in range(_ATTEMPTS):
        frame = Frame.of(metric)
        worst = float(-log_norm(attained, metric).max())
        goal = 0.0 if rate is None else rate
        if worst <= goal:
            break
        floor = 0.98 * worst if rate is None and attempt < _ATTEMPTS - 1 else goal
        stop = 0.99 * worst if rate is None else rate
        reached, point = raise_rate(jacobians(frame), frame, stop, floor=floor, deadline=deadline)
        if point is None or another is None:
            break
        # The metric does worse at this point than on the samples: it joins them, with its neighbours, for every system.
        attained = np.concatenate([attained, around(point)], 1)
        metric = another(attained, metric)
    return reached, metric
