"""The search for a certificate of a system with a tape: a rate on the region, then a set that trajectories do not leave.

The rate comes from `regional_rate`, which is proved. In its metric a set is sought: the box itself, or a ball. A ball depends on
the metric: where none is kept in the best metric, rounder ones are tried, which contract more slowly and may keep a larger ball.
In a metric that is given, and in an ellipsoid, which turns with its metric, corners or units are tried, then cells.
About all states the inequality itself is climbed, with the tape's entries as units.
"""

import time
from dataclasses import dataclass, replace

import numpy as np

from stability.claims.certificate import Certificate
from stability.claims.regional_rate import RegionalRate
from stability.decay import decay_in_words, rounded
from stability.lure import Array, Lure
from stability.proof.checker import prove
from stability.proof.known import Entries, entries_in
from stability.proof.reading import Unusable
from stability.proof.region.cells import Frame
from stability.proof.region.claim import Stay
from stability.proof.region.slopes import slopes_in
from stability.proof.system import Stack, read_system
from stability.refusal import Refusal
from stability.region import Box, Inputs, Region
from stability.search.aim import beyond, share
from stability.search.by_cells import MOST_AXES
from stability.search.climb.few_systems import climb_few
from stability.search.climb.interior_point import Ascent, climb
from stability.search.kept_set import kept_set
from stability.search.known import (
    FAR,
    corner_loop,
    few_corners,
    inside,
    sample_known,
    scale_of,
    scaled_frame,
    unit_loop,
    unit_multipliers,
)
from stability.search.raise_rate import raise_rate
from stability.search.regional_rate import regional_rate
from stability.search.regional_task import RegionalTask, check_fit
from stability.search.states.disproof import disproof
from stability.search.states.jacobians import abscissa, log_norm

_ROUNDER = (30.0, 3.0)  # condition numbers, in units of the scale, that are tried where the best metric keeps no ball
_GIVE = "Give the region in which the states are, which may be without an end, and the levels of the inputs."
_ASK = "Ask regional_rate(system, region, inputs) for that alone."


@dataclass(frozen=True)
class _Found:
    """A rate on the region with what proves it."""

    rate: float
    metric: Array  # (n, n)
    multipliers: Array
    proof: str
    cap: float | None  # the smallest −abscissa that was sampled
    sampled: int | None


def certify_taped(
    system: Lure,
    region: Region | None,
    inputs: Inputs | None,
    rate: float | None,  # 1/time
    given: Array | None,  # the only metric (n, n) to try
    *,
    condition: float,  # of the metric, in units of the system's scale
    seconds: float,
) -> Certificate | Refusal:
    """A certificate of a system with a tape, in a region or in all states, or why there is none; see `certify`."""
    deadline, stack = time.monotonic() + seconds, read_system(system, tapes=True, mixed=True, policies=True)
    if region is None:
        return _everywhere(system, stack, rate, given, condition, deadline)
    check_fit(system, region, inputs)
    task = RegionalTask(system, stack, region, inputs, rate, condition, deadline)
    found = _best(task, given, condition, 0.5)
    if isinstance(found, Refusal):
        return found
    first, best = None, found
    for roundness in (None, *_ROUNDER):
        if roundness is not None:
            if given is not None or roundness >= condition or time.monotonic() > deadline:
                continue
            again = _best(task, None, roundness, 0.3)
            if isinstance(again, Refusal):
                break
            found = again
        stay = kept_set(task, Frame.of(found.metric), found.rate)
        if not isinstance(stay, Refusal):
            return _certified(task, found, stay)
        first = stay if first is None else first
    assert first is not None
    message = (
        f"It is proved that in the region the distance in P {decay_in_words(best.rate, '')} while both trajectories are there; "
        f"that they stay there is not. {first.message} {_ASK}"
    )
    return Refusal(reason="not proved", message=message, best_rate=best.rate, metric_cap=best.cap)


