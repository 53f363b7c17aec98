"""The search for a regional certificate: one metric on Jacobians sampled in the region, then slopes, then cells.

The metric is found first (cutting planes over sampled Jacobians, `jacobians.one_metric`). In it two proofs are tried: the global
inequality with the region's slopes, which costs a climb over the multipliers; and where that stays below what the samples
allow, cells. For these the rate is raised as long as time allows: the cell that proves least is cut next, so at any moment
the smallest rate over all cells is one that holds on the whole box. A centre at which the metric does worse than on the samples
joins them, and the metric is found again. What comes out is proved by the checker, whole and anew.
"""

import time
from dataclasses import replace
from typing import Any

import numpy as np

from stability.claims.certificate import Certificate, no_metric_exceeds
from stability.decay import decay_in_words
from stability.lure import Array, Loop, Lure
from stability.proof.checker import prove
from stability.proof.region.cells import Frame
from stability.proof.region.claim import Stay
from stability.proof.region.slopes import slopes_in
from stability.proof.system import read_system
from stability.refusal import Refusal
from stability.region import Box, Inputs, Region
from stability.search.aim import beyond, share
from stability.search.by_cells import MOST_AXES, rate_by_cells
from stability.search.caps import Caps
from stability.search.climb.few_systems import climb_few
from stability.search.climb.interior_point import Ascent, climb, lyapunov_frame
from stability.search.kept_set import kept_set
from stability.search.regional_task import RegionalTask, check_fit
from stability.search.states.attack import attack
from stability.search.states.disproof import disproof, no_common_metric
from stability.search.states.duals import metric_bound, one_metric
from stability.search.states.jacobians import abscissa, jacobians_at, log_norm
from stability.search.states.sampling import Samples, sample_in

_ROUND = 100.0  # the condition number up to which metrics are tried first


def certify_in_region(
    system: Lure,
    region: Region,
    inputs: Inputs | None,
    rate: float | None,  # 1/time
    given: Array | None,  # the only metric (n, n) to try
    *,
    condition: float,
    seconds: float,
) -> Certificate | Refusal:
    """A certificate of contraction in a region that trajectories do not leave, or why there is none; see `certify`.

    The metric has condition number ≤ 100 in the states' own units where such a metric serves, else ≤ `condition`. Where
    doses are asked for and not covered it is a refusal, which says what is proved without them.
    """
    check_fit(system, region, inputs)
    stack = read_system(system, mixed=True, policies=True)
    task = RegionalTask(system, stack, region, inputs, rate, condition, time.monotonic() + seconds)
    if inputs is None or inputs.doses is None:
        return _searched(task, given)
    found = _searched(replace(task, deadline=share(task.deadline, 0.8)), given)
    if isinstance(found, Certificate) or found.reason != "not proved":
        return found
    without = _searched(replace(task, inputs=replace(inputs, doses=None, gap=None)), given)
    return found if isinstance(without, Refusal) else _not_covered(found, without)


def _not_covered(found: Refusal, without: Certificate) -> Refusal:
    """The doses alone are at fault: what was asked for is refused, and what is proved without them is said."""
    message = (
        f"The doses that were asked for are not covered. {found.message} Without doses it is proved of this region that the "
        f"distance in P {decay_in_words(without.rate, '')}: leave them out for that, or give smaller ones, further apart."
    )
    return replace(found, message=message)


