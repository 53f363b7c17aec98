"""States that are kept without doses, x̲ ≤ x ≤ x̄: where the lower and the upper field rest, and as far beyond as they stay so.

Nothing here is trusted: `proof/region/order.py` proves what is found, or does not.
"""

import numpy as np

from stability.proof.arithmetic import Array
from stability.proof.region.order import Tube
from stability.search.curves.order_curves import differences
from stability.search.curves.two_fields import TwoFields

_SHARES = (1.0, 0.9, 0.75, 0.5, 0.25, 0.1)  # of the way to a wall of the region


def resting(problem: TwoFields, scale: Array, margin: float) -> Tube | None:
    """x̲ and x̄ in the region, as far apart as was found; None where none was."""
    y = _still(problem, scale, margin)
    if y is None or not _inward(problem, y):
        return None
    walls = np.stack(problem.region)
    moves = [(end, i) for i in range(len(scale)) for end in (0, 1) if np.isfinite(walls[end, i])]
    every = np.isfinite(walls)
    for share in _SHARES:
        wider = np.where(every, y + share * (np.where(every, walls, 0.0) - y), y)
        if _inward(problem, wider):
            y = wider
            break
    for end, i in 2 * moves:
        for share in _SHARES:
            wider = y.copy()
            wider[end, i] = walls[end, i] if share == 1.0 else y[end, i] + share * (walls[end, i] - y[end, i])
            if _inward(problem, wider):
                y = wider
                break
    none = np.zeros((0, len(scale), 1))
    return Tube((y[0], y[1]), np.zeros(1), none, none)


def _inward(problem: TwoFields, y: Array) -> bool:
    """With room for rounding, where it is not zero exactly."""
    f = problem.ends(y[None])[0]
    room = 1e-9 * problem.speeds * np.abs(y) * problem.free
    return bool(
        (f[0] >= room[0]).all() and (f[1] <= -room[1]).all() and not problem.outside(y) and (y[0] <= y[1]).all()
    )


def _still(problem: TwoFields, scale: Array, margin: float) -> Array | None:
    """Where the two fields, a little apart, are zero: implicit steps that grow."""
    y, free = problem.begin(), problem.free
    push = margin * problem.speeds * scale * free * np.array([[-1.0], [1.0]])

    def pushed(batch: Array) -> Array:
        return np.asarray(problem.ends(batch) * free + push)

    with np.errstate(all="ignore"):
        for k in range(100):
            f, J, where = differences(pushed, y, free, scale)
            if not (np.isfinite(f).all() and np.isfinite(J).all()):
                return None
            size = np.abs(f / scale).max(initial=0.0)
            if (np.abs(f) <= 1e-3 * np.abs(push) + 1e-12 * problem.speeds * scale).all():
                return y
            pace = max(size, problem.stiff) / 2.0 ** min(k, 60)
            step = np.zeros(y.size)
            step[where] = np.linalg.lstsq(pace * np.eye(len(where)) - J, f.ravel()[where], rcond=None)[0]
            y = y + step.reshape(y.shape)
    return None
