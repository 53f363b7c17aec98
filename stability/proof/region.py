"""Regional claims proved: contraction on a convex set, and that trajectories stay in it; the arithmetic of the checker.

A regional certificate holds P, λ, the region and how the rate is proved in it:
- "slopes": the inequality of `proof.py` with each unit's own slope range over the region. The ranges are computed here, from the
  arrays and the box alone. (Between two states of a convex set a unit's argument takes every value between its two values, so
  the difference quotient of φ is a mean of slopes that the range contains.)
- "cells": −(JᵀP + PJ) − 2λP ≻ 0 at every point of the box, cell by cell (`cells.py`); nothing but P and λ need be stored.
Both hold for every system with the one P. An ellipsoid is proved on the smallest box around it. A box is convex, so the segment
between two states lies in it and its length in P shrinks at λ, as long as both trajectories stay: the second half of the proof,
`invariance.py`.

Underflow. At the door every number of the system and of the region, and the rate, is zero or between 1e-100 and 1e50
(`_extremes`, `_faint`), and T of P ≈ (TTᵀ)⁻¹ at most 1e60. So here, bounded below: λτ is at least 1e-200; a difference of walls,
centres and radii is zero or 1e-117 at least, and over an extent (at most 1e60) a normal number; δ is at least _TINY, and
δ/(1 − e^{−λτ}) no less. The inequality by slopes is widened as in `proof._inequality`; for cells and lengths see `cells.py`,
`enclosure.py` and `invariance.py`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stability.proof.activation import slope_range
from stability.proof.cells import Field, Frame, batch_for, bisect, cover
from stability.proof.contraction import (
    _LARGEST,
    _SLOPES,
    _SMALLEST,
    Budget,
    Meter,
    NotDecided,
    Unusable,
    Verdict,
    _array,
    _disagreement,
    _get,
    _inequality,
    _number,
    _proved_positive,
    _sequence,
    _shown,
    _Stack,
)
from stability.proof.enclosure import Layers, argument_ranges
from stability.proof.invariance import box_kept, drift_within, extents, vector_length

Array = NDArray[np.float64]
_UP = 1.0 + 2.0**-40
_MOST_SIDE_CELLS = 20_000  # per system, for the levels of the input at x̂, and per face of a box
_PIECES = 8192  # cells in all over which slopes are bounded, for up to four axes


@dataclass(frozen=True)
class Stay:
    """The set that trajectories do not leave, and where they may start: the region's box itself, or a ball in P within it."""

    kind: str  # "box" or "ball"
    centre: Array | None  # x̂ (n,), for a ball
    radius: float | None  # ρ
    start: float | None  # starts lie within this distance of x̂: ρ, or with doses ρ − sup|d|_P
    doses: bool  # whether the stated doses are covered


@dataclass(frozen=True)
class Claim:
    """A certificate's `region`, read."""

    kind: str  # "box" or "ellipsoid"
    lower: Array  # of the box, or of the smallest box around the ellipsoid
    upper: Array
    ellipsoid: tuple[Array, float] | None  # centre and radius
    levels: tuple[Array, Array]  # (m,) each
    doses: Array  # (D, n)
    gap: float
    proof: str  # "slopes" or "cells"
    stay: Stay


def regional_statement(rate: float, states: int, systems: int, region: Mapping[str, Any]) -> str:
    """The sentence that a regional certificate claims."""
    stays, inputs = region["stays"], region["inputs"]
    if region["kind"] == "box":
        where = f"the box {list(region['lower'])!r} <= x <= {list(region['upper'])!r}"
    else:
        where = f"the ellipsoid |x - {list(region['centre'])!r}|_P <= {region['radius']!r}"
    if stays["set"] == "box":
        start, kept = f"in {where}", "it"
    else:
        about = f"|x - {list(stays['centre'])!r}|_P <= "
        start, kept = f"with {about}{stays['start']!r}", f"{about}{stays['radius']!r}, which lies in {where}"
    levels = "no inputs"
    if inputs is not None and len(inputs["lower"]):
        levels = f"the same inputs, any signals within {list(inputs['lower'])!r} <= u <= {list(inputs['upper'])!r}"
    doses = "no doses"
    if stays["doses"]:
        bolus = [list(d) for d in inputs["doses"]]
        doses = f"the same doses, each x -> x + d with d among {bolus!r} or a mean of them, at least {inputs['gap']!r} apart"
    return (
        f"For every pair of trajectories in R^{states} that start {start}, with {levels}, {doses}, and the same parameters and "
        f"member: both stay in {kept}, and the distance sqrt(dx' P dx) shrinks at rate {rate!r} per unit of time or faster, "
        f"for each of the {systems} systems, in real arithmetic with the stored float64 arrays."
    )


