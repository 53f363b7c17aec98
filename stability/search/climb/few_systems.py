"""The climb over many systems, by cutting planes: the metric is searched on the few that limit it."""

import time
from dataclasses import replace

import numpy as np

from stability.lure import Array, Loop
from stability.search.climb.interior_point import Ascent, climb, explicit


def climb_few(
    loop: Loop, metric: Array, frame: Array | None, target: float | None, deadline: float, condition: float = 1e4
) -> Ascent:
    """The climb over all systems, by cutting planes where there are many.

    The metric is searched on the few systems that limit it; with that metric the multipliers of all are found, each system
    on its own; those that fall short join. The bound over a few systems bounds the rate over all.
    """
    count, few = loop.A.shape[0], 8
    if count <= 2 * few:
        return climb(loop, metric, target=target, frame=frame, condition=condition, deadline=deadline)
    best: Ascent | None = None
    bound, chosen = np.inf, set(np.argsort(explicit(loop, metric)[0])[:few].tolist())
    while time.monotonic() < deadline and len(chosen) < count / 2:
        few_loop = _subset(loop, sorted(chosen))
        part = climb(few_loop, metric, target=target, frame=frame, condition=condition, deadline=deadline)
        bound = min(bound, part.bound)
        metric = part.metric
        if part.interrupted:
            deadline = time.monotonic()  # what is known of the few is still a candidate for all
        wanted = part.rate - 2e-3 * abs(part.rate) if target is None else target
        whole = climb(loop, metric, fixed=True, target=wanted, deadline=deadline)
        if best is None or whole.rate > best.rate:
            best = whole
        settled = target is not None and (whole.rate >= target or bound < target)
        settled = settled or part.interrupted or whole.interrupted
        if settled or whole.rate >= wanted or bound - best.rate <= 5e-3 * abs(bound):
            return replace(best, bound=bound)
        # The dual matrices weigh the systems that hold the common rate down.
        worse = set(np.argsort(-np.trace(whole.duals, axis1=1, axis2=2))[:few].tolist())
        if worse <= chosen:
            break
        chosen |= worse
    whole = climb(loop, metric, target=target, frame=frame, condition=condition, deadline=deadline)
    best = whole if best is None or whole.rate > best.rate else best
    return replace(best, bound=min(bound, whole.bound))


def _subset(loop: Loop, chosen: list[int]) -> Loop:
    def few(array: Array) -> Array:
        return array if len(array) == 1 else array[chosen]

    return Loop(
        loop.A[chosen], loop.E[chosen], loop.W[chosen], loop.N[chosen], few(loop.lower), few(loop.upper), loop.widths
    )
