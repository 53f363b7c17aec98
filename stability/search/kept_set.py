"""The set in which trajectories are kept: the region itself, or a ball of the metric about a point of rest."""

from itertools import product

import numpy as np

from stability.lure import Array
from stability.proof.region.cells import Frame
from stability.proof.region.claim import RegionalClaim, Stay
from stability.proof.region.contraction import ball_room, doses_inside, prove_stay
from stability.proof.region.enclosure import expand
from stability.proof.region.field import Field, fields_of
from stability.proof.region.invariance import field_bounds, length, vector_length
from stability.proof.tape import plain, slopes
from stability.refusal import Refusal
from stability.region import Box
from stability.search.regional_task import RegionalTask


def kept_set(task: RegionalTask, frame: Frame, rate: float) -> Stay | Refusal:
    """How trajectories are kept, at this rate: the box itself, with doses only where none crosses a face; a ball; or curves."""
    asked = task.inputs is not None and task.inputs.doses is not None
    reasons = []
    whole = Stay("box", None, None, None, asked)
    if isinstance(task.region, Box) and (not asked or doses_inside(task.claim(frame, "cells", whole))):
        reasons.append(prove_stay(task.claim(frame, "cells", whole), frame, rate, task.stack))
        if not reasons[-1]:
            return whole
    claim = task.claim(frame, "cells", whole)
    centre, drift = _centre(task, claim, frame, rate)
    radius = ball_room(claim, frame, centre) * (1.0 - 1e-9)
    if not np.isfinite(radius):  # no face at all: what keeps the whole from being kept is said already
        curves = _between_curves(task, frame, rate, asked)
        if isinstance(curves, Stay):
            return curves
        reasons.append(curves)
        return Refusal(reason="not proved", message=f"No set is proved that trajectories stay in: {reasons[-1]}.")
    longest = max((vector_length(frame, d) for d in claim.doses), default=0.0)
    start = radius - longest * (1.0 + 1e-9) if asked else radius * (1.0 - 1e-9)
    ball = Stay("ball", centre, radius, start, asked)
    reasons.append(prove_stay(task.claim(frame, "cells", ball), frame, rate, task.stack))
    if not reasons[-1]:
        return ball
    curves = _between_curves(task, frame, rate, asked)
    if isinstance(curves, Stay):
        return curves
    reasons.append(curves)
    return Refusal(
        reason="not proved",
        message=(
            f"No set is proved that trajectories stay in, even at the rate {rate:.6g}: "
            + "; ".join(dict.fromkeys(reasons))
            + f". The largest ball in the region about its best centre has radius {radius:.6g} in the metric, so the drift "
            f"there may be {rate * radius:.6g}; sampled over the input levels it is {drift if drift > 1e-150 else 0.0:.6g}"
            + (f", and the longest dose has the length {longest:.6g}" if asked else "")
            + f". Give a larger region or smaller inputs{' and doses' if asked else ''}."
        ),
        best_rate=None,
    )


def _between_curves(task: RegionalTask, frame: Frame, rate: float, asked: bool) -> Stay | str:
    if isinstance(task.order, str):
        return task.order
    curves = Stay("order", None, None, None, asked, task.order)
    return prove_stay(task.claim(frame, "cells", curves), frame, rate, task.stack) or curves


def _centre(task: RegionalTask, claim: RegionalClaim, frame: Frame, rate: float) -> tuple[Array, float]:
    """x̂ and its drift max |f(x̂, u)|_P over the corners of the levels: where λρ − w is largest, between the middle of the
    region and the mean of the systems' equilibria (Newton at the middle of the levels)."""
    fields = fields_of(task.stack, True)
    lower, upper = _finite(claim, task.system.scale)
    middle, u = (lower + upper) / 2, (task.levels[0] + task.levels[1]) / 2
    if claim.ellipsoid is not None:
        middle = claim.ellipsoid[0]
    found = []
    for field in fields:
        x = middle
        for _ in range(20):
            value, jacobian = _value(field, x, u)
            if not (np.isfinite(value).all() and np.isfinite(jacobian).all()):  # of a tape, where it has no values
                x = middle
                break
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


def _finite(claim: RegionalClaim, scale: Array | None) -> tuple[Array, Array]:
    """The region's ends; where it has none, one that lies so many scales further on."""
    far = 10.0 * (np.ones(len(claim.lower)) if scale is None else scale)
    lower = np.where(np.isfinite(claim.lower), claim.lower, np.minimum(-far, np.minimum(claim.upper, far) - far))
    upper = np.where(np.isfinite(claim.upper), claim.upper, np.maximum(far, np.maximum(claim.lower, -far) + far))
    return lower, upper


def _value(field: Field, x: Array, u: Array) -> tuple[Array, Array]:
    """f and ∂f/∂x at a point."""
    linear = np.sum(field.linear, axis=0)
    value = linear @ x + np.sum(field.B, axis=0) @ u + field.bias
    if field.tape is not None and field.theta is not None:
        theta = (field.theta[0] + field.theta[1]) / 2
        value, linear = value + plain(field.tape, x, u, theta), linear + slopes(field.tape, x, u, theta)
    if field.layers is None:
        return value, linear
    z = expand(field.layers, np.concatenate([x, u])[:, None], np.zeros((len(x) + len(u), 1)))
    return value + field.last @ z.value[:, 0], linear + field.last @ z.gradient[:, : len(x), 0]