def prove_in_region(
    certificate: object,
    stack: _Stack,
    *,
    most_cells: int | None = None,  # for the rate alone; None for as many as the budget has
    meter: Meter | None = None,
) -> Verdict:
    """Prove a regional certificate, or say why it is refused: stored numbers, the rate in the region, then that they stay.

    With fewer cells it refuses sooner, and accepts nothing that it would not accept with more.
    Errors: with a meter, `NotDecided` where its budget is used up.
    Law: accepted ⇒ the claim holds in real arithmetic.
    """
    region = _get(certificate, "region")
    if not isinstance(region, Mapping):
        return Verdict(False, f"the region {_shown(region)} is not one that this checker knows")
    _check_plain(region)
    rate, P = _number(_get(certificate, "rate")), _array(_get(certificate, "metric"), "metric")
    multipliers = _array(_get(certificate, "multipliers"), "multipliers")
    n = stack.A.shape[-1]
    try:
        words = regional_statement(rate, n, stack.count, region)
    except (KeyError, TypeError) as error:
        raise Unusable(f"the region lacks a part or has one of another kind: {error}") from error
    units = 0 if region.get("proof") == "cells" else None
    refusal = _disagreement(certificate, stack, rate, P, multipliers, words, units) or _extremes(stack)
    if refusal:
        return Verdict(False, refusal)
    if not _proved_positive(P[None], np.zeros_like(P[None]))[0]:
        return Verdict(False, "the metric P is not proved positive definite")
    frame = Frame.of(P)
    if not frame.usable:
        return Verdict(False, "the metric P is scaled so that the error bounds are not stated; multiply it by a number")
    claim = _read(region, frame, n)
    refusal = _empty(claim, stack) or _faint(claim, rate)
    if refusal:
        return Verdict(False, refusal, rate, stack.count)
    refusal = prove_stay(claim, frame, rate, stack, meter)
    if refusal:
        return Verdict(False, refusal, rate, stack.count)
    if units is None:
        refusal = _rate_by_slopes(claim, stack, rate, P, multipliers, meter)
    else:
        most = most_cells if most_cells is not None else math.inf if meter is not None else Budget().cells
        refusal = _rate_by_cells(claim, stack, rate, frame, most, meter)
    return Verdict(not refusal, refusal or words, rate, stack.count)


def fields_of(stack: _Stack, with_inputs: bool) -> list[Field]:
    """Each system as the enclosures see it; without inputs only where the layers see none, and then u is left out."""
    return list(each_field(stack, with_inputs))


def each_field(stack: _Stack, with_inputs: bool) -> Iterator[Field]:
    """The same, one after the other."""
    m = input_count(stack) if with_inputs else 0
    for v in range(stack.count):
        n = stack.A.shape[-1]
        Wu = None if stack.input_weights is None else stack.input_weights[v]
        B = [np.zeros((n, m))]
        if with_inputs and stack.B is not None:
            B.append(stack.B[v])
        if with_inputs and Wu is not None and len(stack.weights) == 1:
            B.append(Wu)  # without a hidden layer it acts on dx/dt itself
        layers, last, bias = None, np.zeros((n, 0)), np.zeros(n)
        if len(stack.weights) > 1:
            first = stack.weights[0][v]
            if with_inputs:
                first = np.concatenate([first, np.zeros((len(first), m)) if Wu is None else Wu], axis=1)
            hidden = (first, *(w[v] for w in stack.weights[1:-1]))
            layers = Layers(hidden, tuple(b[v] for b in stack.biases[:-1]), stack.activation)
            last = stack.weights[-1][v]
        if stack.weights:
            bias = stack.biases[-1][v]
        yield Field(tuple(a[v] for a in stack.linear), tuple(B), layers, last, bias)


def input_count(stack: _Stack) -> int:
    """m."""
    return max(0 if a is None else a.shape[-1] for a in (stack.B, stack.input_weights))


