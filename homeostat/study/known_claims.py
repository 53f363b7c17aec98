"""What is claimed of a bundle with a mechanism: a certificate in the widest of a few regions, else a rate on the trained one.

In this order: all states; the half-space of amounts, x ≥ 0, under everyone's inputs and largest doses (saturating mechanisms are
bounded there and nowhere else); the box of the states that its people went through. The first that is certified is kept. Where
none is, because trajectories are not proved to stay, the rate on the trained box is a claim of its own, and no certificate.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from exchange import Bundle
from homeostat.bundles.reach import Reach
from hybrid.schedules.dose import as_float
from stability import Box, Certificate, Inputs, Refusal, RegionalRate, certify, regional_rate

_SPARE = 0.05  # of the trained range, beside it


def certify_known(
    bundle: Bundle, end: float, seconds: float = 60.0
) -> tuple[Certificate | Refusal, RegionalRate | None]:
    """The certificate, or why there is none; and the rate on the trained box where there is only that.

    Arguments: `bundle`, whose model has a mechanism; `end`, until when its people are simulated where they do not say it.
    """
    system = bundle.system()
    whole = certify(system, seconds=seconds / 4)
    if whole or not bundle.people:
        return whole, None
    try:
        reach = Reach.of(bundle, end)
    except ValueError:  # nobody can be simulated: nothing is known of where they are
        return whole, None
    low, high = _plain(reach.states[0]), _plain(reach.states[1])
    levels = Inputs(_plain(reach.inputs[0]), _plain(reach.inputs[1]))
    dosed = Inputs(levels.lower, levels.upper, *_doses(bundle, end)) if reach.doses else levels
    if (low >= 0).all():
        half = certify(system, None, Box(np.zeros_like(low), np.full_like(high, np.inf)), dosed, seconds / 4)
        if _serves(half, bundle):
            return half, None
    box = _trained(low, high)
    there = certify(system, None, box, dosed, seconds / 4)
    if _serves(there, bundle):
        return there, None
    rate = regional_rate(system, box, levels, seconds=seconds / 4)
    if there:  # it is true, and says nothing of where these people are
        message = "What is certified in the trained range covers nobody whole: starts, doses or inputs lie beyond it."
        there = Refusal(reason="not proved", message=message, best_rate=there.rate)
    return there, rate if isinstance(rate, RegionalRate) else None


def _serves(found: Certificate | Refusal, bundle: Bundle) -> bool:
    """Whether it is a certificate that covers somebody."""
    if isinstance(found, Refusal):
        return False
    beyond = replace(bundle, claims=(found,)).outside()
    return not any(one.person is None for one in beyond) and len({one.person for one in beyond}) < len(bundle.people)


def _plain(values: np.ndarray) -> np.ndarray:
    """Without what rounding leaves of 0."""
    return np.where(np.abs(values) < 1e-9 * max(float(np.abs(values).max(initial=0.0)), 1e-90), 0.0, values)


def _trained(low: np.ndarray, high: np.ndarray) -> Box:
    """The states that people went through, and a little more, though nothing below 0 where nobody was."""
    spare = _SPARE * (high - low) + 1e-6 * np.maximum(np.abs(low), np.abs(high)) + 1e-9
    return Box(np.where(low >= 0, np.maximum(low - spare, 0.0), low - spare), high + spare)


def _doses(bundle: Bundle, end: float) -> tuple[np.ndarray, float]:
    """The largest bolus into each compartment that gets one; the shortest time between two of anyone, or the longest record."""
    states = list(bundle.model.backbone.states)
    largest, gaps = np.zeros(len(states)), list[float]()
    for person in bundle.people:
        times: Sequence[float] = sorted({as_float(d.time) + as_float(d.lag) for d in person.schedule.doses})
        gaps += [b - a for a, b in pairwise(times)]
        for dose in person.schedule.given:
            at = states.index(dose.state)
            largest[at] = max(largest[at], as_float(dose.amount))
    lasting = max(end if person.until is None else person.until for person in bundle.people)
    return np.diag(largest)[largest > 0], min(gaps, default=lasting if lasting > 0 else 1.0)
