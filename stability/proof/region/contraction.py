"""Regional claims proved: contraction on a convex set, and that trajectories stay in it; the arithmetic of the checker.

A regional certificate holds P, λ, the region and how the rate is proved in it:
- "slopes": the inequality of `proof.contraction` with each unit's own slope range over the region, computed anew (`slopes.py`).
  (Between two states of a convex set a unit's argument takes every value between its two values, so the difference quotient of φ
  is a mean of slopes that the range contains.)
- "vertices": the same, with every corner of the box that the entries of a tape's Jacobian span in the place of its units.
- "cells": −(JᵀP + PJ) − 2λP ≻ 0 at every point of the box, cell by cell (`cells.py`); nothing but P and λ need be stored.
All hold for every system with the one P. An ellipsoid is proved on the smallest box around it. A box is convex, so the segment
between two states lies in it and its length in P shrinks at λ, as long as both trajectories stay: the second half of the proof,
`invariance.py`.

Underflow. At the door every number of the system and of the region, and the rate, is zero or between 1e-100 and 1e50
(`extremes`, `faint`), and T of P ≈ (TTᵀ)⁻¹ at most 1e60. So here, bounded below: λτ is at least 1e-200; a difference of walls,
centres and radii is zero or 1e-117 at least, and over an extent (at most 1e60) a normal number; δ is at least TINY, and
δ/(1 − e^{−λτ}) no less. The inequality by slopes is widened as there; for cells and lengths see `cells.py`,
`enclosure.py` and `invariance.py`.
"""

import math
from collections.abc import Mapping

import numpy as np

from stability.proof.arithmetic import SMALLEST, UP, Array, proved_positive
from stability.proof.budget import Budget, Meter
from stability.proof.contraction import disagreement, inequality
from stability.proof.known import MOST_CORNERS, Entries, entries_in
from stability.proof.reading import Unusable, array, get, number, shown
from stability.proof.region.cells import Frame, cover
from stability.proof.region.claim import (
    RegionalClaim,
    check_plain,
    empty,
    extremes,
    faint,
    read_region,
    regional_statement,
)
from stability.proof.region.field import each_field
from stability.proof.region.invariance import box_kept, drift_within, extents, vector_length
from stability.proof.region.jacobian import jacobians_over
from stability.proof.region.order_claim import order_kept
from stability.proof.region.slopes import slopes_in
from stability.proof.system import Stack
from stability.proof.verdict import Verdict

_MOST_SIDE_CELLS = 20_000  # per system, for the levels of the input at x̂, and per face of a box


def prove_in_region(
    certificate: object,
    stack: Stack,
    *,
    most_cells: int | None = None,  # for the rate alone; None for as many as the budget has
    meter: Meter | None = None,
) -> Verdict:
    """Prove a regional certificate, or say why it is refused: stored numbers, the rate in the region, then that they stay.

    With fewer cells it refuses sooner, and accepts nothing that it would not accept with more.
    Errors: with a meter, `NotDecided` where its budget is used up.
    Law: accepted ⇒ the claim holds in real arithmetic.
    """
    region = get(certificate, "region")
    if not isinstance(region, Mapping):
        return Verdict(False, f"the region {shown(region)} is not one that this checker knows")
    check_plain(region)
    rate, P = number(get(certificate, "rate")), array(get(certificate, "metric"), "metric")
    multipliers = array(get(certificate, "multipliers"), "multipliers")
    n = stack.A.shape[-1]
    try:
        words = regional_statement(rate, n, stack.count, region, wide=stack.wide, feedback=stack.feedback)
    except (KeyError, TypeError) as error:
        raise Unusable(f"the region lacks a part or has one of another kind: {error}") from error
    proof, taped = str(region.get("proof")), stack.tape is not None
    by_cells = proof == "cells"
    # How many units a tape has is known where its region is.
    needed = multipliers_shape(stack, None, proof)
    if taped and multipliers.ndim == 2:
        needed = multipliers.shape[0], multipliers.shape[1]
    refusal = disagreement(certificate, stack, rate, P, multipliers, words, needed) or extremes(stack)
    refusal = refusal or ("" if taped else unproved_kind(proof, None))
    if refusal:
        return Verdict(False, refusal)
    if not proved_positive(P[None], np.zeros_like(P[None]))[0]:
        return Verdict(False, "the metric P is not proved positive definite")
    frame = Frame.of(P)
    if not frame.usable:
        return Verdict(False, "the metric P is scaled so that the error bounds are not stated; multiply it by a number")
    claim = read_region(region, frame, n)
    refusal = empty(claim, stack) or faint(claim, rate)
    if refusal:
        return Verdict(False, refusal, rate, stack.count)
    entries = None if by_cells else entries_in(stack, claim.lower, claim.upper, claim.levels, meter)
    if taped:
        needed = multipliers_shape(stack, entries, proof)
        refusal = unproved_kind(proof, entries)
        if not refusal and multipliers.shape != needed:
            refusal = f"the multipliers have shape {multipliers.shape}; needed is {needed}"
    refusal = refusal or prove_stay(claim, frame, rate, stack, meter)
    if refusal:
        return Verdict(False, refusal, rate, stack.count)
    if not by_cells:
        box = claim.lower, claim.upper
        refusal = rate_by_slopes(box, claim.levels, stack, (rate, P, multipliers), entries, proof, meter)
    else:
        most = most_cells if most_cells is not None else math.inf if meter is not None else Budget().cells
        refusal = rate_by_cells((claim.lower, claim.upper), claim.levels, stack, rate, frame, most=most, meter=meter)
    return Verdict(not refusal, refusal or words, rate, stack.count)


