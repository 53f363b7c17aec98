"""The search for a rate on a region: one metric for the corners of a tape's entries, or a climb over them; then cells; the proof.

Corners and units take each entry's bounds over the whole box. Where a metric for the sampled Jacobians does better than these
allow, cells are tried in it: the box is cut along what the slopes depend on.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stability.arguments import number, shown, time_limit
from stability.claims.regional_rate import RegionalRate
from stability.decay import rounded
from stability.lure import Array, Lure, System
from stability.proof.checker import prove
from stability.proof.known import Entries, entries_in
from stability.proof.reading import Unusable
from stability.proof.region.jacobian import Jacobian, jacobians_over
from stability.proof.region.slopes import slopes_in
from stability.proof.system import Stack, read_system
from stability.refusal import Refusal
from stability.region import Box, Inputs
from stability.search.aim import beyond, share
from stability.search.by_cells import MOST_AXES, rate_by_cells
from stability.search.climb.few_systems import climb_few
from stability.search.climb.interior_point import Ascent
from stability.search.conic import common_metric
from stability.search.known import (
    CORNERS,
    RIM,
    corner_loop,
    few_corners,
    inside,
    known_around,
    sample_known,
    scale_of,
    scaled_frame,
    unit_loop,
    unit_multipliers,
)
from stability.search.regional_task import check_fit
from stability.search.states.disproof import disproof
from stability.search.states.jacobians import abscissa, log_norm
from stability.threads import of_system, threads_by


@threads_by(of_system)
def regional_rate(
    system: System | Sequence[System],
    region: Box,
    inputs: Inputs | None = None,
    rate: float | None = None,  # 1/time
    seconds: float = 60.0,
    *,
    condition: float = 1e4,
) -> RegionalRate | Refusal:
    """How fast a system with a tape contracts for as long as both trajectories are in a box; that they stay is not proved.

    Arguments: `system`, a `Lure` with a tape, or several of one structure; `region`, a `Box`, whose ends may be infinite;
    `inputs`, the levels of the input, which a system with inputs needs (doses move no difference: leave them out);
    `rate` to prove, or None
    for the best one; `condition` number of the metric in units of the system's `scale`.
    Returns a `RegionalRate` that `check` accepts, or a `Refusal`: *disproved* only with a state, an input and an eigenvector in
    the region; *not proved* with the corner of the entries that limits it, which no state needs to attain, or with what the tape
    does there that nothing bounds.
    Errors: ValueError for arguments that cannot be used.
    Law: the rate never exceeds minus the spectral abscissa of a Jacobian at a state of the region.
    """
    system = Lure.stack(system) if isinstance(system, Sequence) else Lure.of(system)
    if system.tape is None:
        raise ValueError("the system has no tape; ask certify(system, region=…) of it.")
    if not isinstance(region, Box):
        raise ValueError(f"the region is {str(region)[:100]!r}; give a Box, as in Box([0.0], [np.inf]).")
    if inputs is not None and not isinstance(inputs, Inputs):
        raise ValueError(f"the inputs are {shown(inputs)}; give Inputs(lower, upper), the levels that u may take, or None.")
    condition = number(condition, "the condition number", "a finite number above 1", above=1.0)
    if rate is not None:
        rate = number(rate, "the rate", "one finite positive rate in 1/time, or None for the best one", above=0.0)
    deadline = time.monotonic() + time_limit(seconds)
    check_fit(system, region, inputs)
    if inputs is not None and inputs.doses is not None:
        raise ValueError("a rate on a region speaks of no doses: both trajectories get the same; leave them out of the inputs.")
    stack = read_system(system, tapes=True, mixed=True, policies=True)
    none = np.zeros(0)
    levels = (none, none) if inputs is None else (inputs.lower, inputs.upper)
    try:
        entries = entries_in(stack, region.lower, region.upper, levels)
    except Unusable as error:
        return Refusal(reason="not proved", message=f"{error}.")
    assert entries is not None
    scale = scale_of(system)
    lower, upper = inside(region.lower, region.upper, scale)
    within = tuple(end + sign * RIM * (levels[1] - levels[0]) for end, sign in zip(levels, (1.0, -1.0), strict=True))
    samples = sample_known(system, stack, lower, upper, (within[0], within[1]))
    goal = 0.0 if rate is None else rate
    refusal = disproof(system, samples, goal, everywhere=False)
    if refusal is not None:
        return refusal
    cap = float(-abscissa(samples.attained).max())
    slopes = slopes_in(stack, region.lower, region.upper, levels)
    try:
        over, why = list(jacobians_over(stack, region.lower, region.upper, levels)), ""
        if max(len(one.axes) for one in over) > MOST_AXES:
            over, why = [], f"the slopes depend on more than {MOST_AXES} states and inputs"
    except Unusable as error:
        over, why = [], str(error)
    proof, ascent = _climbed(system, entries, slopes, scale, rate, condition, share(deadline, 0.35 if over else 0.8))
    multipliers = ascent.multipliers if proof == "vertices" else unit_multipliers(ascent.multipliers, entries)
    best = _Candidate(proof, ascent.rate, (ascent.metric + ascent.metric.T) / 2, multipliers, ascent.bound)
    if over and best.rate < (0.97 * cap if rate is None else rate):
        ends = np.concatenate([lower, within[0]]), np.concatenate([upper, within[1]])
        asked = _Asked(system, stack, rate, condition, scale, ends, deadline)
        reached, metric = _by_cells(asked, over, samples.attained, best)
        if reached > best.rate:
            best = _Candidate("cells", reached, metric, np.zeros((stack.count, 0)), np.inf)
    if best.rate > goal or best.rate == rate:
        P = best.metric
        unit = float(np.linalg.eigvalsh(P)[-1]) / float(np.linalg.cond(P)) if np.linalg.cond(P) < 1e15 else 1.0
        for shrink in (1e-4, 1e-3, 1e-2, 0.1) if rate is None else (0.0,):
            found = RegionalRate(
                rate=float(best.rate * (1.0 - shrink) if rate is None else rate),
                metric=P / unit,
                multipliers=best.multipliers / unit,
                slope_range=system.slope_range,
                condition=float(np.linalg.cond(P / unit)),
                leading=system.leading,
                digest=system.digest(),
                region={
                    **region.to_dict(),
                    "inputs": None if inputs is None else {"lower": levels[0].tolist(), "upper": levels[1].tolist()},
                    "proof": best.proof,
                },
                wide=stack.wide,
                feedback=stack.feedback,
                spectral_cap=cap,
                sampled=samples.attained.shape[0] * samples.attained.shape[1],
            )
            if prove(found, system):
                return found
            if time.monotonic() > deadline:
                break
    return _not_proved(system, entries, best, rate, cap, f" Cells were not tried: {why}." if why else "", deadline)


@dataclass(frozen=True)
class _Candidate:
    """What a search found, to be proved."""

    proof: str
    rate: float
    metric: Array  # (n, n)
    multipliers: Array
    bound: float  # of the rate by this proof


@dataclass(frozen=True)
class _Asked:
    """What cells are asked for."""

    system: Lure
    stack: Stack
    rate: float | None
    condition: float
    scale: Array  # (n,)
    ends: tuple[Array, Array]  # of (x, u), within which Jacobians are sampled
    deadline: float


def _by_cells(asked: _Asked, over: list[Jacobian], attained: Array, best: _Candidate) -> tuple[float, Array]:
    """The rate that cells reach within half of the time left, and its metric; not tried where samples allow hardly more."""
    until, outer = share(asked.deadline, 0.5), np.outer(asked.scale, asked.scale)

    def another(attained: Array, metric: Array) -> Array:
        J = (attained * asked.scale[None, :] / asked.scale[:, None]).reshape(-1, *metric.shape)
        seconds = max(share(until, 0.3) - time.monotonic(), 1e-3)
        found = common_metric(J, beyond(asked.rate), asked.condition, seconds=seconds)[0] / outer
        return np.asarray((found + found.T) / 2, dtype=np.float64)

    metric = another(attained, best.metric)
    if -float(log_norm(attained, metric).max()) < 1.02 * best.rate:
        return -np.inf, metric
    return rate_by_cells(
        lambda frame: over,
        metric,
        attained,
        around=lambda point: known_around(asked.system, asked.stack, point, asked.ends),
        another=another,
        rate=asked.rate,
        deadline=until,
    )


def _climbed(
    system: Lure,
    entries: Entries,
    slopes: tuple[Array, Array],
    scale: Array,
    rate: float | None,
    condition: float,
    deadline: float,
) -> tuple[str, Ascent]:
    """The best metric, by corners where they are few, else by units; its condition number is meant in units of the scale."""
    by_corners = few_corners(entries)
    loop = (corner_loop if by_corners else unit_loop)(system, entries, slopes)
    if by_corners and not system.widths:  # P alone is sought: the conic solver's cutting planes end nearer to the best
        J = loop.A * scale[None, None, :] / scale[None, :, None]
        metric, reached = common_metric(J, beyond(rate), condition, seconds=max(deadline - time.monotonic(), 1e-3))
        none = np.zeros((len(J), 0))
        return "vertices", Ascent(reached, metric / np.outer(scale, scale), none, np.inf, np.zeros_like(J), 0)
    frame = scaled_frame(loop.A, scale, condition)
    ascent = climb_few(loop, frame @ frame.T, frame, beyond(rate), deadline, condition)
    return "vertices" if by_corners else "slopes", ascent


def _not_proved(
    system: Lure, entries: Entries, best: _Candidate, rate: float | None, cap: float, untried: str, deadline: float
) -> Refusal:
    wanted = "a positive rate" if rate is None else f"the rate {rate:g}"
    message = f"No proof was found for {wanted} on the region; the best that was reached is {best.rate:.6g}.{untried}"
    tape = system.tape
    if tape is not None and 0 < entries.units <= CORNERS and not system.widths:
        which, known = entries.corners(np.arange(len(entries.lower) << entries.units))
        J = without_widths(system)[which] + known.centre
        found = abscissa(J)
        worst = int(found.argmax())
        if found[worst] > -(rate or 0.0):
            parts = ", ".join(
                f"{tape['states'][i]} by {tape['states'][j]} {J[worst, i, j]:.4g}"
                for i, j in zip(entries.rows, entries.columns, strict=True)
            )
            message += (
                " The slopes vary independently in a proof by corners, and one corner of theirs has the eigenvalue "
                f"{found[worst]:.4g}: "
                f"{parts}; whether a state has all of them at once is not said."
            )
    message += f" No constant metric can exceed {rounded(cap, 4, 'up')} (from sampled states of the region)."
    message += " The time ran out; give more seconds." if time.monotonic() > deadline else " Shrink the region."
    reached = best.rate if np.isfinite(best.rate) else None
    bound = best.bound if np.isfinite(best.bound) else None
    return Refusal(reason="not proved", message=message, best_rate=reached, rate_bound=bound, metric_cap=cap)


def without_widths(system: Lure) -> Array:
    """The linear part beside the tape, (V, n, n)."""
    return system.flatten().linear()
