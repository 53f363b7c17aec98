"""The search for a regional certificate: one metric on Jacobians sampled in the region, then slopes, then cells.

The metric is found first (cutting planes over sampled Jacobians, `jacobians.one_metric`). In it two proofs are tried: the global
inequality with the region's slopes, which costs a climb over the multipliers; and where that stays below what the samples
allow, cells. For these the rate is raised as long as time allows: the cell that proves least is cut next, so at any moment
the smallest rate over all cells is one that holds on the whole box. A centre at which the metric does worse than on the samples
joins them, and the metric is found again. What comes out is proved by the checker, whole and anew.
"""

import time
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from stability.claims.certificate import Certificate, no_metric_exceeds
from stability.decay import decay_in_words
from stability.lure import SLOPES, Array, Loop, Lure
from stability.proof.cells import Frame
from stability.proof.checker import prove
from stability.proof.enclosure import expand
from stability.proof.field import Field, fields_of
from stability.proof.invariance import field_bounds, length, vector_length
from stability.proof.region import ball_room, prove_stay
from stability.proof.regional_claim import RegionalClaim, Stay, box_around
from stability.proof.slopes import slopes_in
from stability.proof.system import Stack, read_system
from stability.refusal import Refusal
from stability.region import Box, Inputs, Region
from stability.search.attack import attack
from stability.search.certify import _beyond, _Caps, _check_metric, _climb, _no_common_metric, _share
from stability.search.disproof import disproof
from stability.search.interior_point import Ascent, climb, lyapunov_frame
from stability.search.jacobians import Samples, abscissa, jacobians_at, log_norm, metric_bound, one_metric
from stability.search.raise_rate import raise_rate

_CELLS_AXES = 8  # beyond so many axes cells are not tried: their number grows exponentially


_ROUND = 100.0  # the condition number up to which metrics are tried first


@dataclass(frozen=True)
class _Task:
    """What is asked, in the forms that the search needs."""

    system: Lure
    stack: Stack
    region: Region
    inputs: Inputs | None
    rate: float | None
    condition: float
    deadline: float

    @property
    def levels(self) -> tuple[Array, Array]:
        none = np.zeros(0)
        return (none, none) if self.inputs is None else (self.inputs.lower, self.inputs.upper)

    def box(self, frame: Frame | None = None) -> tuple[Array, Array]:
        """The box itself; for an ellipsoid the box around it, or without a metric around the ball that contains it."""
        if isinstance(self.region, Box):
            return self.region.lower, self.region.upper
        if frame is None:
            return self.region.centre - self.region.radius, self.region.centre + self.region.radius
        return box_around(self.region.centre, self.region.radius, frame)

    def sure(self, given: Array | None) -> Box:
        """A box of states that lie in the region whatever the metric: for an ellipsoid one within its shortest axes.

        |x|_P ≤ √λmax(P) |x|, where λmax is that of the given metric or, with the smallest eigenvalue at 1, at most the limit
        of the condition number. Only states in it disprove anything about the region.
        """
        if isinstance(self.region, Box):
            return self.region
        largest = self.condition if given is None else float(np.linalg.eigvalsh(given)[-1])
        half = 0.999 * self.region.radius / np.sqrt(len(self.region.centre) * largest)
        return Box(self.region.centre - half, self.region.centre + half)

    def axes(self, frame: Frame | None = None) -> tuple[Array, Array]:
        """The box of (x, u) where the layers see the input, else of x."""
        lower, upper = self.box(frame)
        if self.stack.input_weights is None:
            return lower, upper
        return np.concatenate([lower, self.levels[0]]), np.concatenate([upper, self.levels[1]])

    def claim(self, frame: Frame, proof: str, stay: Stay) -> RegionalClaim:
        ellipsoid = None if isinstance(self.region, Box) else (self.region.centre, self.region.radius)
        doses, gap = np.zeros((0, self.system.states)), np.inf
        if self.inputs is not None and self.inputs.doses is not None and self.inputs.gap is not None:
            doses, gap = self.inputs.doses, self.inputs.gap
        kind = "box" if ellipsoid is None else "ellipsoid"
        return RegionalClaim(kind, *self.box(frame), ellipsoid, self.levels, doses, gap, proof, stay)