def prove_stay(claim: RegionalClaim, frame: Frame, rate: float, stack: Stack, meter: Meter | None = None) -> str:
    """Empty if it is proved that trajectories stay as claimed, given contraction at the rate; else why not."""
    refusal = lipschitz_beyond(claim, stack, meter)
    if refusal:
        return refusal
    fields, stay = each_field(stack, True), claim.stay
    if stay.kind == "box":
        if claim.kind != "box" or (stay.doses and not doses_inside(claim)):
            return "only a box without doses, or with such as never cross one of its faces, can be kept as a whole box"
        return box_kept(fields, claim.lower, claim.upper, claim.levels, most=_MOST_SIDE_CELLS, meter=meter)
    if stay.order is not None:
        if claim.kind != "box":
            return "between curves trajectories are kept in a box alone"
        doses = claim.doses if stay.doses else None
        where = (claim.lower, claim.upper), claim.levels
        any_gap = not claim.exactly
        return order_kept(stay.order, fields, stack.count, *where, doses, claim.gap, any_gap=any_gap, meter=meter)
    if stay.centre is None or stay.radius is None or stay.start is None:
        return "the ball that trajectories stay in is not stated"
    delta = max((vector_length(frame, d) for d in claim.doses), default=0.0) if stay.doses else 0.0
    if not stay.start > 0:
        why = f"doses of length {delta:g} leave nowhere" if delta else "there is nowhere"
        return f"{why} to start in the ball of radius {stay.radius:g}"
    if not UP * (stay.start + delta) <= stay.radius:
        return f"starts within {stay.start:g} and doses of length {delta:g} do not fit in the ball of radius {stay.radius:g}"
    if not ball_room(claim, frame, stay.centre) >= stay.radius:
        return "the ball that trajectories stay in is not proved to lie in the region"
    # w ≤ λ(ρ − δ/(1 − e^{−λτ})), every rounding on the safe side.
    kick = delta * UP / (-np.expm1(-rate * claim.gap) / UP) if stay.doses else 0.0
    room = rate * (stay.radius - UP * kick) / UP
    most = _MOST_SIDE_CELLS
    if not room > 0 or not drift_within(fields, frame, stay.centre, claim.levels, room, most=most, meter=meter):
        return (
            f"it is not proved that trajectories stay: the drift |f(x^, u)|_P at the ball's centre is not bounded by {room:g}, "
            "what contraction at the rate makes up for"
        )
    return ""


def ball_room(claim: RegionalClaim, frame: Frame, centre: Array) -> float:
    """The largest radius, from below, of a ball about the centre within the region."""
    if claim.ellipsoid is not None:
        middle, radius = claim.ellipsoid
        return (radius - UP * vector_length(frame, centre - middle)) / UP
    gaps = np.minimum(claim.upper - centre, centre - claim.lower)
    return float((gaps / extents(frame)).min()) / UP


def doses_inside(claim: RegionalClaim) -> bool:
    """Whether no dose, from anywhere in the box, crosses a face: none upward where it has an upper end, none downward else."""
    up, down = (claim.doses > 0).any(0), (claim.doses < 0).any(0)
    return not (up & np.isfinite(claim.upper)).any() and not (down & np.isfinite(claim.lower)).any()


