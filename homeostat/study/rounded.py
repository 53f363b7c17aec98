"""The certificate that a study keeps: a little of the rate given up for a rounder metric; and a region with doses."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hybrid.schedules.dose import as_float
from stability import Box, Certificate, Inputs, Lure, Refusal, certify
from stability.region import Region
from training import Record


def certify_rounded(
    system: Lure,
    seconds: float = 60.0,
    share: float = 0.9,
    *,
    region: Region | None = None,
    inputs: Inputs | None = None,
) -> tuple[Certificate | Refusal, float | None]:
    """The certificate to keep, and the best rate that was certified at all.

    The metric of the best rate is close to singular, and its bound |δx(t)| ≤ √κ e^{−λt} |δx(0)| says little early on. A tenth
    of the rate is given up for a rounder metric: of those that reach `share` × best, one of nearly the least condition number.
    Where the best one is round, as that of one state always is, nothing is given up.
    """
    best = kept = certify(system, None, region, inputs, seconds)
    undosed = isinstance(best, Refusal) and inputs is not None and inputs.doses is not None
    if undosed and inputs is not None:
        # the metric of the best rate may be too long for the doses, and a rounder one not
        best = certify(system, None, region, replace(inputs, doses=None, gap=None), seconds)
    if isinstance(best, Refusal):
        return kept, None
    low, high = 1.0, best.condition
    for _ in range(3):  # its logarithm to within an eighth of where it can be
        if high < 1.05:
            break
        middle = float(np.sqrt(low * high))
        rounder = certify(system, share * best.rate, region, inputs, seconds, condition=middle)
        if isinstance(rounder, Certificate) and rounder.condition < high:
            # the cap of rounder metrics is lower, and is not what the best rate has to be seen beside
            kept, high = replace(rounder, inequality_cap=best.inequality_cap, metric_cap=best.metric_cap), rounder.condition
        else:
            low = middle
    return kept, None if undosed else best.rate


def dosed_region(
    records: Sequence[Record],
    states: Sequence[str],
    gap: float,
    room: float = 10.0,
) -> tuple[Box, Inputs]:
    """Amounts up to `room` times the largest bolus of anyone, in every compartment, and that bolus every `gap` or less often.

    Boluses into one compartment at one time are one. For backbones without inputs, whose states are amounts that end at 0: the
    ball in which a certificate is then proved to keep trajectories lies about 0, and so takes in negative amounts, which nobody
    has, too.
    Errors: `ValueError` for records without any bolus, and with what such a region says nothing of: infusions, steady states,
    resets and inputs.
    """
    largest = np.zeros(len(states))
    for record in records:
        schedule = record.schedule
        beyond = {
            "an infusion": any(dose.modelled or as_float(dose.duration) > 0.0 for dose in schedule.doses),
            "a steady state": bool(schedule.steady),
            "a reset": bool(schedule.resets),
            "inputs": bool(schedule.inputs),
        }
        if any(beyond.values()):
            has = " and ".join(what for what, there in beyond.items() if there)
            raise ValueError(
                f"dosed_region: person {record.id} has {has}, and a region is of boluses alone; write certify_rounded(system) "
                "for all states, or leave such people out"
            )
        together: dict[tuple[str, float], float] = {}
        for dose in schedule.doses:
            key = dose.state, as_float(dose.arrival)
            together[key] = together.get(key, 0.0) + as_float(dose.amount)
        for (state, _), amount in together.items():
            at = list(states).index(state)
            largest[at] = max(largest[at], amount)
    if not (largest > 0.0).any():
        raise ValueError("dosed_region: nobody has a bolus, by which the region is sized; write certify_rounded(system)")
    side = np.full(len(states), room * largest.max())
    return Box(-side, side), Inputs(np.zeros(0), np.zeros(0), np.diag(largest)[largest > 0], gap)