def certify_in_region(
    system: Lure,
    region: Region,
    inputs: Inputs | None,
    rate: float | None,  # 1/time
    metric: ArrayLike | None,  # (n, n)
    condition: float,
    seconds: float,
) -> Certificate | Refusal:
    """A certificate of contraction in a region that trajectories do not leave, or why there is none; see `certify`.

    The metric has condition number ≤ 100 in the states' own units where such a metric serves, else ≤ `condition`. Where
    doses are asked for and not covered it is a refusal, which says what is proved without them.
    """
    given = _check_metric(system, metric)
    _check_fit(system, region, inputs)
    task = _Task(system, read_system(system), region, inputs, rate, condition, time.monotonic() + seconds)
    if inputs is None or inputs.doses is None:
        return _searched(task, given)
    found = _searched(replace(task, deadline=_share(task.deadline, 0.8)), given)
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


def _searched(task: _Task, given: Array | None) -> Certificate | Refusal:
    system, region, rate = task.system, task.region, task.rate
    goal = 0.0 if rate is None else rate
    samples = sample_in(system, *task.box(), task.levels)
    # What the attack finds serves the disproof; the metric keeps to the samples, among which no few points stand out.
    sure = task.sure(given)
    climbed = samples if sure is region else sample_in(system, sure.lower, sure.upper, task.levels)
    climbed = attack(system, climbed, sure, task.levels, deadline=_share(task.deadline, 0.1))
    refusal = disproof(system, climbed, goal, everywhere=False)
    if refusal is not None:
        return refusal
    caps = _Caps.of(climbed)
    found = _metric(task, samples, goal, given)
    if isinstance(found, Refusal):
        return found
    P, cap, bound = found
    if not isinstance(region, Box):  # of the samples for the metric some lie outside of the ellipsoid, of these none
        jacobians, ascent = one_metric(climbed, P, with_corners=False, deadline=_share(task.deadline, 0.1))
        bound = metric_bound(jacobians, ascent, caps.spectral)
    caps = caps.narrowed(np.inf if given is not None else bound, np.inf)
    cap = caps.spectral if cap is None else min(cap, caps.spectral)
    frame = Frame.of(P)
    hopeless = _stay(task, frame, cap if rate is None else rate)
    if isinstance(hopeless, Refusal):  # not even at the best rate that one can hope for
        return hopeless
    refused = True if (log_norm(climbed.attained, np.eye(system.states)) >= 0).any() else None
    by_slopes = _by_slopes(task, P, rate, given is not None)
    best: tuple[float, Array, Array] = (by_slopes.rate, by_slopes.metric, by_slopes.multipliers)
    enough = rate if rate is not None else 0.97 * cap
    if best[0] < enough and len(task.axes()[0]) <= _CELLS_AXES:
        reached, P = _by_cells(task, P, samples, cap, given is not None)
        if reached > best[0]:
            best = (reached, P, np.zeros((task.stack.count, 0)))
    facts, by_cells = caps.facts(refused), not best[2].shape[1] and bool(system.widths)
    searched = isinstance(region, Box) and not by_cells and np.isfinite(by_slopes.bound)
    facts["inequality_cap"] = min(by_slopes.bound, caps.inequality) if searched else None
    return _proved(task, best, facts, caps)