def prove_stay(claim: Claim, frame: Frame, rate: float, stack: _Stack, meter: Meter | None = None) -> str:
    """Empty if it is proved that trajectories stay as claimed, given contraction at the rate; else why not."""
    fields, stay = each_field(stack, True), claim.stay
    if stay.kind == "box":
        if stay.doses or claim.kind != "box":
            return "only a box without doses can be kept as a whole box"
        return box_kept(fields, claim.lower, claim.upper, claim.levels, most=_MOST_SIDE_CELLS, meter=meter)
    if stay.centre is None or stay.radius is None or stay.start is None:
        return "the ball that trajectories stay in is not stated"
    delta = max((vector_length(frame, d) for d in claim.doses), default=0.0) if stay.doses else 0.0
    if not stay.start > 0:
        why = f"doses of length {delta:g} leave nowhere" if delta else "there is nowhere"
        return f"{why} to start in the ball of radius {stay.radius:g}"
    if not _UP * (stay.start + delta) <= stay.radius:
        return f"starts within {stay.start:g} and doses of length {delta:g} do not fit in the ball of radius {stay.radius:g}"
    if not ball_room(claim, frame, stay.centre) >= stay.radius:
        return "the ball that trajectories stay in is not proved to lie in the region"
    # w ≤ λ(ρ − δ/(1 − e^{−λτ})), every rounding on the safe side.
    kick = delta * _UP / (-np.expm1(-rate * claim.gap) / _UP) if stay.doses else 0.0
    room = rate * (stay.radius - _UP * kick) / _UP
    most = _MOST_SIDE_CELLS
    if not room > 0 or not drift_within(fields, frame, stay.centre, claim.levels, room, most=most, meter=meter):
        return (
            f"it is not proved that trajectories stay: the drift |f(x^, u)|_P at the ball's centre is not bounded by {room:g}, "
            "what contraction at the rate makes up for"
        )
    return ""


def ball_room(claim: Claim, frame: Frame, centre: Array) -> float:
    """The largest radius, from below, of a ball about the centre within the region."""
    if claim.ellipsoid is not None:
        middle, radius = claim.ellipsoid
        return (radius - _UP * vector_length(frame, centre - middle)) / _UP
    gaps = np.minimum(claim.upper - centre, centre - claim.lower)
    return float((gaps / extents(frame)).min()) / _UP


def _rate_by_slopes(
    claim: Claim, stack: _Stack, rate: float, P: Array, multipliers: Array, meter: Meter | None
) -> str:
    meter = meter or Meter()
    chunk = meter.matrices(len(P) + multipliers.shape[1], stack.count, 14)
    slopes = slopes_in(stack, claim.lower, claim.upper, claim.levels, meter)
    for first in range(0, stack.count, chunk):
        meter.look(f"at system {first} of {stack.count}")
        part = slice(first, first + chunk)
        ends = (slopes[0][part], slopes[1][part])
        good = _proved_positive(*_inequality(stack, part, rate, P, multipliers[part], ends))
        if not good.all():
            return f"the inequality with the region's slopes is not proved for system {first + int(np.argmin(good))}"
    return ""


def slopes_in(
    stack: _Stack, lower: Array, upper: Array, levels: tuple[Array, Array], meter: Meter | None = None
) -> tuple[Array, Array]:
    """Each unit's slope range over the box, lower and upper ends (V, H): the union over the pieces that the box is cut into."""
    with_inputs = stack.input_weights is not None
    low = np.concatenate([lower, levels[0]]) if with_inputs else lower
    high = np.concatenate([upper, levels[1]]) if with_inputs else upper
    alpha, beta = (np.full((stack.count, sum(stack.widths)), end) for end in _SLOPES[stack.activation])
    for v, field in enumerate(each_field(stack, with_inputs)):
        if field.layers is not None:
            ends = slopes_over(field.layers, low, high, stack.count, meter)
            alpha[v], beta[v] = np.maximum(alpha[v], ends[0]), np.minimum(beta[v], ends[1])
    return alpha, beta


