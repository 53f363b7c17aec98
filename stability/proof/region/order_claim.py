"""What a certificate stores of curves between which trajectories stay, read, written and proved for every system."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stability.proof.arithmetic import Array
from stability.proof.budget import Meter
from stability.proof.reading import Unusable, array, get, sequence
from stability.proof.region.field import Field
from stability.proof.region.order import Pair, Tube, hull_of_doses, tube_kept
from stability.proof.region.whole import whole_of

_MOST = 1_000_000  # numbers of curves


@dataclass(frozen=True)
class Order:
    """`starts` (n,): where trajectories may start, which every tube holds before a dose · `tubes`: one for all, or for each."""

    starts: Pair
    tubes: tuple[Tube, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists for JSON."""
        curves = []
        for tube in self.tubes:
            one = {"lower": tube.rest[0].tolist(), "upper": tube.rest[1].tolist()}
            if len(tube.least):
                one |= {"knots": tube.knots.tolist(), "least": tube.least.tolist(), "largest": tube.largest.tolist()}
            curves.append(one)
        return {"lower": self.starts[0].tolist(), "upper": self.starts[1].tolist(), "curves": curves}


def read_order(stays: Mapping[str, Any], n: int) -> Order:
    """Errors: Unusable for what is not written as `Order.to_dict` writes it."""
    starts = array(get(stays, "lower"), "the lower starts"), array(get(stays, "upper"), "the upper starts")
    tubes, size = [], 0
    for one in sequence(get(stays, "curves")):
        if not isinstance(one, Mapping) or set(one) not in (
            {"lower", "upper"},
            {"lower", "upper", "knots", "least", "largest"},
        ):
            raise Unusable("curves have the entries lower, upper, and with doses knots, least and largest")
        none = np.zeros((0, n, 1))
        knots, least, largest = (
            array(one[name], name) if name in one else empty
            for name, empty in (("knots", np.zeros(1)), ("least", none), ("largest", none))
        )
        tubes.append(Tube((array(one["lower"], "lower"), array(one["upper"], "upper")), knots, least, largest))
        size += least.size + largest.size
    fits = bool(tubes) and size <= _MOST and all(tube.fits(n) for tube in tubes)
    if not (fits and all(end.shape == (n,) and np.isfinite(end).all() for end in starts)):
        raise Unusable("the curves, their knots from 0 on, and the states before a dose do not fit together")
    return Order(starts, tuple(tubes))


def order_kept(
    order: Order,
    fields: Iterable[Field],
    count: int,
    region: Pair,  # (n,)
    levels: Pair,  # (m,)
    doses: Array | None,  # (D, n)
    gap: float,
    *,
    any_gap: bool,  # at least the gap apart; else at multiples of it exactly
    meter: Meter | None = None,
) -> str:
    """Empty if it is proved of every system that trajectories stay as stored; else why not."""
    if len(order.tubes) not in (1, count):
        return f"there are curves for {len(order.tubes)} systems, and the systems are {count}"
    low, high = order.starts
    if not (low <= high).all():
        return "the states in which trajectories may start are not in order"
    hull = None if doses is None else hull_of_doses(doses)
    for index, field in enumerate(fields):
        tube = order.tubes[index if len(order.tubes) > 1 else 0]
        if not ((tube.rest[0] <= low).all() and (high <= tube.rest[1]).all()):
            return "trajectories may start where the states before a dose do not reach"
        if hull is not None and tube.knots[-1] != gap:
            return f"the curves end at {tube.knots[-1]:g}, and the gap between doses is {gap:g}"
        refusal = tube_kept(whole_of(field, levels, meter), tube, region, hull, any_gap=any_gap, meter=meter)
        if refusal:
            return f"of system {index}: {refusal}"
    return ""
