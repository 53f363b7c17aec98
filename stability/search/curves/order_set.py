"""The search for curves between which the trajectories of every system stay, with doses, or for states that are kept without.

Curves that serve all systems are tried first, then some for each. What is returned is proved.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stability.proof.arithmetic import Array
from stability.proof.region.field import Field, fields_of
from stability.proof.region.order import Pair, Tube, Whole, hull_of_doses, tube_kept
from stability.proof.region.order_claim import Order
from stability.proof.region.whole import whole_of
from stability.proof.system import Stack
from stability.search.curves.order_curves import dosed
from stability.search.curves.order_rest import resting
from stability.search.curves.two_fields import two_fields

_MARGINS = (1e-2, 1e-3, 1e-4)  # of the curves of doses: the first leave few pieces, the last little room
_APART = (0.3, 0.1, 0.03, 1e-2, 1e-3, 1e-4)  # of states that are kept without doses: the first are the widest
_MOST_SYSTEMS = 1000  # with curves of their own
_MOST_TOGETHER = 8  # whose intervals are looked at, where signs are not known


def order_set(
    stack: Stack,
    region: Pair,  # (n,), may be infinite
    levels: Pair,  # (m,)
    doses: Array | None,  # (D, n)
    gap: float,
    *,
    any_gap: bool,
    scale: Array | None,  # (n,)
    deadline: float,
) -> Order | str:
    """Curves that are proved; or why there are none."""
    fields = fields_of(stack, True)
    task = _Asked(
        region, levels, None if doses is None else hull_of_doses(doses), gap, any_gap, _sizes(region, scale), deadline
    )
    if task.doses is not None and not (task.doses[1] - task.doses[0] <= region[1] - region[0]).all():
        return "a dose alone is longer than the region"
    wholes = [whole_of(field, levels) for field in fields]
    found = task.tube(fields, wholes)
    if isinstance(found, Tube):
        return Order(found.rest, (found,))
    if not 1 < len(fields) <= _MOST_SYSTEMS:
        return found
    tubes = []
    for index, (field, whole) in enumerate(zip(fields, wholes, strict=True)):
        own = task.tube([field], [whole])
        if isinstance(own, str):
            return f"of system {index}: {own}"
        tubes.append(own)
    low, high = np.max([tube.rest[0] for tube in tubes], axis=0), np.min([tube.rest[1] for tube in tubes], axis=0)
    if not (low <= high).all():
        return "each system keeps states of its own, and none are kept by all"
    return Order((low, high), tuple(tubes))


@dataclass(frozen=True)
class _Asked:
    region: Pair
    levels: Pair
    doses: Pair | None
    gap: float
    any_gap: bool
    scale: Array
    deadline: float

    def tube(self, fields: Sequence[Field], wholes: Sequence[Whole]) -> Tube | str:
        """One for all of the fields, proved."""
        least = np.zeros(len(self.scale)) if self.doses is None else self.doses[0]
        said = "no curves come back to where they begin within the region"
        if self.doses is None:
            said = "no states were found in the region that are kept"
        for by_intervals in (False, True):
            problem = two_fields(fields, wholes, self.levels, self.region, self.scale, least, by_intervals=by_intervals)
            if by_intervals and (problem.sharp or len(fields) > _MOST_TOGETHER):
                break
            for margin in _APART if self.doses is None else _MARGINS:
                if time.monotonic() > self.deadline:
                    return f"{said}; the time ran out"
                if self.doses is None:
                    found = resting(problem, self.scale, margin)
                else:
                    found = dosed(
                        problem,
                        self.scale,
                        self.doses,
                        self.gap,
                        any_gap=self.any_gap,
                        margin=margin,
                        deadline=self.deadline,
                    )
                if found is None:
                    continue
                refusals = (
                    tube_kept(whole, found, self.region, self.doses, any_gap=self.any_gap, most=5000)
                    for whole in wholes
                )
                refusal = next((one for one in refusals if one), "")
                if not refusal:
                    return found
                said = refusal
        return said


def _sizes(region: Pair, scale: Array | None) -> Array:
    """A typical size of each state: the region's, where it has ends, but not far from the system's own."""
    own = np.ones(len(region[0])) if scale is None else scale
    width = region[1] - region[0]
    return np.where(np.isfinite(width), width, own)