def _best(task: RegionalTask, given: Array | None, condition: float, part: float) -> _Found | Refusal:
    """The best rate on the region that is proved, in a metric as round as that, or in the given one."""
    system, stack, levels = task.system, task.stack, task.levels
    bare = None if task.inputs is None else Inputs(*levels)
    box = Box(*task.box()) if given is None else Box(*task.box(Frame.of(given)))
    found: RegionalRate | Refusal
    if given is None:
        seconds = max(share(task.deadline, part) - time.monotonic(), 1e-3)
        found = regional_rate(system, box, bare, task.rate, seconds, condition=condition)
        if isinstance(found, Refusal):
            return found if isinstance(task.region, Box) else _of_the_box_around(found)
        least = 1.0 if isinstance(task.region, Box) else float(np.linalg.eigvalsh(found.metric)[0]) * (1.0 - 1e-9)
        P, cap, sampled = found.metric / least, found.spectral_cap, found.sampled
        if isinstance(task.region, Box):
            return _Found(found.rate, P, found.multipliers, str(found.region["proof"]), cap, sampled)
    else:
        P, cap, sampled = given, None, None
    # An ellipsoid turns with its metric: the slopes over the box around it, in that metric.
    lower, upper = task.box(Frame.of(P))
    try:
        entries = entries_in(stack, lower, upper, levels)
    except Unusable as error:
        return Refusal(reason="not proved", message=f"{error}.")
    assert entries is not None
    slopes = slopes_in(stack, lower, upper, levels)
    until = share(task.deadline, part)
    proof, ascent = _in_the_metric(system, entries, slopes, P, task.rate, share(until, 0.5))
    wanted, by_cells = 0.0 if task.rate is None else task.rate, _by_cells(task, P, ascent.rate, until)
    if by_cells > ascent.rate:
        proof, ascent = "cells", replace(ascent, rate=by_cells, multipliers=np.zeros((stack.count, 0)))
    if not ascent.rate > wanted and ascent.rate != task.rate:
        message = f"The best rate that this metric reached in the region is {ascent.rate:.6g}; needed is one above {wanted:g}."
        return Refusal(reason="not proved", message=message, best_rate=ascent.rate)
    reached = ascent.rate * (1.0 - 1e-4) if task.rate is None else task.rate
    return _Found(reached, P, ascent.multipliers, proof, cap, sampled)


def _of_the_box_around(found: Refusal) -> Refusal:
    message = f"Of the box around every ellipsoid of this radius, not of the ellipsoid alone: {found.message}"
    return replace(found, reason="not proved", message=message)


def _in_the_metric(
    system: Lure, entries: Entries, slopes: tuple[Array, Array], P: Array, rate: float | None, deadline: float
) -> tuple[str, Ascent]:
    """The rate of one metric: by corners where they are few, else by units, with multipliers as a claim has them."""
    few = few_corners(entries)
    loop = (corner_loop if few else unit_loop)(system, entries, slopes)
    if few and not system.widths:
        reached = -float(log_norm(loop.A, P).max())
        return "vertices", Ascent(reached, P, np.zeros((len(loop.A), 0)), np.inf, np.zeros_like(loop.A), 0)
    ascent = climb(loop, P, fixed=True, target=beyond(rate), deadline=deadline)
    multipliers = ascent.multipliers if few else unit_multipliers(ascent.multipliers, entries)
    return "vertices" if few else "slopes", replace(ascent, metric=P, multipliers=multipliers)


def _by_cells(task: RegionalTask, P: Array, reached: float, deadline: float) -> float:
    """The rate that cells reach in one metric, over the box or the one around the ellipsoid; −inf where they are not tried."""
    frame = Frame.of(P)
    if task.rate is not None and reached >= task.rate:
        return -np.inf
    try:
        over = task.jacobians(frame)
    except Unusable:
        return -np.inf
    if max(len(one.axes) for one in over) > MOST_AXES:
        return -np.inf
    samples = sample_known(task.system, task.stack, *inside(*task.box(frame), scale_of(task.system)), task.levels)
    most = -float(log_norm(samples.attained, P).max())  # no proof in this metric gets beyond
    if most <= (task.rate or 0.0) or most < 1.02 * reached:
        return -np.inf
    stop, floor = (0.99 * most, max(reached, 0.0)) if task.rate is None else (task.rate, task.rate)
    return raise_rate(over, frame, stop, floor=floor, deadline=deadline)[0]