def _searched(task: RegionalTask, given: Array | None) -> Certificate | Refusal:
    system, region, rate = task.system, task.region, task.rate
    goal = 0.0 if rate is None else rate
    samples = sample_in(system, *task.box(), task.levels)
    # What the attack finds serves the disproof; the metric keeps to the samples, among which no few points stand out.
    sure = task.sure(given)
    climbed = samples if sure is region else sample_in(system, sure.lower, sure.upper, task.levels)
    climbed = attack(system, climbed, sure, task.levels, deadline=share(task.deadline, 0.1))
    refusal = disproof(system, climbed, goal, everywhere=False)
    if refusal is not None:
        return refusal
    caps = Caps.of(climbed)
    found = _metric(task, samples, goal, given)
    if isinstance(found, Refusal):
        return found
    P, cap, bound = found
    if not isinstance(region, Box):  # of the samples for the metric some lie outside of the ellipsoid, of these none
        jacobians, ascent = one_metric(climbed, P, with_corners=False, deadline=share(task.deadline, 0.1))
        bound = metric_bound(jacobians, ascent, caps.spectral)
    caps = caps.narrowed(np.inf if given is not None else bound, np.inf)
    cap = caps.spectral if cap is None else min(cap, caps.spectral)
    frame = Frame.of(P)
    hopeless = kept_set(task, frame, cap if rate is None else rate)
    if isinstance(hopeless, Refusal):  # not even at the best rate that one can hope for
        return hopeless
    refused = True if (log_norm(climbed.attained, np.eye(system.states)) >= 0).any() else None
    by_slopes = _by_slopes(task, P, rate, given is not None)
    best: tuple[float, Array, Array] = (by_slopes.rate, by_slopes.metric, by_slopes.multipliers)
    enough = rate if rate is not None else 0.97 * cap
    if best[0] < enough and len(task.axes()[0]) <= MOST_AXES:
        reached, P = _by_cells(task, P, samples, given is not None)
        if reached > best[0]:
            best = (reached, P, np.zeros((task.stack.count, 0)))
    facts, by_cells = caps.facts(refused), not best[2].shape[1] and bool(system.widths)
    searched = isinstance(region, Box) and not by_cells and np.isfinite(by_slopes.bound)
    facts["inequality_cap"] = min(by_slopes.bound, caps.inequality) if searched else None
    return _proved(task, best, facts, caps)


def _metric(
    task: RegionalTask, samples: Samples, goal: float, given: Array | None
) -> tuple[Array, float | None, float] | Refusal:
    """The metric that does best on the sampled Jacobians, with the bounds for those that were searched and for any; a refusal
    where the dual excludes one."""
    if given is not None:
        return given, float(-log_norm(samples.attained, given).max()), np.inf
    frame = lyapunov_frame(task.system.loop().A)
    start = np.eye(task.system.states) if frame is None else frame @ frame.T
    until = share(task.deadline, 0.2)
    for condition in (min(_ROUND, task.condition), task.condition):
        jacobians, ascent = one_metric(
            samples, start, with_corners=False, frame=frame, condition=condition, deadline=until
        )
        if ascent.rate > goal:
            break
    refusal = no_common_metric(jacobians, ascent, goal, frame, share(task.deadline, 0.2))
    if refusal is not None and isinstance(task.region, Box):
        return refusal
    if refusal is not None:
        message = f"Of the box around every ellipsoid of this radius, not of the ellipsoid alone: {refusal.message}"
        return replace(refusal, reason="not proved", message=message)
    known = ascent.bound if np.isfinite(ascent.bound) else None
    return _scaled(ascent.metric), known, metric_bound(jacobians, ascent, float(-abscissa(samples.attained).max()))


def _scaled(metric: Array) -> Array:
    """Symmetric, with smallest eigenvalue 1."""
    P = (metric + metric.T) / 2
    return np.asarray(P / np.linalg.eigvalsh(P)[0], dtype=np.float64)


def _by_slopes(task: RegionalTask, P: Array, rate: float | None, fixed: bool) -> Ascent:
    """The climb of the global search with the region's slopes; the metric may move where it is not given."""
    loop = task.system.loop()
    frame = Frame.of(P)
    lower, upper = slopes_in(task.stack, *task.box(None if fixed else frame), task.levels)
    local = Loop(loop.A, loop.E, loop.W, loop.N, lower, upper, loop.widths)
    # An ellipsoid turns with its metric, and its slopes with it: there the metric stays.
    stays = fixed or not isinstance(task.region, Box)
    until = share(task.deadline, 0.25)
    if not stays:
        return _climbed(climb_few(local, P, lyapunov_frame(loop.A), beyond(rate), until, task.condition))
    return _climbed(climb(local, P, fixed=True, target=beyond(rate), deadline=until))