def slopes_over(
    layers: Layers, low: Array, high: Array, systems: int = 1, meter: Meter | None = None
) -> tuple[Array, Array]:
    """Bounds (H,) of the slopes of one system's units over a box (d,) of (x, u); the work is shared among so many systems."""
    columns = math.comb(len(low) + 2, 3)
    pieces = max(16, _PIECES * 20 // (systems * max(20, columns)))  # as the columns grow, fewer of them
    H = sum(len(w) for w in layers.weights)
    alpha, beta = np.full(H, np.inf), np.full(H, -np.inf)
    scale = np.linalg.norm(layers.weights[0], axis=0)[:, None]
    half = (high - low) / 2
    volume = half.prod(where=half > 0) / pieces * 1.5

    def test(c: Array, r: Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
        # A piece that is small enough counts; another is cut along the axis that moves the first layer most.
        small = r.prod(0, where=r > 0) <= volume
        if small.any():
            ranges = argument_ranges(layers, c[:, small], r[:, small])
            bounds = [slope_range(layers.activation, a, b) for a, b in ranges]
            alpha[:] = np.minimum(alpha, np.concatenate([a.min(1) for a, _ in bounds]))
            beta[:] = np.maximum(beta, np.concatenate([b.max(1) for _, b in bounds]))
        return small, np.zeros(len(small), dtype=np.bool_), (r * scale).argmax(0)

    batch = batch_for(Field((np.zeros((0, 0)),), (), layers, np.zeros((0, 0)), np.zeros(0)), len(low), meter)
    if not bisect(test, low, high, most=64 * pieces, batch=batch, meter=meter, doing="bounding slopes").proved:
        why = "the box cannot be cut into pieces small enough for its slopes to be bounded"
        raise Unusable(why) if meter is None else NotDecided(why)
    return alpha, beta


def _rate_by_cells(
    claim: Claim, stack: _Stack, rate: float, frame: Frame, most: float, meter: Meter | None
) -> str:
    with_inputs, left = stack.input_weights is not None, most
    low = np.concatenate([claim.lower, claim.levels[0]]) if with_inputs else claim.lower
    high = np.concatenate([claim.upper, claim.levels[1]]) if with_inputs else claim.upper
    for index, field in enumerate(each_field(stack, with_inputs)):
        found = cover(field, frame, rate, low, high, most=left, meter=meter, doing=f"on system {index}")
        if found.counterexample is not None:
            return f"system {index} does not contract at the rate in this metric at {found.counterexample.tolist()}"
        if not found.proved:
            return f"system {index} is not proved within {most:.0f} cells; {found.left} are left"
        left -= found.cells
    return ""


def _extremes(stack: _Stack) -> str:
    """Weights whose products underflow would escape the error bounds."""
    arrays = [*stack.linear, *stack.weights, *stack.biases]
    arrays += [a for a in (stack.B, stack.input_weights) if a is not None]
    sizes = [np.abs(a.held) for a in arrays]
    if any(a.max(initial=0.0) > _LARGEST or (a[a != 0] < _SMALLEST).any() for a in sizes):
        return "a weight, a bias or an entry of A or B is so large or so small that the error bounds are not stated"
    return ""


def _empty(claim: Claim, stack: _Stack) -> str:
    n, m = stack.A.shape[-1], input_count(stack)
    arrays = [claim.lower, claim.upper, *claim.levels, claim.doses]
    arrays += [] if claim.stay.centre is None else [claim.stay.centre]
    if not all(np.isfinite(a).all() and np.abs(a).max(initial=0.0) < _LARGEST for a in arrays):
        return f"the region holds values that are not finite, or beyond {_LARGEST:.0e}"
    if claim.lower.shape != (n,) or claim.upper.shape != (n,) or not (claim.lower < claim.upper).all():
        return "the region is empty, flat, or not of the system's dimension"
    if claim.levels[0].shape != (m,) or claim.levels[1].shape != (m,) or not (claim.levels[0] <= claim.levels[1]).all():
        return f"the input levels are empty, or not those of the system's {m} inputs"
    if claim.doses.shape[1:] != (n,) or (claim.stay.doses and not (len(claim.doses) and claim.gap > 0)):
        return "the doses are not vectors of states at a positive distance in time"
    if claim.stay.centre is not None and claim.stay.centre.shape != (n,):
        return "the ball's centre is not a state"
    return ""


def _faint(claim: Claim, rate: float) -> str:
    """What is so near to zero, without being zero, that products with it underflow; empty if nothing is."""
    stay = claim.stay
    given: list[tuple[str, Any]] = [("a level of the input", a) for a in claim.levels]
    given += [("a dose", claim.doses), ("the rate", rate), ("the gap between doses", claim.gap)]
    if claim.ellipsoid is None:
        given += [("a wall of the box", claim.lower), ("a wall of the box", claim.upper)]
    else:
        given += [("the ellipsoid's centre", claim.ellipsoid[0]), ("the ellipsoid's radius", claim.ellipsoid[1])]
    given += [("the centre of the ball that is kept", () if stay.centre is None else stay.centre)]
    given += [("the radius of the ball that is kept", stay.radius or 0.0), ("the distance of the starts", stay.start or 0.0)]
    for what, values in given:
        for value in np.ravel(np.asarray(values, dtype=np.float64)).tolist():
            if 0 < abs(value) < _SMALLEST:
                return (
                    f"{what} is {value!r}, which is not zero and below {_SMALLEST:g}: products with it underflow, and the error "
                    "bounds are not stated for them; it can be 0"
                )
    return ""


def _check_plain(region: Mapping[str, Any]) -> None:
    """That what the sentence quotes are numbers. Errors: Unusable for anything else, which may be long, or deep, or no value."""
    ball, inputs = _get(region, "stays"), _get(region, "inputs")
    words = (_get(region, "kind"), _get(region, "proof"), _get(ball, "set"))
    if not all(isinstance(word, str) for word in words) or not isinstance(_get(ball, "doses"), bool):
        raise Unusable("the region's kind, its proof, the set that is kept or whether with doses is not said in a word")
    vectors = [_get(region, name) for name in (("lower", "upper") if _get(region, "kind") == "box" else ("centre",))]
    if _get(ball, "set") == "ball":
        vectors.append(_get(ball, "centre"))
    if inputs is not None:
        doses, gap = _get(inputs, "doses", None), _get(inputs, "gap", None)
        vectors += [_get(inputs, "lower"), _get(inputs, "upper"), *(() if doses is None else _sequence(doses))]
        _number(0.0 if gap is None else gap)
    for vector in vectors:
        for value in _sequence(vector):
            _number(value)
    for name in ("radius", "start"):
        _number(_get(ball, name, 0.0))
    _number(_get(region, "radius", 0.0))


def _read(region: Mapping[str, Any], frame: Frame, n: int) -> Claim:
    kind, proof = _get(region, "kind"), _get(region, "proof")
    if kind not in ("box", "ellipsoid") or proof not in ("slopes", "cells"):
        raise Unusable(f"a region of the kind {_shown(kind)} proved by {_shown(proof)} is not one that this checker knows")
    ellipsoid = None
    if kind == "box":
        lower, upper = _array(_get(region, "lower"), "lower"), _array(_get(region, "upper"), "upper")
    else:
        ellipsoid = _array(_get(region, "centre"), "centre"), _number(_get(region, "radius"))
        if ellipsoid[0].shape != (n,) or not ellipsoid[1] > 0:
            raise Unusable("the ellipsoid has no centre among the states, or no positive radius")
        lower, upper = box_around(ellipsoid[0], ellipsoid[1], frame)
    inputs, stays = _get(region, "inputs"), _get(region, "stays")
    doses, gap = np.zeros((0, n)), np.inf
    levels = np.zeros(0), np.zeros(0)
    if inputs is not None:
        levels = _array(_get(inputs, "lower"), "inputs"), _array(_get(inputs, "upper"), "inputs")
        if _get(inputs, "doses", None) is not None:
            doses, gap = _array(_get(inputs, "doses"), "doses"), _number(_get(inputs, "gap"))
    what = _get(stays, "set")
    if what not in ("box", "ball") or not isinstance(_get(stays, "doses"), bool):
        raise Unusable("it is not stated in which set trajectories stay, or whether with doses")
    if what == "box":
        stay = Stay("box", None, None, None, _get(stays, "doses"))
    else:
        stay = Stay(
            "ball",
            _array(_get(stays, "centre"), "centre"),
            _number(_get(stays, "radius")),
            _number(_get(stays, "start")),
            _get(stays, "doses"),
        )
    return Claim(kind, lower, upper, ellipsoid, levels, doses, gap, proof, stay)


def box_around(centre: Array, radius: float, frame: Frame) -> tuple[Array, Array]:
    """A box that contains {|x − centre|_P ≤ radius}."""
    reach = _UP * (radius * extents(frame) + 2.0**-50 * np.abs(centre))
    return centre - reach, centre + reach