def _certified(task: RegionalTask, found: _Found, stay: Stay) -> Certificate | Refusal:
    system, P = task.system, found.metric
    unit = float(np.linalg.eigvalsh(P)[0]) if stay.kind != "ball" else 1.0  # a ball's radius is in this metric as it is
    unit = unit if unit > 1e-12 * float(np.linalg.eigvalsh(P)[-1]) else 1.0
    inputs = None if task.inputs is None else task.inputs.to_dict()
    certificate = Certificate(
        rate=found.rate,
        metric=P / unit,
        multipliers=found.multipliers / unit,
        slope_range=system.slope_range,
        condition=float(np.linalg.cond(P / unit)),
        leading=system.leading,
        digest=system.digest(),
        region={**task.region.to_dict(), "inputs": inputs, "proof": found.proof, "stays": stay.to_dict()},
        wide=task.stack.wide,
        feedback=task.stack.feedback,
        spectral_cap=found.cap,
        metric_cap=None,
        sampled=found.sampled,
        identity_refused=None,
    )
    said = prove(certificate, system)
    if said:
        return certificate
    message = f"A rate and a set were found, and the checker does not prove them together: {said.reason}."
    return Refusal(reason="not proved", message=message, best_rate=found.rate, metric_cap=found.cap)


def _everywhere(
    system: Lure, stack: Stack, rate: float | None, given: Array | None, condition: float, deadline: float
) -> Certificate | Refusal:
    """All states and any input."""
    n, m = system.states, stack.inputs
    ends, levels = (np.full(n, -np.inf), np.full(n, np.inf)), (np.full(m, -np.inf), np.full(m, np.inf))
    try:
        entries = entries_in(stack, *ends, levels)
    except Unusable as error:
        message = f"There is no certificate for all states and any input: {error}. {_GIVE}"
        return Refusal(reason="not proved", message=message)
    assert entries is not None
    scale, goal = scale_of(system), 0.0 if rate is None else rate
    samples = sample_known(system, stack, -FAR * scale, FAR * scale, (np.full(m, -FAR), np.full(m, FAR)))
    refusal = disproof(system, samples, goal, everywhere=False)
    if refusal is not None:
        return refusal
    loop = unit_loop(system, entries, slopes_in(stack, *ends, levels))
    if given is not None:
        ascent = climb(loop, given, fixed=True, target=beyond(rate), deadline=deadline)
    else:
        frame = scaled_frame(loop.A, scale, condition)
        ascent = climb_few(loop, frame @ frame.T, frame, beyond(rate), deadline, condition)
    if ascent.rate > goal or ascent.rate == rate:
        P = (ascent.metric + ascent.metric.T) / 2
        least, most = np.linalg.eigvalsh(P)[[0, -1]]
        unit = float(least if least > 1e-12 * most else most)
        multipliers = unit_multipliers(ascent.multipliers, entries)
        for shrink in (1e-4, 1e-3, 1e-2, 0.1) if rate is None else (0.0,):
            certificate = Certificate(
                rate=float(ascent.rate * (1.0 - shrink) if rate is None else rate),
                metric=P / unit,
                multipliers=multipliers / unit,
                slope_range=system.slope_range,
                condition=float(np.linalg.cond(P / unit)),
                leading=system.leading,
                digest=system.digest(),
                wide=stack.wide,
                feedback=stack.feedback,
                spectral_cap=float(-abscissa(samples.attained).max()),
                metric_cap=None,
                sampled=samples.attained.shape[0] * samples.attained.shape[1],
                inequality_cap=ascent.bound if np.isfinite(ascent.bound) else None,
                identity_refused=None,
            )
            if prove(certificate, system):
                return certificate
    wanted = "a positive rate" if rate is None else f"the rate {rate:g}"
    message = f"No proof was found for {wanted} in all states under any input; the best that was reached is {ascent.rate:.6g}."
    if np.isfinite(ascent.bound):
        most = rounded(ascent.bound, 4, "up")
        message += f" This inequality cannot give more than {most} in metrics as round as those searched."
    message += " Give a region, in which the mechanism's slopes vary less."
    bound = ascent.bound if np.isfinite(ascent.bound) else None
    return Refusal(reason="not proved", message=message, best_rate=ascent.rate, rate_bound=bound)