def _climbed(ascent: Ascent) -> Ascent:
    scale = np.linalg.eigvalsh(ascent.metric)[0]
    return replace(ascent, metric=_scaled(ascent.metric), multipliers=ascent.multipliers / scale)


def _by_cells(task: RegionalTask, P: Array, samples: Samples, fixed: bool) -> tuple[float, Array]:
    """The rate that cells reach within half of the time left (the proof needs the other half), and its metric."""
    until = share(task.deadline, 0.45)

    def another(attained: Array, P: Array) -> Array:
        turned, most = lyapunov_frame(task.system.loop().A), min(_ROUND, task.condition)
        seen = replace(samples, attained=attained)
        return _scaled(one_metric(seen, P, with_corners=False, frame=turned, condition=most, deadline=until)[1].metric)

    return rate_by_cells(
        task.jacobians,
        P,
        samples.attained,
        around=lambda point: _around(task, point),
        another=None if fixed else another,
        rate=task.rate,
        deadline=until,
    )


def _around(task: RegionalTask, point: Array) -> Array:
    flat = task.system.merged()
    low, high = task.axes()
    noise = np.random.default_rng(0).standard_normal((16, len(low))) * 0.02 * (high - low)
    noise[0] = 0.0
    points = np.broadcast_to(np.clip(point[: len(low)] + noise, low, high), (flat.A.shape[0], 16, len(low)))
    return jacobians_at(flat, points)[1]


def _proved(task: RegionalTask, best: tuple[float, Array, Array], facts: dict[str, Any], caps: Caps) -> Certificate | Refusal:
    """The first of a few rates at which the candidate is proved, with the set in which trajectories stay."""
    reached, P, multipliers = best
    goal = 0.0 if task.rate is None else task.rate
    frame = Frame.of(P)
    if np.isfinite(reached) and reached > 0 and reached >= goal:
        for shrink in (1e-4, 1e-2, 0.1) if task.rate is None else (0.0,):
            rate = float(reached * (1.0 - shrink)) if task.rate is None else task.rate
            stay = kept_set(task, frame, rate)
            if isinstance(stay, Refusal):
                return replace(stay, best_rate=rate, rate_bound=caps.best, metric_cap=caps.best)
            certificate = Certificate(
                rate=rate,
                metric=P,
                multipliers=multipliers,
                slope_range=task.system.slope_range,
                condition=float(np.linalg.cond(P)),
                leading=task.system.leading,
                digest=task.system.digest(),
                feedback=task.stack.feedback,
                region=_written(task, stay, "slopes" if multipliers.shape[1] or not task.system.widths else "cells"),
                **facts,
            )
            if prove(certificate, task.system):
                return certificate
            if time.monotonic() > task.deadline:
                break
    wanted = "a positive rate" if task.rate is None else f"the rate {task.rate:g}"
    message = f"No proof was found for {wanted} in the region; the best that slopes and cells reached is {reached:.6g}."
    message += f" {no_metric_exceeds(caps.best, caps.sampled, where='of states in the region')}"
    if time.monotonic() > task.deadline:
        message += " The time ran out; give more seconds."
    return Refusal(
        reason="not proved",
        message=message,
        best_rate=reached if np.isfinite(reached) else None,
        rate_bound=caps.best,
        metric_cap=caps.best,
    )


def _written(task: RegionalTask, stay: Stay, proof: str) -> dict[str, Any]:
    """The region as the certificate carries it."""
    inputs = None if task.inputs is None else task.inputs.to_dict()
    return {**task.region.to_dict(), "inputs": inputs, "proof": proof, "stays": stay.to_dict()}