def lipschitz_beyond(claim: RegionalClaim, stack: Stack, meter: Meter | None) -> str:
    """That a tape's slopes are bounded on a neighbourhood of the region, which its edges need; empty where it is proved.

    Where the field only touches a face, nothing but a Lipschitz bound on both sides of it keeps a second solution from leaving:
    x' = −√(max(−x, 0)) is 0 on x ≥ 0, and x = −t²/4 starts there. Any neighbourhood will do. A bound over the whole region is
    also why no trajectory leaves, through an end that is not there, in finite time.
    """
    if stack.tape is None:
        return ""
    lower, upper = (_moved(end, sign) for end, sign in ((claim.lower, -1.0), (claim.upper, 1.0)))
    try:
        entries_in(stack, lower, upper, claim.levels, meter)
    except Unusable as error:
        return f"the field is not bounded in its slopes just outside of the region, where a trajectory may leave it: {error}"
    return ""


def _moved(ends: Array, sign: float) -> Array:
    """Further out by about a rounding."""
    return np.where(np.isfinite(ends), ends + sign * np.maximum(2.0**-40 * np.abs(ends), SMALLEST), ends)


def multipliers_shape(stack: Stack, entries: Entries | None, proof: str) -> tuple[int, int]:
    """What a proof of this kind needs: one for each system, or corner, and unit."""
    units = 0 if entries is None else entries.units
    if proof == "cells":
        return stack.count, 0
    if proof == "vertices":
        return stack.count << min(units, MOST_CORNERS), stack.units
    return stack.count, stack.units + units


def unproved_kind(proof: str, entries: Entries | None) -> str:
    """Why this kind of proof is none for the system; empty where it is one."""
    if proof == "vertices" and entries is None:
        return "the system has no tape, whose corners could be tried"
    if proof == "vertices" and entries is not None and entries.units > MOST_CORNERS:
        return f"the tape has {entries.units} entries that vary, and corners of more than {MOST_CORNERS} are not tried"
    return ""


def rate_by_slopes(
    box: tuple[Array, Array],  # (n,) each, infinite ends allowed where there is a tape
    levels: tuple[Array, Array],  # (m,) each
    stack: Stack,
    candidate: tuple[float, Array, Array],  # λ, P, Λ
    entries: Entries | None,
    proof: str,  # "slopes" or "vertices"
    meter: Meter | None,
) -> str:
    """Empty if the inequality is proved with each unit's slopes over the box; else why not."""
    (rate, P, multipliers), meter = candidate, meter or Meter()
    count = len(multipliers)
    meter.room(8.0 * multipliers.size, f"{count} systems")
    chunk = meter.matrices(len(P) + multipliers.shape[1], count, 14)
    slopes = slopes_in(stack, *box, levels, meter)
    for first in range(0, count, chunk):
        which = np.arange(first, min(first + chunk, count))
        meter.look(f"at system {first} of {count}")
        known, system = None, which
        if entries is not None and proof == "vertices":
            system, known = entries.corners(which)
        elif entries is not None:
            known = entries.some(slice(first, first + chunk))
        ends = (slopes[0][system], slopes[1][system])
        good = proved_positive(*inequality(stack, system, rate, P, multipliers[which], ends, known=known))
        if not good.all():
            where = int(np.argmin(good))
            corner = f" at the corner {first + where} of its entries" if proof == "vertices" else ""
            return f"the inequality with the region's slopes is not proved for system {int(system[where])}{corner}"
    return ""


def rate_by_cells(
    box: tuple[Array, Array],  # (n,) each, infinite ends allowed along what no slope depends on
    levels: tuple[Array, Array],  # (m,) each
    stack: Stack,
    rate: float,
    frame: Frame,
    *,
    most: float,  # cells
    meter: Meter | None,
) -> str:
    """Empty if contraction at the rate is proved at every point of the box; else why not."""
    left = most
    for index, jacobian in enumerate(jacobians_over(stack, *box, levels)):
        found = cover(jacobian, frame, rate, most=left, meter=meter, doing=f"on system {index}")
        if found.counterexample is not None:
            point = jacobian.whole(found.counterexample[:, None])[:, 0]
            return f"system {index} does not contract at the rate in this metric at {point.tolist()}"
        if not found.proved:
            return f"system {index} is not proved within {most:.0f} cells; {found.left} are left"
        left -= found.cells
    return ""