def sample_in(
    system: Lure,
    lower: Array,
    upper: Array,
    levels: tuple[Array, Array],
    *,
    samples: int = 512,
    seed: int = 0,
    rounds: int = 4,
) -> Samples:
    """Jacobians at states of a box and inputs within their levels: corners, random points, then steps about the worst."""
    generator = np.random.default_rng(seed)
    flat = system.flatten()
    count, n = flat.A.shape[0], flat.states
    felt = flat.input_weights is not None
    low = np.concatenate([lower, levels[0]]) if felt else lower
    high = np.concatenate([upper, levels[1]]) if felt else upper
    d = len(low)
    corners = np.array(list(product((0.0, 1.0), repeat=min(d, 8))), dtype=np.float64)
    unit = generator.uniform(0, 1, (max(samples, 2 * len(corners)), d))
    unit[: len(corners), : corners.shape[1]] = corners
    points = np.broadcast_to(low + unit * (high - low), (count, len(unit), d))
    everything = []
    for step in range(rounds):
        slopes, jacobians = jacobians_at(flat, points) if flat.widths else ((), _constant(flat, points.shape[1]))
        everything.append((points, slopes, jacobians))
        worst = log_norm(jacobians, np.eye(n)).argmax(1), abscissa(jacobians).argmax(1)
        start = np.concatenate([np.take_along_axis(points, w[:, None, None], 1) for w in worst], 1)
        noise = generator.standard_normal((count, samples // 8, 2, d)) * 0.3**step * 0.2
        points = np.clip(start[:, None] + noise * (high - low), low, high).reshape(count, -1, d)
    points = np.concatenate([p for p, _, _ in everything], 1)
    merged = tuple(np.concatenate(layer, 1) for layer in zip(*(s for _, s, _ in everything), strict=True))
    jacobians = np.concatenate([j for _, _, j in everything], 1)
    return Samples(jacobians, points[..., :n], points[..., n:] if felt else None, merged, jacobians[:, :0])


def _constant(flat: Lure, samples: int) -> Array:
    return np.repeat(flat.linear()[:, None], samples, axis=1)


def _check_fit(system: Lure, region: Region, inputs: Inputs | None) -> None:
    n = system.states
    m = max([a.shape[-1] for a in (system.B, system.input_weights) if a is not None], default=0)
    size = len(region.lower) if isinstance(region, Box) else len(region.centre)
    if size != n:
        raise ValueError(f"the region has {size} states and the system {n}; give one bound per state.")
    if inputs is None:
        if m:
            raise ValueError(f"the system has {m} inputs; give inputs=Inputs(lower, upper) with the levels that u may take.")
        return
    if len(inputs.lower) != m:
        raise ValueError(f"the levels are for {len(inputs.lower)} inputs and the system has {m}; give one level per input.")
    if inputs.doses is not None and inputs.doses.shape[1] != n:
        raise ValueError(f"the doses have {inputs.doses.shape[1]} entries and the system {n} states; give vectors of states.")


def _metric(task: _Task, samples: Samples, goal: float, given: Array | None) -> tuple[Array, float | None, float] | Refusal:
    """The metric that does best on the sampled Jacobians, with the bounds for those that were searched and for any; a refusal
    where the dual excludes one."""
    if given is not None:
        return given, float(-log_norm(samples.attained, given).max()), np.inf
    frame = lyapunov_frame(task.system.loop().A)
    start = np.eye(task.system.states) if frame is None else frame @ frame.T
    until = _share(task.deadline, 0.2)
    for condition in (min(_ROUND, task.condition), task.condition):
        jacobians, ascent = one_metric(
            samples, start, with_corners=False, frame=frame, condition=condition, deadline=until
        )
        if ascent.rate > goal:
            break
    refusal = _no_common_metric(jacobians, ascent, goal, frame, _share(task.deadline, 0.2))
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


def _by_slopes(task: _Task, P: Array, rate: float | None, fixed: bool) -> Ascent:
    """The climb of the global search with the region's slopes; the metric may move where it is not given."""
    loop = task.system.loop()
    frame = Frame.of(P)
    lower, upper = slopes_in(task.stack, *task.box(None if fixed else frame), task.levels)
    local = Loop(loop.A, loop.E, loop.W, loop.N, lower, upper, loop.widths)
    # An ellipsoid turns with its metric, and its slopes with it: there the metric stays.
    stays = fixed or not isinstance(task.region, Box)
    until = _share(task.deadline, 0.25)
    if not stays:
        return _climbed(_climb(local, P, lyapunov_frame(loop.A), _beyond(rate), until, task.condition))
    return _climbed(climb(local, P, fixed=True, target=_beyond(rate), deadline=until))


def _climbed(ascent: Ascent) -> Ascent:
    scale = np.linalg.eigvalsh(ascent.metric)[0]
    return replace(ascent, metric=_scaled(ascent.metric), multipliers=ascent.multipliers / scale)


def _by_cells(task: _Task, P: Array, samples: Samples, cap: float, fixed: bool) -> tuple[float, Array]:
    """The rate that cells reach within half of the time left (the proof needs the other half), and its metric."""
    with_inputs = task.stack.input_weights is not None
    fields = fields_of(task.stack, with_inputs)
    until = _share(task.deadline, 0.45)
    reached = -np.inf
    for attempt in range(6):
        frame = Frame.of(P)
        worst = float(-log_norm(samples.attained, P).max())
        goal = 0.0 if task.rate is None else task.rate
        if worst <= goal:
            break
        floor = 0.98 * worst if task.rate is None and attempt < 5 else goal
        stop = 0.99 * worst if task.rate is None else task.rate
        reached, point = raise_rate(fields, frame, *task.axes(frame), stop, floor=floor, deadline=until)
        if point is None or fixed:
            break
        # The metric does worse at this point than on the samples: it joins them, with its neighbours, for every system.
        samples = replace(samples, attained=np.concatenate([samples.attained, _around(task, point)], 1))
        turned = lyapunov_frame(task.system.loop().A)
        most = min(_ROUND, task.condition)
        _, ascent = one_metric(samples, P, with_corners=False, frame=turned, condition=most, deadline=until)
        P = _scaled(ascent.metric)
    return reached, P


def _around(task: _Task, point: Array) -> Array:
    flat = task.system.flatten()
    low, high = task.axes()
    noise = np.random.default_rng(0).standard_normal((16, len(point))) * 0.02 * (high - low)
    noise[0] = 0.0
    points = np.broadcast_to(np.clip(point + noise, low, high), (flat.A.shape[0], 16, len(point)))
    return jacobians_at(flat, points)[1]


def _stay(task: _Task, frame: Frame, rate: float) -> Stay | Refusal:
    """How trajectories are kept, at this rate: the box itself where no doses are asked, else a ball."""
    asked = task.inputs is not None and task.inputs.doses is not None
    reasons = []
    whole = Stay("box", None, None, None, False)
    if isinstance(task.region, Box) and not asked:
        reasons.append(prove_stay(task.claim(frame, "cells", whole), frame, rate, task.stack))
        if not reasons[-1]:
            return whole
    claim = task.claim(frame, "cells", whole)
    centre, drift = _centre(task, claim, frame, rate)
    radius = ball_room(claim, frame, centre) * (1.0 - 1e-9)
    longest = max((vector_length(frame, d) for d in claim.doses), default=0.0)
    start = radius - longest * (1.0 + 1e-9) if asked else radius * (1.0 - 1e-9)
    ball = Stay("ball", centre, radius, start, asked)
    reasons.append(prove_stay(task.claim(frame, "cells", ball), frame, rate, task.stack))
    if not reasons[-1]:
        return ball
    return Refusal(
        reason="not proved",
        message=(
            f"No set is proved that trajectories stay in, even at the rate {rate:.6g}: "
            + "; ".join(dict.fromkeys(reasons))
            + f". The largest ball in the region about its best centre has radius {radius:.6g} in the metric, so the drift "
            f"there may be {rate * radius:.6g}; sampled over the input levels it is {drift:.6g}"
            + (f", and the longest dose has the length {longest:.6g}" if asked else "")
            + f". Give a larger region or smaller inputs{' and doses' if asked else ''}."
        ),
        best_rate=None,
    )


def _centre(task: _Task, claim: RegionalClaim, frame: Frame, rate: float) -> tuple[Array, float]:
    """x̂ and its drift max |f(x̂, u)|_P over the corners of the levels: where λρ − w is largest, between the middle of the
    region and the mean of the systems' equilibria (Newton at the middle of the levels)."""
    fields = fields_of(task.stack, True)
    lower, upper = claim.lower, claim.upper
    middle, u = (lower + upper) / 2, (task.levels[0] + task.levels[1]) / 2
    if claim.ellipsoid is not None:
        middle = claim.ellipsoid[0]
    found = []
    for field in fields:
        x = middle
        for _ in range(20):
            value, jacobian = _value(field, x, u)
            step = np.linalg.lstsq(jacobian, -value, rcond=None)[0]
            x = np.clip(x + step, lower, upper)
        found.append(x)
    rest = np.mean(found, axis=0)
    rest[np.abs(rest) < 1e-12 * (upper - lower)] = 0.0  # Newton's rounding is no reason to state 3e-15
    best: tuple[float, Array, float] | None = None
    m = len(u)
    corners = np.array(list(product((0.0, 1.0), repeat=min(m, 8))), dtype=np.float64)
    chosen = np.full((len(corners), m), 0.5)
    chosen[:, : corners.shape[1]] = corners
    inputs = task.levels[0] + chosen * (task.levels[1] - task.levels[0])
    for t in np.linspace(0.0, 1.0, 9):
        x = rest + t * (middle - rest)
        points = np.concatenate([np.broadcast_to(x, (len(inputs), len(x))), inputs], axis=1).T
        drift = 0.0
        for field in fields:
            low, high = field_bounds(
                field, frame.left, frame.left_error, points, 0.0 * points, lower=points.min(1), upper=points.max(1)
            )
            drift = max(drift, float(length(frame, low, high).max()))
        margin = rate * ball_room(claim, frame, x) - drift
        if best is None or margin > best[0]:
            best = margin, x, drift
    return (best[1], best[2]) if best is not None else (middle, np.inf)


def _value(field: Field, x: Array, u: Array) -> tuple[Array, Array]:
    """f and ∂f/∂x at a point."""
    linear = np.sum(field.linear, axis=0)
    value = linear @ x + np.sum(field.B, axis=0) @ u + field.bias
    if field.layers is None:
        return value, linear
    z = expand(field.layers, np.concatenate([x, u])[:, None], np.zeros((len(x) + len(u), 1)))
    return value + field.last @ z.value[:, 0], linear + field.last @ z.gradient[:, : len(x), 0]


def _proved(task: _Task, best: tuple[float, Array, Array], facts: dict[str, Any], caps: _Caps) -> Certificate | Refusal:
    """The first of a few rates at which the candidate is proved, with the set in which trajectories stay."""
    reached, P, multipliers = best
    goal = 0.0 if task.rate is None else task.rate
    frame = Frame.of(P)
    if np.isfinite(reached) and reached > 0 and reached >= goal:
        for shrink in (1e-4, 1e-2, 0.1) if task.rate is None else (0.0,):
            rate = float(reached * (1.0 - shrink)) if task.rate is None else task.rate
            stay = _stay(task, frame, rate)
            if isinstance(stay, Refusal):
                return replace(stay, best_rate=rate, rate_bound=caps.best, metric_cap=caps.best)
            certificate = Certificate(
                rate=rate,
                metric=P,
                multipliers=multipliers,
                slope_range=SLOPES[task.system.activation],
                condition=float(np.linalg.cond(P)),
                leading=task.system.leading,
                digest=task.system.digest(),
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


def _written(task: _Task, stay: Stay, proof: str) -> dict[str, Any]:
    """The region as the certificate carries it."""
    stays: dict[str, Any] = {"set": stay.kind, "doses": stay.doses}
    if stay.centre is not None:
        stays |= {"centre": stay.centre.tolist(), "radius": stay.radius, "start": stay.start}
    inputs = None if task.inputs is None else task.inputs.to_dict()
    return {**task.region.to_dict(), "inputs": inputs, "proof": proof, "stays": stays}
